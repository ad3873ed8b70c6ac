"""Tenants many at a time: the list, chosen and a page at a time, and what a start asks of all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowhq.db.paging import Clauses, check_limit, escape_like, place_of, read_place
from flowhq.db.pool import Database
from flowhq.db.tenants import TenantRow, row_of
from flowhq.model import DesiredState, Reason, TemplateType, TenantId, TenantStatus

FIND_TENANTS = """
SELECT id, name, phone_number, status::text AS status, desired_state::text AS desired_state,
    reason, detail, paused_at, created_at, updated_at, template_type::text AS template_type,
    business_name, language::text AS language, timezone, hours_json, details, retention,
    session_state::text AS session_state, last_seen_at, paired_at, worker_name,
    worker_status::text AS worker_status, last_error, restarts, started_at
FROM ops_tenants
"""

LIST_WANTED = f"{FIND_TENANTS} WHERE desired_state = 'RUNNING' ORDER BY created_at, id"

LIST_NUMBERS = "SELECT tenant_id, phone_number, own_jid, own_lid FROM ops_numbers"

# Fewer digits than this are part of a name rather than of a number.
DIGITS_MIN = 3


@dataclass(frozen=True, slots=True)
class TenantNumbers:
    """The digits a tenant answers under: as configured and as paired, "" where it is not."""

    tenant_id: TenantId
    phone: str = field(repr=False)
    paired_phone: str = field(repr=False)
    paired_lid: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Which tenants: those that fit all that is given. ``text`` is part of a name or digits of the
    number; ``among`` limits it to these."""

    status: TenantStatus | None = None
    reason: Reason | None = None
    desired: DesiredState | None = None
    template: TemplateType | None = None
    text: str = ""
    among: Collection[TenantId] | None = None


@dataclass(frozen=True, slots=True)
class TenantPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[TenantRow]
    next: str | None


async def list_tenants(
    database: Database,
    chosen: TenantFilter | None = None,
    *,
    limit: int,
    after: str | None = None,
) -> TenantPage:
    """Those chosen, or all; newest first. InvalidInputError names ``limit`` or ``after``."""
    wanted = check_limit(limit) + 1
    place = None if after is None else read_place(after, field="after")
    sql, arguments = find_statement(chosen or TenantFilter(), place)
    async with database.ops() as tx:
        found = await tx.fetch(sql, wanted, *arguments)
    rows = [row_of(row, row["id"]) for row in found[:limit]]
    more = len(found) > limit
    return TenantPage(rows, place_of(rows[-1].created_at, rows[-1].tenant_id) if more else None)


def find_statement(
    chosen: TenantFilter, place: tuple[datetime, UUID] | None = None
) -> tuple[str, list[object]]:
    """The statement, with the limit as $1, and its further arguments.

    What is not asked for is not in it: the planner sees a plain walk along tenants_created_at_idx.
    """
    clauses = Clauses(first=2)
    if place is not None:
        clauses.add("(created_at, id) < ({}, {})", *place)
    if chosen.among is not None:
        clauses.add("id = ANY({}::uuid[])", list(chosen.among))
    if chosen.status is not None:
        clauses.add("status = {}::text::tenant_status", chosen.status.value)
    if chosen.desired is not None:
        clauses.add("desired_state = {}::text::desired_state", chosen.desired.value)
    if chosen.reason is not None:
        clauses.add("reason = {}", chosen.reason.value)
    if chosen.template is not None:
        clauses.add("template_type = {}::text::template_type", chosen.template.value)
    if chosen.text:
        _search(clauses, chosen.text)
    where = f"WHERE {clauses}" if clauses.arguments else ""
    return f"{FIND_TENANTS}{where} ORDER BY created_at DESC, id DESC LIMIT $1", clauses.arguments


def _search(clauses: Clauses, text: str) -> None:
    """By part of a name; what looks like a number, by its digits as well."""
    pattern = f"%{escape_like(text)}%"
    digits = "".join(letter for letter in text if letter.isdecimal() and letter.isascii())
    if len(digits) >= DIGITS_MIN and not text.strip("+0123456789 ()-."):
        # As it is dialled at home, a number begins with a 0 that its international form lacks.
        clauses.add("(name ILIKE {} OR phone_number LIKE {})", pattern, f"%{digits.lstrip('0')}%")
    else:
        clauses.add("name ILIKE {}", pattern)


async def list_wanted(database: Database) -> list[TenantRow]:
    """Every tenant that is to run, the oldest first."""
    async with database.ops() as tx:
        return [row_of(row, row["id"]) for row in await tx.fetch(LIST_WANTED)]


async def list_numbers(database: Database) -> list[TenantNumbers]:
    """Of every tenant there is."""
    async with database.ops() as tx:
        rows = await tx.fetch(LIST_NUMBERS)
    return [
        TenantNumbers(
            TenantId(row["tenant_id"]),
            (row["phone_number"] or "").removeprefix("+"),
            (row["own_jid"] or "").partition("@")[0],
            (row["own_lid"] or "").partition("@")[0],
        )
        for row in rows
    ]
