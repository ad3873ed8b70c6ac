"""One daemon on a database: a lock of PostgreSQL that lives as long as its connection.

Two daemons would run every tenant twice. The embedded server has its own lock on the directory;
this one also holds for a server that many machines reach.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import structlog
from asyncpg import Record

from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.errors import InUseError, StoreError

log = structlog.get_logger(__name__)

# Any number, as long as it never changes and is no other lock's.
LOCK_KEY = 0x464C_4F57_4852
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
POLL_S = 0.2
# The connection of a daemon that was killed is ended by the server as soon as it notices.
TAKE_LIMIT_S = 15.0
WATCH_S = 2.0
ASK_LIMIT_S = 5.0


class Claim:
    """Held from `held` on; `keep` takes it again when PostgreSQL was away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()
        self._connection: asyncpg.Connection[Record] | None = None
        self._taken = False

    @asynccontextmanager
    async def held(self, *, limit_s: float = TAKE_LIMIT_S) -> AsyncIterator["Claim"]:
        """InUseError if another daemon holds it so long; StoreUnavailableError as any call."""
        try:
            async with asyncio.timeout(limit_s):
                while not await self._take():  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            await self._let_go()
            raise InUseError(
                "Another daemon works on this database.",
                next_step="Stop it, or give this one a database of its own ([database] url).",
            ) from None
        try:
            yield self
        finally:
            await self._let_go()

    async def keep(self, lost: Callable[[], None]) -> None:
        """Watch over it until cancelled; ``lost`` is called, and this ends, when another daemon has
        taken it while PostgreSQL was away from here."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                if await self._is_held() or await self._take():
                    continue
            except StoreError:
                continue  # nobody can take it where nobody is let in; the pool tells of the outage
            log.critical("another daemon works on this database: stopping")
            lost()
            return

    async def _take(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            await self._let_go()
            self._connection = await self._stack.enter_async_context(owner_connection(self._url))
        with translated():
            self._taken = await self._connection.fetchval(TRY_LOCK, LOCK_KEY, timeout=ASK_LIMIT_S)
        return self._taken

    async def _is_held(self) -> bool:
        """True as long as the connection that took it lives: the server ends both together."""
        connection = self._connection
        if connection is None or not self._taken:
            return False
        try:
            with translated():
                await connection.fetchval("SELECT 1", timeout=ASK_LIMIT_S)
        except StoreError:
            if connection.is_closed():
                await self._let_go()
                return False
            raise
        return True

    async def _let_go(self) -> None:
        self._connection, self._taken = None, False
        await self._stack.aclose()
