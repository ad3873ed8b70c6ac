"""What the buffer had to drop, or a reading missed, is read from the page's own store."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest

from flowhq.bot.catchup import UNREADABLE_RUNS
from flowhq.errors import PageReadError
from flowhq.events import (
    ConnectionLost,
    EventsDropped,
)
from flowhq.model import (
    InboundMessage,
    InboxState,
    Jid,
    Reason,
)
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import settle, until
from tests.unit.bot.pump.conftest import Bench


class Reading:
    """Holds up the readings of one chat until told to go on."""

    def __init__(self, channel: FakeChannel, chat: Jid) -> None:
        self.begun = False
        self.go_on = asyncio.Event()
        self._chat = chat
        self._history = channel.history
        channel.history = self._read  # type: ignore[method-assign]

    async def _read(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        if chat == self._chat:
            self.begun = True
            await self.go_on.wait()
        return await self._history(chat, since=since, limit=limit)


async def test_dropped_events_are_read_from_the_page_in_their_place(bench: Bench) -> None:
    await bench.ready()
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    bench.receive("after")
    await settle()
    assert [key.message_id for key in bench.ledger.inbox] == ["dropped", "after"]


async def test_events_dropped_offline_are_read_when_the_page_is_back(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    bench.receive("after")
    await settle()
    assert bench.ledger.inbox == {}
    await bench.ready()
    assert [key.message_id for key in bench.ledger.inbox] == ["dropped", "after"]


@pytest.mark.parametrize("why", ["another document", "dropped events"])
async def test_a_catch_up_that_breaks_off_moves_the_mark_past_nothing(
    bench: Bench, why: str
) -> None:
    await bench.ready()
    busy, quiet = Jid("255700000002@c.us"), Jid("255700000003@c.us")
    ends = bench.clock.now()
    bench.channel.receive(
        "q", chat=quiet, message_id="q", at=ends - timedelta(minutes=1), live=False
    )
    for number in range(3):
        at = ends - timedelta(minutes=20 * number)
        bench.channel.receive("b", chat=busy, message_id=f"b{number}", at=at, live=False)
    reading = Reading(bench.channel, busy)
    if why == "dropped events":
        bench.channel.emit(EventsDropped(1))
    else:
        bench.channel.document += 1
        bench.channel.ready()
    await until(lambda: reading.begun)
    assert [key.message_id for key in bench.ledger.inbox] == ["q"]
    await bench.ledger.touch(caught_up=bench.pump.caught_up)  # a heartbeat
    bench.task.cancel()
    await asyncio.wait({bench.task})
    again = Bench(bench.ledger, bench.channel)
    reading.go_on.set()
    await again.start()
    await again.ready()
    assert {key.message_id for key in bench.ledger.inbox} == {"q", "b0", "b1", "b2"}
    assert again.pump.caught_up
    again.task.cancel()
    await asyncio.wait({again.task})


async def test_what_is_dropped_during_a_long_reading_is_read_wherever_the_mark_stands(
    bench: Bench,
) -> None:
    """The store is away for 20 minutes in the middle of the reading: what was dropped early in it
    is older than the overlap when the next reading begins."""
    early, late = Jid("255700000002@c.us"), Jid("255700000003@c.us")
    began = bench.clock.now()
    bench.channel.receive("e", chat=early, message_id="e0", at=began, live=False)
    bench.channel.receive("l", chat=late, message_id="l0", at=began, live=False)
    reading = Reading(bench.channel, late)
    bench.channel.ready()
    await until(lambda: reading.begun)
    await bench.clock.advance(1200)
    at = began + timedelta(minutes=3)
    bench.channel.receive("e", chat=early, message_id="dropped", at=at, live=False)
    bench.channel.receive("l", chat=late, message_id="l1", at=bench.clock.now(), live=False)
    reading.go_on.set()
    await until(lambda: bench.online.is_set())
    assert not bench.pump.caught_up, "the mark stays until what came meanwhile is recorded"
    assert await bench.ledger.caught_up_to() is None
    bench.channel.emit(EventsDropped(1))
    await settle()
    assert {key.message_id for key in bench.ledger.inbox} == {"e0", "l0", "l1", "dropped"}
    assert bench.pump.caught_up


async def test_after_a_long_reading_the_first_message_that_is_new_ends_the_doubt(
    bench: Bench,
) -> None:
    reading = Reading(bench.channel, CUSTOMER)
    bench.receive("missed", live=False)
    bench.channel.ready()
    await until(lambda: reading.begun)
    bench.receive("meanwhile")
    await bench.clock.advance(1200)
    reading.go_on.set()
    await until(lambda: bench.online.is_set())
    await settle()
    assert not bench.pump.caught_up
    bench.channel.receive("habari", message_id="live", seen_at_monotonic=bench.clock.monotonic())
    await settle()
    assert bench.pump.caught_up


async def test_the_mark_stands_while_a_chat_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(chat: Jid, **how: Any) -> NoReturn:
        raise PageReadError("The page could not answer.", reason=Reason.PAGE_UNUSABLE)

    bench.receive("missed", live=False)
    bench.memory.unreadable[CUSTOMER] = UNREADABLE_RUNS
    with monkeypatch.context() as patch:
        patch.setattr(bench.channel, "history", broken)
        await bench.ready()
        seen = [(bench.online.is_set(), bench.pump.caught_up, bench.ledger.mark is None)]
    bench.channel.document += 1
    await bench.ready()
    seen.append((bench.online.is_set(), bench.pump.caught_up, bench.ledger.mark is None))
    assert seen == [(True, False, True), (True, True, False)]
    assert bench.ledger.states() == {"missed": InboxState.NEW}


async def test_dropped_events_before_ready_are_read_at_ready(bench: Bench) -> None:
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    await settle()
    assert bench.ledger.inbox == {}
    await bench.ready()
    assert bench.steps == ["restore", "dropped"]
