"""Failures of every kind at random: nothing is lost, twice or out of order."""

import asyncio
import random
from collections import defaultdict

import pytest

from flowhq.bot import outbound as outbound_module
from flowhq.events import ConnectionLost, MessageSeen
from flowhq.model import InboxState, Jid, OutboxState
from tests.fakes.clock import settle
from tests.unit.bot.tenant.conftest import Bench


class Storm:
    """Customers write while runs end in every way at every moment; seeds make it repeatable."""

    CHATS = tuple(Jid(f"25570000000{number}@c.us") for number in range(3))

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.bench = Bench(chat_queue=4)
        self.written: dict[Jid, list[str]] = defaultdict(list)

    async def write(self) -> None:
        """A message, sometimes shown twice, sometimes while nobody listens."""
        chat = self.dice.choice(self.CHATS)
        text = f"{len(self.written[chat])}"
        self.written[chat].append(text)
        message = self.bench.channel.receive(
            text, chat=chat, message_id=f"in {chat} {text}", at=self.bench.clock.now()
        )
        if self.dice.random() < 0.3:
            self.bench.channel.emit(MessageSeen(message, self.bench.clock.monotonic()))
        await settle(self.dice.randrange(12))

    async def trouble(self) -> None:
        outages = self.bench.ledger.outages
        kind = self.dice.randrange(4)
        if kind == 0:
            outages.lose_answer("*", self.dice.randrange(1, 4))
        elif kind == 1:
            outages.fail("*", self.dice.randrange(1, 4))
        elif kind == 2:
            self.bench.channel.plan_sends(self.dice.choice(["lose", "lose_answer"]))
        else:
            self.bench.channel.emit(ConnectionLost("storm"))
            self.bench.channel.ready()

    async def one_run(self) -> None:
        bench = self.bench
        await bench.start()
        await settle()
        bench.channel.ready()
        await settle(self.dice.randrange(30))
        for _ in range(self.dice.randrange(8)):
            await self.write()
            if self.dice.random() < 0.3:
                await self.trouble()
            if self.dice.random() < 0.2:
                await bench.clock.advance(1)
        if self.dice.random() < 0.5:
            bench.channel.crash()
            await settle(self.dice.randrange(10))
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(60))
async def test_nothing_is_lost_or_answered_twice_or_out_of_order_in_a_storm(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound_module, "RECORD_S", 0.01)
    storm = Storm(seed)
    bench = storm.bench
    for _ in range(6):
        await storm.one_run()
    bench.ledger.outages = type(bench.ledger.outages)()
    bench.channel.plan_sends()
    async with bench.running():
        await bench.clock.advance(120)
        await settle(2000)
    for chat in storm.CHATS:
        answered = [
            text
            for text in storm.written[chat]
            if bench.ledger.states()[f"in {chat} {text}"] is InboxState.DONE
        ]
        assert set(answered) | _backlog(bench, chat) == set(storm.written[chat])
        # A chat in which more than four wait is asked to be patient besides.
        replies = [text for text in bench.sent(chat) if text != "please wait"]
        assert replies == [f"re: {text}" for text in answered]
    assert {row.state for row in bench.ledger.outbox.values()} <= {OutboxState.ACCEPTED}


def _backlog(bench: Bench, chat: Jid) -> set[str]:
    """Recorded and left to the answer of a later message, as the rule for a backlog wants it."""
    return {
        row.message.text
        for row in bench.ledger.inbox.values()
        if row.message.chat == chat and row.reason == "backlog"
    }
