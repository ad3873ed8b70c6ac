"""A throwaway PostgreSQL with as many tenants and messages as a bench wants, filled fast.

Rows are made inside the server. The owner of the embedded server is a superuser, and triggers and
foreign keys rest while it is filled: nobody else works on it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.migrate import migrate
from flowhq.db.owner import owner_connection
from flowhq.db.partitions import make_day, name_of
from flowhq.db.pool import Database
from flowhq.db.tenants import NewTenant, create_tenant

# Somebody's chats; enough that an index on them is no list of equals.
CHATS = 20
RESTING = "SET session_replication_role = replica; SET synchronous_commit = off"

STATES = """
UPDATE tenants SET status = 'ACTIVE', desired_state = 'RUNNING', reason = 'CONNECTED';
UPDATE whatsapp_sessions SET state = 'CONNECTED', last_seen_at = now(), paired_at = now();
UPDATE worker_processes SET status = 'RUNNING', restarts = 1, started_at = now();
"""
PEOPLE = """
WITH people AS (
    INSERT INTO contacts (tenant_id, phone_number, push_name)
    SELECT t.id, '+2557' || lpad((row_number() OVER ())::text, 8, '0'), 'Mteja ' || n
    FROM tenants t CROSS JOIN generate_series(1, $1::int) AS n
    RETURNING id, tenant_id, phone_number
)
INSERT INTO conversations (tenant_id, chat_key, contact_id, last_message_at)
SELECT tenant_id, substr(phone_number, 2) || '@c.us', id, now() FROM people
"""
# Each tenant's messages come and go in turn; the text is of a usual length.
MESSAGES = """
INSERT INTO {day} (tenant_id, direction, from_number, to_number, message_text, wa_message_id,
    created_at, status, type, wa_timestamp)
SELECT ($1::uuid[])[1 + n % cardinality($1)],
    CASE WHEN n / cardinality($1) % 2 = 0 THEN 'IN' ELSE 'OUT' END::message_direction,
    '+2557' || lpad((n % 10000)::text, 8, '0'), '+255700000000',
    repeat('Habari, nataka kujua bei ', 1 + (n % 4)::int), upper(md5('{day}' || n)),
    $3::timestamptz + n * (interval '1 day' / $2),
    CASE WHEN n / cardinality($1) % 2 = 0 THEN 'received' ELSE 'read' END::message_status, 'text',
    $3::timestamptz + n * (interval '1 day' / $2)
FROM generate_series(0, $2::bigint - 1) AS n
"""
SEEN = """
INSERT INTO inbox (tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state, reason,
    log_id, log_at, created_at, done_at)
SELECT tenant_id, false, wa_message_id, substr(from_number, 2) || '@c.us', created_at, 'live',
    'done', 'greeting', id, created_at, created_at, created_at
FROM {day} WHERE direction = 'IN'
"""
REPLIES = """
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, state, attempts,
    planned_at, accepted_at, log_id, log_at)
SELECT tenant_id, to_number, to_number, wa_message_id, 0, wa_message_id,
    jsonb_build_object('text', message_text), 'read', 1, created_at, created_at, id, created_at
FROM {day} WHERE direction = 'OUT'
"""


@dataclass
class Server:
    """A migrated database; ``url`` is its owner's."""

    url: str
    tenants: list[UUID] = field(default_factory=list)

    async def add_tenants(self, number: int, *, chats: int = CHATS) -> None:
        """Connected ones, with so many chats each."""
        async with Database(self.url) as database:
            for serial in range(number):
                new = NewTenant(f"Duka {serial}", f"+2557{10_000_000 + serial}", f"Duka {serial}")
                self.tenants.append((await create_tenant(database, new)).tenant_id)
        async with owner_connection(self.url) as connection:
            await connection.execute(f"{RESTING}; {STATES}")
            await connection.execute(PEOPLE, chats)

    async def fill_day(self, day: date, messages: int, *, queues: bool = False) -> None:
        """So many messages on one day, evenly over hours and tenants; with ``queues`` also their
        settled rows in inbox and outbox."""
        async with owner_connection(self.url) as connection:
            if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name_of(day)):
                await make_day(connection, day)
            await connection.execute(RESTING)
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            filling = MESSAGES.format(day=name_of(day))
            await connection.execute(filling, self.tenants, messages, midnight)
            for sql in (SEEN, REPLIES) if queues else ():
                await connection.execute(sql.format(day=name_of(day)))

    async def settle(self) -> None:
        """What autovacuum would have done by now."""
        async with owner_connection(self.url) as connection:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")


@asynccontextmanager
async def throwaway_server(home: Path) -> AsyncIterator[Server]:
    embedded = EmbeddedPostgres(home / "postgres")
    await embedded.open()
    try:
        await migrate(embedded.dsn())
        yield Server(embedded.dsn())
    finally:
        await asyncio.shield(embedded.close())
