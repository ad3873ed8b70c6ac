"""The chats of a tenant as people see them: who, when last, and whether the bot keeps silent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from asyncpg import Record

from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.errors import NotFoundError
from flowhq.model import ChatEvent, TenantId

# A silence that is over is no silence: it is told as none.
LIST_ALL = """
SELECT c.id, coalesce(k.name, k.push_name, '') AS contact_name,
    coalesce(k.phone_number, c.chat_key) AS contact_number, c.created_at, c.last_message_at,
    c.last_customer_message_at, c.last_outgoing_at, c.last_person_message_at,
    CASE WHEN c.bot_paused_until > now() THEN c.bot_paused_until END AS paused_until,
    CASE WHEN c.muted_until > now() THEN c.muted_until END AS muted_until, k.opted_out_at
FROM conversations c JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
WHERE c.tenant_id = $1
    AND ($3::timestamptz IS NULL OR (c.created_at, c.id) < ($3, $4::uuid))
ORDER BY c.created_at DESC, c.id DESC LIMIT $2
"""

LIST_PAUSED = LIST_ALL.replace(
    "WHERE c.tenant_id = $1", "WHERE c.tenant_id = $1 AND c.bot_paused_until > now()"
)

LIST_MUTED = LIST_ALL.replace(
    "WHERE c.tenant_id = $1", "WHERE c.tenant_id = $1 AND c.muted_until > now()"
)

FETCH_CHAT = """
SELECT c.id, coalesce(k.name, k.push_name, '') AS contact_name,
    coalesce(k.phone_number, c.chat_key) AS contact_number, c.created_at, c.last_message_at,
    c.last_customer_message_at, c.last_outgoing_at, c.last_person_message_at,
    CASE WHEN c.bot_paused_until > now() THEN c.bot_paused_until END AS paused_until,
    CASE WHEN c.muted_until > now() THEN c.muted_until END AS muted_until, k.opted_out_at
FROM conversations c JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
WHERE c.tenant_id = $1 AND c.id = $2
"""

# The event only if there was a silence to end.
RESUME = """
WITH silent AS (
    SELECT id, chat_key, contact_id, coalesce(bot_paused_until > now(), false)
        OR coalesce(muted_until > now(), false) AS still
    FROM conversations WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE
), freed AS (
    UPDATE conversations c SET bot_paused_until = NULL, muted_until = NULL
    FROM silent s WHERE c.tenant_id = $1 AND c.id = s.id AND s.still
)
SELECT CASE WHEN s.still THEN raise_event(
    $1, $3, $4,
    format('The bot answers again in the chat with %s.',
        short_number(coalesce(k.phone_number, s.chat_key)))
) END
FROM silent s JOIN contacts k ON k.tenant_id = $1 AND k.id = s.contact_id
"""


class Silence(StrEnum):
    """Why the bot says nothing in a chat."""

    PAUSED = "paused"  # a person took over
    MUTED = "muted"  # two bots were answering each other


STATEMENTS = {None: LIST_ALL, Silence.PAUSED: LIST_PAUSED, Silence.MUTED: LIST_MUTED}


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One chat. ``paused_until`` and ``muted_until`` are None when they are over."""

    chat_id: UUID
    contact_name: str = field(repr=False)
    contact_number: str = field(repr=False)
    created_at: datetime
    last_message_at: datetime | None
    last_customer_message_at: datetime | None
    last_outgoing_at: datetime | None
    last_person_message_at: datetime | None
    paused_until: datetime | None
    muted_until: datetime | None
    opted_out_at: datetime | None


@dataclass(frozen=True, slots=True)
class ChatPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[ChatRow]
    next: str | None


async def list_chats(
    database: Database,
    tenant_id: TenantId,
    *,
    silence: Silence | None,
    limit: int,
    after: str | None = None,
) -> ChatPage:
    """Those silenced so, or all; the newest chat first. InvalidInputError names the parameter."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.tenant(tenant_id) as tx:
        found = await tx.fetch(STATEMENTS[silence], tenant_id, wanted, *place)
    rows = [_row(row) for row in found[:limit]]
    more = len(found) > limit
    return ChatPage(rows, place_of(rows[-1].created_at, rows[-1].chat_id) if more else None)


async def resume_chat(
    database: Database, tenant_id: TenantId, chat_id: UUID, *, actor: str
) -> ChatRow:
    """The bot answers there again, from the next message on. NotFoundError without such a chat."""
    async with database.tenant(tenant_id) as tx:
        await tx.execute(RESUME, tenant_id, chat_id, ChatEvent.CHAT_RESUMED.value, actor)
        row = await tx.fetchrow(FETCH_CHAT, tenant_id, chat_id)
    if row is None:
        raise NotFoundError(
            f"Tenant {tenant_id} has no chat {chat_id}.",
            next_step="GET /admin/tenants/{tenant_id}/chats lists them.",
        )
    return _row(row)


def _row(row: Record) -> ChatRow:
    return ChatRow(
        chat_id=UUID(str(row["id"])),
        contact_name=row["contact_name"],
        contact_number=row["contact_number"],
        created_at=row["created_at"],
        last_message_at=row["last_message_at"],
        last_customer_message_at=row["last_customer_message_at"],
        last_outgoing_at=row["last_outgoing_at"],
        last_person_message_at=row["last_person_message_at"],
        paused_until=row["paused_until"],
        muted_until=row["muted_until"],
        opted_out_at=row["opted_out_at"],
    )
