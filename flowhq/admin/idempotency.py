"""A request with an Idempotency-Key is done once, however often it is sent.

The key is claimed in the database before the handler runs and settled with its answer after it; a
repeat within 24 hours gets that answer, with ``Idempotency-Replayed: true``. A refusal changes
nothing and is not kept: the key is as new after it. A key that is claimed, but by no request of
this process, was left half-way by a crash, or by a database that went away: whether it was done is
not known. It is run again where the route says that a second run does no harm, and refused else.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

import orjson
import structlog
from aiohttp import web

from flowhq.admin.ports import KeyStore
from flowhq.admin.problems import (
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IDEMPOTENCY_OUTCOME_UNKNOWN,
    FieldError,
    ProblemError,
    invalid,
)
from flowhq.db.keys import KeyName, KnownKey, StoredAnswer
from flowhq.errors import (
    AlreadyExistsError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    StoreError,
    WrongStateError,
)
from flowhq.model import TenantId

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
KEPT_HEADERS = ("Content-Type", "Location", "ETag")
# Beyond it, an answer is no receipt but a report, and is not kept.
ANSWER_MAX_BYTES = 64 * 1024
RETRY_AFTER_S = 1
# After these, nothing was changed.
REFUSALS = (
    AlreadyExistsError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    ProblemError,
    WrongStateError,
)

KEY_PATTERN = "[!-~]{1,255}"
_KEY = re.compile(KEY_PATTERN)
_ABOUT = re.compile(r"/admin/tenants/([0-9a-f-]{36})")

Work = Callable[[], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a route says about repeats: may the answer be stored, does a second run do no harm."""

    route: str
    answer_kept: bool
    repeatable: bool


class Once:
    """The keys in progress in this process, and the store of all. One per application."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._running: set[KeyName] = set()

    async def run(
        self,
        request: web.Request,
        *,
        principal: str,
        terms: Terms,
        about: TenantId | None,
        work: Work,
    ) -> web.StreamResponse:
        """The answer of ``work``, or the one it gave before; ``about`` is the tenant it is about.

        Without a key it is just ``work``. A ProblemError says why there is neither answer.
        """
        key = read_key(request)
        if not key:
            return await work()
        name = KeyName(principal, terms.route, hashlib.sha256(key.encode()).digest())
        digest = await _body_digest(request, key)
        if name in self._running:
            raise ProblemError(
                IDEMPOTENCY_IN_PROGRESS,
                "A request with this key is being done.",
                next_step="Ask again with the same key for its answer.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        self._running.add(name)
        try:
            known = await self._store.claim_key(name, digest, about)
            if known is not None and (answer := _recall(known, digest, terms)) is not None:
                return answer
            return await self._settle(name, terms, work)
        finally:
            self._running.discard(name)

    async def _settle(self, name: KeyName, terms: Terms, work: Work) -> web.StreamResponse:
        """Runs ``work`` and stores what became of it. Whatever else it raises leaves the key
        half-way: nobody knows then what was done."""
        try:
            answer = await work()
        except REFUSALS:
            await self._release(name)
            raise
        if answer.status >= HTTPStatus.BAD_REQUEST:
            await self._release(name)
            return answer
        body = _body_of(answer) if terms.answer_kept else None
        headers = {each: answer.headers[each] for each in KEPT_HEADERS if each in answer.headers}
        try:
            await self._store.settle_key(
                name, StoredAnswer(answer.status, headers, body), _about(headers)
            )
        except StoreError as error:
            log.warning("answer not kept for a repeat", route=terms.route, why=str(error))
        return answer

    async def _release(self, name: KeyName) -> None:
        try:
            await self._store.release_key(name)
        except StoreError as error:
            log.warning("key not released", route=name.route, why=str(error))


ONCE = web.AppKey("once", Once)


def read_key(request: web.Request) -> str:
    """The request's key, "" without one; ProblemError 400 for what cannot be one."""
    values = request.headers.getall(HEADER, [])
    if not values:
        return ""
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise invalid(FieldError(HEADER, "must be one value of 1 to 255 visible characters."))
    return values[0]


async def _body_digest(request: web.Request, key: str) -> bytes:
    """Of address and body, salted by the key; how the JSON is laid out makes no difference."""
    raw = await request.read()
    try:
        document = orjson.loads(raw) if raw.strip() else {}
        plain = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        plain = raw
    parts = (key.encode(), request.path_qs.encode(), plain)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _recall(known: KnownKey, digest: bytes, terms: Terms) -> web.Response | None:
    """The answer given before; None if the request is to be run again."""
    if known.body_digest != digest:
        raise ProblemError(
            IDEMPOTENCY_KEY_REUSED,
            "This key was used for another request.",
            next_step="Use a new key for each request; the same one only to repeat it.",
        )
    if known.answer is None:
        if terms.repeatable:
            return None
        raise ProblemError(
            IDEMPOTENCY_OUTCOME_UNKNOWN,
            "A request with this key was cut off half-way; it may have been done or not.",
            next_step="Look whether it was done. If not, send it again with a new key.",
        )
    if known.answer.body is None and known.answer.status != HTTPStatus.NO_CONTENT:
        raise ProblemError(
            IDEMPOTENCY_OUTCOME_UNKNOWN,
            "A request with this key was done; its answer is not kept.",
            next_step="Look at what it made. Do it once more only with a new key.",
        )
    headers = {**known.answer.headers, REPLAYED_HEADER: "true"}
    return web.Response(status=known.answer.status, body=known.answer.body, headers=headers)


def _body_of(answer: web.StreamResponse) -> bytes | None:
    """What can be kept of an answer: None of one that was streamed or is too large."""
    if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
        return None
    return answer.body if len(answer.body) <= ANSWER_MAX_BYTES else None


def _about(headers: Mapping[str, str]) -> UUID | None:
    """The tenant that an answer made, by its place."""
    match = _ABOUT.match(headers.get("Location", ""))
    return UUID(match[1]) if match else None
