"""One tenant on a real PostgreSQL in this process, whose process can "die" and come back.

A death drops everything in memory: no later call of the dead run reaches the database, transactions
under way are rolled back, a single call under way was done or was not, events not yet read are
gone. Database and platform stay.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
from asyncpg import Record

from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.memory import Memory
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.db.chats import resume_chat
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database, Tx
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.errors import ChannelRestartError, StoreUnavailableError
from flowhq.model import DesiredState, InboundMessage, Jid, MessageId, Reason, TenantId
from tests.fakes.guards import guards
from tests.fakes.memory import memory
from tests.fakes.responder import FakeResponder
from tests.fakes.statusbook import FakeStatusBook
from tests.faults.modelplatform import Platform

T = TypeVar("T")

# Waits of minutes pass in seconds; what PostgreSQL needs takes as long as it takes.
FASTER = 60.0
QUIET_WITHIN_S = 60.0
POLL_S = 0.005
# Lanes that overflow, and nothing that holds replies back.
LIMITS = LimitSettings(pace_ms=0, chat_queue=2)

CHAT = """
SELECT c.id FROM chat_aliases a
JOIN conversations c ON c.tenant_id = a.tenant_id AND c.chat_key = a.chat_key
WHERE a.tenant_id = $1 AND a.jid = $2
"""
SETTLED = """
SELECT i.wa_message_id AS id FROM inbox i
WHERE i.tenant_id = $1 AND i.state NOT IN ('new', 'retry') AND NOT EXISTS (
    SELECT FROM outbox o WHERE o.tenant_id = i.tenant_id AND o.cause = i.wa_message_id
        AND o.state IN ('planned', 'sending', 'unknown')
)
"""


class FastClock:
    """Time that runs faster than the machine's."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._began = datetime.now(UTC)

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (time.monotonic() - self._began_s) * FASTER

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / FASTER)


class DiedError(Exception):
    """The process that asks is dead."""


class Server:
    """How PostgreSQL treats whoever asks."""

    def __init__(self) -> None:
        self.away = False
        self.lost_answers = 0
        """So much of what is asked next is done, and the answers never come."""
        self.lost = 0
        """So many never came."""

    def behave(self) -> None:
        self.away, self.lost_answers = False, 0


class MortalDatabase(Database):
    """The database as one process sees it: DiedError for whatever a dead one asks."""

    def __init__(self, url: str, server: Server) -> None:
        super().__init__(url, min_size=1, max_size=4)
        self.dead = False
        self._server = server

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        self._refuse()
        async with super().tenant(tenant_id) as tx:
            yield tx
            self._refuse()
        self._answer()

    async def call(self, tenant_id: TenantId, sql: str, *args: object) -> Record | None:
        self._refuse()
        row = await super().call(tenant_id, sql, *args)
        self._answer()
        return row

    def _refuse(self) -> None:
        if self.dead:
            raise DiedError
        if self._server.away:
            raise StoreUnavailableError("PostgreSQL is away.")

    def _answer(self) -> None:
        if self.dead:
            raise DiedError
        if self._server.lost_answers:
            self._server.lost_answers -= 1
        elif not self._server.away:
            return
        self._server.lost += 1
        raise StoreUnavailableError("The answer never came.")


@dataclass(frozen=True, slots=True)
class Life:
    """One process: its connections, and its memory, which outlives its pages."""

    database: MortalDatabase
    memory: Memory


class Shop:
    """The tenant: its platform, its database, and at most one process that runs it."""

    def __init__(self, url: str, database: Database, tenant_id: TenantId, key: bytes) -> None:
        self.database = database
        """To look into, whatever becomes of the process."""
        self.tenant_id = tenant_id
        self.platform = Platform()
        self.server = Server()
        self.deaths = 0
        self.clock = FastClock()
        self.platform.monotonic = self.clock.monotonic
        self._url = url
        self._key = key
        self._guards = guards(self.clock)
        self._life: Life | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str) -> "Shop":
        database = Database(url, min_size=1, max_size=4)
        await database.open()
        number = await _value(url, "SELECT count(*) FROM tenants")
        row = await create_tenant(database, NewTenant("Duka", f"+2557{number:08}", "Duka"))
        await _value(
            url,
            "UPDATE whatsapp_sessions SET paired_at = now() - interval '1 day'"
            " WHERE tenant_id = $1",
            row.tenant_id,
        )
        key = (await load_installation(url)).tenant_key(row.tenant_id)
        return cls(url, database, row.tenant_id, key)

    async def close(self) -> None:
        await self.die()
        await self.database.close()

    # -- the process ------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self._life is not None

    async def start(self) -> None:
        """A process begins; its page is ready."""
        database = MortalDatabase(self._url, self.server)
        await database.open()
        self._life = Life(database, memory(self.clock))
        await self._run(self._life)

    async def _run(self, life: Life) -> None:
        ledger = PostgresLedger(
            life.database, self.tenant_id, self._key, monotonic=self.clock.monotonic
        )
        lifecycle = Lifecycle(
            self.tenant_id,
            FakeStatusBook(),
            desired=DesiredState.RUNNING,
            paired=True,
            paused=False,
        )
        await lifecycle.apply(Event.START)
        responder = FakeResponder()
        parts = TenantParts(
            channel=self.platform,
            ledger=ledger,
            lifecycle=lifecycle,
            responder=lambda: responder,
            guards=self._guards,
            clock=self.clock,
            limits=LIMITS,
            supervision=SupervisorSettings(),
            memory=life.memory,
        )
        opened = self.platform.opened
        self._task = asyncio.create_task(TenantRunner(parts).run())
        await self.until(lambda: _true(self.platform.opened > opened))
        self.platform.ready()

    async def die(self) -> None:
        """kill -9, as far as a task can."""
        life, self._life = self._life, None
        if life is None:
            return
        self.deaths += 1
        life.database.dead = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.platform.close()
        await life.database.close()

    async def supervise(self) -> None:
        """A run that ended because its page did is begun anew; any other end is a defect."""
        await asyncio.sleep(POLL_S)
        if self._life is None or self._task is None or not self._task.done():
            return
        task, self._task = self._task, None
        error = task.exception()
        assert isinstance(error, ChannelRestartError), repr(error)
        await self.platform.close()
        await self._run(self._life)

    # -- looking ----------------------------------------------------------------------------------

    async def rows(self, sql: str, *args: object) -> list[dict[str, Any]]:
        """Rows of this tenant; $1 is the tenant."""
        async with self.database.tenant(self.tenant_id) as tx:
            return [dict(row) for row in await tx.fetch(sql, self.tenant_id, *args)]

    async def settled(self, messages: Iterable[InboundMessage]) -> set[MessageId]:
        """Those with which the tenant is done: recorded, decided, and no reply is under way."""
        done = {row["id"] for row in await self.rows(SETTLED)}
        return {message.message_id for message in messages} & done

    async def recorded(self, message: InboundMessage) -> bool:
        sql = "SELECT 1 FROM inbox WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3"
        return bool(await self.rows(sql, message.from_me, message.message_id))

    async def resume(self, jid: Jid) -> None:
        """An operator ends the bot's silence in this chat."""
        (chat,) = await self.rows(CHAT, jid)
        await resume_chat(self.database, self.tenant_id, chat["id"], actor="admin")

    async def heal(self) -> None:
        """Everything behaves again, and a page that was loaded anew reads what was missed."""
        self.platform.behave()
        self.server.behave()
        if self.runs:
            self.platform.crash(Reason.PAGE_CRASHED)
            await self.until(self._ended)
            await self.supervise()
        else:
            await self.start()

    async def _ended(self) -> bool:
        return self._task is None or self._task.done()

    async def until(
        self, holds: Callable[[], Awaitable[bool]], *, supervised: bool = False
    ) -> None:
        """``supervised``: a run that ends meanwhile is begun anew."""
        deadline = time.monotonic() + QUIET_WITHIN_S
        while not await holds():
            if supervised:
                await self.supervise()
            assert time.monotonic() < deadline, "it did not come true in time"
            await asyncio.sleep(POLL_S)


async def _value(url: str, sql: str, *args: object) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql, *args, timeout=10)
    finally:
        await connection.close(timeout=10)


async def _true(value: bool) -> bool:
    return value


def run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return loop.run_until_complete(asyncio.wait_for(work, QUIET_WITHIN_S * 2))
