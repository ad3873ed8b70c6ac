"""The audit: who changed what through the API. Rows are begun, ended once, read, and removed by age
alone, with the owner's rights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.model import TenantId

INSERT_ENTRY = """
INSERT INTO audit_log (principal, address, request_id, method, route, about_tenant, target)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
"""

INSERT_ENDED = """
INSERT INTO audit_log (principal, address, request_id, method, route, about_tenant, target,
    status, changes, done_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now()) RETURNING id
"""

END_ENTRY = """
UPDATE audit_log SET status = $2, changes = $3, done_at = now() WHERE id = $1 AND status IS NULL
"""

# Planned anew for the filters that are given, so that each finds its index.
PLAN_ANEW = "SET LOCAL plan_cache_mode = force_custom_plan"
LIST_ENTRIES = """
SELECT id, at, principal, address, request_id, method, route, about_tenant, target, status,
    changes, done_at
FROM audit_log
WHERE ($4::uuid IS NULL OR about_tenant = $4) AND ($5::text IS NULL OR principal = $5)
    AND ($6::text IS NULL OR route = $6)
    AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3::uuid))
ORDER BY at DESC, id DESC LIMIT $1
"""

DELETE_OLD = """
WITH gone AS (
    DELETE FROM audit_log a USING (
        SELECT id FROM audit_log WHERE at < $1 ORDER BY at, id LIMIT $2
    ) AS b
    WHERE a.id = b.id RETURNING a.id
)
SELECT count(*) FROM gone
"""
# Rows of one transaction: some ten milliseconds, so that nobody waits for it.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class NewEntry:
    """Who asks for what, before it is done; ``target`` are further ids, ``principal`` "" is nobody
    known."""

    principal: str
    address: str
    request_id: str
    method: str
    route: str
    tenant_id: TenantId | None = None
    target: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One field, by its path; None where there was or is nothing. Secrets never get here."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry; ``status`` None: begun, and nobody could write down its end."""

    entry_id: UUID
    at: datetime
    entry: NewEntry
    status: int | None
    changes: Sequence[Change]
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """What is not given is not looked at."""

    tenant_id: TenantId | None = None
    principal: str | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class EntryPage:
    """``next`` is to be passed as ``before`` for the page after this one; None after the last."""

    rows: Sequence[EntryRow]
    next: str | None


async def begin(database: Database, entry: NewEntry) -> UUID:
    """The entry is stored; its id, for `end`."""
    async with database.installation() as tx:
        return UUID(str(await tx.fetchval(INSERT_ENTRY, *_values(entry))))


async def end(
    database: Database, entry_id: UUID, *, status: int, changes: Sequence[Change]
) -> None:
    """How it ended; a second end changes nothing."""
    async with database.installation() as tx:
        await tx.execute(END_ENTRY, entry_id, status, _documents(changes))


async def write(
    database: Database, entry: NewEntry, *, status: int, changes: Sequence[Change]
) -> None:
    """An entry of what is over already."""
    async with database.installation() as tx:
        await tx.fetchval(INSERT_ENDED, *_values(entry), status, _documents(changes))


async def list_entries(
    database: Database, wanted: EntryFilter, *, limit: int, before: str | None = None
) -> EntryPage:
    """Newest first. InvalidInputError names ``limit`` or ``before``."""
    rows_wanted = check_limit(limit) + 1
    place = (None, None) if before is None else read_place(before, field="before")
    filters = (wanted.tenant_id, wanted.principal, wanted.route)
    async with database.installation() as tx:
        await tx.execute(PLAN_ANEW)
        found = await tx.fetch(LIST_ENTRIES, rows_wanted, *place, *filters)
    rows = [_row(row) for row in found[:limit]]
    more = len(found) > limit
    return EntryPage(rows, place_of(rows[-1].at, rows[-1].entry_id) if more else None)


async def delete_old(url: str, before: datetime) -> int:
    """The entries of before that time are gone; how many. ``url`` is the owner's."""
    deleted, rows = 0, BATCH
    async with owner_connection(url) as connection:
        while rows == BATCH:
            with translated():
                rows = await connection.fetchval(DELETE_OLD, before, BATCH)
            deleted += rows
    return deleted


def _values(entry: NewEntry) -> tuple[object, ...]:
    return (
        entry.principal,
        entry.address,
        entry.request_id,
        entry.method,
        entry.route,
        entry.tenant_id,
        dict(entry.target),
    )


def _documents(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [{"field": c.field, "before": c.before, "after": c.after} for c in changes]


def _row(row: Record) -> EntryRow:
    tenant = row["about_tenant"]
    return EntryRow(
        entry_id=UUID(str(row["id"])),
        at=row["at"],
        entry=NewEntry(
            principal=row["principal"],
            address=row["address"],
            request_id=row["request_id"],
            method=row["method"],
            route=row["route"],
            tenant_id=None if tenant is None else TenantId(UUID(str(tenant))),
            target=row["target"],
        ),
        status=row["status"],
        changes=[Change(c["field"], c["before"], c["after"]) for c in row["changes"]],
        done_at=row["done_at"],
    )
