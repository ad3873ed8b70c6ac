"""One message through all its stages: as it was received, decided, planned, sent and acknowledged.

A message is found by the platform's id or by its id in the ledger. The ledger is searched by id
only here, on a person's request: that opens every day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from flowhq.db.cleaning import ID_MAX, clean_text
from flowhq.db.pool import Database, Tx
from flowhq.errors import NotFoundError
from flowhq.model import (
    InboxState,
    MessageKind,
    MessageStatus,
    OutboxState,
    Source,
    TenantId,
)

FIND_IN_LEDGER = """
SELECT wa_message_id, direction = 'OUT' AS outgoing FROM message_logs
WHERE tenant_id = $1 AND id = $2
"""

# The row of an incoming message, or of one that a person typed on the phone.
FETCH_SEEN = """
SELECT i.from_me, i.wa_message_id, i.chat_key, i.wa_timestamp, i.source::text AS source,
    i.state::text AS state, i.reason, i.attempts, i.next_at, i.error, i.created_at, i.done_at,
    i.differed_at, i.requeued_at, i.trail, i.log_id,
    l.conversation_id, l.type::text AS type, l.status::text AS status
FROM inbox i
LEFT JOIN message_logs l
    ON l.tenant_id = i.tenant_id AND l.id = i.log_id AND l.created_at = i.log_at
WHERE i.tenant_id = $1 AND i.from_me = $2 AND i.wa_message_id = $3
"""

FETCH_PLANNED = """
SELECT o.id, o.client_id, o.chat_key, o.cause, o.part, o.intent, o.state::text AS state, o.reason,
    o.attempts, o.planned_at, o.next_at, o.sent_at, o.accepted_at, o.delivered_at, o.read_at,
    o.done_at, o.error, o.log_id,
    l.conversation_id, l.status::text AS status
FROM outbox o
LEFT JOIN message_logs l
    ON l.tenant_id = o.tenant_id AND l.id = o.log_id AND l.created_at = o.log_at
WHERE o.tenant_id = $1 AND o.client_id = $2
"""

# The answer to a message, and the notices that it caused.
FETCH_REPLIES = """
SELECT o.id, o.client_id, o.chat_key, o.cause, o.part, o.intent, o.state::text AS state, o.reason,
    o.attempts, o.planned_at, o.next_at, o.sent_at, o.accepted_at, o.delivered_at, o.read_at,
    o.done_at, o.error, o.log_id,
    l.conversation_id, l.status::text AS status
FROM outbox o
LEFT JOIN message_logs l
    ON l.tenant_id = o.tenant_id AND l.id = o.log_id AND l.created_at = o.log_at
WHERE o.tenant_id = $1 AND o.cause IN ($2, 'wait:' || $2)
ORDER BY o.id
"""


@dataclass(frozen=True, slots=True)
class ReplyStory:
    """One message of ours. ``reason``: why it was taken back; ``done_at``: when, or when it was
    given up; ``sent_at``: when the last attempt began."""

    log_id: UUID
    client_id: str
    chat_key: str
    conversation_id: UUID | None
    cause: str
    part: int
    intent: str
    state: OutboxState
    status: MessageStatus | None
    reason: str
    attempts: int
    planned_at: datetime
    next_at: datetime
    sent_at: datetime | None
    accepted_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    done_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class SeenStory:
    """One message that the platform showed: a customer's, or (``from_me``) one that a person typed
    on the phone. ``sent_at`` is the platform's time of it; ``trail`` what the step looked at, None
    when there was no step; ``replies`` what came of it, in order."""

    log_id: UUID
    from_me: bool
    wa_message_id: str
    chat_key: str
    conversation_id: UUID | None
    kind: MessageKind | None
    source: Source
    sent_at: datetime
    received_at: datetime
    state: InboxState
    reason: str
    attempts: int
    next_at: datetime | None
    error: str
    done_at: datetime | None
    differed_at: datetime | None
    requeued_at: datetime | None
    trail: Mapping[str, Any] | None
    replies: Sequence[ReplyStory]


Story = SeenStory | ReplyStory


async def fetch_story(database: Database, tenant_id: TenantId, reference: str) -> Story:
    """``reference``: the platform's id or the ledger's. NotFoundError if there is no such message;
    of an incoming and an outgoing one of the same id the incoming."""
    async with database.tenant(tenant_id) as tx:
        story = await find_story(tx, tenant_id, reference)
    if story is None:
        raise NotFoundError(
            f"Tenant {tenant_id} has no such message.",
            next_step="Give the id or the wa_message_id that its log shows. What is written in "
            "groups, channels and broadcasts is not recorded.",
        )
    return story


async def find_story(tx: Tx, tenant_id: TenantId, reference: str) -> Story | None:
    """The same on an open transaction."""
    if not reference or len(reference) > ID_MAX or clean_text(reference) != reference:
        return None
    log_id = _ledger_id(reference)
    if log_id is not None:
        row = await tx.fetchrow(FIND_IN_LEDGER, tenant_id, log_id)
        if row is not None and row["wa_message_id"]:
            return await _find(tx, tenant_id, row["wa_message_id"], outgoing=row["outgoing"])
    return await _find(tx, tenant_id, reference, outgoing=False) or await _find(
        tx, tenant_id, reference, outgoing=True
    )


async def _find(tx: Tx, tenant_id: TenantId, message_id: str, *, outgoing: bool) -> Story | None:
    if outgoing:
        planned = await tx.fetchrow(FETCH_PLANNED, tenant_id, message_id)
        if planned is not None:
            return _reply(planned)
    seen = await tx.fetchrow(FETCH_SEEN, tenant_id, outgoing, message_id)
    if seen is None:
        return None
    replies = [] if outgoing else await tx.fetch(FETCH_REPLIES, tenant_id, message_id)
    return _seen(seen, [_reply(row) for row in replies])


def _ledger_id(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None


def _seen(row: Record, replies: Sequence[ReplyStory]) -> SeenStory:
    return SeenStory(
        log_id=UUID(str(row["log_id"])),
        from_me=row["from_me"],
        wa_message_id=row["wa_message_id"],
        chat_key=row["chat_key"],
        conversation_id=row["conversation_id"],
        kind=None if row["type"] is None else MessageKind(row["type"]),
        source=Source(row["source"]),
        sent_at=row["wa_timestamp"],
        received_at=row["created_at"],
        state=InboxState(row["state"]),
        reason=row["reason"],
        attempts=row["attempts"],
        next_at=row["next_at"],
        error=row["error"] or "",
        done_at=row["done_at"],
        differed_at=row["differed_at"],
        requeued_at=row["requeued_at"],
        trail=row["trail"],
        replies=replies,
    )


def _reply(row: Record) -> ReplyStory:
    return ReplyStory(
        log_id=UUID(str(row["log_id"])),
        client_id=row["client_id"],
        chat_key=row["chat_key"],
        conversation_id=row["conversation_id"],
        cause=row["cause"],
        part=row["part"],
        intent=row["intent"],
        state=OutboxState(row["state"]),
        status=None if row["status"] is None else MessageStatus(row["status"]),
        reason=row["reason"],
        attempts=row["attempts"],
        planned_at=row["planned_at"],
        next_at=row["next_at"],
        sent_at=row["sent_at"],
        accepted_at=row["accepted_at"],
        delivered_at=row["delivered_at"],
        read_at=row["read_at"],
        done_at=row["done_at"],
        error=row["error"] or "",
    )
