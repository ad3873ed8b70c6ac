"""Tenants and their one-to-one rows: made together, read together, gone together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from asyncpg import Record

from flowhq.db import versions
from flowhq.db.clearing import clear_tenant
from flowhq.db.pool import Database, Tx
from flowhq.errors import InvalidInputError, MisconfiguredError, NotFoundError
from flowhq.model import (
    DesiredState,
    Language,
    Reason,
    SessionState,
    TemplateType,
    TenantId,
    TenantSpec,
    TenantStatus,
    WorkerStatus,
)

INSERT_TENANT = """
WITH tenant AS (
    INSERT INTO tenants (id, name, phone_number) VALUES ($1, $2, $3)
), config AS (
    INSERT INTO tenant_configs (
        tenant_id, template_type, business_name, language, timezone, hours_json, details,
        retention
    ) VALUES ($1, $4::text::template_type, $5, $6::text::language, $7, $8, $9, $10)
), session AS (
    INSERT INTO whatsapp_sessions (tenant_id) VALUES ($1)
)
INSERT INTO worker_processes (tenant_id) VALUES ($1)
"""

FETCH_TENANT = """
SELECT t.id, t.name, t.phone_number, t.status::text AS status,
    t.desired_state::text AS desired_state, t.reason, t.detail, t.paused_at, t.created_at,
    t.updated_at, c.template_type::text AS template_type, c.business_name,
    c.language::text AS language, c.timezone, c.hours_json, c.details, c.retention,
    s.state::text AS session_state, s.last_seen_at, s.paired_at,
    w.name AS worker_name, w.status::text AS worker_status, w.last_error, w.restarts, w.started_at
FROM tenants t
LEFT JOIN tenant_configs c ON c.tenant_id = t.id
LEFT JOIN whatsapp_sessions s ON s.tenant_id = t.id
LEFT JOIN worker_processes w ON w.tenant_id = t.id
WHERE t.id = $1
"""

# What the changes do not name stays. A JSON null for the hours is stored as NULL: always open.
UPDATE_TENANT = """
WITH tenant AS (
    UPDATE tenants SET
        name = coalesce($2::jsonb ->> 'name', name),
        phone_number = coalesce($2::jsonb ->> 'phone_number', phone_number)
    WHERE id = $1
    RETURNING id
), config AS (
    UPDATE tenant_configs SET
        template_type = coalesce(($2::jsonb ->> 'template')::template_type, template_type),
        business_name = coalesce($2::jsonb ->> 'business_name', business_name),
        language = coalesce(($2::jsonb ->> 'language')::language, language),
        timezone = coalesce($2::jsonb ->> 'timezone', timezone),
        hours_json = CASE WHEN $2::jsonb ? 'hours'
            THEN nullif($2::jsonb -> 'hours', 'null'::jsonb) ELSE hours_json END,
        details = coalesce($2::jsonb -> 'details', details),
        retention = coalesce($2::jsonb -> 'retention', retention)
    WHERE tenant_id = $1
)
SELECT count(*) FROM tenant
"""

# Whoever changes the tenant meanwhile waits until its version was looked at and it is changed.
HOLD_TENANT = "SELECT FROM tenants WHERE id = $1 FOR NO KEY UPDATE"
DELETE_TENANT = "DELETE FROM tenants WHERE id = $1 RETURNING id"

CHANGEABLE = frozenset(
    {
        "name",
        "phone_number",
        "template",
        "business_name",
        "language",
        "timezone",
        "hours",
        "details",
        "retention",
    }
)


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What a tenant is made of; every value was checked by the caller. Without a number it cannot
    be started."""

    name: str
    phone_number: str | None
    business_name: str
    template: TemplateType = TemplateType.BOOKING
    language: Language = Language.SW
    timezone: str = "Africa/Dar_es_Salaam"
    hours: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    retention: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant as it is stored. ``phone_number`` is None until the first setup request of an owner
    is approved; ``config`` and the like are None only if a row was removed by hand."""

    tenant_id: TenantId
    name: str
    phone_number: str | None
    status: TenantStatus
    desired: DesiredState
    reason: Reason
    detail: str
    paused_at: datetime | None
    template: TemplateType | None
    business_name: str | None
    language: Language | None
    timezone: str | None
    hours: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    retention: Mapping[str, int]
    session_state: SessionState
    last_seen_at: datetime | None
    paired_at: datetime | None
    worker_name: str
    worker_status: WorkerStatus
    last_error: str | None
    restarts: int
    started_at: datetime | None
    created_at: datetime
    updated_at: datetime


async def create_tenant(database: Database, new: NewTenant) -> TenantRow:
    """Tenant, configuration, session and worker in one transaction.

    AlreadyExistsError names ``phone_number``, InvalidInputError what cannot be stored.
    """
    tenant_id = TenantId(uuid4())
    async with database.tenant(tenant_id) as tx:
        await insert_tenant(tx, tenant_id, new)
        row = await tx.fetchrow(FETCH_TENANT, tenant_id)
    return row_of(row, tenant_id)


async def insert_tenant(tx: Tx, tenant_id: TenantId, new: NewTenant) -> None:
    """The same four rows within a transaction of this tenant, whose id is not used yet."""
    _refuse_zero_bytes({"name": new.name, "business_name": new.business_name})
    await tx.execute(
        INSERT_TENANT,
        tenant_id,
        new.name,
        new.phone_number,
        new.template.value,
        new.business_name,
        new.language.value,
        new.timezone,
        new.hours,
        dict(new.details),
        dict(new.retention),
    )


async def find_tenant(database: Database, tenant_id: TenantId) -> TenantRow | None:
    async with database.tenant(tenant_id) as tx:
        row = await tx.fetchrow(FETCH_TENANT, tenant_id)
    return None if row is None else row_of(row, tenant_id)


async def fetch_tenant(database: Database, tenant_id: TenantId) -> TenantRow:
    """NotFoundError if there is none."""
    async with database.tenant(tenant_id) as tx:
        return row_of(await tx.fetchrow(FETCH_TENANT, tenant_id), tenant_id)


async def update_tenant(
    database: Database,
    tenant_id: TenantId,
    changes: Mapping[str, Any],
    *,
    seen: Collection[str] | None = None,
) -> TenantRow:
    """``changes`` by the names of NewTenant's fields; what is not named stays.

    NotFoundError, AlreadyExistsError (``phone_number``), InvalidInputError (an unknown name),
    ChangedMeanwhileError if ``seen`` is given and the tenant's version is none of them.
    """
    for name in changes:
        if name not in CHANGEABLE:
            raise InvalidInputError(f"{name} cannot be changed.", field=name)
    _refuse_zero_bytes(changes)
    async with database.tenant(tenant_id) as tx:
        if seen is not None:
            await tx.execute(HOLD_TENANT, tenant_id)
            refuse_unseen(row_of(await tx.fetchrow(FETCH_TENANT, tenant_id), tenant_id), seen)
        if changes:
            await tx.fetchval(UPDATE_TENANT, tenant_id, dict(changes))
        return row_of(await tx.fetchrow(FETCH_TENANT, tenant_id), tenant_id)


def version_of(row: TenantRow) -> str:
    """What a client can change of the tenant, as one short word; nothing observed is in it."""
    plain = orjson.dumps(
        [
            *(row.name, row.phone_number, row.template, row.business_name, row.language),
            *(row.timezone, row.hours, row.details, row.retention),
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    return versions.digest_of(plain)


def refuse_unseen(row: TenantRow, seen: Collection[str] | None) -> None:
    """ChangedMeanwhileError if ``seen`` is given and the tenant's version is none of them."""
    versions.refuse_unseen(f"Tenant {row.tenant_id}", version_of(row), seen)


async def delete_tenant(database: Database, tenant_id: TenantId) -> None:
    """The tenant and every row of it; NotFoundError if there is none. What fails half-way can be
    asked for again."""
    await clear_tenant(database, tenant_id)
    async with database.tenant(tenant_id) as tx:
        found = await tx.fetchval(DELETE_TENANT, tenant_id)
    if found is None:
        raise _unknown(tenant_id)


async def load_spec(database: Database, tenant_id: TenantId) -> TenantSpec:
    """What the tenant's runner needs. MisconfiguredError without a number, or if the configuration
    row is gone."""
    row = await fetch_tenant(database, tenant_id)
    if row.template is None or row.language is None:
        raise MisconfiguredError(
            f"Tenant {tenant_id} has no configuration.",
            next_step="Delete the tenant and create it again, or restore its tenant_configs row.",
        )
    if row.phone_number is None:
        raise MisconfiguredError(
            f"Tenant {tenant_id} has no phone number yet.",
            next_step="Approve its owner's setup request, or set phone_number.",
        )
    return TenantSpec(
        tenant_id=row.tenant_id,
        name=row.name,
        phone_number=row.phone_number,
        template=row.template,
        language=row.language,
        business_name=row.business_name or "",
        timezone=row.timezone or "",
        hours=row.hours,
        details=row.details or {},
    )


def _unknown(tenant_id: TenantId) -> NotFoundError:
    return NotFoundError(f"There is no tenant {tenant_id}.")


def _refuse_zero_bytes(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and "\x00" in value:
            raise InvalidInputError("A text must not contain a zero byte.", field=name)


def row_of(row: Record | None, tenant_id: TenantId) -> TenantRow:
    """The tenant that a statement found; NotFoundError for None."""
    if row is None:
        raise _unknown(tenant_id)
    return TenantRow(
        tenant_id=TenantId(UUID(str(row["id"]))),
        name=row["name"],
        phone_number=row["phone_number"],
        status=TenantStatus(row["status"]),
        desired=DesiredState(row["desired_state"]),
        reason=Reason(row["reason"]),
        detail=row["detail"],
        paused_at=row["paused_at"],
        template=None if row["template_type"] is None else TemplateType(row["template_type"]),
        business_name=row["business_name"],
        language=None if row["language"] is None else Language(row["language"]),
        timezone=row["timezone"],
        hours=row["hours_json"],
        details=row["details"],
        retention=row["retention"] or {},
        session_state=SessionState(row["session_state"] or SessionState.DISCONNECTED),
        last_seen_at=row["last_seen_at"],
        paired_at=row["paired_at"],
        worker_name=row["worker_name"] or f"worker-{tenant_id}",
        worker_status=WorkerStatus(row["worker_status"] or WorkerStatus.STOPPED),
        last_error=row["last_error"],
        restarts=row["restarts"] or 0,
        started_at=row["started_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
