"""Business owners: their first sign-in makes a tenant, and what they do is written down.

Who comes is known by an e-mail address before a tenant is: one function of the database answers
which tenant an address belongs to, and no more than that. Everything else happens inside the
tenant's own scope.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from asyncpg import Record

from flowhq.db.pool import Database, Tx
from flowhq.db.tenants import NewTenant, insert_tenant
from flowhq.errors import AlreadyExistsError, NotFoundError
from flowhq.model import Language, TenantId

TENANT_OF = "SELECT portal_tenant_of($1)"

INSERT_USER = """
INSERT INTO portal_users (tenant_id, email, name, phone) VALUES ($1, $2, $3, $4)
"""

FETCH_USER = """
SELECT id, tenant_id, email, name, phone, role::text AS role, created_at
FROM portal_users WHERE tenant_id = $1 AND email = $2
"""

# What is not named stays.
UPDATE_USER = """
UPDATE portal_users SET
    name = coalesce($3::jsonb ->> 'name', name),
    phone = CASE WHEN $3::jsonb ? 'phone' THEN $3::jsonb ->> 'phone' ELSE phone END
WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, email, name, phone, role::text AS role, created_at
"""

NOTE = """
INSERT INTO portal_event_logs (tenant_id, user_id, event_type, payload) VALUES ($1, $2, $3, $4)
"""

EMAIL_TAKEN = "email"


class PortalRole(StrEnum):
    """What somebody is to a tenant."""

    OWNER = "OWNER"


class PortalEvent(StrEnum):
    """What an owner did, or what became of what they asked for."""

    SIGNED_UP = "SIGNED_UP"
    SIGNED_IN = "SIGNED_IN"
    SIGNED_OUT = "SIGNED_OUT"
    ME_READ = "ME_READ"
    STATUS_READ = "STATUS_READ"
    LOGS_READ = "LOGS_READ"
    QR_READ = "QR_READ"
    PROFILE_CHANGED = "PROFILE_CHANGED"
    SETUP_REQUESTED = "SETUP_REQUESTED"
    SETUP_REVIEWING = "SETUP_REVIEWING"
    SETUP_APPROVED = "SETUP_APPROVED"
    SETUP_REJECTED = "SETUP_REJECTED"
    SETUP_ACTIVE = "SETUP_ACTIVE"


@dataclass(frozen=True, slots=True)
class PortalUser:
    """One owner. Name, address and number are a person's: they never show in a repr."""

    user_id: UUID
    tenant_id: TenantId
    email: str = field(repr=False)
    name: str = field(repr=False)
    phone: str | None = field(repr=False)
    role: PortalRole
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewOwner:
    """Who signs in for the first time; ``email`` in lower case, the rest checked and optional."""

    email: str = field(repr=False)
    name: str = field(default="", repr=False)
    business_name: str = ""
    phone: str | None = field(default=None, repr=False)
    language: Language = Language.SW


async def find_user(database: Database, email: str) -> PortalUser | None:
    """Whose address this is; None for nobody's."""
    async with database.installation() as tx:
        tenant_id = await tx.fetchval(TENANT_OF, email)
    if tenant_id is None:
        return None
    async with database.tenant(TenantId(tenant_id)) as tx:
        row = await tx.fetchrow(FETCH_USER, tenant_id, email)
    return None if row is None else user_of(row)


async def sign_in(database: Database, owner: NewOwner) -> tuple[PortalUser, bool]:
    """The owner, and whether this was the first time: then a tenant NEW without a number, with its
    configuration, session and worker, and the owner are made in one transaction."""
    known = await find_user(database, owner.email)
    if known is None:
        try:
            return await _sign_up(database, owner), True
        except AlreadyExistsError as error:
            # Two first sign-ins at once: the other one was faster.
            known = await find_user(database, owner.email)
            if error.field != EMAIL_TAKEN or known is None:
                raise
    await note(database, known, PortalEvent.SIGNED_IN)
    return known, False


async def update_user(
    database: Database, user: PortalUser, changes: Mapping[str, Any]
) -> PortalUser:
    """``changes`` of ``name`` and ``phone``; what is not named stays."""
    async with database.tenant(user.tenant_id) as tx:
        row = await tx.fetchrow(UPDATE_USER, user.tenant_id, user.user_id, dict(changes))
        if row is None:
            raise NotFoundError("This user does not exist any more.")
        await note_in(tx, user, PortalEvent.PROFILE_CHANGED, {"fields": sorted(changes)})
    return user_of(row)


async def note(
    database: Database,
    user: PortalUser,
    event: PortalEvent,
    payload: Mapping[str, Any] | None = None,
) -> None:
    """One row of the portal's event log; ``payload`` without texts, numbers and secrets."""
    async with database.tenant(user.tenant_id) as tx:
        await note_in(tx, user, event, payload)


async def note_in(
    tx: Tx, user: PortalUser, event: PortalEvent, payload: Mapping[str, Any] | None = None
) -> None:
    """The same, within what it tells of."""
    await tx.execute(NOTE, user.tenant_id, user.user_id, event.value, dict(payload or {}))


async def _sign_up(database: Database, owner: NewOwner) -> PortalUser:
    tenant_id = TenantId(uuid4())
    name = owner.business_name or owner.name or owner.email.partition("@")[0]
    new = NewTenant(name=name, phone_number=None, business_name=name, language=owner.language)
    async with database.tenant(tenant_id) as tx:
        await insert_tenant(tx, tenant_id, new)
        await tx.execute(INSERT_USER, tenant_id, owner.email, owner.name, owner.phone)
        row = await tx.fetchrow(FETCH_USER, tenant_id, owner.email)
        if row is None:
            raise NotFoundError("This user does not exist any more.")
        user = user_of(row)
        await note_in(tx, user, PortalEvent.SIGNED_UP)
    return user


def user_of(row: Record) -> PortalUser:
    """The user in a row that has the columns of portal_users."""
    return PortalUser(
        user_id=row["id"],
        tenant_id=TenantId(row["tenant_id"]),
        email=row["email"],
        name=row["name"],
        phone=row["phone"],
        role=PortalRole(row["role"]),
        created_at=row["created_at"],
    )
