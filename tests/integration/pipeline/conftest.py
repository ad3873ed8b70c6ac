"""One tenant from the channel to the database: a scripted channel, everything else is real."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.clock import SystemClock
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.db.installation import Installation, load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.model import ChatHead, DesiredState, InboundMessage, Jid, TenantId
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.guards import guards
from tests.fakes.memory import memory
from tests.fakes.responder import FakeResponder
from tests.pg import database, pg_home, pg_server, postgres_url

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]

PHONE = "+255700000001"
# Nothing is held up; a test changes what it is about.
QUICK = LimitSettings(pace_ms=0)


class Watched(FakeChannel):
    """Counts how often its chats were asked for: what shows up afterwards is live."""

    def __init__(self) -> None:
        super().__init__(buffer=20_000)
        self.asked = 0

    async def chats(self) -> Sequence[ChatHead]:
        found = await super().chats()
        self.asked += 1
        return found


class Pipeline:
    """A tenant that can be run, stopped and looked into. ``settings`` hold from the next run."""

    def __init__(self, database: Database, tenant_id: TenantId, key: bytes) -> None:
        self.tenant_id = tenant_id
        self.database = database
        self.clock = SystemClock()
        self.ledger = PostgresLedger(database, tenant_id, key)
        self.channel = Watched()
        self.channel.monotonic = self.clock.monotonic
        self.responder = FakeResponder()
        self.guards = guards(self.clock)
        self.memory = memory(self.clock)
        self.settings = QUICK
        self.task: asyncio.Task[None]
        self.runner: TenantRunner

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """One run from ready to its stop; an error of the run is the test's."""
        lifecycle = Lifecycle(
            self.tenant_id,
            PostgresStatusBook(self.database),
            desired=DesiredState.RUNNING,
            paired=True,
            paused=False,
        )
        await lifecycle.apply(Event.START)
        self.runner = TenantRunner(
            TenantParts(
                channel=self.channel,
                ledger=self.ledger,
                lifecycle=lifecycle,
                responder=lambda: self.responder,
                guards=self.guards,
                clock=self.clock,
                limits=self.settings,
                supervision=SupervisorSettings(),
                memory=self.memory,
            )
        )
        opened, asked = self.channel.opened, self.channel.asked
        self.task = asyncio.create_task(self.runner.run())
        await until(lambda: self.channel.opened > opened)
        self.channel.ready()
        await until(lambda: self.channel.asked > asked)
        try:
            yield
        finally:
            self.task.cancel()
            await asyncio.wait({self.task})
            await self.channel.close()
        assert self.task.cancelled(), self.task.exception()

    def receive(self, text: str, *, ago_s: float = 0.0, **more: Any) -> InboundMessage:
        """A message shows up; ``ago_s`` seconds old."""
        at = more.pop("at", datetime.now(UTC) - timedelta(seconds=ago_s))
        return self.channel.receive(text, at=at, **more)

    def sent(self, chat: Jid = CUSTOMER) -> list[str]:
        return [message.text for message in self.channel.reached if message.to == chat]

    async def value(self, sql: str, *args: object) -> Any:
        """One value of this tenant's rows; $1 is the tenant."""
        async with self.database.tenant(self.tenant_id) as tx:
            return await tx.fetchval(sql, self.tenant_id, *args)

    async def state(self, message: InboundMessage) -> tuple[str, str] | None:
        """State and reason of an inbox row."""
        sql = """SELECT ARRAY[state::text, reason] FROM inbox
            WHERE tenant_id = $1 AND from_me = $2 AND wa_message_id = $3"""
        found = await self.value(sql, message.from_me, message.message_id)
        return None if found is None else (str(found[0]), str(found[1]))

    async def becomes(self, message: InboundMessage, *wanted: str) -> None:
        """Waits until the message's row has this state and, if given, this reason."""
        await self.eventually(
            lambda: self.state(message),
            lambda found: found is not None and found[: len(wanted)] == wanted,
        )

    async def events(self) -> list[tuple[str, str]]:
        """Name and detail of what stands in the tenant's history beside its states, in order."""
        sql = """SELECT array_agg(ARRAY[event, detail] ORDER BY id) FROM tenant_events
            WHERE tenant_id = $1 AND from_status = to_status AND event LIKE '%\\_%'
                AND event NOT IN ('qr_shown', 'qr_idle')"""
        return [(str(name), str(detail)) for name, detail in await self.value(sql) or []]

    async def eventually(self, look: Callable[[], Any], good: Callable[[Any], bool] = bool) -> Any:
        """What ``look`` gives as soon as it is ``good``."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            found = await look()
            if good(found):
                return found
            assert asyncio.get_running_loop().time() < deadline, found
            assert not self.task.done(), self.task.exception()
            await asyncio.sleep(0.01)


@pytest.fixture
async def installation(postgres_url: str) -> Installation:
    return await load_installation(postgres_url)


@pytest.fixture
async def pipeline(database: Database, installation: Installation) -> Pipeline:
    """Paired a day ago, so that what came since is a backlog."""
    row = await create_tenant(database, NewTenant("Duka", PHONE, "Duka la Asha"))
    made = Pipeline(database, row.tenant_id, installation.tenant_key(row.tenant_id))
    await made.value(
        """UPDATE whatsapp_sessions SET paired_at = now() - interval '1 day'
        WHERE tenant_id = $1 RETURNING paired_at"""
    )
    return made
