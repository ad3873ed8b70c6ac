"""Tokens of programs as they are stored: the sum of the secret, what it may, until when."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.errors import NotFoundError
from flowhq.model import TenantId

INSERT_ONE = """
INSERT INTO api_tokens (id, name, secret_sha256, scopes, reach, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, name, secret_sha256, scopes, reach, created_by, created_at, expires_at, last_used_at,
    revoked_at, coalesce(expires_at <= now(), false) AS expired
"""

# Who made it, who made the token it was made with, and so on up to a person.
FIND_ONE = """
WITH RECURSIVE makers AS (
    SELECT created_by FROM api_tokens WHERE id = $1
    UNION
    SELECT t.created_by FROM makers m JOIN api_tokens t
        ON t.id = CASE WHEN m.created_by LIKE 'token:%' THEN substr(m.created_by, 7)::uuid END
)
SELECT id, name, secret_sha256, scopes, reach, created_by, created_at, expires_at, last_used_at,
    revoked_at, coalesce(expires_at <= now(), false) AS expired,
    coalesce(last_used_at < now() - interval '1 minute', true) AS stale,
    EXISTS (
        SELECT FROM makers m JOIN admin_users u
            ON u.name = CASE WHEN m.created_by LIKE 'user:%' THEN substr(m.created_by, 6) END
        WHERE u.disabled_at IS NOT NULL
    ) AS maker_disabled
FROM api_tokens WHERE id = $1
"""

LIST_ALL = """
SELECT id, name, secret_sha256, scopes, reach, created_by, created_at, expires_at, last_used_at,
    revoked_at, coalesce(expires_at <= now(), false) AS expired
FROM api_tokens
WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid)
ORDER BY created_at DESC, id DESC LIMIT $1
"""

TOUCH = """
UPDATE api_tokens SET last_used_at = now()
WHERE id = $1 AND coalesce(last_used_at < now() - interval '1 minute', true)
"""

REVOKE = """
UPDATE api_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
RETURNING id, name, secret_sha256, scopes, reach, created_by, created_at, expires_at, last_used_at,
    revoked_at, coalesce(expires_at <= now(), false) AS expired
"""


@dataclass(frozen=True, slots=True)
class NewToken:
    """``tenants`` None reaches all, ``expires_at`` None never ends; ``created_by`` the
    principal."""

    token_id: UUID
    name: str
    secret_sha256: bytes = field(repr=False)
    scopes: Sequence[str]
    tenants: Sequence[TenantId] | None
    created_by: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token; ``expired`` by the database's clock at the time of reading. Told by `find_token`
    alone: ``stale`` if this use of it is to be written down, ``maker_disabled`` if the user is who
    made it, or the token it was made with."""

    token_id: UUID
    name: str
    secret_sha256: bytes = field(repr=False)
    scopes: Sequence[str]
    tenants: Sequence[TenantId] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    expired: bool
    stale: bool = False
    maker_disabled: bool = False


@dataclass(frozen=True, slots=True)
class TokenPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[TokenRow]
    next: str | None


async def create_token(database: Database, new: NewToken) -> TokenRow:
    async with database.installation() as tx:
        row = await tx.fetchrow(
            INSERT_ONE,
            new.token_id,
            new.name,
            new.secret_sha256,
            list(new.scopes),
            None if new.tenants is None else list(new.tenants),
            new.created_by,
            new.expires_at,
        )
    return _row(row, new.token_id)


async def find_token(database: Database, token_id: UUID) -> TokenRow | None:
    async with database.installation() as tx:
        row = await tx.fetchrow(FIND_ONE, token_id)
    return None if row is None else _row(row, token_id)


async def list_tokens(database: Database, *, limit: int, after: str | None = None) -> TokenPage:
    """Newest first, those that ended too. InvalidInputError names ``limit`` or ``after``."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.installation() as tx:
        found = await tx.fetch(LIST_ALL, wanted, *place)
    rows = [_row(row, row["id"]) for row in found[:limit]]
    more = len(found) > limit
    return TokenPage(rows, place_of(rows[-1].created_at, rows[-1].token_id) if more else None)


async def touch_token(database: Database, token_id: UUID) -> None:
    """It was used now; written once a minute at most."""
    async with database.installation() as tx:
        await tx.execute(TOUCH, token_id)


async def revoke_token(database: Database, token_id: UUID) -> TokenRow:
    """The first revocation's time stays. NotFoundError if there is none."""
    async with database.installation() as tx:
        return _row(await tx.fetchrow(REVOKE, token_id), token_id)


def _row(row: Record | None, token_id: UUID) -> TokenRow:
    if row is None:
        raise NotFoundError(f"There is no token {token_id}.")
    reach = row["reach"]
    return TokenRow(
        token_id=UUID(str(row["id"])),
        name=row["name"],
        secret_sha256=bytes(row["secret_sha256"]),
        scopes=tuple(row["scopes"]),
        tenants=None if reach is None else tuple(TenantId(UUID(str(one))) for one in reach),
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        expired=row["expired"],
        stale=row.get("stale", False),
        maker_disabled=row.get("maker_disabled", False),
    )
