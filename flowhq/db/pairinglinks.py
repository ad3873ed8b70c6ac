"""Links with which an owner without an account pairs a phone.

That a connection uses a link up is in ``db/states.py``, in the transaction that stores the
connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from flowhq.db.pool import Database
from flowhq.db.scopedtokens import digest, new_token, tenant_of
from flowhq.errors import NotFoundError
from flowhq.model import TenantId

# One link of a tenant is good at a time: who asks for another one has lost the first.
REVOKE_OTHERS = """
UPDATE pairing_links SET revoked_at = now()
WHERE tenant_id = $1 AND used_at IS NULL AND revoked_at IS NULL
"""

INSERT_LINK = """
INSERT INTO pairing_links (tenant_id, token_sha256, created_by, expires_at)
VALUES ($1, $2, $3, now() + $4 * interval '1 second')
RETURNING id, tenant_id, created_by, created_at, expires_at, opened_at, used_at, revoked_at,
    false AS expired
"""

LIST_LINKS = """
SELECT id, tenant_id, created_by, created_at, expires_at, opened_at, used_at, revoked_at,
    expires_at <= now() AS expired
FROM pairing_links WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 50
"""

REVOKE_LINK = """
UPDATE pairing_links SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, created_by, created_at, expires_at, opened_at, used_at, revoked_at,
    expires_at <= now() AS expired
"""

# Written once, however often the page asks.
OPEN_LINK = """
WITH opened AS (
    UPDATE pairing_links SET opened_at = now()
    WHERE tenant_id = $1 AND token_sha256 = $2 AND opened_at IS NULL
    RETURNING opened_at
)
SELECT id, tenant_id, created_by, created_at, expires_at,
    coalesce(opened_at, (SELECT o.opened_at FROM opened o)) AS opened_at, used_at, revoked_at,
    expires_at <= now() AS expired
FROM pairing_links WHERE tenant_id = $1 AND token_sha256 = $2
"""


@dataclass(frozen=True, slots=True)
class PairingLink:
    """A link without its token. ``expired`` by the database's clock; ``opened_at`` is when its page
    first asked for the code."""

    link_id: UUID
    tenant_id: TenantId
    created_by: str
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    expired: bool


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link with its token, which is nowhere else."""

    link: PairingLink
    token: str = field(repr=False)


async def create_link(
    database: Database, tenant_id: TenantId, *, by: str, lifetime_s: int
) -> MadeLink:
    """The one good link of the tenant from now on; those before it are revoked."""
    token = new_token(tenant_id)
    async with database.tenant(tenant_id) as tx:
        await tx.execute(REVOKE_OTHERS, tenant_id)
        row = await tx.fetchrow(INSERT_LINK, tenant_id, digest(token), by, lifetime_s)
    return MadeLink(_link(row), token)


async def list_links(database: Database, tenant_id: TenantId) -> Sequence[PairingLink]:
    """The tenant's newest 50, whatever became of them."""
    async with database.tenant(tenant_id) as tx:
        return [_link(row) for row in await tx.fetch(LIST_LINKS, tenant_id)]


async def revoke_link(database: Database, tenant_id: TenantId, link_id: UUID) -> PairingLink:
    """It is refused from now on; revoking it again changes nothing."""
    async with database.tenant(tenant_id) as tx:
        return _link(await tx.fetchrow(REVOKE_LINK, tenant_id, link_id))


async def open_link(database: Database, token: str) -> PairingLink:
    """The link of this token, good or not; NotFoundError if it is none."""
    tenant_id = tenant_of(token)
    if tenant_id is None:
        raise _unknown()
    async with database.tenant(tenant_id) as tx:
        return _link(await tx.fetchrow(OPEN_LINK, tenant_id, digest(token)))


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such pairing link.")


def _link(row: Record | None) -> PairingLink:
    if row is None:
        raise _unknown()
    return PairingLink(
        link_id=row["id"],
        tenant_id=TenantId(row["tenant_id"]),
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        opened_at=row["opened_at"],
        used_at=row["used_at"],
        revoked_at=row["revoked_at"],
        expired=row["expired"],
    )
