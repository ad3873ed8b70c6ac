"""Bulk runs: one verb over many tenants, and what became of each.

A run belongs to the installation, a result to its tenant: it is written in the tenant's own
transaction, goes with the tenant, and is read across tenants through a view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from flowhq.db.pool import Database
from flowhq.model import TenantId

LIFETIME = timedelta(days=30)

CREATE_RUN = """
INSERT INTO bulk_runs (id, principal, verb, dry_run, tenants) VALUES ($1, $2, $3, $4, $5)
RETURNING created_at
"""
END_RUN = "UPDATE bulk_runs SET ended_at = now() WHERE id = $1"
FETCH_RUN = """
SELECT principal, verb, dry_run, tenants, created_at, ended_at FROM bulk_runs WHERE id = $1
"""
DROP_OLD_RUNS = "DELETE FROM bulk_runs WHERE created_at <= now() - $1::interval"
BEGIN_ITEM = """
INSERT INTO bulk_results (tenant_id, run_id, outcome) VALUES ($1, $2, 'running')
ON CONFLICT ON CONSTRAINT bulk_results_pkey DO NOTHING
"""
END_ITEM = """
UPDATE bulk_results SET outcome = $3, problem = $4, detail = $5, next_step = $6, at = now()
WHERE tenant_id = $1 AND run_id = $2
"""
FETCH_ITEMS = """
SELECT chosen.id, t.id IS NOT NULL AS known, r.outcome, r.problem, r.detail, r.next_step, r.at
FROM unnest($2::uuid[]) WITH ORDINALITY AS chosen(id, place)
LEFT JOIN ops_tenants t ON t.id = chosen.id
LEFT JOIN ops_bulk_results r ON r.run_id = $1 AND r.tenant_id = chosen.id
ORDER BY chosen.place
"""


class Outcome(StrEnum):
    """What became of one tenant; the first five are stored, the rest follow from the run."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"  # the verb does not fit, or something outside must be set right first
    FAILED = "failed"
    WOULD_BE_DONE = "would_be_done"  # a dry run
    WOULD_CHANGE_NOTHING = "would_change_nothing"  # a dry run
    WAITING = "waiting"
    NOT_STARTED = "not_started"  # the daemon ended before its turn
    UNKNOWN = "unknown"  # the daemon ended, or the database was away, in the middle of it
    GONE = "gone"  # deleted meanwhile


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One tenant of a run; ``problem`` is the name of the refusal, "" for none."""

    tenant_id: TenantId
    outcome: Outcome
    problem: str = ""
    detail: str = ""
    next_step: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BulkRun:
    """``ended_at`` None: in progress, or cut off by the end of the daemon."""

    run_id: UUID
    principal: str
    verb: str
    dry_run: bool
    tenants: Sequence[TenantId]
    created_at: datetime
    ended_at: datetime | None = None


async def create_run(
    database: Database, principal: str, verb: str, tenants: Sequence[TenantId], *, dry_run: bool
) -> BulkRun:
    run_id = uuid4()
    async with database.installation() as tx:
        created_at = await tx.fetchval(CREATE_RUN, run_id, principal, verb, dry_run, list(tenants))
    return BulkRun(run_id, principal, verb, dry_run, tuple(tenants), created_at)


async def end_run(database: Database, run_id: UUID) -> None:
    async with database.installation() as tx:
        await tx.execute(END_RUN, run_id)


async def begin_item(database: Database, run_id: UUID, tenant_id: TenantId) -> None:
    """It is under way. NotFoundError if the tenant is gone."""
    async with database.tenant(tenant_id) as tx:
        await tx.execute(BEGIN_ITEM, tenant_id, run_id)


async def end_item(database: Database, run_id: UUID, item: BulkItem) -> None:
    async with database.tenant(item.tenant_id) as tx:
        await tx.execute(
            END_ITEM,
            item.tenant_id,
            run_id,
            item.outcome.value,
            item.problem,
            item.detail,
            item.next_step,
        )


async def find_run(database: Database, run_id: UUID) -> BulkRun | None:
    async with database.installation() as tx:
        row = await tx.fetchrow(FETCH_RUN, run_id)
    if row is None:
        return None
    return BulkRun(
        run_id,
        row["principal"],
        row["verb"],
        row["dry_run"],
        tuple(TenantId(UUID(str(each))) for each in row["tenants"]),
        row["created_at"],
        row["ended_at"],
    )


async def list_items(database: Database, run: BulkRun, *, live: bool) -> list[BulkItem]:
    """Each tenant of the run, in its order; ``live``: this process is at it."""
    async with database.ops() as tx:
        rows = await tx.fetch(FETCH_ITEMS, run.run_id, list(run.tenants))
    return [
        BulkItem(
            TenantId(UUID(str(row["id"]))),
            _outcome(row["outcome"], known=row["known"], live=live),
            row["problem"] or "",
            row["detail"] or "",
            row["next_step"] or "",
            row["at"],
        )
        for row in rows
    ]


async def drop_old_runs(database: Database) -> None:
    """Those older than LIFETIME, with their results."""
    async with database.installation() as tx:
        await tx.execute(DROP_OLD_RUNS, LIFETIME)


def _outcome(stored: str | None, *, known: bool, live: bool) -> Outcome:
    if not known:
        return Outcome.GONE
    if stored is None:
        return Outcome.WAITING if live else Outcome.NOT_STARTED
    if stored == Outcome.RUNNING and not live:
        return Outcome.UNKNOWN
    return Outcome(stored)
