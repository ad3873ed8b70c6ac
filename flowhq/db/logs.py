"""The message ledger as people read it: chosen by some, newest first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowhq.db.contacts import chats_of
from flowhq.db.paging import Clauses, check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.model import Direction, MessageKind, MessageStatus, TenantId

# Spec: 200 by default, as the original.
LIMIT = 200

COLUMNS = """
id, direction::text AS direction, from_number, to_number, message_text, wa_message_id,
    created_at, conversation_id, type::text AS type, status::text AS status, wa_timestamp
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
class LogFilter:
    """Which messages: those that fit all that is given. ``since`` (from then on) and ``until``
    (before then) are times of ``created_at``; ``contact`` is an E.164 number, or the id that the
    log shows instead of one."""

    direction: Direction | None = None
    since: datetime | None = None
    until: datetime | None = None
    contact: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LogPage:
    """``next`` is to be passed as ``before`` for the page after this one; None after the last."""

    rows: Sequence[LogRow]
    next: str | None


async def fetch_logs(
    database: Database,
    tenant_id: TenantId,
    chosen: LogFilter | None = None,
    *,
    limit: int = LIMIT,
    before: str | None = None,
) -> LogPage:
    """InvalidInputError names ``limit`` or ``before``. An unknown tenant or contact has no rows."""
    chosen = chosen or LogFilter()
    wanted = check_limit(limit) + 1
    place = None if before is None else read_place(before, field="before")
    async with database.tenant(tenant_id) as tx:
        if chosen.contact is None:
            sql, arguments = log_statement(chosen, place)
        else:
            chats = await chats_of(tx, tenant_id, chosen.contact)
            sql, arguments = chat_log_statement(chats, chosen, place)
        found = await tx.fetch(sql, tenant_id, wanted, *arguments)
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


def log_statement(
    chosen: LogFilter, place: tuple[datetime, UUID] | None = None
) -> tuple[str, list[object]]:
    """The statement, with tenant and limit as $1 and $2, and its further arguments.

    What is not asked for is not in it: the planner sees a walk along one index of each day that
    the times leave over.
    """
    clauses = Clauses(first=3)
    _choose(clauses, chosen, place)
    return f"{_newest(clauses)} LIMIT $2", clauses.arguments


def chat_log_statement(
    chats: Sequence[UUID], chosen: LogFilter, place: tuple[datetime, UUID] | None = None
) -> tuple[str, list[object]]:
    """The same in these chats: the newest of each, of which the newest."""
    clauses = Clauses(first=4)
    _choose(clauses, chosen, place)
    sql = f"""
SELECT log.* FROM unnest($3::uuid[]) AS chat(id)
CROSS JOIN LATERAL ({_newest(clauses, "AND conversation_id = chat.id")} LIMIT $2) AS log
ORDER BY created_at DESC, id DESC LIMIT $2
"""  # noqa: S608 - made of texts of the program
    return sql, [list(chats), *clauses.arguments]


def _newest(clauses: Clauses, further: str = "") -> str:
    where = f"AND {clauses}" if clauses.arguments else ""
    return (
        f"SELECT {COLUMNS} FROM message_logs WHERE tenant_id = $1 {further} {where} "  # noqa: S608
        "ORDER BY created_at DESC, id DESC"
    )


def _choose(clauses: Clauses, chosen: LogFilter, place: tuple[datetime, UUID] | None) -> None:
    if place is not None:
        # The plain comparison lets the planner leave out the days after the place; the row
        # comparison settles rows of the same instant.
        clauses.add("created_at <= {} AND (created_at, id) < ({}, {})", place[0], *place)
    if chosen.since is not None:
        clauses.add("created_at >= {}", chosen.since)
    if chosen.until is not None:
        clauses.add("created_at < {}", chosen.until)
    if chosen.direction is not None:
        clauses.add("direction = {}::text::message_direction", chosen.direction.value)
