"""What is not kept for ever, tenant by tenant: texts taken away, old rows deleted, by the batch.

Each batch is a transaction that leaves nothing half done, so that a crash at any point costs the
batch under way; doing it again changes nothing. Whole days of the ledger go elsewhere (days.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flowhq.db.cleaning import EARLIEST
from flowhq.db.pool import Database
from flowhq.model import TenantId

# Rows of one transaction: some ten milliseconds, so that nobody waits for it.
BATCH = 1_000
DAY = timedelta(days=1)

LIST_TERMS = "SELECT id, retention FROM ops_tenants ORDER BY id"

FETCH_MARK = "SELECT texts_to FROM retention_marks WHERE tenant_id = $1"
# A tenant that was deleted meanwhile gets no mark.
SET_MARK = """
INSERT INTO retention_marks (tenant_id, texts_to) SELECT id, $2 FROM tenants WHERE id = $1
ON CONFLICT (tenant_id) DO UPDATE SET texts_to = excluded.texts_to
"""
FETCH_REPLIES_MARK = "SELECT replies_to FROM retention_marks WHERE tenant_id = $1"
# The row is there: texts go before replies.
SET_REPLIES_MARK = "UPDATE retention_marks SET replies_to = $2 WHERE tenant_id = $1"
# The first reply that is not blanked, or may still become one that is to be.
FIND_REPLIES_MARK = """
WITH open AS MATERIALIZED (
    SELECT planned_at FROM outbox
    WHERE tenant_id = $1 AND state IN ('planned', 'sending', 'unknown')
    UNION ALL
    SELECT planned_at FROM outbox WHERE tenant_id = $1 AND state = 'dead'
)
SELECT least($2::timestamptz, min(planned_at)) FROM open
"""

# A batch is chosen with its rows locked: what was changed meanwhile is looked at again, and a batch
# that is not full is the last one.
BLANK_TEXTS = """
WITH batch AS (
    SELECT id, created_at FROM message_logs
    WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3
        AND (message_text <> '' OR content <> '{}')
    LIMIT $4 FOR NO KEY UPDATE
)
UPDATE message_logs m SET message_text = '', content = '{}'
FROM batch b
WHERE m.tenant_id = $1 AND m.created_at >= $2 AND m.created_at < $3
    AND m.id = b.id AND m.created_at = b.created_at
"""

# What was given up cannot be tried again once what it says is gone.
BLANK_REPLIES = """
WITH batch AS (
    SELECT id FROM outbox
    WHERE tenant_id = $1 AND planned_at >= $2 AND planned_at < $3 AND body <> '{"text": ""}'
        AND state IN ('dead', 'cancelled', 'accepted', 'delivered', 'read')
    LIMIT $4 FOR NO KEY UPDATE
)
UPDATE outbox o SET
    body = '{"text": ""}',
    reason = CASE o.state WHEN 'dead' THEN 'expired' ELSE o.reason END,
    state = CASE o.state WHEN 'dead' THEN 'cancelled' ELSE o.state END
FROM batch b WHERE o.tenant_id = $1 AND o.id = b.id
"""

BLANK_CHATS = """
WITH batch AS (
    SELECT id FROM conversations
    WHERE tenant_id = $1 AND last_message_at < $2
        AND (last_message IS NOT NULL OR bot_state <> '{}')
    LIMIT $3 FOR NO KEY UPDATE
)
UPDATE conversations c SET last_message = NULL, bot_state = '{}'
FROM batch b WHERE c.tenant_id = $1 AND c.id = b.id
"""

EXPIRE_DEAD = """
WITH batch AS (
    SELECT from_me, wa_message_id FROM inbox
    WHERE tenant_id = $1 AND state = 'dead' AND done_at < $2
    LIMIT $3 FOR NO KEY UPDATE
)
UPDATE inbox i SET state = 'skipped', reason = 'expired', payload = NULL
FROM batch b
WHERE i.tenant_id = $1 AND i.from_me = b.from_me AND i.wa_message_id = b.wa_message_id
"""

DELETE_LOGS = """
DELETE FROM message_logs m USING (
    SELECT id, created_at FROM message_logs WHERE tenant_id = $1 AND created_at < $2 LIMIT $3
) AS b
WHERE m.tenant_id = $1 AND m.created_at < $2 AND m.id = b.id AND m.created_at = b.created_at
"""
DELETE_INBOX = """
DELETE FROM inbox i USING (
    SELECT from_me, wa_message_id FROM inbox
    WHERE tenant_id = $1 AND created_at < $2 AND state IN ('done', 'skipped') LIMIT $3
) AS b
WHERE i.tenant_id = $1 AND i.from_me = b.from_me AND i.wa_message_id = b.wa_message_id
"""
DELETE_OUTBOX = """
DELETE FROM outbox o USING (
    SELECT id FROM outbox
    WHERE tenant_id = $1 AND planned_at < $2
        AND state IN ('cancelled', 'accepted', 'delivered', 'read') LIMIT $3
) AS b
WHERE o.tenant_id = $1 AND o.id = b.id
"""
DELETE_EVENTS = """
DELETE FROM tenant_events e USING (
    SELECT id FROM tenant_events WHERE tenant_id = $1 AND at < $2 LIMIT $3
) AS b
WHERE e.tenant_id = $1 AND e.id = b.id
"""
DELETE_SPANS = """
DELETE FROM tenant_spans s USING (
    SELECT id FROM tenant_spans WHERE tenant_id = $1 AND until_at < $2 LIMIT $3
) AS b
WHERE s.tenant_id = $1 AND s.id = b.id
"""

DELETE_PORTAL_EVENTS = """
DELETE FROM portal_event_logs e USING (
    SELECT id FROM portal_event_logs WHERE tenant_id = $1 AND at < $2 LIMIT $3
) AS b
WHERE e.tenant_id = $1 AND e.id = b.id
"""
DELETE_LINKS = """
DELETE FROM pairing_links l USING (
    SELECT id FROM pairing_links WHERE tenant_id = $1 AND expires_at < $2 LIMIT $3
) AS b
WHERE l.tenant_id = $1 AND l.id = b.id
"""

# By the name under which their number is told.
DELETIONS: tuple[tuple[str, str], ...] = (
    ("messages", DELETE_LOGS),
    ("inbox", DELETE_INBOX),
    ("outbox", DELETE_OUTBOX),
    ("events", DELETE_EVENTS),
    ("spans", DELETE_SPANS),
    ("portal_events", DELETE_PORTAL_EVENTS),
    ("pairing_links", DELETE_LINKS),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """Days that texts, everything else about messages, and what would rebuild a dead one are
    kept."""

    text_days: int
    metadata_days: int
    payload_days: int

    def of_tenant(self, own: Mapping[str, Any]) -> "Terms":
        """These, with what the tenant has of its own. No text outlives what is known of it."""
        metadata = int(own.get("metadata_days", self.metadata_days))
        return Terms(
            min(int(own.get("text_days", self.text_days)), metadata),
            metadata,
            min(int(own.get("payload_days", self.payload_days)), metadata),
        )


async def list_terms(database: Database, installation: Terms) -> dict[TenantId, Terms]:
    """Of every tenant."""
    async with database.ops() as tx:
        rows = await tx.fetch(LIST_TERMS)
    return {TenantId(row["id"]): installation.of_tenant(row["retention"] or {}) for row in rows}


async def blank_tenant(
    database: Database, tenant_id: TenantId, terms: Terms, *, now: datetime, oldest: datetime
) -> Counter[str]:
    """The texts of one tenant that are older than its terms are gone; how many of what. ``oldest``:
    where the first day of the ledger begins."""
    done: Counter[str] = Counter()
    texts_before = now - terms.text_days * DAY
    payloads_before = now - terms.payload_days * DAY
    done["payloads"] = await until_done(
        database, tenant_id, EXPIRE_DEAD, payloads_before, at_once=BATCH
    )
    done["texts"] = await _blank_texts(database, tenant_id, oldest, texts_before)
    done["replies"] = await _blank_replies(database, tenant_id, texts_before)
    done["chats"] = await until_done(database, tenant_id, BLANK_CHATS, texts_before, at_once=BATCH)
    return +done


async def blanked_to(database: Database, tenant_id: TenantId) -> datetime:
    """Up to when no text of the tenant is left in the ledger."""
    async with database.tenant(tenant_id) as tx:
        mark: datetime | None = await tx.fetchval(FETCH_MARK, tenant_id)
    return EARLIEST if mark is None else mark


async def delete_tenants_old(
    database: Database, tenant_id: TenantId, terms: Terms, *, now: datetime
) -> Counter[str]:
    """The rows of one tenant that are older than its terms are gone; how many of what."""
    before = now - terms.metadata_days * DAY
    done: Counter[str] = Counter()
    for name, sql in DELETIONS:
        done[name] = await until_done(database, tenant_id, sql, before, at_once=BATCH)
    return +done


async def _blank_texts(
    database: Database, tenant_id: TenantId, oldest: datetime, before: datetime
) -> int:
    """From the mark of the last time on, a day of the ledger at a time: each looks into one
    partition alone. What has no day of its own is older than all of them, and comes first."""
    begin = await blanked_to(database, tenant_id)
    blanked = 0
    while begin < before:
        midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        end = min(oldest if begin < oldest else midnight + DAY, before)
        rows = BATCH
        while rows == BATCH:
            async with database.tenant(tenant_id) as tx:
                rows = _number(await tx.execute(BLANK_TEXTS, tenant_id, begin, end, BATCH))
                if rows < BATCH:
                    await tx.execute(SET_MARK, tenant_id, end)
            blanked += rows
        begin = end
    return blanked


async def _blank_replies(database: Database, tenant_id: TenantId, before: datetime) -> int:
    """From the mark of the last time on. What is not settled before anything is blanked keeps the
    mark where it is, whatever becomes of it meanwhile: the next time looks at it again."""
    async with database.tenant(tenant_id) as tx:
        begin: datetime | None = await tx.fetchval(FETCH_REPLIES_MARK, tenant_id)
        end: datetime = await tx.fetchval(FIND_REPLIES_MARK, tenant_id, before)
    blanked = await until_done(
        database, tenant_id, BLANK_REPLIES, begin or EARLIEST, before, at_once=BATCH
    )
    async with database.tenant(tenant_id) as tx:
        await tx.execute(SET_REPLIES_MARK, tenant_id, end)
    return blanked


async def until_done(
    database: Database, tenant_id: TenantId, sql: str, *between: datetime, at_once: int
) -> int:
    """How many rows a statement took whose last argument is how many it may take ``at_once``: a
    transaction each, until one finds fewer."""
    total, rows = 0, at_once
    while rows == at_once:
        async with database.tenant(tenant_id) as tx:
            rows = _number(await tx.execute(sql, tenant_id, *between, at_once))
        total += rows
    return total


def _number(tag: str) -> int:
    """Rows, out of PostgreSQL's answer such as ``UPDATE 17``."""
    return int(tag.rpartition(" ")[2])
