"""The way to PostgreSQL: a pool whose connections act as the application's role.

The only doors are ``tenant()`` and ``call()`` (one tenant's rows), ``ops()`` (the cross-tenant
views) and ``installation()`` (what is no tenant's). A statement that has not chosen its tenant sees
no tenant's row: row-level security fails closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from asyncpg import Record
from asyncpg.pool import PoolConnectionProxy

from flowhq.db.faults import connecting, translated
from flowhq.errors import StoreRefusedError, StoreTimeoutError, StoreUnavailableError
from flowhq.figures import PoolFigures
from flowhq.model import TenantId
from flowhq.vault import Vault

# Ours take milliseconds: one that takes so long waits for a lock or a dead server, and its chat
# waits with it. Shorter, and a server that is merely busy counts as one that is away.
COMMAND_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0
# Waiting for a free connection; connecting comes on top of it. Whoever gets none in time waits
# outside of the pool, so that a database which is slow is not also stormed.
FREE_TIMEOUT_S = 2.0
# A connection that does not answer a ROLLBACK at once is thrown away.
ROLLBACK_TIMEOUT_S = 1.0
CLOSE_TIMEOUT_S = 5.0
# Spec: PostgreSQL 14 or newer; server_version_num counts in 10,000 a major version.
OLDEST_SERVER = 14_00_00
# A transaction never waits for anything outside: one that idles this long has lost its owner.
IDLE_IN_TRANSACTION_MS = 30_000
# asyncpg recycles a connection after so many queries; a fresh one pays for parsing and planning.
QUERIES_PER_CONNECTION = 1_000_000_000

APP_ROLE = "flowhq_app"

# One round trip: a transaction, and the tenant that it sees. Only a UUID is ever filled in.
BEGIN_TENANT = "BEGIN; SELECT set_config('app.tenant_id', '{tenant_id}', true)"
BEGIN_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    "SELECT set_config('app.tenant_id', '{tenant_id}', true)"
)
# The tenant of a function that is called with nothing around it: chosen before the function begins.
CHOSEN_TENANT = "set_config('app.tenant_id', $1::uuid::text, true)::uuid"
BEGIN_OPS = "BEGIN READ ONLY; SET LOCAL ROLE flowhq_ops"
WHO_AM_I = """
SELECT current_setting('server_version_num')::int AS version, current_user::text AS role,
    (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS unbound
"""


class Tx:
    """One open transaction. Errors of the database leave its methods as the product's own: a
    statement that is not ended in time as StoreTimeoutError."""

    __slots__ = ("_connection", "_vault")

    def __init__(
        self, connection: "PoolConnectionProxy[Record]", vault: Vault | None = None
    ) -> None:
        self._connection = connection
        self._vault = vault

    @property
    def vault(self) -> Vault:
        """What opens sealed columns; to ask a database that was opened without one is a bug."""
        if self._vault is None:
            raise LookupError("this database was opened without a vault")
        return self._vault

    async def execute(self, sql: str, *args: object) -> str:
        with translated(late=StoreTimeoutError):
            return await self._connection.execute(sql, *args)

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        with translated(late=StoreTimeoutError):
            return await self._connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> Record | None:
        with translated(late=StoreTimeoutError):
            return await self._connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        with translated(late=StoreTimeoutError):
            return await self._connection.fetchval(sql, *args)


class Database:
    """A pool on a migrated database. Owns its connections from ``open`` to ``close``.

    ``url`` is the owner's: each connection logs in as it and takes the application's role at its
    start, for good. ``command_timeout_s`` limits each statement, ``connect_timeout_s`` each new
    connection. ``vault`` opens what is sealed in it.
    """

    def __init__(
        self,
        url: str,
        *,
        vault: Vault | None = None,
        min_size: int = 2,
        max_size: int = 10,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._vault = vault
        self._min_size = min_size
        self._max_size = max_size
        self._command_timeout_s = command_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._pool: asyncpg.Pool[Record] | None = None
        self._waiting = 0

    async def open(self) -> None:
        """Connect and check version and role. StoreUnavailableError: try again later;
        StoreRefusedError: it will not get better by itself."""
        if self._pool is not None:
            return
        with connecting():
            pool = await asyncpg.create_pool(
                self._url,
                min_size=self._min_size,
                max_size=self._max_size,
                max_queries=QUERIES_PER_CONNECTION,
                max_inactive_connection_lifetime=0,
                timeout=self._connect_timeout_s,
                command_timeout=self._command_timeout_s,
                init=prepare_connection,
                reset=_leave_as_it_is,
                server_settings=_session_settings(),
            )
        self._pool = pool
        try:
            await self._check()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let running transactions end for a moment, then cut them; safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    async def __aenter__(self) -> "Database":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        """A transaction that sees and writes the rows of this tenant alone; committed at the end,
        rolled back by any exception. After StoreUnavailableError the commit is uncertain only if
        it was raised by the end of the block."""
        async with self._transaction(BEGIN_TENANT.format(tenant_id=_chosen(tenant_id))) as tx:
            yield tx

    async def call(self, tenant_id: TenantId, sql: str, *args: object) -> Record | None:
        """One call of a function as a transaction of its own: a third of the round trips. ``sql``
        calls it with CHOSEN_TENANT as its first argument, ``args`` are from $2 on; the answer is
        the first row. After StoreUnavailableError it is uncertain whether it was done."""
        chosen = _chosen(tenant_id)
        pool, connection = await self._acquire()
        try:
            with translated(late=StoreTimeoutError):
                return await connection.fetchrow(sql, chosen, *args)
        except StoreUnavailableError as error:
            if not isinstance(error, StoreTimeoutError):
                _cut(connection)
            raise
        finally:
            await _give_back(pool, connection)

    @asynccontextmanager
    async def snapshot(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        """The same to read only: every statement sees the rows as they were at the first one."""
        async with self._transaction(BEGIN_SNAPSHOT.format(tenant_id=_chosen(tenant_id))) as tx:
            yield tx

    @asynccontextmanager
    async def ops(self) -> AsyncIterator[Tx]:
        """A read-only transaction that sees the ops views of all tenants, and nothing else."""
        async with self._transaction(BEGIN_OPS) as tx:
            yield tx

    @asynccontextmanager
    async def installation(self) -> AsyncIterator[Tx]:
        """A transaction on the installation's own tables (users, tokens, the audit); it sees no
        tenant's row. Committed and rolled back as ``tenant()``."""
        async with self._transaction("BEGIN") as tx:
            yield tx

    async def ping(self) -> None:
        """One round trip; StoreUnavailableError tells that there is none."""
        async with self._transaction("BEGIN READ ONLY") as tx:
            await tx.fetchval("SELECT 1")

    def figures(self) -> PoolFigures:
        """How the pool is used at this moment."""
        if self._pool is None:
            return PoolFigures(limit=self._max_size)
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return PoolFigures(size, idle, self._max_size, self._waiting)

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Tx]:
        pool, connection = await self._acquire()
        try:
            with translated():
                await connection.execute(begin)
            yield Tx(connection, self._vault)
            with translated():
                await connection.execute("COMMIT")
        except BaseException as error:
            await _abandon(connection, error)
            raise
        finally:
            await _give_back(pool, connection)

    async def _acquire(self) -> "tuple[asyncpg.Pool[Record], PoolConnectionProxy[Record]]":
        """A free connection, and the pool that it goes back to."""
        if self._pool is None:
            raise StoreUnavailableError("The database is not open.")
        pool = self._pool
        self._waiting += 1
        try:
            with translated():
                return pool, await pool.acquire(timeout=FREE_TIMEOUT_S + self._connect_timeout_s)
        finally:
            self._waiting -= 1

    async def _check(self) -> None:
        async with self._transaction("BEGIN READ ONLY") as tx:
            row = await tx.fetchrow(WHO_AM_I)
        if row is None or row["role"] != APP_ROLE or row["unbound"]:
            raise StoreRefusedError(
                f"The database connection does not act as {APP_ROLE}.",
                next_step="Run flowhq-daemon migrate; connect without a pooler that drops "
                "start-up settings.",
            )
        refuse_old_server(row["version"])


def _chosen(tenant_id: TenantId) -> TenantId:
    """TypeError for anything else: it is written into a statement."""
    if not isinstance(tenant_id, UUID):
        raise TypeError("a tenant is chosen by its UUID")
    return tenant_id


def refuse_old_server(version: int) -> None:
    """StoreRefusedError if ``version`` (server_version_num) is older than PostgreSQL 14."""
    if version < OLDEST_SERVER:
        raise StoreRefusedError(
            f"PostgreSQL {version // 10_000} is too old.", next_step="Use PostgreSQL 14 or newer."
        )


async def prepare_connection(connection: "asyncpg.Connection[Record]") -> None:
    """JSON columns cross as Python values."""
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda value: orjson.dumps(value).decode(),
        decoder=orjson.loads,
        schema="pg_catalog",
    )


async def _leave_as_it_is(_: "asyncpg.Connection[Record]") -> None:
    """Saves a round trip: whatever a transaction here sets ends with it, so nothing is to reset."""


def _session_settings() -> dict[str, str]:
    return {
        "role": APP_ROLE,
        "application_name": "flowhq",
        "timezone": "UTC",
        "jit": "off",
        # Of a disk without a moving arm: else small tables are read whole for each foreign key.
        "random_page_cost": "1.1",
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    }


async def _abandon(connection: "PoolConnectionProxy[Record]", error: BaseException) -> None:
    """Roll back if the server still answers; cut the connection if it may not. A statement that is
    not ended in time is broken off at the server: else it would run on there, with its locks."""
    if isinstance(error, StoreUnavailableError) and not isinstance(error, StoreTimeoutError):
        _cut(connection)
        return
    try:
        await connection.execute("ROLLBACK", timeout=ROLLBACK_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        _cut(connection)
    except asyncio.CancelledError:
        _cut(connection)
        raise


async def _give_back(
    pool: "asyncpg.Pool[Record]", connection: "PoolConnectionProxy[Record]"
) -> None:
    """The connection's own end is no error of the work that was done: asyncpg replaces it."""
    try:
        await pool.release(connection, timeout=ROLLBACK_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        _cut(connection)


def _cut(connection: "PoolConnectionProxy[Record]") -> None:
    """Close without a word to the server; one that is closed has left its proxy already."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()
