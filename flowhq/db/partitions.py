"""The days of message_logs: partitions made ahead, so that old days can be dropped whole.

A row never fails for want of a partition: the default one takes it, and gives it up when its day
is made. All of this needs the owner's rights.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import asyncpg
from asyncpg import Record

from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection

# Two weeks without the daily call leave every message in a partition of its day.
DAYS_AHEAD = 14
# Making a partition locks the table for an instant; better next time than a queue behind it.
LOCK_TIMEOUT_MS = 2_000

EXISTING = """
SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'message_logs'::regclass
"""
TODAY = "SELECT now()"
LIMIT_LOCKS = "SELECT set_config('lock_timeout', $1, true)"
CREATE = "CREATE TABLE {name} (LIKE message_logs INCLUDING DEFAULTS)"
# The owner is bound by FORCE as well, and neither the move nor the check of the foreign keys at
# ATTACH is excepted: lifted for these moments alone.
LIFT = "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
BIND = "ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
DEFAULT = "message_logs_default"
REFERENCED = ("tenants", "conversations")
MOVE = """
WITH moved AS (
    DELETE FROM message_logs_default
    WHERE created_at >= '{first}' AND created_at < '{last}' RETURNING *
)
INSERT INTO {name} SELECT * FROM moved
"""
NOTHING_MOVED_TAG = "INSERT 0 0"
ATTACH = (
    "ALTER TABLE message_logs ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{last}')"
)
GUARD = "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"


async def ensure_ahead(url: str, *, days: int = DAYS_AHEAD) -> list[str]:
    """A partition for today and each of the next ``days``; the names of those made now.

    To be called daily. Days are UTC, by the database's clock. ``url`` is the owner's.
    """
    async with owner_connection(url) as connection:
        with translated():
            return await make_ahead(connection, days=days)


async def ensure_days(url: str, days: Iterable[date]) -> list[str]:
    """A partition for each of these days, as for rows that come from a backup; the names of those
    made now."""
    async with owner_connection(url) as connection:
        with translated():
            return await _make_missing(connection, days)


async def make_ahead(
    connection: "asyncpg.Connection[Record]", *, days: int = DAYS_AHEAD
) -> list[str]:
    """The same on an open connection; each partition is a transaction of its own."""
    now: datetime = await connection.fetchval(TODAY)
    today = now.astimezone(UTC).date()
    return await _make_missing(connection, [today + timedelta(days=n) for n in range(days + 1)])


def name_of(day: date) -> str:
    """The partition that holds the messages created on this UTC day."""
    return f"message_logs_{day:%Y%m%d}"


async def _make_missing(
    connection: "asyncpg.Connection[Record]", days: Iterable[date]
) -> list[str]:
    existing = {row["relname"] for row in await connection.fetch(EXISTING)}
    made = []
    for day in days:
        if name_of(day) not in existing:
            await make_day(connection, day)
            made.append(name_of(day))
    return made


async def make_day(connection: "asyncpg.Connection[Record]", day: date) -> None:
    """The partition of one day, with what waits for it in the default one; one transaction."""
    bounds = {
        "name": name_of(day),
        "first": f"{day:%Y-%m-%d} 00:00:00+00",
        "last": f"{day + timedelta(days=1):%Y-%m-%d} 00:00:00+00",
    }
    async with connection.transaction():
        await connection.execute(LIMIT_LOCKS, str(LOCK_TIMEOUT_MS))
        await connection.execute(CREATE.format(**bounds))
        await connection.execute(LIFT.format(table=DEFAULT))
        moved = await connection.execute(MOVE.format(**bounds))
        lifted = REFERENCED if moved != NOTHING_MOVED_TAG else ()
        for table in lifted:
            await connection.execute(LIFT.format(table=table))
        await connection.execute(ATTACH.format(**bounds))
        for table in (DEFAULT, *lifted):
            await connection.execute(BIND.format(table=table))
        await connection.execute(GUARD.format(**bounds))
