"""Webhook endpoints: where events are sent, for one tenant or for all of them.

``owner`` None is the installation: such an endpoint gets the events of every tenant. Secrets are
stored sealed; they leave through `open_endpoint` alone, for signing.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from asyncpg import Record

from flowhq.db import datakeys, versions
from flowhq.db.pool import Database, Tx
from flowhq.errors import NotFoundError, WrongStateError
from flowhq.model import EventType, TenantId
from flowhq.vault import DataKey

# Each endpoint costs a delivery an event.
ENDPOINTS_MAX = 10
# How long the secret before the present one still signs.
ROTATION = timedelta(hours=24)
COLUMNS = {"secret": "webhook_endpoints.secret", "old_secret": "webhook_endpoints.old_secret"}

LIST = """
SELECT id, tenant_id, url, types::text[] AS types, enabled, disabled_reason, disabled_at,
    created_at, updated_at, CASE WHEN old_secret_until > now() THEN old_secret_until END
        AS old_secret_until
FROM webhook_endpoints
WHERE tenant_id IS NOT DISTINCT FROM $1 AND ($2::uuid IS NULL OR id = $2)
ORDER BY created_at, id
"""
COUNT = "SELECT count(*) FROM webhook_endpoints WHERE tenant_id IS NOT DISTINCT FROM $1"
INSERT = """
INSERT INTO webhook_endpoints (id, tenant_id, url, types, secret)
VALUES ($1, $2, $3, $4::text[]::event_type[], $5)
"""
UPDATE = """
UPDATE webhook_endpoints SET
    url = coalesce($3, url),
    types = coalesce($4::text[]::event_type[], types),
    enabled = coalesce($5, enabled),
    disabled_reason = CASE WHEN $5 THEN '' WHEN NOT $5 AND enabled THEN $6
        ELSE disabled_reason END,
    disabled_at = CASE WHEN $5 THEN NULL WHEN NOT $5 AND enabled THEN now() ELSE disabled_at END
WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
"""
HOLD = """
SELECT FROM webhook_endpoints WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2 FOR UPDATE
"""
ROTATE = """
UPDATE webhook_endpoints SET secret = $3, old_secret = $4, old_secret_until = now() + $5
WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
"""
DELETE_ENDPOINT = (
    "DELETE FROM webhook_endpoints WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2"
)
OPEN = """
SELECT id, url, enabled, secret, CASE WHEN old_secret_until > now() THEN old_secret END
    AS old_secret
FROM webhook_endpoints WHERE tenant_id IS NOT DISTINCT FROM $1 AND id = $2
"""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint without its secret. ``types`` empty: all of them; ``old_secret_until``: the
    secret before still signs until then."""

    endpoint_id: UUID
    owner: TenantId | None
    url: str
    types: Sequence[EventType]
    enabled: bool
    disabled_reason: str
    disabled_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """What a delivery needs. ``secrets``: the present one, and the one before while it lives."""

    endpoint_id: UUID
    url: str
    enabled: bool
    secrets: Sequence[str] = field(repr=False)


def door(database: Database, owner: TenantId | None) -> AbstractAsyncContextManager[Tx]:
    """The transaction in which the rows of this owner are seen."""
    return database.installation() if owner is None else database.tenant(owner)


async def list_endpoints(database: Database, owner: TenantId | None) -> list[EndpointRow]:
    """The oldest first."""
    async with door(database, owner) as tx:
        return [_row(row) for row in await tx.fetch(LIST, owner, None)]


async def fetch_endpoint(
    database: Database, owner: TenantId | None, endpoint_id: UUID
) -> EndpointRow:
    """NotFoundError without such an endpoint of this owner."""
    async with door(database, owner) as tx:
        return await _fetch(tx, owner, endpoint_id)


async def create_endpoint(
    database: Database,
    owner: TenantId | None,
    *,
    url: str,
    types: Sequence[EventType],
    secret: str,
) -> EndpointRow:
    """WrongStateError if there are ENDPOINTS_MAX already."""
    endpoint_id = uuid4()
    async with door(database, owner) as tx:
        if await tx.fetchval(COUNT, owner) >= ENDPOINTS_MAX:
            raise WrongStateError(
                f"There are {ENDPOINTS_MAX} endpoints already.",
                next_step="Change one of them, or delete one.",
            )
        sealed = _seal(await _key(tx, owner), "secret", endpoint_id, secret)
        names = [one.value for one in types]
        await tx.execute(INSERT, endpoint_id, owner, url, names, sealed)
        return await _fetch(tx, owner, endpoint_id)


async def update_endpoint(
    database: Database,
    owner: TenantId | None,
    endpoint_id: UUID,
    changes: Mapping[str, Any],
    *,
    seen: Collection[str] | None = None,
) -> tuple[EndpointRow, EndpointRow]:
    """``changes`` of url, types, enabled and disabled_reason; what is not named stays. The row
    before and after. ChangedMeanwhileError if its version is none of ``seen``."""
    types = changes.get("types")
    async with door(database, owner) as tx:
        before = await _held(tx, owner, endpoint_id, seen)
        await tx.execute(
            UPDATE,
            owner,
            endpoint_id,
            changes.get("url"),
            None if types is None else [one.value for one in types],
            changes.get("enabled"),
            changes.get("disabled_reason", ""),
        )
        return before, await _fetch(tx, owner, endpoint_id)


async def rotate_secret(
    database: Database, owner: TenantId | None, endpoint_id: UUID, secret: str
) -> EndpointRow:
    """The new secret signs from now on; the present one beside it for ROTATION."""
    async with door(database, owner) as tx:
        present = await _open(tx, owner, endpoint_id)
        if present is None:
            raise _missing(endpoint_id)
        key = await _key(tx, owner)
        await tx.execute(
            ROTATE,
            owner,
            endpoint_id,
            _seal(key, "secret", endpoint_id, secret),
            _seal(key, "old_secret", endpoint_id, present.secrets[0]),
            ROTATION,
        )
        return await _fetch(tx, owner, endpoint_id)


async def delete_endpoint(
    database: Database,
    owner: TenantId | None,
    endpoint_id: UUID,
    *,
    seen: Collection[str] | None = None,
) -> EndpointRow:
    """With its deliveries; what it was. ChangedMeanwhileError as for `update_endpoint`."""
    async with door(database, owner) as tx:
        before = await _held(tx, owner, endpoint_id, seen)
        await tx.execute(DELETE_ENDPOINT, owner, endpoint_id)
    return before


async def open_endpoint(
    database: Database, owner: TenantId | None, endpoint_id: UUID
) -> OpenEndpoint | None:
    """With its secrets, to sign with; None if it is gone. SealedError if they cannot be opened."""
    async with door(database, owner) as tx:
        return await _open(tx, owner, endpoint_id)


async def _open(tx: Tx, owner: TenantId | None, endpoint_id: UUID) -> OpenEndpoint | None:
    row = await tx.fetchrow(OPEN, owner, endpoint_id)
    if row is None:
        return None
    key = await _key(tx, owner)
    secrets = [
        key.open(bytes(row[name]), column=column, row=str(endpoint_id))
        for name, column in COLUMNS.items()
        if row[name] is not None
    ]
    return OpenEndpoint(endpoint_id, row["url"], row["enabled"], secrets)


async def _held(
    tx: Tx, owner: TenantId | None, endpoint_id: UUID, seen: Collection[str] | None
) -> EndpointRow:
    """The row, which nobody else changes before the end of the transaction."""
    await tx.execute(HOLD, owner, endpoint_id)
    row = await _fetch(tx, owner, endpoint_id)
    versions.refuse_unseen(f"Webhook {endpoint_id}", versions.version_at(row.updated_at), seen)
    return row


async def _fetch(tx: Tx, owner: TenantId | None, endpoint_id: UUID) -> EndpointRow:
    row = await tx.fetchrow(LIST, owner, endpoint_id)
    if row is None:
        raise _missing(endpoint_id)
    return _row(row)


async def _key(tx: Tx, owner: TenantId | None) -> DataKey:
    return tx.vault.installation if owner is None else await datakeys.tenant_key(tx, owner)


def _seal(key: DataKey, name: str, endpoint_id: UUID, secret: str) -> bytes:
    return key.seal(secret, column=COLUMNS[name], row=str(endpoint_id))


def _missing(endpoint_id: UUID) -> NotFoundError:
    return NotFoundError(f"There is no webhook {endpoint_id}.")


def _row(row: Record) -> EndpointRow:
    return EndpointRow(
        endpoint_id=UUID(str(row["id"])),
        owner=None if row["tenant_id"] is None else TenantId(row["tenant_id"]),
        url=row["url"],
        types=[EventType(one) for one in row["types"]],
        enabled=row["enabled"],
        disabled_reason=row["disabled_reason"],
        disabled_at=row["disabled_at"],
        old_secret_until=row["old_secret_until"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
