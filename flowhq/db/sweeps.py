"""The diary of the daily sweep: its runs, when the next one is due, and whether the clock may be
believed. Written with the owner's rights, read by the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from asyncpg import Record

from flowhq.db import days
from flowhq.db.pool import Database

# The newest of what is written all the time; what the operator's role may see of it.
NEWEST = """
SELECT now() AS now, greatest(
    (SELECT planned_at FROM outbox ORDER BY id DESC LIMIT 1),
    (SELECT at FROM tenant_events ORDER BY id DESC LIMIT 1),
    (SELECT max(last_seen_at) FROM whatsapp_sessions)
) AS newest
"""
FETCH_STATE = "SELECT seen_at, held_since, held_why, next_at FROM retention_state"
SAVE_STATE = """
UPDATE retention_state SET seen_at = $1, held_since = $2, held_why = $3, next_at = $4
"""
# What was running when a daemon ended is told as failed by the next one.
BEGIN_RUN = """
WITH left_over AS (
    UPDATE retention_runs SET
        outcome = 'failed', ended_at = now(), detail = 'The daemon ended during it.'
    WHERE outcome = 'running'
), old AS (
    DELETE FROM retention_runs WHERE began_at < now() - interval '60 days'
)
INSERT INTO retention_runs DEFAULT VALUES RETURNING id
"""
END_RUN = """
UPDATE retention_runs SET
    outcome = $2::text::retention_outcome, detail = $3, figures = $4, ended_at = now()
WHERE id = $1
"""
FETCH_LAST = """
SELECT began_at, ended_at, outcome::text AS outcome, detail, figures
FROM retention_runs ORDER BY id DESC LIMIT 1
"""
FETCH_SIZES = """
SELECT c.relname::text AS name, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c
WHERE c.oid IN (
    'inbox'::regclass, 'outbox'::regclass, 'tenant_events'::regclass,
    'message_logs_default'::regclass
)
"""


@dataclass(frozen=True, slots=True)
class SweepState:
    """``seen_at``: the clock when it was looked at last. ``held_since``: nothing is deleted, since
    the clock jumped; ``held_why`` says how."""

    seen_at: datetime | None = None
    held_since: datetime | None = None
    held_why: str = ""
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run; ``outcome`` is running, done or failed."""

    began_at: datetime
    ended_at: datetime | None
    outcome: str
    detail: str
    figures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept, and how it is swept: for the operator. ``sizes``: bytes by table."""

    state: SweepState
    last: SweepRun | None
    days: tuple[days.Day, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)


async def fetch_newest(database: Database) -> tuple[datetime, datetime | None]:
    """The database's clock, and the time of the newest thing that was written."""
    async with database.ops() as tx:
        row = await tx.fetchrow(NEWEST)
    assert row is not None  # noqa: S101 - a SELECT without FROM always answers
    return row["now"], row["newest"]


async def fetch_keeping(database: Database) -> Keeping:
    """The diary's last page, and what the tables take."""
    async with database.ops() as tx:
        state = await tx.fetchrow(FETCH_STATE)
        last = await tx.fetchrow(FETCH_LAST)
        found = days.read_days(await tx.fetch(days.LIST_DAYS))
        sizes = await tx.fetch(FETCH_SIZES)
    return Keeping(
        SweepState(**state) if state is not None else SweepState(),
        SweepRun(**last) if last is not None else None,
        tuple(found),
        {row["name"]: row["bytes"] for row in sizes},
    )


async def fetch_state(connection: "asyncpg.Connection[Record]") -> SweepState:
    row = await connection.fetchrow(FETCH_STATE)
    return SweepState(**row) if row is not None else SweepState()


async def save_state(connection: "asyncpg.Connection[Record]", state: SweepState) -> None:
    await connection.execute(
        SAVE_STATE, state.seen_at, state.held_since, state.held_why, state.next_at
    )


async def begin_run(connection: "asyncpg.Connection[Record]") -> int:
    """Its number; a run that a daemon left unended is failed from now on."""
    number: int = await connection.fetchval(BEGIN_RUN)
    return number


async def end_run(
    connection: "asyncpg.Connection[Record]",
    number: int,
    *,
    outcome: str,
    detail: str,
    figures: Mapping[str, Any],
) -> None:
    await connection.execute(END_RUN, number, outcome, detail, dict(figures))
