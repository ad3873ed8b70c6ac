"""The sender of one tenant on a fake channel, ledger and clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from flowhq.bot.acks import AckWatch
from flowhq.bot.outbound import Outbound
from flowhq.bot.ratelimit import ReplyBudget, ReplyLimits
from flowhq.bot.trace import Traces
from flowhq.bot.turns import Turns
from flowhq.config import LimitSettings
from flowhq.model import ChatKey, Jid, OutboundMessage, OutboxState, Reply, SendReceipt
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.memory import memory
from tests.fakes.meter import FakeMeter
from tests.fakes.rows import OutboxRow

OTHER = Jid("255700000002@c.us")


class RecordingChannel(FakeChannel):
    """Notes the outbox row's state at the moment of each hand-over."""

    ledger: FakeLedger

    def __init__(self) -> None:
        super().__init__()
        self.states: list[OutboxState] = []
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, message: OutboundMessage) -> SendReceipt:
        self.states.append(self.ledger.outbox[message.outbox_id].state)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await super().send(message)
        finally:
            self.under_way -= 1


class Bench:
    """A ledger and a page that stay, and senders that come and go."""

    def __init__(self, *, pace_ms: int = 0, chat_queue: int = 50) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.channel = RecordingChannel()
        self.channel.ledger = self.ledger
        self.channel.echo = False
        self.online = asyncio.Event()
        self.online.set()
        self.memory = memory(self.clock)
        self.meter = FakeMeter()
        self.settings = LimitSettings(pace_ms=pace_ms, chat_queue=chat_queue)
        self.limits = ReplyLimits(ReplyBudget(tenant_replies=2), monotonic=self.clock.monotonic)
        self.outbound: Outbound
        self._serial = count(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Outbound]:
        """One run of the tenant, ended by a cancellation as the supervisor does."""
        await self.channel.open()

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                self.outbound = Outbound(
                    group,
                    self.channel,
                    self.ledger,
                    self.clock,
                    self.settings,
                    Traces(self.clock, self.meter),
                    self.online,
                    AckWatch(self.channel, self.memory),
                    turns=Turns(self.limits, self.clock),
                    dedup=self.memory.dedup,
                )
                started.set()
                await asyncio.Event().wait()

        started = asyncio.Event()
        self.task = asyncio.create_task(run())
        await started.wait()
        try:
            yield self.outbound
        finally:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def plan(
        self, text: str, chat: Jid = CUSTOMER, *, in_s: float = 0.0, why: str = "test"
    ) -> OutboundMessage:
        cause, reply = f"{why}:{next(self._serial)}", Reply(text, "x", in_s)
        self.ledger.know(chat)
        [row] = await self.ledger.notify(ChatKey(chat), chat, cause=cause, reply=reply)
        return row

    async def say(self, *texts: str, chat: Jid = CUSTOMER) -> list[OutboundMessage]:
        rows = [await self.plan(text, chat) for text in texts]
        self.outbound.put(rows)
        return rows

    def row(self, message: OutboundMessage) -> OutboxRow:
        return self.ledger.outbox[message.outbox_id]

    def sent(self) -> list[str]:
        return [message.text for message in self.channel.reached]

    def calls(self) -> list[str]:
        return [message.text for message in self.channel.calls]

    def states(self) -> list[OutboxState]:
        return [row.state for row in self.ledger.outbox.values()]

    async def restore(self) -> None:
        self.outbound.put(await self.ledger.unsettled())


@pytest.fixture
def bench() -> Bench:
    return Bench()
