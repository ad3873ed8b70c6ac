"""A pump over a scripted channel, and what many tests do with it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from flowhq.bot.catchup import CatchUp
from flowhq.bot.chats import Place, QueuedMessage
from flowhq.bot.inbound import Inbound
from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.pump import Pump
from flowhq.bot.trace import Traces
from flowhq.model import (
    ChatKey,
    DesiredState,
    MessageId,
)
from tests.fakes.channel import FakeChannel
from tests.fakes.clock import EPOCH, FakeClock, settle
from tests.fakes.ledger import TENANT, FakeLedger
from tests.fakes.memory import memory
from tests.fakes.recording import recording
from tests.fakes.statusbook import FakeStatusBook


class Bench:
    """A pump over a scripted channel; ``steps`` has what happened, in order."""

    def __init__(
        self,
        ledger: FakeLedger | None = None,
        channel: FakeChannel | None = None,
        last_seen_at: datetime | None = None,
    ) -> None:
        self.clock = FakeClock(EPOCH + timedelta(hours=1))
        self.ledger = ledger or FakeLedger(self.clock)
        self.ledger.paired_at = EPOCH - timedelta(days=1)
        self.channel = channel or FakeChannel()
        self.book = FakeStatusBook()
        self.steps: list[str] = []
        self.acked: list[MessageId] = []
        self.online = asyncio.Event()
        self.memory = memory(self.clock)
        self.lifecycle = Lifecycle(
            TENANT,
            self.book,
            desired=DesiredState.RUNNING,
            paired=True,
            paused=False,
            last_seen_at=last_seen_at,
        )
        inbound = Inbound(
            recording(self.ledger, self.clock),
            self.memory.dedup,
            Traces(self.clock),
            paused=lambda: self.lifecycle.snapshot.paused,
            line_up=self._line_up,
            lined_up=lambda recorded, message, place: None,
        )
        self.catchup = CatchUp(
            self.channel,
            self.ledger,
            inbound,
            self.clock,
            max_age_s=43_200,
            memory=self.memory,
        )
        self.pump = Pump(
            self.channel,
            self.ledger,
            self.lifecycle,
            self.clock,
            inbound=inbound,
            catchup=self.catchup,
            online=self.online,
            acknowledged=self._acknowledged,
            paired=lambda phone, lid: None,
            restore=self._restore,
            memory=self.memory,
        )

    def _line_up(self, chat: ChatKey, queued: QueuedMessage) -> Place:
        self.steps.append(queued.key.message_id)
        return Place.IN_LINE

    def _acknowledged(self, ids: Sequence[MessageId]) -> None:
        self.acked.extend(ids)

    async def _restore(self) -> None:
        self.steps.append("restore")
        assert not self.online.is_set(), "nothing is sent before it is known what came before"
        for waiting in await self.ledger.waiting(None, limit=100):
            self._line_up(waiting.chat_key, QueuedMessage(waiting.key))

    async def start(self) -> None:
        await self.channel.open()
        await self.lifecycle.apply(Event.START)
        self.task = asyncio.create_task(self.pump.run())

    async def ready(self) -> None:
        self.channel.ready()
        await settle()

    def receive(self, message_id: str, *, live: bool = True) -> None:
        self.channel.receive("habari", message_id=message_id, live=live)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.start()
    yield bench
    bench.task.cancel()
    await asyncio.wait({bench.task})
