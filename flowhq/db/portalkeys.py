"""The keys that portals show: stored as SHA-256, two alive at a time so that one can be replaced.

They belong to the installation, not to a tenant.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from flowhq.db.pool import Database
from flowhq.errors import AlreadyExistsError, NotFoundError, WrongStateError

PREFIX = "fhp_"
KEY_BYTES = 32
# last_used_at is written once in so many seconds: a portal asks often.
USED_EVERY_S = 60

# A free one of the two places; none: no row.
INSERT_KEY = """
INSERT INTO portal_keys (name, slot, key_sha256)
SELECT $1, free.slot, $2 FROM generate_series(1, 2) AS free (slot)
WHERE NOT EXISTS (SELECT FROM portal_keys k WHERE k.slot = free.slot AND k.retired_at IS NULL)
ORDER BY free.slot LIMIT 1
RETURNING id, name, created_at, last_used_at, retired_at
"""

LIST_KEYS = """
SELECT id, name, created_at, last_used_at, retired_at
FROM portal_keys ORDER BY created_at DESC, id DESC LIMIT 100
"""

RETIRE_KEY = """
UPDATE portal_keys SET retired_at = coalesce(retired_at, now()) WHERE id = $1
RETURNING id, name, created_at, last_used_at, retired_at
"""

FIND_KEY = """
SELECT id, name, created_at, last_used_at, retired_at,
    coalesce(last_used_at < now() - $2 * interval '1 second', true) AS due
FROM portal_keys WHERE key_sha256 = $1
"""

TOUCH_KEY = "UPDATE portal_keys SET last_used_at = now() WHERE id = $1"


@dataclass(frozen=True, slots=True)
class PortalKey:
    """A key without its secret; ``retired_at`` None while it lives."""

    key_id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key with its secret, which is nowhere else and is shown once."""

    key: PortalKey
    secret: str = field(repr=False)


async def create_key(database: Database, name: str) -> MadeKey:
    """WrongStateError while two are alive."""
    secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    try:
        async with database.installation() as tx:
            row = await tx.fetchrow(INSERT_KEY, name, _digest(secret))
    except AlreadyExistsError:
        row = None  # somebody else took the place at the same moment
    if row is None:
        raise WrongStateError(
            "Two portal keys are alive.", next_step="Retire the one that is not used any more."
        )
    return MadeKey(_key(row), secret)


async def list_keys(database: Database) -> Sequence[PortalKey]:
    """The newest 100, retired ones as well."""
    async with database.installation() as tx:
        return [_key(row) for row in await tx.fetch(LIST_KEYS)]


async def retire_key(database: Database, key_id: UUID) -> PortalKey:
    """It is refused from now on; retiring it again changes nothing. NotFoundError without one."""
    async with database.installation() as tx:
        row = await tx.fetchrow(RETIRE_KEY, key_id)
    if row is None:
        raise NotFoundError(f"There is no portal key {key_id}.")
    return _key(row)


async def check_key(database: Database, secret: str) -> PortalKey | None:
    """The living key with this secret, its use noted; None for any other."""
    async with database.installation() as tx:
        row = await tx.fetchrow(FIND_KEY, _digest(secret), USED_EVERY_S)
        if row is None or row["retired_at"] is not None:
            return None
        if row["due"]:
            await tx.execute(TOUCH_KEY, row["id"])
    return _key(row)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _key(row: Record) -> PortalKey:
    return PortalKey(
        key_id=row["id"],
        name=row["name"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        retired_at=row["retired_at"],
    )
