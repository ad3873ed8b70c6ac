"""The inbox: every message once, before anything acts on it, and one step for each.

Functions on an open transaction of one tenant, or on the database where all is one call;
``db/ledger.py`` is their face.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from asyncpg import Record

from flowhq.attempts import ATTEMPT_WAITS_S, ATTEMPTS_MAX
from flowhq.db import outbox
from flowhq.db.cleaning import clean_content, clean_error, clean_id, clean_json, clean_text
from flowhq.db.messages import (
    addresses_of,
    digest_of,
    message_from,
    payload_of,
    push_name_of,
    time_of,
)
from flowhq.db.pool import CHOSEN_TENANT, Database, Tx
from flowhq.errors import NotFoundError
from flowhq.model import (
    ChatEvent,
    ChatKey,
    InboundMessage,
    InboxKey,
    InboxState,
    MessageId,
    OutboundMessage,
    TenantId,
)
from flowhq.steps import ConversationView, Decision, Outcome, Recorded

INTERRUPTED = "the daemon ended during each attempt"

RECORD = f"""
SELECT o_chat_key, o_fresh, o_state, o_ord, o_by_person, o_cancelled, o_differs, o_merged
FROM record_message(
    {CHOSEN_TENANT},
    $2::boolean, $3::text, $4::text, $5::text[], $6::text, $7::text, $8::text, $9::text, $10::text,
    $11::jsonb, $12::jsonb, $13::timestamptz, $14::text, $15::text, $16::text, $17::bytea,
    $18::interval
)
"""  # noqa: S608 - a constant is filled in

# A settled row keeps the name that its chat had then: its alias leads to today's.
NAMES = """
SELECT a.chat_key, array_remove(array_agg(o.jid ORDER BY o.jid), a.chat_key) AS others
FROM chat_aliases a
JOIN chat_aliases o ON o.tenant_id = a.tenant_id AND o.chat_key = a.chat_key
WHERE a.tenant_id = $1 AND a.jid = $2
GROUP BY a.chat_key
"""

# One look a message, each by its key: a join would look through all that the tenant ever got. What
# is known with another content, and was not told so yet, is recorded again: see record_message.
ARE_RECORDED = """
SELECT known.found IS NOT NULL OR ours.found IS NOT NULL AS recorded
FROM unnest($2::boolean[], $3::text[], $4::bytea[])
    WITH ORDINALITY AS w (from_me, id, digest, place)
LEFT JOIN LATERAL (
    SELECT true AS found FROM inbox i
    WHERE i.tenant_id = $1 AND i.from_me = w.from_me AND i.wa_message_id = w.id
        AND (i.differed_at IS NULL AND i.digest <> w.digest) IS NOT TRUE
    LIMIT 1
) known ON true
LEFT JOIN LATERAL (
    SELECT true AS found FROM outbox o
    WHERE w.from_me AND o.tenant_id = $1 AND o.client_id = w.id
    LIMIT 1
) ours ON true
ORDER BY w.place
"""

# The inbox row is locked before the conversation, in that order everywhere; a row that another
# caller settled meanwhile is not found.
LOCK_STEP = """
WITH step AS MATERIALIZED (
    SELECT tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source::text AS source,
        payload, requeued_at IS NOT NULL AS requeued
    FROM inbox
    WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3 AND state IN ('new', 'retry')
    FOR UPDATE
)
SELECT s.from_me, s.wa_message_id, s.chat_key, s.wa_timestamp, s.source, s.payload,
    c.id AS conversation_id, c.contact_id, c.bot_state, c.bot_paused_until, c.last_outgoing_at,
    c.last_person_message_at, c.muted_until, s.requeued, now() AS now,
    coalesce(k.name, k.push_name, '') AS contact_name,
    coalesce(k.phone_number, '') AS phone, k.opted_out_at IS NOT NULL AS opted_out
FROM step s
JOIN conversations c ON c.tenant_id = s.tenant_id AND c.chat_key = s.chat_key
JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
FOR NO KEY UPDATE OF c, k
"""

STILL_WAITS = """
SELECT true FROM inbox
WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3 AND state IN ('new', 'retry')
"""

# One statement: the mark, the responder's memory, the opt-out.
SETTLE_STEP = """
WITH marked AS (
    UPDATE inbox SET state = $4::text::inbox_state, reason = $5, payload = NULL, error = NULL,
        next_at = NULL, done_at = now(), trail = $10
    WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3
), remembered AS (
    UPDATE conversations SET bot_state = coalesce($7::jsonb, bot_state)
    WHERE tenant_id = $1 AND id = $6 AND $7::jsonb IS NOT NULL
)
UPDATE contacts SET opted_out_at = CASE WHEN $9::boolean THEN coalesce(opted_out_at, now()) END
WHERE tenant_id = $1 AND id = $8 AND $9::boolean IS NOT NULL
    AND (opted_out_at IS NOT NULL) <> $9::boolean
"""

# Rare, so apart from the step that it belongs to.
MUTE = """
WITH muted AS (
    UPDATE conversations SET muted_until = now() + $3::interval
    WHERE tenant_id = $1 AND id = $2
    RETURNING contact_id, chat_key
)
SELECT raise_event(
    $1, $4, 'daemon',
    format('Two bots seem to answer each other in the chat with %s: it is muted.',
        short_number(coalesce(k.phone_number, m.chat_key)))
)
FROM muted m JOIN contacts k ON k.tenant_id = $1 AND k.id = m.contact_id
"""

POSTPONE = """
UPDATE inbox SET
    attempts = attempts + 1,
    error = $4,
    state = CASE WHEN attempts + 1 < $5 THEN 'retry' ELSE 'dead' END::inbox_state,
    next_at = CASE WHEN attempts + 1 < $5 THEN now() + ($6::interval[])[attempts + 1] END,
    done_at = CASE WHEN attempts + 1 < $5 THEN NULL ELSE now() END
WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3 AND state IN ('new', 'retry')
RETURNING extract(epoch FROM next_at - now())::float8
"""

WAITING = """
SELECT from_me, wa_message_id, chat_key, state::text AS state, ord FROM inbox
WHERE tenant_id = $1 AND state IN ('new', 'retry')
ORDER BY ord LIMIT $2
"""

WAITING_IN_CHAT = """
SELECT from_me, wa_message_id, chat_key, state::text AS state, ord FROM inbox
WHERE tenant_id = $1 AND chat_key = $3 AND state IN ('new', 'retry')
ORDER BY ord LIMIT $2
"""

SKIP_ALL = """
UPDATE inbox SET state = 'skipped', reason = $2, payload = NULL, next_at = NULL, done_at = now()
WHERE tenant_id = $1 AND state IN ('new', 'retry')
"""

# A step that began and was not committed has left its mark: LOCK_STEP's lock stays in the row's
# xmax after the rollback (PostgreSQL's documentation, 13.3.2 Row-Level Locks), until an UPDATE
# writes the row anew, as POSTPONE and this one do. Who locks the row and then writes it, as a merge
# of its chat or a POSTPONE that had to wait, takes the lock along: there xmax is xmin. So the mark
# costs the ordinary way nothing. Lost to a server that crashed in the same moment, or to a freezing
# VACUUM, it costs one death more; a merge or an erasure that is rolled back costs an attempt.
COUNT_INTERRUPTED = """
WITH counted AS (
    UPDATE inbox SET
        attempts = attempts + 1,
        state = CASE WHEN attempts + 1 < $2 THEN state ELSE 'dead' END,
        error = CASE WHEN attempts + 1 < $2 THEN error ELSE $3 END,
        next_at = CASE WHEN attempts + 1 < $2 THEN next_at END,
        done_at = CASE WHEN attempts + 1 < $2 THEN NULL ELSE now() END
    WHERE tenant_id = $1 AND state IN ('new', 'retry') AND xmax <> 0 AND xmax <> xmin
    RETURNING from_me, wa_message_id, state
)
SELECT from_me, wa_message_id FROM counted WHERE state = 'dead'
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """How a message goes in; ``person_pause_s`` 0: a person's message pauses nothing."""

    state: InboxState
    reason: str
    person_pause_s: float


async def record(
    database: Database, tenant_id: TenantId, message: InboundMessage, how: Recording
) -> Recorded:
    """One call: ledger row, inbox row, contact, conversation, aliases and cursor."""
    where = addresses_of(message)
    row = await database.call(
        tenant_id,
        RECORD,
        message.from_me,
        clean_id(message.message_id, field="message_id"),
        where.chat,
        where.jids,
        where.phone,
        where.lid,
        push_name_of(message),
        message.kind.value,
        clean_text(message.text),
        clean_content(message.content),
        payload_of(message),
        time_of(message),
        message.source.value,
        how.state.value,
        clean_error(how.reason),
        digest_of(message),
        timedelta(seconds=how.person_pause_s) if how.person_pause_s else None,
    )
    assert row is not None  # noqa: S101 - a function with OUT parameters always answers
    return Recorded(
        key=InboxKey(message.from_me, message.message_id),
        chat_key=ChatKey(row["o_chat_key"]),
        fresh=row["o_fresh"],
        state=InboxState(row["o_state"]),
        ord=row["o_ord"],
        by_person=row["o_by_person"],
        cancelled=row["o_cancelled"],
        differs=row["o_differs"],
        merged=tuple(row["o_merged"] or ()),
    )


async def with_names(tx: Tx, tenant_id: TenantId, recorded: Recorded) -> Recorded:
    """Under its chat's present key, and ``merged`` all that it may have been called before: which
    chats the message merged was lost with its first answer."""
    row = await tx.fetchrow(NAMES, tenant_id, recorded.chat_key)
    if row is None:  # erased meanwhile
        return replace(recorded, merged=())
    others = tuple(ChatKey(jid) for jid in row["others"])
    return replace(recorded, chat_key=ChatKey(row["chat_key"]), merged=others)


async def are_recorded(
    tx: Tx, tenant_id: TenantId, messages: Sequence[InboundMessage]
) -> list[bool]:
    """See `Ledger.are_recorded`. An id that cannot be stored is none that is known."""
    rows = await tx.fetch(
        ARE_RECORDED,
        tenant_id,
        [message.from_me for message in messages],
        [clean_text(message.message_id) for message in messages],
        [digest_of(message) for message in messages],
    )
    return [row["recorded"] for row in rows]


async def process(
    tx: Tx,
    tenant_id: TenantId,
    secret: bytes,
    key: InboxKey,
    decide: Callable[[InboundMessage, ConversationView], Decision],
    monotonic: outbox.Monotonic,
) -> list[OutboundMessage]:
    """Lock, decide, settle, plan. () for a row that is settled or not known; NotFoundError for one
    that waits in a chat that is not there."""
    row = await tx.fetchrow(LOCK_STEP, tenant_id, key.from_me, key.message_id)
    if row is None:
        if await tx.fetchval(STILL_WAITS, tenant_id, key.from_me, key.message_id):
            raise NotFoundError("The message waits in a chat that is not there.")
        return []
    message = message_from(row)
    decision = decide(message, _view(row))
    await _settle(tx, tenant_id, key, row, decision)
    return await outbox.plan(
        tx,
        tenant_id,
        secret,
        outbox.Plan(ChatKey(row["chat_key"]), message.chat, key.message_id, decision.replies),
        monotonic,
    )


async def _settle(
    tx: Tx, tenant_id: TenantId, key: InboxKey, row: Record, decision: Decision
) -> None:
    """What was decided about a locked message, on it and on its chat and contact."""
    state = InboxState.DONE if decision.outcome is Outcome.DONE else InboxState.SKIPPED
    await tx.execute(
        SETTLE_STEP,
        tenant_id,
        key.from_me,
        key.message_id,
        state.value,
        clean_error(decision.reason),
        row["conversation_id"],
        None if decision.bot_state is None else clean_json(decision.bot_state),
        row["contact_id"],
        decision.opted_out,
        asdict(decision.trail),
    )
    if decision.mute_s > 0:
        for_s = timedelta(seconds=decision.mute_s)
        await tx.execute(MUTE, tenant_id, row["conversation_id"], for_s, ChatEvent.CHAT_MUTED.value)


async def postpone(tx: Tx, tenant_id: TenantId, key: InboxKey, error: str) -> float | None:
    wait_s: float | None = await tx.fetchval(
        POSTPONE,
        tenant_id,
        key.from_me,
        key.message_id,
        clean_error(error),
        ATTEMPTS_MAX,
        [timedelta(seconds=wait) for wait in ATTEMPT_WAITS_S],
    )
    return wait_s


async def waiting(
    tx: Tx, tenant_id: TenantId, chat_key: ChatKey | None, limit: int
) -> list[Recorded]:
    if chat_key is None:
        rows = await tx.fetch(WAITING, tenant_id, limit)
    else:
        rows = await tx.fetch(WAITING_IN_CHAT, tenant_id, limit, chat_key)
    return [
        Recorded(
            key=InboxKey(row["from_me"], MessageId(row["wa_message_id"])),
            chat_key=ChatKey(row["chat_key"]),
            fresh=False,
            state=InboxState(row["state"]),
            ord=row["ord"],
        )
        for row in rows
    ]


async def skip_all(tx: Tx, tenant_id: TenantId, reason: str) -> None:
    """Nothing that waits is answered."""
    await tx.execute(SKIP_ALL, tenant_id, reason)


async def count_interrupted(tx: Tx, tenant_id: TenantId) -> list[InboxKey]:
    """Steps that began and never ended, with the process before: an attempt each. Those that are
    dead now."""
    rows = await tx.fetch(COUNT_INTERRUPTED, tenant_id, ATTEMPTS_MAX, INTERRUPTED)
    return [InboxKey(row["from_me"], MessageId(row["wa_message_id"])) for row in rows]


def _view(row: Record) -> ConversationView:
    return ConversationView(
        chat_key=ChatKey(row["chat_key"]),
        now=row["now"],
        contact_name=row["contact_name"],
        phone=row["phone"].removeprefix("+"),
        opted_out=row["opted_out"],
        bot_state=row["bot_state"],
        paused_until=row["bot_paused_until"],
        last_outgoing_at=row["last_outgoing_at"],
        last_person_at=row["last_person_message_at"],
        muted_until=row["muted_until"],
        requeued=row["requeued"],
    )
