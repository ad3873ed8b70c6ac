"""The message ledger as people read it: newest first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.model import Direction, MessageKind, MessageStatus, TenantId

# Spec: 200 by default, as the original.
LIMIT = 200

FETCH_NEWEST = """
SELECT id, direction::text AS direction, from_number, to_number, message_text, wa_message_id,
    created_at, conversation_id, type::text AS type, status::text AS status, wa_timestamp
FROM message_logs
WHERE tenant_id = $1
ORDER BY created_at DESC, id DESC LIMIT $2
"""

# The plain comparison lets the planner leave out the days after the place; the row comparison
# settles rows of the same instant.
FETCH_BEFORE = """
SELECT id, direction::text AS direction, from_number, to_number, message_text, wa_message_id,
    created_at, conversation_id, type::text AS type, status::text AS status, wa_timestamp
FROM message_logs
WHERE tenant_id = $1 AND created_at <= $3 AND (created_at, id) < ($3, $4)
ORDER BY created_at DESC, id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of message_logs. The text and the numbers never show in a repr."""

    log_id: UUID
    direction: Direction
    from_number: str = field(repr=False)
    to_number: str = field(repr=False)
    text: str = field(repr=False)
    wa_message_id: str | None
    created_at: datetime
    conversation_id: UUID | None
    kind: MessageKind
    status: MessageStatus
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """``next`` is to be passed as ``before`` for the page after this one; None after the last."""

    rows: Sequence[LogRow]
    next: str | None


async def fetch_logs(
    database: Database, tenant_id: TenantId, *, limit: int = LIMIT, before: str | None = None
) -> LogPage:
    """InvalidInputError names ``limit`` or ``before``. An unknown tenant has no rows."""
    wanted = check_limit(limit) + 1
    place = None if before is None else read_place(before, field="before")
    async with database.tenant(tenant_id) as tx:
        if place is None:
            found = await tx.fetch(FETCH_NEWEST, tenant_id, wanted)
        else:
            found = await tx.fetch(FETCH_BEFORE, tenant_id, wanted, *place)
    rows = [
        LogRow(
            log_id=UUID(str(row["id"])),
            direction=Direction(row["direction"]),
            from_number=row["from_number"],
            to_number=row["to_number"],
            text=row["message_text"],
            wa_message_id=row["wa_message_id"],
            created_at=row["created_at"],
            conversation_id=row["conversation_id"],
            kind=MessageKind(row["type"]),
            status=MessageStatus(row["status"]),
            sent_at=row["wa_timestamp"],
        )
        for row in found[:limit]
    ]
    more = len(found) > limit
    return LogPage(rows, place_of(rows[-1].created_at, rows[-1].log_id) if more else None)
