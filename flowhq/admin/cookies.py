"""The cookie of a browser that is signed in: a random text and nothing else.

The name's prefix makes browsers take it only with Secure, for this host alone and for every path.
Browsers count loopback as secure, so it works on http://127.0.0.1 too.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Literal

from aiohttp import web

SameSite = Literal["Strict", "Lax"]

COOKIE = "__Host-flowhq"
CSRF_HEADER = "X-CSRF-Token"
SECRET_BYTES = 32
# Longer ones are none of ours and are not looked up.
SECRET_CHARS_MAX = 64


def new_secret() -> str:
    """256 random bits as text, for a cookie or a token."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What is stored of a secret of 256 bits: nobody finds the one from the other."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def csrf_of(secret: str) -> str:
    """The text that a page of ours sends with each change: it follows from the cookie, which no
    other page can read."""
    return hmac.digest(secret.encode(), b"csrf", "sha256").hex()


def read_cookie(request: web.Request, name: str = COOKIE) -> str | None:
    """The secret that the browser sent; None without one, or if it cannot be one of ours."""
    value = request.cookies.get(name)
    return value if value and len(value) <= SECRET_CHARS_MAX and value.isascii() else None


def set_cookie(
    response: web.StreamResponse,
    secret: str,
    longest: timedelta,
    name: str = COOKIE,
    *,
    samesite: SameSite = "Strict",
) -> None:
    """``samesite`` Lax where another site's page sends the browser to us and it must come along."""
    response.set_cookie(
        name,
        secret,
        max_age=int(longest.total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite=samesite,
    )


def clear_cookie(response: web.StreamResponse, name: str = COOKIE) -> None:
    response.set_cookie(
        name, "", max_age=0, path="/", secure=True, httponly=True, samesite="Strict"
    )
