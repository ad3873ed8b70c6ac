"""The outbox: what is to be sent, planned once, and how far each message has come.

Functions on an open transaction of one tenant, or on the database where all is one call;
``db/ledger.py`` is their face. Each row has its row in ``message_logs`` (log_id, log_at), whose
status follows (move_status).
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Record

from flowhq.attempts import ATTEMPT_WAITS_S, ATTEMPTS_MAX
from flowhq.db.cleaning import clean_error, clean_id, clean_text
from flowhq.db.pool import CHOSEN_TENANT, Database, Tx
from flowhq.model import (
    Ack,
    ChatKey,
    Jid,
    MessageId,
    MessageStatus,
    OutboundMessage,
    OutboxId,
    OutboxState,
    Reply,
    TenantId,
)

# The shape of the ids that WhatsApp's own clients choose: this prefix and 9 bytes in hex.
CLIENT_ID_PREFIX = "3EB0"
CLIENT_ID_BYTES = 9
# How the cause of a message begins that a program asked for: it answers nobody.
ASKED_FOR = "api:"

# Rows that exist keep their first text: planning again plans nothing.
# No index is named, since two that plan the same at once may meet at either of the unique ones.
PLAN = """
WITH wanted AS (
    SELECT p.part, p.client_id, p.text, p.intent, p.wait, gen_random_uuid() AS log_id
    FROM unnest($5::int[], $6::text[], $7::text[], $8::text[], $9::interval[])
        AS p (part, client_id, text, intent, wait)
), place AS (
    SELECT c.id AS conversation_id, c.chat_key, k.phone_number AS them
    FROM chat_aliases a
    JOIN conversations c ON c.tenant_id = a.tenant_id AND c.chat_key = a.chat_key
    JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
    WHERE a.tenant_id = $1 AND a.jid = $2
), planned AS (
    INSERT INTO outbox (
        tenant_id, chat_key, to_jid, cause, part, client_id, body, intent, next_at, log_id, log_at
    )
    SELECT $1, coalesce((SELECT chat_key FROM place), $2), $3, $4, w.part, w.client_id,
        jsonb_build_object('text', w.text), w.intent, now() + w.wait, w.log_id, now()
    FROM wanted w ORDER BY w.part
    ON CONFLICT DO NOTHING
    RETURNING id, chat_key, to_jid, cause, part, client_id, body, state, attempts, next_at,
        planned_at, log_id
), logged AS (
    INSERT INTO message_logs (
        id, tenant_id, direction, from_number, to_number, message_text, wa_message_id,
        created_at, conversation_id, status
    )
    SELECT p.log_id, $1, 'OUT', t.phone_number, coalesce((SELECT them FROM place), $3),
        p.body ->> 'text', p.client_id, now(), (SELECT conversation_id FROM place), 'queued'
    FROM planned p JOIN tenants t ON t.id = $1
), told AS (
    UPDATE conversations c SET
        last_message = left(last.text, 1000), last_message_at = now(), last_outgoing_at = now()
    FROM (SELECT body ->> 'text' AS text FROM planned ORDER BY part DESC LIMIT 1) AS last
    WHERE c.tenant_id = $1 AND c.id = (SELECT conversation_id FROM place)
)
SELECT id, chat_key, to_jid, cause, client_id, body, state::text AS state, attempts, planned_at,
    extract(epoch FROM next_at - now())::float8 AS wait_s
FROM planned ORDER BY part
"""

# For a plan of no step: the chat is neither merged away nor erased before it is committed. One in
# which the bot is silent is not found.
HOLD_CHAT = """
SELECT c.chat_key FROM chat_aliases a
JOIN conversations c ON c.tenant_id = a.tenant_id AND c.chat_key = a.chat_key
JOIN contacts k ON k.tenant_id = c.tenant_id AND k.id = c.contact_id
WHERE a.tenant_id = $1 AND a.jid = $2 AND k.opted_out_at IS NULL
    AND coalesce(c.bot_paused_until, '-infinity') <= now()
    AND coalesce(c.muted_until, '-infinity') <= now()
FOR NO KEY UPDATE OF c
"""
# So often it may be merged once more while its lock is waited for.
HOLD_ROUNDS = 5

PLANNED_FOR = """
SELECT id, chat_key, to_jid, cause, client_id, body, state::text AS state, attempts, planned_at,
    extract(epoch FROM next_at - now())::float8 AS wait_s
FROM outbox WHERE tenant_id = $1 AND cause = $2 AND state = 'planned' ORDER BY part
"""

UNSETTLED = """
SELECT id, chat_key, to_jid, cause, client_id, body, state::text AS state, attempts, planned_at,
    extract(epoch FROM next_at - now())::float8 AS wait_s
FROM outbox
WHERE tenant_id = $1 AND state IN ('planned', 'sending', 'unknown')
ORDER BY id LIMIT $2
"""

UNSETTLED_IN_CHAT = """
SELECT id, chat_key, to_jid, cause, client_id, body, state::text AS state, attempts, planned_at,
    extract(epoch FROM next_at - now())::float8 AS wait_s
FROM outbox
WHERE tenant_id = $1 AND chat_key = $3 AND state IN ('planned', 'sending', 'unknown')
ORDER BY id LIMIT $2
"""

TAKE_BACK_ALL = """
WITH gone AS (
    UPDATE outbox SET state = 'cancelled', reason = $2, done_at = now()
    WHERE tenant_id = $1 AND state IN ('planned', 'sending', 'unknown')
    RETURNING log_id, log_at
)
SELECT count(move_status($1, log_id, log_at, 'cancelled')) FROM gone
"""

MARK_SENDING = f"SELECT mark_sending({CHOSEN_TENANT}, $2::bigint, $3::interval) AS going"
MARK_ACCEPTED = f"""
SELECT mark_accepted({CHOSEN_TENANT}, $2::bigint, $3::text::outbox_state, $4::text::message_status)
"""
ACKNOWLEDGE = f"""
SELECT acknowledge({CHOSEN_TENANT}, $2::text[], $3::text::outbox_state, $4::text::message_status)
"""

MARK_UNKNOWN = """
UPDATE outbox SET state = 'unknown', error = $3
WHERE tenant_id = $1 AND id = $2 AND state IN ('planned', 'sending', 'unknown')
"""

MARK_FAILED = """
WITH failed AS (
    UPDATE outbox SET
        error = $3,
        state = CASE WHEN NOT $4 OR attempts >= $5 THEN 'dead'
            WHEN reason = '' THEN 'planned' ELSE 'cancelled' END::outbox_state,
        next_at = CASE WHEN $4 AND attempts < $5
            THEN now() + ($6::interval[])[greatest(attempts, 1)] ELSE next_at END,
        done_at = CASE WHEN $4 AND attempts < $5 AND reason = '' THEN NULL ELSE now() END
    WHERE tenant_id = $1 AND id = $2 AND state IN ('planned', 'sending', 'unknown')
    RETURNING state, next_at, log_id, log_at
)
SELECT CASE WHEN state = 'planned' THEN extract(epoch FROM next_at - now())::float8
    WHEN move_status($1, log_id, log_at, CASE state WHEN 'cancelled' THEN 'cancelled'
        ELSE 'failed' END::message_status) THEN NULL END
FROM failed
"""

FIND_OWN = "SELECT id FROM outbox WHERE tenant_id = $1 AND client_id = $2"

# An ack of PENDING or ERROR proves nothing about the message: the sender looks it up.
STATE_OF_ACK = {
    Ack.SERVER: OutboxState.ACCEPTED,
    Ack.DELIVERED: OutboxState.DELIVERED,
    Ack.READ: OutboxState.READ,
    Ack.PLAYED: OutboxState.READ,
}
STATUS_OF_ACK = {
    Ack.ERROR: MessageStatus.FAILED,
    Ack.PENDING: MessageStatus.QUEUED,
    Ack.SERVER: MessageStatus.SENT,
    Ack.DELIVERED: MessageStatus.DELIVERED,
    Ack.READ: MessageStatus.READ,
    Ack.PLAYED: MessageStatus.PLAYED,
}


Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to say where, and why: ``cause`` and the place in ``replies`` name each message for
    ever."""

    chat_key: ChatKey
    to: Jid
    cause: str
    replies: Sequence[Reply]


def client_id(secret: bytes, cause: str, part: int) -> MessageId:
    """The message id under which this part is sent, however often it is tried."""
    digest = hmac.new(secret, f"{cause}|{part}".encode(), hashlib.sha256).digest()
    return MessageId(CLIENT_ID_PREFIX + digest[:CLIENT_ID_BYTES].hex().upper())


async def plan(
    tx: Tx, tenant_id: TenantId, secret: bytes, wanted: Plan, monotonic: Monotonic = time.monotonic
) -> list[OutboundMessage]:
    """The rows that are new; those planned before under the same cause and part are left out.
    ``monotonic``: the clock of whoever waits until they are due."""
    if not wanted.replies:
        return []
    cause = clean_id(wanted.cause, field="cause")
    parts = range(len(wanted.replies))
    rows = await tx.fetch(
        PLAN,
        tenant_id,
        clean_id(wanted.chat_key, field="chat_key"),
        clean_id(wanted.to, field="to"),
        cause,
        list(parts),
        [client_id(secret, cause, part) for part in parts],
        [clean_text(reply.text) for reply in wanted.replies],
        [clean_text(reply.intent) for reply in wanted.replies],
        [timedelta(seconds=reply.wait_s) for reply in wanted.replies],
    )
    return [_message(row, monotonic) for row in rows]


async def plan_notice(
    tx: Tx, tenant_id: TenantId, secret: bytes, wanted: Plan, monotonic: Monotonic
) -> list[OutboundMessage]:
    """As ``plan``, for what is part of no step: holds the chat for it, or the one into which it was
    merged. Nothing, if the chat is gone or the bot is silent in it."""
    named = clean_id(wanted.chat_key, field="chat_key")
    for _ in range(HOLD_ROUNDS):
        # A statement of its own: the plan, and the next round, see what was waited for.
        if await tx.fetchval(HOLD_CHAT, tenant_id, named) is not None:
            return await plan(tx, tenant_id, secret, wanted, monotonic)
    return []


async def planned_for(
    tx: Tx, tenant_id: TenantId, cause: str, monotonic: Monotonic
) -> list[OutboundMessage]:
    """What was planned under this cause and not begun."""
    rows = await tx.fetch(PLANNED_FOR, tenant_id, cause)
    return [_message(row, monotonic) for row in rows]


async def unsettled(
    tx: Tx,
    tenant_id: TenantId,
    chat_key: ChatKey | None,
    limit: int | None,
    monotonic: Monotonic,
) -> list[OutboundMessage]:
    if chat_key is None:
        rows = await tx.fetch(UNSETTLED, tenant_id, limit)
    else:
        rows = await tx.fetch(UNSETTLED_IN_CHAT, tenant_id, limit, chat_key)
    return [_message(row, monotonic) for row in rows]


async def take_back_all(tx: Tx, tenant_id: TenantId, reason: str) -> None:
    """Nothing of what is planned or in doubt is sent any more."""
    await tx.execute(TAKE_BACK_ALL, tenant_id, reason)


async def mark_sending(
    database: Database, tenant_id: TenantId, outbox_id: OutboxId, max_age_s: float | None
) -> bool:
    max_age = None if max_age_s is None else timedelta(seconds=max_age_s)
    row = await database.call(tenant_id, MARK_SENDING, outbox_id, max_age)
    return row is not None and bool(row["going"])


async def mark_accepted(
    database: Database, tenant_id: TenantId, outbox_id: OutboxId, ack: Ack
) -> None:
    """The call returned, so it is accepted at least, whatever ack it came with."""
    state = STATE_OF_ACK.get(ack, OutboxState.ACCEPTED)
    status = STATUS_OF_ACK[max(ack, Ack.PENDING)]
    await database.call(tenant_id, MARK_ACCEPTED, outbox_id, state.value, status.value)


async def mark_unknown(tx: Tx, tenant_id: TenantId, outbox_id: OutboxId, error: str) -> None:
    await tx.execute(MARK_UNKNOWN, tenant_id, outbox_id, clean_error(error))


async def mark_failed(
    tx: Tx, tenant_id: TenantId, outbox_id: OutboxId, error: str, *, retry: bool
) -> float | None:
    wait_s: float | None = await tx.fetchval(
        MARK_FAILED,
        tenant_id,
        outbox_id,
        clean_error(error),
        retry,
        ATTEMPTS_MAX,
        [timedelta(seconds=wait) for wait in ATTEMPT_WAITS_S],
    )
    return wait_s


async def acknowledge(
    database: Database, tenant_id: TenantId, ids: Sequence[MessageId], ack: Ack
) -> None:
    state = STATE_OF_ACK.get(ack)
    await database.call(
        tenant_id,
        ACKNOWLEDGE,
        [clean_text(message_id) for message_id in ids],
        None if state is None else state.value,
        STATUS_OF_ACK[ack].value,
    )


async def find_own(tx: Tx, tenant_id: TenantId, message_id: MessageId) -> OutboxId | None:
    found = await tx.fetchval(FIND_OWN, tenant_id, clean_text(message_id))
    return None if found is None else OutboxId(found)


def _message(row: Record, monotonic: Monotonic) -> OutboundMessage:
    return OutboundMessage(
        outbox_id=OutboxId(row["id"]),
        chat_key=ChatKey(row["chat_key"]),
        to=Jid(row["to_jid"]),
        client_id=MessageId(row["client_id"]),
        text=row["body"]["text"],
        state=OutboxState(row["state"]),
        attempts=row["attempts"],
        due_at_monotonic=monotonic() + row["wait_s"],
        planned_at=row["planned_at"],
        asked_for=row["cause"].startswith(ASKED_FOR),
    )
