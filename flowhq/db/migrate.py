"""From any older schema to this one, once, by whoever starts first.

Numbered files, one transaction each, the version written inside it. A newer database, a file that
was changed after it was applied, or a gap is refused. Everything here connects as the owner.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import asyncpg
from asyncpg import Record

from flowhq.db import partitions
from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.db.pool import refuse_old_server
from flowhq.errors import StoreRefusedError, StoreUnavailableError

# Any number, as long as it never changes: two daemons must meet at the same lock.
LOCK_KEY = 0x464C_4F57_4851
# Polled, not waited for: a waiting lock holds a snapshot that would deadlock with an index that
# is built concurrently.
LOCK_POLL_S = 0.2
LOCK_LIMIT_S = 120.0

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
SERVER_VERSION = "SELECT current_setting('server_version_num')::int"
HISTORY_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
READ_HISTORY = "SELECT version, name, sha256 FROM schema_migrations ORDER BY version"
WRITE_HISTORY = "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)"
CREATE_HISTORY = """
CREATE TABLE schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
)
"""
# Roles belong to the cluster, so another database may have made them, even at this moment.
CREATE_ROLE = """
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$
"""
JOIN_ROLE = "GRANT {role} TO CURRENT_USER"
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"
MAY_ACT_AS = "SELECT pg_has_role(current_user, $1, $2)"
ROLES = ("flowhq_app", "flowhq_ops")
# Until 15 membership alone lets a user act as a role; since 16 it is a right of its own.
SET_RIGHT_SINCE = 16_00_00


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Migrated:
    """The version reached and the numbers of the files that were applied now."""

    version: int
    applied: tuple[int, ...]


async def migrate(
    url: str, *, migrations: Sequence[Migration] | None = None, lock_limit_s: float = LOCK_LIMIT_S
) -> Migrated:
    """Bring the database to this program's schema; a second starter waits and finds it done.

    StoreRefusedError: newer or changed history, old server, missing rights; nothing was applied
    beyond the last whole file.
    """
    wanted = tuple(load_migrations() if migrations is None else migrations)
    async with owner_connection(url) as connection:
        with translated():
            refuse_old_server(await connection.fetchval(SERVER_VERSION))
            await _lock(connection, lock_limit_s)
            history = await _history(connection)
            _refuse_foreign(wanted, history)
            await _ensure_roles(connection)
            applied = [m.version for m in wanted[len(history) :]]
            for migration in wanted[len(history) :]:
                await _apply(connection, migration)
            await partitions.make_ahead(connection)
    return Migrated(version=wanted[-1].version if wanted else 0, applied=tuple(applied))


async def current_version(url: str) -> int:
    """The version that the database is at; 0 for an empty one."""
    async with owner_connection(url) as connection:
        with translated():
            history = await _history(connection)
    return int(history[-1]["version"]) if history else 0


async def require_current(url: str) -> int:
    """The version, which is this program's; StoreRefusedError if the database is at another."""
    found, known = await current_version(url), len(load_migrations())
    if found != known:
        raise StoreRefusedError(
            f"The database is at version {found}, this program works on {known}.",
            next_step="Run flowhq-daemon migrate, or the Flow HQ that the database belongs to.",
        )
    return found


def load_migrations(directory: Traversable | None = None) -> list[Migration]:
    """The numbered files in order; StoreRefusedError if a number is missing or double."""
    root = sql_root() if directory is None else directory
    files = sorted(
        (entry for entry in (root / "migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    found = [
        Migration(int(f.name[:4]), f.name[5:].removesuffix(".sql"), f.read_text(encoding="utf-8"))
        for f in files
    ]
    if [m.version for m in found] != list(range(1, len(found) + 1)) or not found:
        raise StoreRefusedError(
            "The migration files are not numbered 0001, 0002, ... without a gap.",
            next_step="Install Flow HQ again: its files are incomplete.",
        )
    return found


def sql_root() -> Traversable:
    """Where schema.sql and migrations/ are: inside the installed package, or in the checkout."""
    packaged = resources.files("flowhq.db") / "sql"
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[2] / "sql"


async def _lock(connection: "asyncpg.Connection[Record]", limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not await connection.fetchval(TRY_LOCK, LOCK_KEY):
        if time.monotonic() >= deadline:
            raise StoreUnavailableError(
                "Another daemon has been migrating this database for too long.",
                next_step="Wait for it to finish, or stop it.",
            )
        await asyncio.sleep(LOCK_POLL_S)


async def _history(connection: "asyncpg.Connection[Record]") -> list[Record]:
    if not await connection.fetchval(HISTORY_EXISTS):
        return []
    return await connection.fetch(READ_HISTORY)


def _refuse_foreign(wanted: Sequence[Migration], history: Sequence[Record]) -> None:
    if len(history) > len(wanted):
        raise StoreRefusedError(
            f"The database is at version {history[-1]['version']}, this program knows "
            f"{len(wanted)}.",
            next_step="Run the newer Flow HQ, or restore the backup made before its start.",
        )
    for row, migration in zip(history, wanted, strict=False):
        if (row["version"], row["sha256"]) != (migration.version, migration.sha256):
            raise StoreRefusedError(
                f"Migration {row['version']:04d} ({row['name']}) is not the one that was "
                "applied to this database.",
                next_step="Install an unchanged Flow HQ.",
            )


async def _apply(connection: "asyncpg.Connection[Record]", migration: Migration) -> None:
    async with connection.transaction():
        if migration.version == 1:
            await connection.execute(CREATE_HISTORY)
        await connection.execute(migration.sql)
        await connection.execute(WRITE_HISTORY, migration.version, migration.name, migration.sha256)


async def _ensure_roles(connection: "asyncpg.Connection[Record]") -> None:
    """Both roles exist and this user may act as them; a restored dump has lost that."""
    version = await connection.fetchval(SERVER_VERSION)
    right = "SET" if version >= SET_RIGHT_SINCE else "MEMBER"
    for role in ROLES:
        try:
            if not await connection.fetchval(ROLE_EXISTS, role):
                await connection.execute(CREATE_ROLE.format(role=role))
            if not await connection.fetchval(MAY_ACT_AS, role, right):
                await connection.execute(JOIN_ROLE.format(role=role))
        except asyncpg.InsufficientPrivilegeError as error:
            raise StoreRefusedError(
                f"This database user may neither create nor act as the role {role}.",
                next_step="As a superuser: CREATE ROLE flowhq_app NOLOGIN; "
                "CREATE ROLE flowhq_ops NOLOGIN; GRANT flowhq_app, flowhq_ops TO the user.",
            ) from error
