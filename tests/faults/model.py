"""One tenant on a real PostgreSQL in this process, whose process can "die" and come back.

A death drops everything in memory: no later call of the dead run reaches the ledger, transactions
under way are rolled back, events not yet read are gone. Database and platform stay.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.memory import Memory
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.clock import Clock
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database, Tx
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.errors import ChannelRestartError, StoreUnavailableError
from flowhq.model import (
    ConversationView,
    Decision,
    DesiredState,
    InboundMessage,
    Jid,
    OutboundMessage,
    Outcome,
    Reason,
    TenantId,
)
from tests.fakes.channel import FakeChannel
from tests.fakes.guards import guards
from tests.fakes.ledger import FakeStatusBook
from tests.fakes.responder import FakeResponder

T = TypeVar("T")

# Waits of minutes pass in seconds; what PostgreSQL needs takes as long as it takes.
FASTER = 60.0
QUIET_WITHIN_S = 60.0
POLL_S = 0.005
# Lanes that overflow, and nothing that holds replies back.
LIMITS = LimitSettings(pace_ms=0, chat_queue=2)


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


class Life:
    """One process's life, and how the database treats it."""

    def __init__(self, memory: Memory) -> None:
        self.dead = False
        self.memory = memory
        self.outage = False
        self.lost_answers = 0
        """So many of the next commits happen, and their answers never come."""


class MortalLedger(PostgresLedger):
    """The ledger as one process sees it."""

    def __init__(
        self, database: Database, tenant_id: TenantId, key: bytes, life: Life, clock: Clock
    ) -> None:
        super().__init__(database, tenant_id, key, monotonic=clock.monotonic)
        self._life = life

    @asynccontextmanager
    async def _tx(self) -> AsyncIterator[Tx]:
        self._check()
        async with super()._tx() as tx:
            yield tx
            self._check()
        if self._life.lost_answers:
            self._life.lost_answers -= 1
            raise StoreUnavailableError("The answer to the commit never came.")

    def _check(self) -> None:
        if self._life.dead:
            raise DiedError
        if self._life.outage:
            raise StoreUnavailableError("PostgreSQL is away.")


class Discreet(FakeResponder):
    """Keeps silent where a person took over, as every responder has to."""

    def respond(
        self, message: InboundMessage, view: ConversationView, *, now: datetime
    ) -> Decision:
        if view.paused_until is not None and now < view.paused_until:
            return Decision(Outcome.SKIPPED, "person")
        return super().respond(message, view, now=now)


class Platform(FakeChannel):
    """Counts what reaches the customers, repeats included."""

    def __init__(self) -> None:
        super().__init__(buffer=10_000)
        self.arrivals: list[OutboundMessage] = []

    def behave(self) -> None:
        """From now on every send ends well, and what was held goes out."""
        self._planned.clear()
        self.send_mode = "ok"
        self.release()

    def _reach(self, message: OutboundMessage) -> None:
        self.arrivals.append(message)
        super()._reach(message)


class Shop:
    """The tenant: its platform, its database, and at most one process that runs it."""

    def __init__(self, database: Database, tenant_id: TenantId, key: bytes) -> None:
        self.database = database
        self.tenant_id = tenant_id
        self.platform = Platform()
        self.life = Life(Memory())
        self.deaths = 0
        self.clock = FastClock()
        self._key = key
        self._guards = guards(self.clock)
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
        return cls(database, row.tenant_id, key)

    async def close(self) -> None:
        await self.die()
        await self.database.close()

    # -- the process ------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self._task is not None

    async def start(self, memory: Memory | None = None) -> None:
        """A process begins, or goes on with its memory; the page is ready."""
        self.life = Life(memory or Memory())
        ledger = MortalLedger(self.database, self.tenant_id, self._key, self.life, self.clock)
        lifecycle = Lifecycle(
            self.tenant_id,
            FakeStatusBook(),
            desired=DesiredState.RUNNING,
            paired=True,
            paused=False,
        )
        await lifecycle.apply(Event.START)
        responder = Discreet()
        parts = TenantParts(
            channel=self.platform,
            ledger=ledger,
            lifecycle=lifecycle,
            responder=lambda: responder,
            guards=self._guards,
            clock=self.clock,
            limits=LIMITS,
            supervision=SupervisorSettings(),
            memory=self.life.memory,
        )
        opened = self.platform.opened
        self._task = asyncio.create_task(TenantRunner(parts).run())
        await self.until(lambda: _true(self.platform.opened > opened))
        self.platform.ready()

    async def die(self) -> None:
        """kill -9, as far as a task can."""
        self.deaths += 1
        self.life.dead = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.platform.close()

    async def supervise(self) -> None:
        """A run that ended because its page did is begun anew; any other end is a defect."""
        await asyncio.sleep(POLL_S)
        if self._task is None or not self._task.done():
            return
        task, self._task = self._task, None
        error = task.exception()
        assert isinstance(error, ChannelRestartError), repr(error)
        await self.platform.close()
        await self.start(self.life.memory)

    # -- looking ----------------------------------------------------------------------------------

    async def rows(self, sql: str, *args: object) -> list[dict[str, Any]]:
        """Rows of this tenant; $1 is the tenant."""
        async with self.database.tenant(self.tenant_id) as tx:
            return [dict(row) for row in await tx.fetch(sql, self.tenant_id, *args)]

    async def recorded(self, message: InboundMessage) -> bool:
        sql = "SELECT 1 FROM inbox WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3"
        return bool(await self.rows(sql, message.from_me, message.message_id))

    async def heal(self) -> None:
        """Everything behaves again, and a page that was loaded anew reads what was missed."""
        self.platform.behave()
        if self.runs:
            self.life.outage, self.life.lost_answers = False, 0
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


class Told:
    """What the model remembers of one chat, to hold the tenant to."""

    def __init__(self, *jids: Jid) -> None:
        self.jids = jids
        self.asked: list[InboundMessage] = []
        self.by_a_person = False
        self.silent_from: int | None = None
        """From this message on the owner's takeover was recorded before it was written."""


def repeated(arrivals: list[OutboundMessage]) -> list[str]:
    counts = Counter(message.client_id for message in arrivals)
    return [message_id for message_id, count in counts.items() if count > 1]


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
