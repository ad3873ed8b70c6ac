"""An OpenID Connect issuer with real keys: it lets everybody in as one user, without a question.

It holds clients to the rules (PKCE, redirect URI, one use of a code). What it puts into its tokens,
and how it signs them, can be changed for one sign-in at a time. By hand, for a walk with curl:
``python -m tests.fakes.issuer --port 8791``.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

Claims = dict[str, Any]


def new_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": "RS256"})


@dataclass
class Issuer:
    """``url`` is its name. ``user`` is who signs in; ``bend`` changes the claims of the next
    tokens; ``sign`` makes a token of claims."""

    key: RSAKey
    client_id: str = "flowhq-test"
    client_secret: str = "siri-ya-mteja"
    url: str = ""
    user: Claims = field(
        default_factory=lambda: {
            "sub": "1001",
            "email": "Asha@Example.com",
            "email_verified": True,
            "name": "Asha Juma",
        }
    )
    bend: Callable[[Claims], None] = lambda claims: None
    refuses: bool = False
    asked: list[str] = field(default_factory=list)
    published: list[RSAKey] = field(default_factory=list)
    discovery: Claims = field(default_factory=dict)
    grants: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.published.append(self.key)
        self.sign: Callable[[Claims], str] = self.signed

    def signed(self, claims: Claims) -> str:
        header = {"alg": "RS256", "kid": self.key.kid}
        return jwt.encode(header, claims, self.key, algorithms=["RS256"])

    # -- what it serves -------------------------------------------------------------------------

    async def configuration(self, request: web.Request) -> web.Response:
        self.asked.append("configuration")
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response(document | self.discovery)

    async def keys(self, request: web.Request) -> web.Response:
        self.asked.append("keys")
        keys = [key.as_dict(private=False) for key in self.published]
        # Of a kind that nobody knows yet: to be passed over.
        return web.json_response({"keys": [{"kty": "NEW", "kid": "n"}, *keys]})

    async def authorize(self, request: web.Request) -> web.Response:
        """The user agrees at once."""
        query = request.query
        assert query["response_type"] == "code"
        assert query["client_id"] == self.client_id
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        back = {"state": query["state"], "iss": self.url}
        if self.refuses:
            back["error"] = "access_denied"
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.grants[back["code"]] = dict(query)
        location = f"{query['redirect_uri']}?{urlencode(back)}"
        return web.Response(status=302, headers={"Location": location})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        grant = self.grants.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        pair = f"{self.client_id}:{self.client_secret}".encode()
        allowed = f"Basic {base64.b64encode(pair).decode()}"
        if (
            grant is None
            or grant["code_challenge"] != challenge
            or grant["redirect_uri"] != form.get("redirect_uri")
            or request.headers.get("Authorization") != allowed
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = self.user | {
            "iss": self.url,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": grant["nonce"],
        }
        self.bend(claims)
        token = self.sign(claims)
        return web.json_response({"id_token": token, "access_token": "x", "token_type": "Bearer"})


def unsigned(claims: Claims) -> str:
    """``alg`` none."""
    parts = (b'{"alg":"none","typ":"JWT"}', orjson.dumps(claims))
    return ".".join(_text(part) for part in parts) + "."


def signed_with_public_key(issuer: Issuer) -> Callable[[Claims], str]:
    """HS256 with the issuer's public key for a secret: the well-known confusion."""

    def sign(claims: Claims) -> str:
        header = orjson.dumps({"alg": "HS256", "kid": issuer.key.kid})
        signed = f"{_text(header)}.{_text(orjson.dumps(claims))}"
        mac = hmac.digest(issuer.key.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{_text(mac)}"

    return sign


def _text(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


@asynccontextmanager
async def serving(issuer: Issuer, port: int = 0) -> AsyncIterator[Issuer]:
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.configuration)
    app.router.add_get("/keys", issuer.keys)
    app.router.add_get("/authorize", issuer.authorize)
    app.router.add_post("/token", issuer.token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()


async def serve_until_ended(port: int) -> None:
    async with serving(Issuer(new_key("one")), port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8791)
    asyncio.run(serve_until_ended(parser.parse_args().port))
