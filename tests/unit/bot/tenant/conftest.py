"""A tenant on a fake channel, ledger and clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.model import DesiredState, Jid
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import EPOCH, FakeClock, settle
from tests.fakes.guards import NO_LIMITS, guards
from tests.fakes.ledger import TENANT, FakeLedger
from tests.fakes.memory import memory
from tests.fakes.meter import FakeMeter
from tests.fakes.responder import FakeResponder
from tests.fakes.statusbook import FakeStatusBook


class SlowlyClosing(FakeChannel):
    """Its closing waits for ``may_close``, fails if told, and is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.close_error: Exception | None = None
        self.closed = 0

    async def close(self) -> None:
        await self.may_close.wait()
        if self.close_error is not None:
            raise self.close_error
        self.closed += 1
        await super().close()

    async def kill(self) -> None:
        self.may_close.set()
        self.close_error = None
        await super().kill()


class Bench:
    """What outlives a run: ledger, page and peer. ``chat_queue`` messages fit into a lane."""

    def __init__(
        self, *, budget: ReplyBudget = NO_LIMITS, chat_queue: int = 50, pace_ms: int = 0
    ) -> None:
        self.clock = FakeClock(EPOCH + timedelta(hours=1))
        self.ledger = FakeLedger(self.clock)
        self.ledger.paired_at = EPOCH - timedelta(days=1)
        self.channel = SlowlyClosing()
        self.channel.monotonic = self.clock.monotonic
        self.book = FakeStatusBook()
        self.responder = FakeResponder()
        self.memory = memory(self.clock)
        self.meter = FakeMeter()
        self.lifecycle = Lifecycle(
            TENANT, self.book, desired=DesiredState.RUNNING, paired=True, paused=False
        )
        self.guards = guards(self.clock, budget=budget)
        self.settings = LimitSettings(chat_queue=chat_queue, pace_ms=pace_ms)
        self.runner: TenantRunner
        self.task: asyncio.Task[None]

    def new_runner(self) -> TenantRunner:
        return TenantRunner(
            TenantParts(
                channel=self.channel,
                ledger=self.ledger,
                lifecycle=self.lifecycle,
                responder=lambda: self.responder,
                guards=self.guards,
                clock=self.clock,
                limits=self.settings,
                supervision=SupervisorSettings(),
                memory=self.memory,
                meter=self.meter,
            )
        )

    async def start(self) -> None:
        await self.lifecycle.apply(Event.START)
        self.runner = self.new_runner()
        self.task = asyncio.create_task(self._life())

    async def _life(self) -> None:
        """As its keeper does it: whatever happens, the channel is closed in the end."""
        try:
            await self.runner.run()
        finally:
            await self.runner.close()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """One run from ready to its stop."""
        await self.start()
        await settle()
        self.channel.ready()
        await settle()
        try:
            yield
        finally:
            await self.stop()

    def receive(self, text: str, *, chat: Jid = CUSTOMER, live: bool = True) -> str:
        return self.channel.receive(
            text, chat=chat, message_id=f"in {chat} {text}", live=live
        ).message_id

    def sent(self, chat: Jid = CUSTOMER) -> list[str]:
        return [message.text for message in self.channel.reached if message.to == chat]

    async def failure(self) -> BaseException:
        await asyncio.wait({self.task})
        error = self.task.exception()
        assert error is not None
        return error


@pytest.fixture
def bench() -> Bench:
    return Bench()
