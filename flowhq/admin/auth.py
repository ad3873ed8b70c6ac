"""Who may come in: a user's password, a browser's session, a program's token; nothing else.

A password says who somebody is by the user's name. ``admin`` stands in the settings and needs no
database; everybody else is looked up at each request, so what was changed or taken back holds from
the next one on. Where a name is unknown, or its user disabled, a password is verified all the same:
the answer, and the time it takes, do not tell.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from flowhq.admin.cookies import digest
from flowhq.admin.credentials import Credentials
from flowhq.admin.identities import BUILT_IN, is_user_name, of_user, parse_token
from flowhq.admin.passwords import Passwords
from flowhq.admin.problems import UNAUTHORIZED, ProblemError
from flowhq.admin.scopes import Principal, Role, Scope
from flowhq.admin.throttle import Throttle
from flowhq.clock import Clock
from flowhq.db.adminsessions import AdminSession
from flowhq.db.tokens import TokenRow
from flowhq.errors import MisconfiguredError

CHALLENGE = 'Basic realm="Flow HQ", charset="UTF-8", Bearer realm="Flow HQ"'
# For pages: Basic would make the browser ask in a window of its own.
PAGE_CHALLENGE = 'Bearer realm="Flow HQ"'


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Who a password belongs to; ``password_hash`` None is nobody, whom no password fits."""

    name: str
    role: Role
    password_hash: str | None = field(repr=False)

    @property
    def mark(self) -> bytes:
        """Stands for the password and the role: a session that began under another is over."""
        return hashlib.sha256(f"{self.role}\0{self.password_hash}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request brings to say who it is, and where it comes from; ``by_script`` if a page of a
    browser sent it, where nobody is to be asked by the browser itself."""

    authorization: str | None = field(repr=False)
    cookie: str | None = field(repr=False)
    address: str
    by_script: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who came in; ``session`` if a browser's cookie said so."""

    principal: Principal
    session: AdminSession | None = None


@dataclass(frozen=True, slots=True)
class _Password:
    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Bearer:
    text: str = field(repr=False)


class Authenticator:
    """Built once per process; holds no secret in clear."""

    def __init__(self, password_hash: str, credentials: Credentials, clock: Clock) -> None:
        if not password_hash:
            raise MisconfiguredError(
                "No admin password is set.",
                next_step="Put what `flowhq-daemon hash-password` prints into [admin] "
                "password_hash or FLOWHQ_ADMIN__PASSWORD_HASH.",
            )
        self._built_in = KnownUser(BUILT_IN, Role.ADMIN, password_hash)
        self._credentials = credentials
        self._guess_key = secrets.token_bytes(32)
        self.passwords = Passwords(clock)
        self.throttle = Throttle(clock)

    async def admit(self, sent: Sent) -> Admitted:
        """Who sent this; ProblemError (401, or 429 for too many guesses) if nobody we know."""
        try:
            return await self._admit(sent)
        except ProblemError as error:
            if error.kind is UNAUTHORIZED and sent.by_script:
                error.headers["WWW-Authenticate"] = PAGE_CHALLENGE
            raise

    async def _admit(self, sent: Sent) -> Admitted:
        if sent.authorization is not None:
            return Admitted(await self._by_header(sent.authorization, sent.address))
        if sent.cookie is not None:
            return await self._by_cookie(sent.cookie)
        raise unauthorized("No credentials were sent.")

    async def log_in(self, name: str, password: str, address: str) -> KnownUser:
        """The user with this password; ProblemError (401, 429) as `admit`."""
        given = _Password(name.strip().lower(), password.encode())
        return await self._by_password(given, address, PAGE_CHALLENGE)

    async def is_password(self, name: str, password: str, address: str) -> bool:
        """Whether it is this user's; a wrong one counts as a guess. ProblemError (429)."""
        try:
            await self.log_in(name, password, address)
        except ProblemError as error:
            if error.kind is UNAUTHORIZED:
                return False
            raise
        return True

    async def find_user(self, name: str) -> KnownUser:
        """Who may come in under this name: nobody if it is unknown or its user disabled."""
        if name == BUILT_IN:
            return self._built_in
        row = await self._credentials.find_user(name) if is_user_name(name) else None
        if row is None or row.disabled_at is not None:
            return KnownUser(name, Role.VIEWER, None)
        return KnownUser(row.name, Role(row.role), row.password_hash)

    async def _by_header(self, header: str, address: str) -> Principal:
        match _parse(header):
            case _Password() as password:
                user = await self._by_password(password, address)
                return of_user(user.name, user.role)
            case _Bearer(text):
                return await self._by_token(text, address)
            case _:
                raise unauthorized("The Authorization header is neither Basic nor Bearer.")

    async def _by_password(
        self, given: _Password, address: str, challenge: str = CHALLENGE
    ) -> KnownUser:
        user = await self.find_user(given.name)
        stored = user.password_hash
        if stored is not None and self.passwords.remembers(stored, given.secret):
            return user
        async with self.throttle.turn(address, self._guess(given.name.encode(), given.secret)):
            if not await self.passwords.verify(stored, given.secret):
                await self.throttle.failed(address, given.name)
                raise unauthorized("The user name or password is not right.", challenge)
        return user

    async def _by_token(self, text: str, address: str) -> Principal:
        parts = parse_token(text)
        row = None if parts is None else await self._credentials.find_token(parts.token_id)
        given = digest("" if parts is None else parts.secret)
        if row is None or not hmac.compare_digest(given, row.secret_sha256):
            async with self.throttle.turn(address, self._guess(b"token", text.encode())):
                await self.throttle.failed(address)
            raise unauthorized("The token is not right.")
        if row.revoked_at is not None:
            raise unauthorized("The token was revoked.")
        if row.expired:
            raise unauthorized("The token has expired.")
        if row.maker_disabled:
            raise unauthorized("The user who made the token is disabled.")
        if row.stale:
            await self._credentials.touch_token(row.token_id)
        return _of_token(row)

    async def _by_cookie(self, secret: str) -> Admitted:
        session = await self._credentials.find_session(digest(secret))
        if session is None:
            raise unauthorized("The session is over: sign in again.", PAGE_CHALLENGE)
        user = await self.find_user(session.user_name)
        if user.password_hash is None or not hmac.compare_digest(user.mark, session.mark):
            raise unauthorized("The session is over: sign in again.", PAGE_CHALLENGE)
        if session.stale:
            await self._credentials.touch_session(session.session_id)
        return Admitted(of_user(user.name, user.role), session)

    def _guess(self, kind: bytes, secret: bytes) -> bytes:
        return hmac.digest(self._guess_key, kind + b"\0" + secret, "sha256")


def _of_token(row: TokenRow) -> Principal:
    # A scope that this version does not know is none.
    scopes = frozenset(scope for scope in Scope if scope.value in row.scopes)
    tenants = None if row.tenants is None else frozenset(row.tenants)
    return Principal(f"token:{row.token_id}", scopes, tenants)


def _parse(header: str) -> _Password | _Bearer | None:
    """What an Authorization header says; None if it is not one of ours."""
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return _Bearer(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(b":")
    return _Password(name.decode("utf-8", "replace").lower(), password) if colon else None


def unauthorized(detail: str, challenge: str = CHALLENGE) -> ProblemError:
    return ProblemError(
        UNAUTHORIZED,
        detail,
        next_step="Use Basic authentication (curl -u admin), Authorization: Bearer, or sign in "
        "with POST /admin/session.",
        headers={"WWW-Authenticate": challenge},
    )
