"""Who comes through a portal: a program that vouches for its user, or the user's own browser.

A portal's key (`x-portal-key`) says which portal it is, `x-user-email` whom it speaks for; the
daemon believes the second only because of the first. A browser that signed in at the daemon itself
has a session's cookie. What either may do is of scope PORTAL and of one tenant: that of the user.
"""

import re
from dataclasses import dataclass, field

from aiohttp import web

from flowhq.admin.cookies import digest, read_cookie
from flowhq.admin.guard import check_csrf
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.problems import UNAUTHORIZED, FieldError, ProblemError, invalid
from flowhq.admin.proxies import client_of
from flowhq.admin.scopes import Principal, Scope
from flowhq.admin.throttle import Throttle
from flowhq.config import PortalSettings
from flowhq.db.portal import PortalUser
from flowhq.db.portalsessions import PortalSession

KEY_HEADER = "x-portal-key"
SESSION_COOKIE = "__Host-flowhq-portal"
USER_HEADER = "x-user-email"
# RFC 5321, 4.5.3.1: longer addresses cannot be delivered to.
EMAIL_MAX = 254
# A key of ours is much shorter; more is not worth a look into the database.
KEY_MAX = 200
# The form that browsers take in a field for e-mail addresses, with a dot in the domain.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request of the portal speaks for; ``user`` None before the first sign-in. ``session``
    if a browser's cookie said so."""

    email: str = field(repr=False)
    user: PortalUser | None
    session: PortalSession | None = None

    @property
    def principal(self) -> Principal:
        """One tenant at most; its name is the user's id, never the address."""
        if self.user is None:
            return Principal("portal", frozenset({Scope.PORTAL}), frozenset())
        tenants = frozenset({self.user.tenant_id})
        return Principal(f"portal:{self.user.user_id}", frozenset({Scope.PORTAL}), tenants)


class PortalGate:
    """Admits the requests of portals. Holds no secret; wrong keys are slowed as wrong passwords."""

    def __init__(self, store: PortalStore, throttle: Throttle) -> None:
        self._store = store
        self._throttle = throttle

    async def admit(self, request: web.Request) -> Caller:
        """ProblemError: 401 without a living key or session, 400 without a user's address behind
        a key, 403 for a change by session without its token."""
        if KEY_HEADER not in request.headers:
            return await self._by_session(request)
        secret = request.headers[KEY_HEADER]
        if not secret or len(secret) > KEY_MAX or await self._store.check_key(secret) is None:
            await self._slow_down(request, secret)
            raise _unauthorized(secret)
        email = read_email(request.headers.get(USER_HEADER, ""))
        return Caller(email, await self._store.find_user(email))

    async def _slow_down(self, request: web.Request, secret: str) -> None:
        address = client_of(request).address
        async with self._throttle.turn(address, digest(secret)):
            await self._throttle.failed(address)

    async def _by_session(self, request: web.Request) -> Caller:
        secret = read_cookie(request, SESSION_COOKIE)
        if secret is None:
            raise _unauthorized("")
        session = await self._store.find_session(secret)
        if session is None:
            raise _unauthorized(secret)
        check_csrf(request, SESSION_COOKIE)
        return Caller(session.user.email, session.user, session)


PORTAL_GATE = web.AppKey("portal_gate", PortalGate)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)


def read_email(text: str) -> str:
    """The address in lower case; ProblemError (400) naming the header if it is none."""
    if not text.strip():
        raise invalid(FieldError(USER_HEADER, "is required: whom does the portal speak for?"))
    email = parse_email(text)
    if email is None:
        raise invalid(FieldError(USER_HEADER, "is no e-mail address."))
    return email


def parse_email(text: str) -> str | None:
    """The address in lower case; None if it is none."""
    email = text.strip().lower()
    return email if len(email) <= EMAIL_MAX and _EMAIL.fullmatch(email) else None


def public_address(request: web.Request, settings: PortalSettings) -> str:
    """Under which address this daemon is reached from outside, without a slash at the end."""
    client = client_of(request)
    return settings.public_url or f"{client.scheme}://{client.host}"


def _unauthorized(secret: str) -> ProblemError:
    detail = "The key or session is not good." if secret else "No portal key was sent."
    return ProblemError(
        UNAUTHORIZED,
        detail,
        next_step=f"Send a living portal key in the header {KEY_HEADER}, or sign in again.",
        headers={"WWW-Authenticate": 'Portal realm="Flow HQ"'},
    )
