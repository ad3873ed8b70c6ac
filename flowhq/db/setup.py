"""Setup requests: an owner asks for a bot, a person approves or rejects it, a scan makes it live.

SUBMITTED -> REVIEWING -> APPROVED -> ACTIVE, or REJECTED instead of APPROVED. One at a time is open
for a tenant. That the first connection makes an approved one ACTIVE is in ``db/states.py``, in the
transaction that stores the connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from asyncpg import Record

from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database, Tx
from flowhq.db.portal import NOTE, PortalEvent, PortalUser, note_in
from flowhq.errors import NotFoundError, WrongStateError
from flowhq.model import TemplateType, TenantId

INSERT_REQUEST = """
INSERT INTO setup_requests (tenant_id, user_id, template_type, whatsapp_number, notes)
VALUES ($1, $2, $3::text::template_type, $4, $5) RETURNING id
"""

LATEST = """
SELECT r.id, r.tenant_id, r.user_id, r.template_type::text AS template_type, r.whatsapp_number,
    r.notes, r.status::text AS status, r.reason, r.decided_by, r.reviewing_at, r.approved_at,
    r.active_at, r.rejected_at, r.created_at, t.name AS tenant_name, u.email AS user_email,
    u.name AS user_name
FROM setup_requests r
JOIN tenants t ON t.id = r.tenant_id
JOIN portal_users u ON u.tenant_id = r.tenant_id AND u.id = r.user_id
WHERE r.tenant_id = $1
ORDER BY r.created_at DESC, r.id DESC LIMIT 1
"""

LOCK_REQUEST = """
SELECT user_id, status::text AS status FROM setup_requests
WHERE tenant_id = $1 AND id = $2 FOR UPDATE
"""

# Without a status all; without tenants those of all.
LIST_REQUESTS = """
SELECT id, tenant_id, user_id, template_type::text AS template_type, whatsapp_number, notes,
    status::text AS status, reason, decided_by, reviewing_at, approved_at, active_at, rejected_at,
    created_at, tenant_name, user_email, user_name
FROM ops_setup_requests
WHERE ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid))
    AND ($4::uuid[] IS NULL OR tenant_id = ANY ($4))
ORDER BY created_at DESC, id DESC LIMIT $1
"""

LIST_BY_STATUS = LIST_REQUESTS.replace("WHERE ", "WHERE status = $5::text::setup_status AND ", 1)

FIND_REQUEST = """
SELECT id, tenant_id, user_id, template_type::text AS template_type, whatsapp_number, notes,
    status::text AS status, reason, decided_by, reviewing_at, approved_at, active_at, rejected_at,
    created_at, tenant_name, user_email, user_name
FROM ops_setup_requests WHERE id = $1
"""

REVIEW = """
UPDATE setup_requests SET status = 'REVIEWING', reviewing_at = coalesce(reviewing_at, now()),
    decided_by = $3
WHERE tenant_id = $1 AND id = $2
"""

# The number and the template become the tenant's, and it is wanted running: should the daemon end
# right after this, its next start takes the tenant up.
APPROVE = """
WITH request AS (
    UPDATE setup_requests SET status = 'APPROVED', approved_at = now(), decided_by = $3
    WHERE tenant_id = $1 AND id = $2
    RETURNING template_type, whatsapp_number
), config AS (
    UPDATE tenant_configs c SET template_type = r.template_type FROM request r
    WHERE c.tenant_id = $1
)
UPDATE tenants t SET phone_number = r.whatsapp_number, desired_state = 'RUNNING' FROM request r
WHERE t.id = $1
"""

REJECT = """
UPDATE setup_requests SET status = 'REJECTED', rejected_at = now(), decided_by = $3, reason = $4
WHERE tenant_id = $1 AND id = $2
"""


class SetupStatus(StrEnum):
    """How far a request has come."""

    SUBMITTED = "SUBMITTED"
    REVIEWING = "REVIEWING"
    APPROVED = "APPROVED"
    ACTIVE = "ACTIVE"
    REJECTED = "REJECTED"


UNDECIDED = frozenset({SetupStatus.SUBMITTED, SetupStatus.REVIEWING})


@dataclass(frozen=True, slots=True)
class NewRequest:
    """What an owner asks for; checked by the caller."""

    template: TemplateType
    whatsapp_number: str = field(repr=False)
    notes: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SetupRequest:
    """One request with whose it is. ``decided_by`` is who looked at it last."""

    request_id: UUID
    tenant_id: TenantId
    user_id: UUID
    template: TemplateType
    whatsapp_number: str = field(repr=False)
    notes: str = field(repr=False)
    status: SetupStatus
    reason: str = field(repr=False)
    decided_by: str
    reviewing_at: datetime | None
    approved_at: datetime | None
    active_at: datetime | None
    rejected_at: datetime | None
    created_at: datetime
    tenant_name: str
    user_email: str = field(repr=False)
    user_name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[SetupRequest]
    next: str | None


async def submit(database: Database, user: PortalUser, new: NewRequest) -> SetupRequest:
    """A new request; AlreadyExistsError (``setup_request``) while one is open."""
    async with database.tenant(user.tenant_id) as tx:
        request_id = await tx.fetchval(
            INSERT_REQUEST,
            user.tenant_id,
            user.user_id,
            new.template.value,
            new.whatsapp_number,
            new.notes,
        )
        await note_in(tx, user, PortalEvent.SETUP_REQUESTED, {"setup_request": str(request_id)})
        return _request(await tx.fetchrow(LATEST, user.tenant_id))


async def latest(database: Database, tenant_id: TenantId) -> SetupRequest | None:
    """The tenant's newest request; None if it never asked."""
    async with database.tenant(tenant_id) as tx:
        row = await tx.fetchrow(LATEST, tenant_id)
    return None if row is None else _request(row)


async def list_requests(
    database: Database,
    *,
    status: SetupStatus | None,
    tenants: Sequence[TenantId] | None,
    limit: int,
    after: str | None,
) -> RequestPage:
    """Of all tenants or only these, newest first. InvalidInputError names ``limit`` or
    ``after``."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.ops() as tx:
        if status is None:
            found = await tx.fetch(LIST_REQUESTS, wanted, *place, tenants)
        else:
            found = await tx.fetch(LIST_BY_STATUS, wanted, *place, tenants, status.value)
    rows = [_request(row) for row in found[:limit]]
    more = len(found) > limit
    return RequestPage(rows, place_of(rows[-1].created_at, rows[-1].request_id) if more else None)


async def fetch_request(database: Database, request_id: UUID) -> SetupRequest:
    """NotFoundError if there is none."""
    async with database.ops() as tx:
        return _request(await tx.fetchrow(FIND_REQUEST, request_id))


async def review(database: Database, request: SetupRequest, *, by: str) -> SetupRequest:
    """Somebody looks at it. WrongStateError once it is decided."""
    async with database.tenant(request.tenant_id) as tx:
        await _undecided(tx, request)
        await tx.execute(REVIEW, request.tenant_id, request.request_id, by)
        await _note(tx, request, PortalEvent.SETUP_REVIEWING)
    return await fetch_request(database, request.request_id)


async def approve(database: Database, request: SetupRequest, *, by: str) -> SetupRequest:
    """Template and number become the tenant's, which is wanted running from now on.

    WrongStateError once it is decided, AlreadyExistsError (``phone_number``) if another tenant has
    the number.
    """
    async with database.tenant(request.tenant_id) as tx:
        await _undecided(tx, request)
        await tx.execute(APPROVE, request.tenant_id, request.request_id, by)
        await _note(tx, request, PortalEvent.SETUP_APPROVED)
    return await fetch_request(database, request.request_id)


async def reject(
    database: Database, request: SetupRequest, *, by: str, reason: str
) -> SetupRequest:
    """The owner reads the reason. WrongStateError once it is decided."""
    async with database.tenant(request.tenant_id) as tx:
        await _undecided(tx, request)
        await tx.execute(REJECT, request.tenant_id, request.request_id, by, reason)
        await _note(tx, request, PortalEvent.SETUP_REJECTED)
    return await fetch_request(database, request.request_id)


async def _undecided(tx: Tx, request: SetupRequest) -> None:
    """Holds the request for this transaction; WrongStateError if somebody decided it already."""
    row = await tx.fetchrow(LOCK_REQUEST, request.tenant_id, request.request_id)
    if row is None:
        raise _unknown()
    status = SetupStatus(row["status"])
    if status not in UNDECIDED:
        raise WrongStateError(
            f"This setup request is {status}.",
            next_step="Only one that is SUBMITTED or REVIEWING can be decided.",
        )


async def _note(tx: Tx, request: SetupRequest, event: PortalEvent) -> None:
    payload = {"setup_request": str(request.request_id)}
    await tx.execute(NOTE, request.tenant_id, request.user_id, event.value, payload)


def _unknown() -> NotFoundError:
    return NotFoundError(
        "There is no setup request with this id.",
        next_step="GET /admin/setup-requests lists them.",
    )


def _request(row: Record | None) -> SetupRequest:
    if row is None:
        raise _unknown()
    return SetupRequest(
        request_id=row["id"],
        tenant_id=TenantId(row["tenant_id"]),
        user_id=row["user_id"],
        template=TemplateType(row["template_type"]),
        whatsapp_number=row["whatsapp_number"],
        notes=row["notes"],
        status=SetupStatus(row["status"]),
        reason=row["reason"],
        decided_by=row["decided_by"],
        reviewing_at=row["reviewing_at"],
        approved_at=row["approved_at"],
        active_at=row["active_at"],
        rejected_at=row["rejected_at"],
        created_at=row["created_at"],
        tenant_name=row["tenant_name"],
        user_email=row["user_email"],
        user_name=row["user_name"],
    )
