"""What was given up: the list of it, and trying it again when a person asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flowhq.db.contacts import HOLD_LINKS
from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.db.stories import SeenStory, Story, find_story
from flowhq.errors import NotFoundError, WrongStateError
from flowhq.model import ChatEvent, ChatKey, Direction, InboxState, OutboxState, TenantId

# Both halves end with the page's own limit, so each reads one page of its index.
LIST_DEAD = """
SELECT * FROM (
    (SELECT 'IN' AS direction, log_id, log_at, wa_message_id, chat_key, attempts, error, done_at
    FROM inbox WHERE tenant_id = $1 AND state = 'dead'
        AND ($3::timestamptz IS NULL OR (log_at, log_id) < ($3, $4::uuid))
    ORDER BY log_at DESC, log_id DESC LIMIT $2)
    UNION ALL
    (SELECT 'OUT', log_id, log_at, client_id, chat_key, attempts, error, done_at
    FROM outbox WHERE tenant_id = $1 AND state = 'dead'
        AND ($3::timestamptz IS NULL OR (log_at, log_id) < ($3, $4::uuid))
    ORDER BY log_at DESC, log_id DESC LIMIT $2)
) AS dead
ORDER BY log_at DESC, log_id DESC LIMIT $2
"""

# A settled row keeps the name that its chat had then: one that waits again needs today's.
REQUEUE_SEEN = """
UPDATE inbox i SET
    state = 'new', attempts = 0, next_at = NULL, error = NULL, done_at = NULL,
    requeued_at = now(),
    chat_key = coalesce(
        (SELECT a.chat_key FROM chat_aliases a WHERE a.tenant_id = $1 AND a.jid = i.chat_key),
        i.chat_key
    )
WHERE i.tenant_id = $1 AND NOT i.from_me AND i.wa_message_id = $2 AND i.state = 'dead'
RETURNING i.chat_key
"""

# One that was handed over before may be out after all: it is looked up before it is sent again.
REQUEUE_REPLIES = """
WITH again AS (
    UPDATE outbox o SET
        state = CASE WHEN o.attempts > 0 THEN 'unknown' ELSE 'planned' END::outbox_state,
        attempts = 0, next_at = now(), error = NULL, reason = '', done_at = NULL,
        chat_key = coalesce(
            (SELECT a.chat_key FROM chat_aliases a WHERE a.tenant_id = $1 AND a.jid = o.chat_key),
            o.chat_key
        )
    WHERE o.tenant_id = $1 AND o.client_id = ANY ($2::text[]) AND o.state = 'dead'
    RETURNING o.chat_key, o.log_id, o.log_at
)
SELECT chat_key, move_status($1, log_id, log_at, 'queued') FROM again
"""

TELL = "SELECT raise_event($1, $2, $3, 'A message that was given up is tried again.')"


@dataclass(frozen=True, slots=True)
class DeadRow:
    """One dead letter: IN could not be answered, OUT could not be sent. ``at``: when it was
    recorded or planned; ``died_at``: when it was given up."""

    log_id: UUID
    direction: Direction
    wa_message_id: str
    chat_key: str
    attempts: int
    error: str
    at: datetime
    died_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[DeadRow]
    next: str | None


async def list_dead(
    database: Database, tenant_id: TenantId, *, limit: int, after: str | None = None
) -> DeadPage:
    """Newest first. InvalidInputError names ``limit`` or ``after``."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.tenant(tenant_id) as tx:
        found = await tx.fetch(LIST_DEAD, tenant_id, wanted, *place)
    rows = [
        DeadRow(
            log_id=UUID(str(row["log_id"])),
            direction=Direction(row["direction"]),
            wa_message_id=row["wa_message_id"],
            chat_key=row["chat_key"],
            attempts=row["attempts"],
            error=row["error"] or "",
            at=row["log_at"],
            died_at=row["done_at"],
        )
        for row in found[:limit]
    ]
    more = len(found) > limit
    return DeadPage(rows, place_of(rows[-1].at, rows[-1].log_id) if more else None)


async def requeue(
    database: Database, tenant_id: TenantId, reference: str, *, actor: str
) -> tuple[Story, ChatKey]:
    """Put a dead message back, with all its attempts; its story then, and the chat to look after.

    Of an answered message, its dead replies. NotFoundError; WrongStateError if nothing is dead.
    """
    async with database.tenant(tenant_id) as tx:
        # A merge that saw the row dead would leave it behind.
        await tx.execute(HOLD_LINKS, tenant_id)
        story = await find_story(tx, tenant_id, reference)
        if story is None:
            raise NotFoundError(f"Tenant {tenant_id} has no such message.")
        if isinstance(story, SeenStory) and story.state is InboxState.DEAD:
            keys = await tx.fetch(REQUEUE_SEEN, tenant_id, story.wa_message_id)
        else:
            keys = await tx.fetch(REQUEUE_REPLIES, tenant_id, _dead_ids(story))
        if not keys:
            raise _not_dead(story)
        await tx.execute(TELL, tenant_id, ChatEvent.MESSAGE_REQUEUED.value, actor)
        told = await find_story(tx, tenant_id, reference)
    return told or story, ChatKey(keys[0]["chat_key"])


def _dead_ids(story: Story) -> list[str]:
    replies = story.replies if isinstance(story, SeenStory) else [story]
    return [reply.client_id for reply in replies if reply.state is OutboxState.DEAD]


def _not_dead(story: Story) -> WrongStateError:
    hint = {
        InboxState.SKIPPED: "It was left unanswered: its explanation says why.",
        InboxState.NEW: "It waits for its turn: there is nothing to do.",
        InboxState.RETRY: "It is tried again by itself.",
        OutboxState.CANCELLED: "It was taken back: its explanation says why.",
        OutboxState.PLANNED: "It waits to be sent: there is nothing to do.",
        OutboxState.SENDING: "It is being sent.",
        OutboxState.UNKNOWN: "It is being looked up.",
    }.get(story.state, "It reached its end: there is nothing to repeat.")
    shown = "answered" if story.state is InboxState.DONE else story.state
    return WrongStateError(f"The message is not dead: it is {shown}.", next_step=hint)
