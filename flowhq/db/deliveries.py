"""Deliveries: one row an event and an endpoint, queued by `events.number`, worked off in order.

A queue is one endpoint's events of one tenant; its head is delivered, or given up, before the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from flowhq.db import events
from flowhq.db.events import OutwardEvent
from flowhq.db.pool import Database
from flowhq.db.webhooks import door
from flowhq.errors import NotFoundError
from flowhq.model import DeliveryState, EventType, TenantId

# One call of a replay; a next one goes on behind it.
REPLAY_MAX = 10_000
# An event's time is that of the beginning of its transaction, its place that of its writing: one
# further on may be this much older. No transaction lasts longer.
OVERLAP = timedelta(minutes=1)

PENDING = """
SELECT event_seq, attempts, queued_at, next_at FROM webhook_deliveries
WHERE endpoint_id = $1 AND tenant_id = $3 AND state = 'pending'
ORDER BY event_seq LIMIT $2
"""
PENDING_INSTALLATION = """
SELECT event_seq, attempts, queued_at, next_at FROM webhook_deliveries
WHERE endpoint_id = $1 AND tenant_id IS NULL AND state = 'pending'
ORDER BY event_seq LIMIT $2
"""
QUEUES = """
SELECT DISTINCT endpoint_id, owner_id, tenant_id FROM ops_deliveries
WHERE state = 'pending' AND enabled
"""
QUEUES_BETWEEN = """
SELECT DISTINCT endpoint_id, owner_id, tenant_id FROM ops_deliveries
WHERE event_seq > $1 AND event_seq <= $2 AND state = 'pending' AND enabled
"""
QUEUES_OF = """
SELECT DISTINCT endpoint_id, owner_id, tenant_id FROM ops_deliveries
WHERE endpoint_id = $1 AND state = 'pending' AND enabled
"""
MARK = """
UPDATE webhook_deliveries SET state = $4::text::delivery_state, attempts = attempts + 1,
    attempted_at = $5::timestamptz, next_at = $6, status = $7, error = $8,
    done_at = CASE WHEN $4::text <> 'pending' THEN $5::timestamptz END
WHERE endpoint_id = $1 AND tenant_id IS NOT DISTINCT FROM $2 AND event_seq = $3
    AND state = 'pending' AND queued_at = $9
"""
LIST = """
SELECT event_seq, tenant_id, type::text AS type, at, state::text AS state, attempts, queued_at,
    next_at, attempted_at, done_at, status, error
FROM ops_deliveries
WHERE endpoint_id = $1 AND event_seq < $3 AND ($4::text IS NULL OR state = $4::delivery_state)
ORDER BY event_seq DESC LIMIT $2
"""
AGAIN = """
UPDATE webhook_deliveries SET state = 'pending', attempts = 0, queued_at = now(), next_at = NULL,
    done_at = NULL
WHERE endpoint_id = $1 AND tenant_id IS NOT DISTINCT FROM $2 AND event_seq = $3
"""
FIND = "SELECT tenant_id FROM ops_deliveries WHERE endpoint_id = $1 AND event_seq = $2"
REPLAY = "SELECT o_count, o_last FROM replay_events($1, $2, $3)"

NEWEST = 9_223_372_036_854_775_807


@dataclass(frozen=True, slots=True)
class Queue:
    """One endpoint's events of one tenant (None: of the installation); ``owner`` is whose the
    endpoint is, None for one that gets the events of all."""

    endpoint_id: UUID
    owner: TenantId | None
    tenant_id: TenantId | None


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to make. ``queued_at`` is when the event was to be told first; ``next_at`` after
    a failure: not before."""

    event: OutwardEvent
    attempts: int
    queued_at: datetime
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt came to; ``status`` is HTTP's, None without an answer."""

    state: DeliveryState
    at: datetime
    next_at: datetime
    status: int | None
    error: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event at one endpoint; ``at`` is the event's time, the rest is of its delivery."""

    seq: int
    tenant_id: TenantId | None
    type: EventType
    at: datetime
    state: DeliveryState
    attempts: int
    queued_at: datetime
    next_at: datetime | None
    attempted_at: datetime | None
    done_at: datetime | None
    status: int | None
    error: str


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """``next`` is to be passed as ``before`` for the page after this one; None after the last."""

    rows: Sequence[DeliveryRow]
    next: int | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many were queued again. ``until`` is set if there are more: the time to go on from,
    OVERLAP before the last one."""

    count: int
    until: datetime | None


async def list_queues(database: Database) -> list[Queue]:
    """Every queue that has work."""
    async with database.ops() as tx:
        return [_queue(row) for row in await tx.fetch(QUEUES)]


async def list_queues_between(database: Database, after: int, until: int) -> list[Queue]:
    """Those that have work from the events after one number and up to another."""
    async with database.ops() as tx:
        return [_queue(row) for row in await tx.fetch(QUEUES_BETWEEN, after, until)]


async def list_queues_of(database: Database, endpoint_id: UUID) -> list[Queue]:
    async with database.ops() as tx:
        return [_queue(row) for row in await tx.fetch(QUEUES_OF, endpoint_id)]


async def pending(database: Database, queue: Queue, *, limit: int) -> list[Due]:
    """The next deliveries of a queue, in order."""
    async with door(database, queue.tenant_id) as tx:
        if queue.tenant_id is None:
            rows = await tx.fetch(PENDING_INSTALLATION, queue.endpoint_id, limit)
        else:
            rows = await tx.fetch(PENDING, queue.endpoint_id, limit, queue.tenant_id)
        numbers = [row["event_seq"] for row in rows]
        loaded = await events.load(tx, queue.tenant_id, numbers) if numbers else []
    by_number = {event.seq: event for event in loaded}
    return [
        Due(by_number[row["event_seq"]], row["attempts"], row["queued_at"], row["next_at"])
        for row in rows
        if row["event_seq"] in by_number
    ]


async def mark(database: Database, queue: Queue, due: Due, attempt: Attempt) -> None:
    """Count an attempt and what it came to; nothing if the delivery was settled or queued again
    meanwhile: what was asked for after the attempt began is not done by it."""
    async with door(database, queue.tenant_id) as tx:
        await tx.execute(
            MARK,
            queue.endpoint_id,
            queue.tenant_id,
            due.event.seq,
            attempt.state.value,
            attempt.at,
            attempt.next_at,
            attempt.status,
            attempt.error,
            due.queued_at,
        )


async def list_deliveries(
    database: Database,
    endpoint_id: UUID,
    *,
    state: DeliveryState | None,
    limit: int,
    before: int | None,
) -> DeliveryPage:
    """The newest event first. Whose endpoint it is, the caller has looked at."""
    wanted = None if state is None else state.value
    async with database.ops() as tx:
        found = await tx.fetch(LIST, endpoint_id, limit + 1, before or NEWEST, wanted)
    rows = [_row(row) for row in found[:limit]]
    return DeliveryPage(rows, rows[-1].seq if len(found) > limit else None)


async def deliver_again(database: Database, endpoint_id: UUID, seq: int) -> None:
    """Queue one event once more, whatever became of it; NotFoundError if it is not kept."""
    async with database.ops() as tx:
        row = await tx.fetchrow(FIND, endpoint_id, seq)
    if row is None:
        raise NotFoundError(f"There is no delivery of {events.event_id(seq)} to this webhook.")
    async with door(database, row["tenant_id"]) as tx:
        await tx.execute(AGAIN, endpoint_id, row["tenant_id"], seq)


async def replay(database: Database, endpoint_id: UUID, since: datetime) -> Replayed:
    """Queue every kept event that the endpoint wants once more, from a time on, in order."""
    async with database.installation() as tx:
        row = await tx.fetchrow(REPLAY, endpoint_id, since, REPLAY_MAX)
    if row is None or row["o_last"] is None:
        return Replayed(0, None)
    if row["o_count"] < REPLAY_MAX:
        return Replayed(row["o_count"], None)
    back = row["o_last"] - OVERLAP
    return Replayed(row["o_count"], back if back > since else row["o_last"])


def _queue(row: Record) -> Queue:
    return Queue(UUID(str(row["endpoint_id"])), row["owner_id"], row["tenant_id"])


def _row(row: Record) -> DeliveryRow:
    return DeliveryRow(
        seq=row["event_seq"],
        tenant_id=row["tenant_id"],
        type=EventType(row["type"]),
        at=row["at"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        queued_at=row["queued_at"],
        next_at=row["next_at"],
        attempted_at=row["attempted_at"],
        done_at=row["done_at"],
        status=row["status"],
        error=row["error"],
    )
