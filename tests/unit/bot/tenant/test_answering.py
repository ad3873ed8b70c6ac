"""A message's way through the stages, and what a run keeps of it."""

import gc
import sys
from typing import NoReturn

import pytest
import structlog
from cachetools import TTLCache

from flowhq.bot.lifecycle import Event
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.errors import NotFoundError
from flowhq.events import ConnectionLost
from flowhq.model import InboundMessage, InboxState, Jid, OutboxState
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import settle, until
from tests.unit.bot.tenant.conftest import Bench


async def test_a_message_is_answered_recorded_and_marked(bench: Bench) -> None:
    async with bench.running():
        message_id = bench.receive("habari")
        await settle()
    assert bench.sent() == ["re: habari"]
    assert bench.ledger.states() == {message_id: InboxState.DONE}
    [row] = bench.ledger.outbox.values()
    assert row.state is OutboxState.ACCEPTED
    assert bench.channel.reads == [CUSTOMER]
    assert bench.channel.typing


def remembered() -> int:
    """Messages in caches: the entries, since a cache that is emptied may have them in the air."""
    entries = [one for one in gc.get_objects() if "TTLCache" in type(one).__qualname__]
    return sum(str(getattr(one, "key", "")).startswith("in ") for one in entries)


def tables() -> int:
    """Bytes of the tables of all caches, which an emptied one keeps."""
    caches = [one for one in gc.get_objects() if isinstance(one, TTLCache)]
    found = (table for one in caches for table in vars(one).values() if isinstance(table, dict))
    return sum(map(sys.getsizeof, found))


async def test_one_memory_of_what_came_in_serves_run_after_run(bench: Bench) -> None:
    """The parts of a run hold each other, so that only a rare full collection would find them."""
    gc.collect()
    before = remembered()
    gc.disable()
    try:
        async with bench.running():
            for number in range(300):
                bench.receive(str(number))
            await until(lambda: len(bench.sent()) >= 300)
        size = tables()
        assert 300 <= remembered() - before < 310
        for _ in range(3):
            async with bench.running():
                bench.meter.received.clear()
                for number in range(300):
                    bench.receive(str(number))
                await until(lambda: bench.meter.received["duplicate"] >= 300)
            assert 300 <= remembered() - before < 310
            assert tables() < size + 2_000
    finally:
        gc.enable()


async def test_what_is_read_back_from_the_page_is_not_kept_in_memory(bench: Bench) -> None:
    for number in range(30):
        bench.receive(str(number), live=False)
    gc.collect()
    before = remembered()
    async with bench.running():
        await until(lambda: len(bench.ledger.states()) == 30)
        assert remembered() < before + 5


async def test_our_own_echo_is_neither_answered_nor_taken_for_a_person(bench: Bench) -> None:
    async with bench.running():
        bench.receive("habari")
        await settle()
        bench.receive("tena")
        await settle()
    assert bench.sent() == ["re: habari", "re: tena"]
    assert bench.ledger.conversations[next(iter(bench.ledger.conversations))].last_person_at is None


async def test_one_chat_is_answered_in_its_order(bench: Bench) -> None:
    async with bench.running():
        for number in range(30):
            bench.receive(str(number))
        await until(lambda: len(bench.sent()) == 30)
    assert bench.sent() == [f"re: {number}" for number in range(30)]


async def test_a_page_offline_answers_when_it_is_back(bench: Bench) -> None:
    async with bench.running():
        bench.channel.emit(ConnectionLost("no network"))
        bench.receive("habari")
        await bench.clock.advance(60)
        assert bench.sent() == []
        bench.channel.ready()
        await settle()
    assert bench.sent() == ["re: habari"]


async def test_replies_over_the_tenants_budget_come_later_with_one_notice() -> None:
    bench = Bench(budget=ReplyBudget(tenant_replies=2, tenant_period_s=60))
    async with bench.running():
        for number in range(5):
            bench.receive(str(number))
        await settle()
        assert bench.sent() == ["re: 0", "re: 1", "slow down"]
        await bench.clock.advance(30)
        assert bench.sent()[3:] == ["re: 2"]
        await bench.clock.advance(60)
    assert bench.sent()[3:] == ["re: 2", "re: 3", "re: 4"]


async def test_a_full_chat_is_asked_to_wait_once_and_everything_is_answered() -> None:
    bench = Bench(chat_queue=3)
    async with bench.running():
        gate = bench.ledger.outages.hold("process")
        for number in range(12):
            bench.receive(str(number))
        await until(lambda: len(bench.ledger.inbox) == 12)
        await settle()
        assert bench.sent() == ["please wait"]
        gate.set()
        await until(lambda: len(bench.sent()) == 13)
    assert bench.sent()[1:] == [f"re: {number}" for number in range(12)]


async def test_a_notice_that_cannot_be_planned_is_told_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object, **__: object) -> NoReturn:
        raise NotFoundError("What this belongs to does not exist any more.")

    bench = Bench(chat_queue=2)
    monkeypatch.setattr(bench.ledger, "notify", refuse)
    async with bench.running():
        gate = bench.ledger.outages.hold("process")
        with structlog.testing.capture_logs() as logs:
            for number in range(6):
                bench.receive(str(number))
            await until(lambda: len(bench.ledger.inbox) == 6)
            await settle()
        gate.set()
        await until(lambda: len(bench.sent()) == 6)
    [told] = [line for line in logs if line["event"] == "notice not planned"]
    assert told["log_level"] == "error"
    assert isinstance(told["exc_info"], NotFoundError)


async def test_a_chat_whose_replies_wait_is_asked_to_wait_before_them_and_once() -> None:
    bench = Bench(chat_queue=3, pace_ms=10_000)
    async with bench.running():
        for number in range(8):
            bench.receive(str(number))
            await settle()
        await bench.clock.advance(200)
        assert bench.sent()[:3] == ["re: 0", "please wait", "re: 1"]
        assert sorted(bench.sent()) == sorted(["please wait", *(f"re: {n}" for n in range(8))])
        for number in range(8, 14):
            bench.receive(str(number))
            await settle()
        await bench.clock.advance(200)
    assert bench.sent().count("please wait") == 2
    replies = [text for text in bench.sent() if text != "please wait"]
    assert replies == [f"re: {number}" for number in range(14)]


async def test_a_message_that_fails_holds_up_its_own_chat_only(bench: Bench) -> None:
    other = Jid("255700000002@c.us")

    def poison(message: InboundMessage) -> None:
        if message.text == "poison":
            raise ValueError("cannot be answered")

    bench.responder.before = poison
    async with bench.running():
        poisoned = bench.receive("poison")
        bench.receive("after")
        bench.receive("habari", chat=other)
        await settle()
        assert bench.sent(other) == ["re: habari"]
        assert bench.sent() == []
        await bench.clock.advance(600)
        assert bench.sent() == ["re: after"]
    assert bench.ledger.states()[poisoned] is InboxState.DEAD


async def test_a_paused_tenant_answers_nothing_and_still_sends_what_was_planned(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.emit(ConnectionLost("no network"))
        await settle()
    bench.receive("before", live=False)
    async with bench.running():
        await bench.lifecycle.apply(Event.PAUSE)
        bench.receive("during")
        await settle()
        await bench.lifecycle.apply(Event.RESUME)
        bench.receive("after")
        await settle()
    assert bench.sent() == ["re: before", "re: after"]
    assert bench.ledger.reasons()[f"in {CUSTOMER} during"] == "paused"


async def test_the_depths_tell_what_waits() -> None:
    bench = Bench(pace_ms=1000)
    async with bench.running():
        for number in range(4):
            bench.receive(str(number))
        await settle()
        assert bench.runner.depths() == {"answer": 0, "send": 3}
    assert bench.runner.depths() == {}
