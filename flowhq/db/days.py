"""Old days of the ledger: detached, written to a file if that is wanted, dropped.

A day is gone in an instant, however many rows it has. The order makes every point of it safe: a
detached day is found again by its name, a file counts only under its final name, and a day is
dropped only when its file was read back whole. All of this needs the owner's rights.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import structlog
from asyncpg import Record

from flowhq.db import archive
from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.db.partitions import LIMIT_LOCKS, LOCK_TIMEOUT_MS
from flowhq.db.pool import Database

log = structlog.get_logger(__name__)

LIST_DAYS = """
SELECT c.relname::text AS name, i.inhrelid IS NOT NULL AS attached,
    greatest(c.reltuples, 0)::bigint AS messages, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'message_logs'::regclass
WHERE c.relkind = 'r' AND c.relname ~ '^message_logs_[0-9]{8}$' AND c.relnamespace = (
    SELECT p.relnamespace FROM pg_class p WHERE p.oid = 'message_logs'::regclass
)
ORDER BY c.relname
"""
DETACH = "ALTER TABLE message_logs DETACH PARTITION {name}"
# Nobody but the owner reaches it from now on, and the owner must read it to write it down.
UNBIND = "ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"
DROP = "DROP TABLE {name}"
COUNT = "SELECT count(*) FROM {name}"

NAME = re.compile(r"message_logs_(\d{4})(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Day:
    """A day's partition. ``messages`` is the server's estimate; a day that is not ``attached`` was
    on its way out when something went wrong."""

    name: str
    date: date
    attached: bool
    messages: int
    size_bytes: int

    @property
    def begins_at(self) -> datetime:
        return datetime(self.date.year, self.date.month, self.date.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gone:
    """What became of a day: rows written down, and the size of the file."""

    name: str
    archived: int = 0
    archive_bytes: int = 0


async def list_days(database: Database) -> Sequence[Day]:
    """Every day there is, the oldest first."""
    async with database.ops() as tx:
        return read_days(await tx.fetch(LIST_DAYS))


def read_days(rows: Iterable[Record]) -> Sequence[Day]:
    """What LIST_DAYS found."""
    days = []
    for row in rows:
        found = NAME.fullmatch(row["name"])
        if found is not None:
            day = date(*(int(part) for part in found.groups()))
            days.append(Day(row["name"], day, row["attached"], row["messages"], row["bytes"]))
    return days


async def drop_day(url: str, day: Day, archive_dir: Path | None) -> Gone:
    """Takes a day out of the ledger for good; its rows go into a file of ``archive_dir`` first.

    StoreUnavailableError or StoreRefusedError if somebody else holds the ledger, or the file cannot
    be written: nothing is lost then, and the next call goes on from there.
    """
    began_s = time.monotonic()
    gone = Gone(day.name)
    async with owner_connection(url) as connection:
        if day.attached:
            await _in_a_moment(connection, DETACH.format(name=day.name))
        if archive_dir is not None:
            gone = await _write_down(connection, day, archive_dir)
        await _in_a_moment(connection, DROP.format(name=day.name))
    log.info(
        "day dropped",
        day=day.date.isoformat(),
        freed_bytes=day.size_bytes,
        archived=gone.archived,
        archive_bytes=gone.archive_bytes,
        took_s=round(time.monotonic() - began_s, 2),
    )
    return gone


async def _write_down(
    connection: "asyncpg.Connection[Record]", day: Day, archive_dir: Path
) -> Gone:
    with translated():
        await connection.execute(UNBIND.format(name=day.name))
        messages: int = await connection.fetchval(COUNT.format(name=day.name))
    size = await archive.write(connection, day.name, archive_dir, expected=messages)
    return Gone(day.name, messages, size)


async def _in_a_moment(connection: "asyncpg.Connection[Record]", sql: str) -> None:
    """The whole ledger is locked for it: better the next time than a queue behind it."""
    with translated():
        async with connection.transaction():
            await connection.execute(LIMIT_LOCKS, str(LOCK_TIMEOUT_MS))
            await connection.execute(sql)
