"""Admin users as they are stored. Names are lower case; nobody is ever deleted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from flowhq.db import versions
from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.errors import NotFoundError

INSERT_USER = """
INSERT INTO admin_users (name, password_hash, role, created_by)
VALUES ($1, $2, $3::text::admin_role, $4)
RETURNING id, name, password_hash, role::text AS role, disabled_at, created_by, created_at,
    updated_at
"""

FIND_USER = """
SELECT id, name, password_hash, role::text AS role, disabled_at, created_by, created_at, updated_at
FROM admin_users WHERE name = $1
"""

FETCH_USER = """
SELECT id, name, password_hash, role::text AS role, disabled_at, created_by, created_at, updated_at
FROM admin_users WHERE id = $1
"""

LIST_USERS = """
SELECT id, name, password_hash, role::text AS role, disabled_at, created_by, created_at, updated_at
FROM admin_users
WHERE $2::timestamptz IS NULL OR (created_at, id) < ($2, $3::uuid)
ORDER BY created_at DESC, id DESC LIMIT $1
"""

# Whoever changes what lets a user in ends its sessions with it.
HOLD_USER = f"{FETCH_USER} FOR NO KEY UPDATE"

UPDATE_USER = """
WITH changed AS (
    UPDATE admin_users SET
        password_hash = coalesce($2, password_hash),
        role = coalesce($3::text::admin_role, role),
        disabled_at = CASE WHEN $4::boolean IS NULL THEN disabled_at
            WHEN $4 THEN coalesce(disabled_at, now()) END
    WHERE id = $1
    RETURNING id, name, password_hash, role, disabled_at, created_by, created_at, updated_at
), ended AS (
    DELETE FROM admin_sessions s USING changed c WHERE s.user_name = c.name
)
SELECT id, name, password_hash, role::text AS role, disabled_at, created_by, created_at, updated_at
FROM changed
"""


@dataclass(frozen=True, slots=True)
class NewUser:
    """``name`` in lower case, ``role`` one of viewer, operator, admin; ``created_by`` the
    principal."""

    name: str
    password_hash: str = field(repr=False)
    role: str
    created_by: str


@dataclass(frozen=True, slots=True)
class UserRow:
    """One admin user; the hash never shows in a repr."""

    user_id: UUID
    name: str
    password_hash: str = field(repr=False)
    role: str
    disabled_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class UserChanges:
    """None leaves it as it is."""

    password_hash: str | None = field(default=None, repr=False)
    role: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class UserPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[UserRow]
    next: str | None


async def create_user(database: Database, new: NewUser) -> UserRow:
    """AlreadyExistsError names ``name``."""
    async with database.installation() as tx:
        row = await tx.fetchrow(INSERT_USER, new.name, new.password_hash, new.role, new.created_by)
    return _row(row, new.name)


async def find_user(database: Database, name: str) -> UserRow | None:
    """By the name in lower case."""
    async with database.installation() as tx:
        row = await tx.fetchrow(FIND_USER, name)
    return None if row is None else _row(row, name)


async def fetch_user(database: Database, user_id: UUID) -> UserRow:
    """NotFoundError if there is none."""
    async with database.installation() as tx:
        return _row(await tx.fetchrow(FETCH_USER, user_id), user_id)


async def list_users(database: Database, *, limit: int, after: str | None = None) -> UserPage:
    """Newest first. InvalidInputError names ``limit`` or ``after``."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.installation() as tx:
        found = await tx.fetch(LIST_USERS, wanted, *place)
    rows = [_row(row, row["id"]) for row in found[:limit]]
    more = len(found) > limit
    return UserPage(rows, place_of(rows[-1].created_at, rows[-1].user_id) if more else None)


async def update_user(
    database: Database,
    user_id: UUID,
    changes: UserChanges,
    *,
    seen: Collection[str] | None = None,
) -> UserRow:
    """The user as it is now; all its sessions have ended. NotFoundError if there is none,
    ChangedMeanwhileError if its version is none of ``seen``."""
    async with database.installation() as tx:
        held = _row(await tx.fetchrow(HOLD_USER, user_id), user_id)
        versions.refuse_unseen(f"User {user_id}", versions.version_at(held.updated_at), seen)
        row = await tx.fetchrow(
            UPDATE_USER, user_id, changes.password_hash, changes.role, changes.disabled
        )
    return _row(row, user_id)


def _row(row: Record | None, wanted: object) -> UserRow:
    if row is None:
        raise NotFoundError(f"There is no user {wanted}.")
    return UserRow(
        user_id=UUID(str(row["id"])),
        name=row["name"],
        password_hash=row["password_hash"],
        role=row["role"],
        disabled_at=row["disabled_at"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
