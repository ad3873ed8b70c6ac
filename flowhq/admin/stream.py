"""Events as a stream (server-sent events), for scripts: what happens, as it happens.

All streams share one reader. One that does not keep up is ended: its client comes again with
Last-Event-ID and misses nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
import structlog
from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from flowhq.admin.inputs import NoBody, Query, did_you_mean
from flowhq.admin.outward import Place
from flowhq.admin.polling import CLOSING, wait_or_close
from flowhq.admin.problems import (
    NOT_FOUND,
    TOO_MANY_STREAMS,
    FieldError,
    ProblemError,
    invalid,
)
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.events import OutwardEvent, event_id, read_event_id
from flowhq.errors import NotFoundError, StoreError
from flowhq.model import EventType, TenantId

log = structlog.get_logger(__name__)

MEDIA = "text/event-stream"
LAST_EVENT_HEADER = "Last-Event-ID"
# Proxies end a connection on which nothing moves, many after 60 s.
HEARTBEAT_S = 15.0
# A client that went away is noticed within this time, and its place given to another.
LOOK_S = 1.0
# Whoever does not take what is written within this time is not reading.
WRITE_S = 10.0
# A stream ends now and then, so that a credential that was taken back is of no use any more.
STREAM_MAX_S = 3_600
RETRY_AFTER_S = 30


def _types(written: str) -> str:
    known = [one.value for one in EventType]
    for name in written.split(","):
        if name not in known:
            raise ValueError(f"has an unknown type.{did_you_mean(name, known)}")
    return written


class StreamQuery(Query):
    """``types``: names with commas between, all without it. ``seconds``: when it is to end."""

    types: Annotated[str, Field(max_length=200), AfterValidator(_types)] | None = None
    tenant: UUID | None = None
    seconds: int = Field(default=STREAM_MAX_S, ge=1, le=STREAM_MAX_S)


class EventView(BaseModel):
    """The data of one event; its members depend on the type (docs/events.md). Who a person is and
    what was written is null without the scope ``messages:read``."""

    id: str
    type: EventType
    timestamp: datetime
    tenant_id: UUID | None
    data: dict[str, Any]


async def stream_events(call: Call[NoBody, StreamQuery]) -> web.StreamResponse:
    tenants = await _tenants(call)
    after = _last_seen(call.request)
    feed = call.deps.outward.feed
    if feed.full:
        raise ProblemError(
            TOO_MANY_STREAMS,
            "As many streams are open as are allowed.",
            next_step="Close one, or raise [events] streams.",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    headers = {"Content-Type": MEDIA, "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    if call.request.method == "HEAD":
        return response
    types = call.query.types
    names = None if types is None else frozenset(EventType(one) for one in types.split(","))
    place = feed.subscribe(names, tenants)
    try:
        await response.prepare(call.request)
        writer = _Writer(call, response)
        try:
            async with asyncio.timeout(call.query.seconds):
                await _tell(call, writer, place, after)
        except TimeoutError:
            pass
        except StoreError as error:
            log.warning("stream ended", why=str(error))
    finally:
        feed.leave(place)
    return response


async def _tell(
    call: Call[NoBody, StreamQuery], writer: "_Writer", place: Place, after: int | None
) -> None:
    """What was missed, then what comes, until the stream is to end."""
    feed = call.deps.outward.feed
    if not await writer.comment("open"):
        return
    if after is not None:
        oldest = await feed.oldest()
        if after > place.position or after + 1 < oldest:
            await writer.gap(oldest)
        async with aclosing(feed.past(place, after)) as missed:
            async for batch in missed:
                if not await writer.events(batch):
                    return
    async with aclosing(_live(call, place)) as live:
        async for batch in live:
            if not (await writer.events(batch) if batch else await writer.comment("")):
                return


async def _live(
    call: Call[NoBody, StreamQuery], place: Place
) -> AsyncGenerator[Sequence[OutwardEvent]]:
    """Batches as they come, an empty one as a sign of life; ends with the server or when it is
    lost."""
    closing = call.request.app[CLOSING]
    found: list[OutwardEvent] = []

    async def wait() -> None:
        found.extend(await place.next())

    quiet_s = 0.0
    while not (closing.is_set() or _is_gone(call.request)):
        try:
            async with asyncio.timeout(LOOK_S):
                if not await wait_or_close(closing, wait()):
                    return
        except TimeoutError:
            quiet_s += LOOK_S
        if place.lost:
            log.info("stream ended: it did not keep up")
            return
        if found or quiet_s >= HEARTBEAT_S:
            yield tuple(found)
            found.clear()
            quiet_s = 0.0


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


class _Writer:
    """Writes to one client; False when it is not there any more, or the server closes."""

    def __init__(self, call: Call[NoBody, StreamQuery], response: web.StreamResponse) -> None:
        self._request = call.request
        self._response = response
        self._closing = call.request.app[CLOSING]
        self._whole = Scope.MESSAGES_READ in call.principal.scopes

    async def events(self, events: Sequence[OutwardEvent]) -> bool:
        if not events:
            return True
        return await self._write(b"".join(self._frame(event) for event in events))

    async def comment(self, text: str) -> bool:
        return await self._write(f": {text}\n\n".encode())

    async def gap(self, oldest: int) -> bool:
        data = orjson.dumps({"oldest": event_id(oldest)}).decode()
        return await self._write(f"event: gap\ndata: {data}\n\n".encode())

    def _frame(self, event: OutwardEvent) -> bytes:
        head = f"id: {event_id(event.seq)}\nevent: {event.type}\ndata: ".encode()
        return head + event.document(whole=self._whole) + b"\n\n"

    async def _write(self, data: bytes) -> bool:
        try:
            async with asyncio.timeout(WRITE_S):
                return await wait_or_close(self._closing, self._response.write(data))
        except (TimeoutError, ConnectionError):
            if self._request.transport is not None:
                self._request.transport.abort()
            return False


async def _tenants(call: Call[NoBody, StreamQuery]) -> frozenset[TenantId] | None:
    """The tenants that the stream shows: the one asked for, or all within reach."""
    if call.query.tenant is None:
        return call.principal.tenants
    tenant_id = TenantId(call.query.tenant)
    if not call.principal.reaches(tenant_id):
        raise NotFoundError(f"There is no tenant {tenant_id}.")
    await call.deps.store.fetch_tenant(tenant_id)
    return frozenset({tenant_id})


def _last_seen(request: web.Request) -> int | None:
    written = request.headers.get(LAST_EVENT_HEADER)
    if not written:
        return None
    seq = read_event_id(written)
    if seq is None:
        raise invalid(FieldError(LAST_EVENT_HEADER, "must be the id of an event, such as evt_17."))
    return seq


ROUTES = (
    Route(
        "GET",
        "/admin/events",
        "stream_events",
        "Events as they happen, as server-sent events",
        stream_events,
        body=NoBody,
        query=StreamQuery,
        answer=EventView,
        needs=Scope.EVENTS_READ,
        media=(MEDIA,),
        problems=(NOT_FOUND, TOO_MANY_STREAMS),
        fleet_wide=False,
    ),
)
