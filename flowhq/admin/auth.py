"""Who may come in: the admin password (Argon2id) or a bearer token (SHA-256), nothing else.

Checking a password costs about 32 ms of a core on purpose. It runs in a thread, two at a time,
and a password found right is remembered for a few minutes as an HMAC under a key that lives only
in this process, so that a client's next requests cost nothing.

Wrong guesses are slowed per address: each answer comes later than the one before, and beyond
MAX_TRYING different guesses at once the rest are refused unread. What is right is never delayed.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from cachetools import TTLCache

from flowhq.admin.problems import TOO_MANY_ATTEMPTS, UNAUTHORIZED, ProblemError
from flowhq.admin.scopes import ROLE_SCOPES, Principal, Role
from flowhq.clock import Clock
from flowhq.errors import MisconfiguredError

CHALLENGE = 'Basic realm="Flow HQ", charset="UTF-8", Bearer realm="Flow HQ"'
# Verifications at once: each takes 19 MB and a core for about 32 ms.
VERIFICATIONS_AT_ONCE = 2
# A password taken back (changed in the configuration) works at most this long: until a restart
# it is the same anyway, so the limit only bounds how long the HMAC stays in memory.
REMEMBERED_S = 300
REMEMBERED_MAX = 64
# The first wrong guess waits this long, each further one twice as long, up to the limit.
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0
FAILURES_KEPT_S = 900
# Addresses whose failures are remembered; the oldest is forgotten beyond it.
ADDRESSES_MAX = 10_000
# Different guesses in progress from one address; a browser with one password counts as one.
MAX_TRYING = 8


@dataclass(frozen=True, slots=True)
class _Credential:
    scheme: str
    secret: bytes


class Authenticator:
    """Checks the Authorization header. Built once per process; holds no secret in clear."""

    def __init__(self, password_hash: str, token_hashes: Iterable[str], clock: Clock) -> None:
        if not password_hash:
            raise MisconfiguredError(
                "No admin password is set.",
                next_step="Put what `flowhq-daemon hash-password` prints into [admin] "
                "password_hash or FLOWHQ_ADMIN__PASSWORD_HASH.",
            )
        self._password_hash = password_hash
        self._token_hashes = tuple(token_hashes)
        self._clock = clock
        self._hasher = PasswordHasher()
        self._key = secrets.token_bytes(32)
        self._right: TTLCache[bytes, bool] = TTLCache(
            REMEMBERED_MAX, REMEMBERED_S, timer=clock.monotonic
        )
        self._failures: TTLCache[str, int] = TTLCache(
            ADDRESSES_MAX, FAILURES_KEPT_S, timer=clock.monotonic
        )
        self._trying: dict[str, Counter[bytes]] = {}
        self._verifying = asyncio.Semaphore(VERIFICATIONS_AT_ONCE)

    async def admit(self, header: str | None, address: str) -> Principal:
        """Who the header belongs to; ProblemError (401, or 429 for too many guesses) if nobody."""
        if header is None:
            raise _unauthorized("No credentials were sent.")
        credential = _parse(header)
        if credential is None:
            raise _unauthorized("The Authorization header is neither Basic nor Bearer.")
        mark = hmac.digest(
            self._key, f"{credential.scheme}:".encode() + credential.secret, "sha256"
        )
        if credential.scheme == "basic" and mark in self._right:
            return Principal("admin", ROLE_SCOPES[Role.ADMIN])
        async with self._turn(address, mark):
            principal = await self._check(credential, mark)
            if principal is None:
                await self._delay(address)
                raise _unauthorized("The password or token is not right.")
        return principal

    async def _check(self, credential: _Credential, mark: bytes) -> Principal | None:
        if credential.scheme == "bearer":
            return self._check_token(credential.secret)
        async with self._verifying:
            # Others with the same password may have waited here together.
            if mark not in self._right:
                right = await asyncio.to_thread(self._verify, credential.secret)
                if not right:
                    return None
                self._right[mark] = True
        return Principal("admin", ROLE_SCOPES[Role.ADMIN])

    def _check_token(self, token: bytes) -> Principal | None:
        given = hashlib.sha256(token).hexdigest()
        # Every hash is compared, so that the time tells nothing about which one matched.
        matches = [hmac.compare_digest(given, known) for known in self._token_hashes]
        if not any(matches):
            return None
        return Principal(f"token:{given[:8]}", ROLE_SCOPES[Role.ADMIN])

    def _verify(self, password: bytes) -> bool:
        try:
            return self._hasher.verify(self._password_hash, password)
        except VerificationError:
            return False

    @asynccontextmanager
    async def _turn(self, address: str, mark: bytes) -> AsyncIterator[None]:
        trying = self._trying.setdefault(address, Counter())
        if mark not in trying and len(trying) >= MAX_TRYING:
            wait = {"Retry-After": str(round(LONGEST_DELAY_S))}
            raise ProblemError(
                TOO_MANY_ATTEMPTS, "Too many different credentials at once.", headers=wait
            )
        trying[mark] += 1
        try:
            yield
        finally:
            trying[mark] -= 1
            if not trying[mark]:
                del trying[mark]
            if not trying:
                self._trying.pop(address, None)

    async def _delay(self, address: str) -> None:
        failures = self._failures.get(address, 0)
        self._failures[address] = failures + 1
        await self._clock.sleep(min(FIRST_DELAY_S * 2 ** min(failures, 16), LONGEST_DELAY_S))


def _parse(header: str) -> _Credential | None:
    """The scheme and secret of an Authorization header; None if it is not one of ours."""
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return _Credential("bearer", value.encode("utf-8", "surrogateescape"))
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Any user name will do: there is one administrator, and the password says who it is.
    _, colon, password = decoded.partition(b":")
    return _Credential("basic", password) if colon else None


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(
        UNAUTHORIZED,
        detail,
        next_step="Use Basic authentication (curl -u admin) or Authorization: Bearer.",
        headers={"WWW-Authenticate": CHALLENGE},
    )
