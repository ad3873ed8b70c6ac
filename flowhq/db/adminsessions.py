"""Browsers that are signed in to the admin API. Limits are read by the database's clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from flowhq.db.paging import check_limit, place_of, read_place
from flowhq.db.pool import Database
from flowhq.errors import NotFoundError

# From the sign-in on, whatever is done with it; and since it was used last.
LONGEST = timedelta(hours=12)
IDLE = timedelta(minutes=30)
USER_AGENT_MAX = 200

INSERT_SESSION = """
INSERT INTO admin_sessions (secret_sha256, user_name, mark, address, user_agent)
VALUES ($1, $2, $3, $4, $5)
RETURNING id, user_name, mark, address, user_agent, created_at, last_used_at
"""

DELETE_DEAD = """
DELETE FROM admin_sessions
WHERE created_at <= now() - $1::interval OR last_used_at <= now() - $2::interval
"""

FIND_SESSION = """
SELECT id, user_name, mark, address, user_agent, created_at, last_used_at,
    last_used_at < now() - interval '1 minute' AS stale
FROM admin_sessions
WHERE secret_sha256 = $1
    AND created_at > now() - $2::interval AND last_used_at > now() - $3::interval
"""

TOUCH_SESSION = """
UPDATE admin_sessions SET last_used_at = now()
WHERE id = $1 AND last_used_at < now() - interval '1 minute'
"""

LIST_SESSIONS = """
SELECT id, user_name, mark, address, user_agent, created_at, last_used_at
FROM admin_sessions
WHERE created_at > now() - $2::interval AND last_used_at > now() - $3::interval
    AND ($4::text IS NULL OR user_name = $4)
    AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid))
ORDER BY created_at DESC, id DESC LIMIT $1
"""

DELETE_SESSION = """
DELETE FROM admin_sessions WHERE id = $1 AND ($2::text IS NULL OR user_name = $2) RETURNING id
"""

DELETE_THIS = "DELETE FROM admin_sessions WHERE secret_sha256 = $1"


@dataclass(frozen=True, slots=True)
class NewSession:
    """``mark`` stands for the user's password and role at the sign-in."""

    secret_sha256: bytes = field(repr=False)
    user_name: str
    mark: bytes = field(repr=False)
    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class AdminSession:
    """One that has not ended; ``last_used_at`` is exact to a minute, ``stale`` if this use is to be
    written down."""

    session_id: UUID
    user_name: str
    mark: bytes = field(repr=False)
    address: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime
    stale: bool = False

    @property
    def expires_at(self) -> datetime:
        """When it ends if it is used without a pause."""
        return self.created_at + LONGEST


@dataclass(frozen=True, slots=True)
class SessionPage:
    """``next`` is to be passed as ``after`` for the page after this one; None after the last."""

    rows: Sequence[AdminSession]
    next: str | None


async def begin_session(
    database: Database, new: NewSession, *, instead_of: bytes | None
) -> AdminSession:
    """A new session; the one whose secret's sum is ``instead_of``, and all dead ones, are gone."""
    async with database.installation() as tx:
        await tx.execute(DELETE_DEAD, LONGEST, IDLE)
        if instead_of is not None:
            await tx.execute(DELETE_THIS, instead_of)
        row = await tx.fetchrow(
            INSERT_SESSION,
            new.secret_sha256,
            new.user_name,
            new.mark,
            new.address,
            new.user_agent[:USER_AGENT_MAX],
        )
    return _row(row)


async def find_session(database: Database, secret_sha256: bytes) -> AdminSession | None:
    """None once it ended, by time or otherwise."""
    async with database.installation() as tx:
        row = await tx.fetchrow(FIND_SESSION, secret_sha256, LONGEST, IDLE)
    return None if row is None else _row(row)


async def touch_session(database: Database, session_id: UUID) -> None:
    """It was used now; written once a minute at most."""
    async with database.installation() as tx:
        await tx.execute(TOUCH_SESSION, session_id)


async def list_sessions(
    database: Database, *, user_name: str | None, limit: int, after: str | None = None
) -> SessionPage:
    """Of one user, or of all; newest first. InvalidInputError names ``limit`` or ``after``."""
    wanted = check_limit(limit) + 1
    place = (None, None) if after is None else read_place(after, field="after")
    async with database.installation() as tx:
        found = await tx.fetch(LIST_SESSIONS, wanted, LONGEST, IDLE, user_name, *place)
    rows = [_row(row) for row in found[:limit]]
    more = len(found) > limit
    return SessionPage(rows, place_of(rows[-1].created_at, rows[-1].session_id) if more else None)


async def end_session(database: Database, session_id: UUID, *, user_name: str | None) -> None:
    """Of this user, or of anybody; NotFoundError if there is none."""
    async with database.installation() as tx:
        found = await tx.fetchval(DELETE_SESSION, session_id, user_name)
    if found is None:
        raise NotFoundError(f"There is no session {session_id}.")


def _row(row: Record | None) -> AdminSession:
    if row is None:
        raise NotFoundError("There is no such session.")
    return AdminSession(
        session_id=UUID(str(row["id"])),
        user_name=row["user_name"],
        mark=bytes(row["mark"]),
        address=row["address"],
        user_agent=row["user_agent"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        stale=row.get("stale", False),
    )
