"""Events: what is told outward, in one order that no late commit gets into from behind.

Triggers write an event in the transaction of what it tells, without a number. `number` gives
numbers to what is committed, in the order of writing; whoever reads by number misses nothing, and
within a tenant a cause comes before its effect. A message's text is not kept here: it is read from
the ledger when the event is told.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from asyncpg import Record

from flowhq.db.pool import Database, Tx
from flowhq.model import EventType, TenantId

# One call numbers at most this many: about 20 ms.
NUMBER_MAX = 1_000
PRUNE_MAX = 5_000

NUMBER = "SELECT number_events($1)"
PRUNE = "SELECT prune_events($1, $2)"
LAST = "SELECT coalesce(max(seq), 0) FROM ops_feed"
FIRST = "SELECT coalesce(min(seq), 0) FROM ops_feed"
FEED = """
SELECT seq, tenant_id, type::text AS type FROM ops_feed
WHERE seq > $1 ORDER BY seq LIMIT $2
"""
# The message by its day, so that one partition is opened.
LOAD = """
SELECT e.seq, e.tenant_id, e.type::text AS type, e.at, e.data, e.log_id,
    l.wa_message_id, l.type::text AS kind, l.message_text, c.id AS chat_id,
    coalesce(k.name, k.push_name, '') AS contact_name,
    coalesce(k.phone_number, c.chat_key) AS contact_number
FROM events e
LEFT JOIN message_logs l
    ON l.tenant_id = e.tenant_id AND l.id = e.log_id AND l.created_at = e.log_at
LEFT JOIN conversations c ON c.tenant_id = e.tenant_id
    AND c.id = coalesce(l.conversation_id, (e.data ->> 'chat_id')::uuid)
LEFT JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
WHERE e.tenant_id IS NOT DISTINCT FROM $1 AND e.seq = ANY ($2::bigint[])
ORDER BY e.seq
"""
TELL_INCIDENT = "INSERT INTO events (type, data) VALUES ('incident', $1)"

EVENT_ID_PATTERN = "evt_[0-9]{1,18}"
_EVENT_ID = re.compile(EVENT_ID_PATTERN)
MESSAGES = (EventType.MESSAGE_IN, EventType.MESSAGE_OUT, EventType.MESSAGE_ACK)


@dataclass(frozen=True, slots=True)
class FeedRow:
    """One numbered event: its place, whose it is (None: the installation's), of which type."""

    seq: int
    tenant_id: TenantId | None
    type: EventType


@dataclass(frozen=True, slots=True)
class OutwardEvent:
    """One event as it is told. ``of_people`` are the members of its data that say who a person is
    or what was written: only for those who may read messages."""

    seq: int
    tenant_id: TenantId | None
    type: EventType
    at: datetime
    data: Mapping[str, Any]
    of_people: Mapping[str, Any] = field(repr=False)

    def document(self, *, whole: bool) -> bytes:
        """The event as JSON; without ``whole`` the members about people are null."""
        people = self.of_people if whole else dict.fromkeys(self.of_people)
        return orjson.dumps(
            {
                "id": event_id(self.seq),
                "type": self.type.value,
                "timestamp": self.at,
                "tenant_id": _text(self.tenant_id),
                "data": {**self.data, **people},
            }
        )


def event_id(seq: int) -> str:
    """The event's name outside, such as ``evt_17``; the same however often it is told."""
    return f"evt_{seq}"


def read_event_id(written: str) -> int | None:
    """The number behind such a name; None if it is none."""
    match = _EVENT_ID.fullmatch(written)
    return None if match is None else int(match[0].removeprefix("evt_"))


async def number(database: Database) -> int:
    """Give numbers to what is committed and has none, and queue it for the endpoints that want it:
    one transaction. How many there were, NUMBER_MAX at most."""
    async with database.installation() as tx:
        return int(await tx.fetchval(NUMBER, NUMBER_MAX))


async def last_number(database: Database) -> int:
    async with database.ops() as tx:
        return int(await tx.fetchval(LAST))


async def first_number(database: Database) -> int:
    """The oldest that is kept; 0 without any."""
    async with database.ops() as tx:
        return int(await tx.fetchval(FIRST))


async def fetch_feed(database: Database, after: int, *, limit: int) -> list[FeedRow]:
    """What comes after this number, of all tenants, in order."""
    async with database.ops() as tx:
        rows = await tx.fetch(FEED, after, limit)
    return [FeedRow(row["seq"], _tenant(row), EventType(row["type"])) for row in rows]


async def load_events(
    database: Database, tenant_id: TenantId | None, numbers: Sequence[int]
) -> list[OutwardEvent]:
    """The events of one tenant, or of the installation, with these numbers, in order; those that
    are gone are left out."""
    door = database.installation() if tenant_id is None else database.tenant(tenant_id)
    async with door as tx:
        return await load(tx, tenant_id, numbers)


async def load(tx: Tx, tenant_id: TenantId | None, numbers: Sequence[int]) -> list[OutwardEvent]:
    """The same on an open transaction."""
    return [_event(row) for row in await tx.fetch(LOAD, tenant_id, list(numbers))]


async def prune(database: Database, before: datetime) -> int:
    """Drop the oldest events that are older, with their deliveries, PRUNE_MAX at most; how many."""
    async with database.installation() as tx:
        return int(await tx.fetchval(PRUNE, before, PRUNE_MAX))


async def tell_incident(database: Database, data: Mapping[str, Any]) -> None:
    """An incident began or is over: an event of the installation."""
    async with database.installation() as tx:
        await tx.execute(TELL_INCIDENT, dict(data))


def _event(row: Record) -> OutwardEvent:
    kind = EventType(row["type"])
    data = dict(row["data"])
    people: dict[str, Any] = {}
    if kind in MESSAGES:
        data |= {
            "message_id": _text(row["log_id"]),
            "wa_message_id": row["wa_message_id"],
            "chat_id": _text(row["chat_id"]),
        }
    if kind in (EventType.MESSAGE_IN, EventType.MESSAGE_OUT):
        data["kind"] = row["kind"]
        people = {"contact": _contact(row), "text": row["message_text"]}
    elif kind is EventType.HANDOFF:
        people = {"contact": _contact(row)}
    return OutwardEvent(row["seq"], _tenant(row), kind, row["at"], data, people)


def _contact(row: Record) -> dict[str, str] | None:
    """None when the chat is gone."""
    if row["chat_id"] is None:
        return None
    return {"number": row["contact_number"], "name": row["contact_name"]}


def _text(name: UUID | None) -> str | None:
    """As JSON has it: PostgreSQL's own UUIDs are not known there."""
    return None if name is None else str(name)


def _tenant(row: Record) -> TenantId | None:
    return None if row["tenant_id"] is None else TenantId(row["tenant_id"])
