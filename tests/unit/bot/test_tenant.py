"""One tenant whole: from a message on the page to the reply, through failures, stops and starts."""

import asyncio
import gc
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cachetools import TTLCache

from flowhq.bot import outbound as outbound_module
from flowhq.bot import tenant as tenant_module
from flowhq.bot.lifecycle import Event, Lifecycle, State
from flowhq.bot.memory import Memory
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.errors import ChannelRestartError, LoginRequiredError, StoreRefusedError
from flowhq.events import ConnectionLost, LoggedOut, MessageSeen
from flowhq.model import (
    ChatKey,
    DesiredState,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    OutboxState,
    Reason,
    Rung,
)
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import EPOCH, FakeClock, settle, until
from tests.fakes.guards import NO_LIMITS, guards
from tests.fakes.ledger import TENANT, FakeLedger, FakeStatusBook
from tests.fakes.responder import FakeResponder


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
        self.book = FakeStatusBook()
        self.responder = FakeResponder()
        self.memory = Memory()
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
        return [message.text for message in self.channel.sent if message.to == chat]

    async def failure(self) -> BaseException:
        await asyncio.wait({self.task})
        error = self.task.exception()
        assert error is not None
        return error


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- a message's way ----


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
    return sum(isinstance(getattr(one, "key", None), InboxKey) for one in entries)


def tables() -> int:
    """Bytes of the tables of all caches, which an emptied one keeps."""
    caches = [one for one in gc.get_objects() if isinstance(one, TTLCache)]
    found = (table for one in caches for table in vars(one).values() if isinstance(table, dict))
    return sum(map(sys.getsizeof, found))


async def test_a_run_that_is_over_keeps_none_of_its_messages(bench: Bench) -> None:
    """Its parts hold each other, so that only a rare full collection would find them."""
    gc.collect()
    before, tables_before = remembered(), tables()
    gc.disable()
    try:
        async with bench.running():
            for number in range(300):
                bench.receive(str(number))
            await until(lambda: len(bench.sent()) >= 300)
            assert remembered() >= before + 300
            assert tables() > tables_before + 20_000
        assert remembered() == before
        assert tables() < tables_before + 2_000
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


# -- chats that turn out to be one ----

LID = Jid("100000000000009@lid")


def fail_once(bench: Bench, text: str) -> None:
    """The first step of this message fails: it is tried again after two seconds."""
    failed: list[str] = []

    def fail(message: InboundMessage) -> None:
        if message.text == text and not failed:
            failed.append(text)
            raise ValueError("not at once")

    bench.responder.before = fail


def texts(bench: Bench) -> list[str]:
    return [message.text for message in bench.channel.sent]


async def test_the_message_that_shows_two_chats_to_be_one_is_answered_last(bench: Bench) -> None:
    fail_once(bench, "1")
    async with bench.running():
        bench.receive("0")
        bench.receive("1", chat=LID)
        await settle()
        bench.channel.receive("2", lid="100000000000009")
        bench.receive("3")
        await settle()
        assert texts(bench) == ["re: 0"]
        await bench.clock.advance(3)
    assert texts(bench) == [f"re: {number}" for number in range(4)]


async def test_what_waits_in_the_database_for_a_chat_that_is_gone_is_answered() -> None:
    bench = Bench(chat_queue=2)
    fail_once(bench, "1")
    async with bench.running():
        bench.receive("0")
        for number in range(1, 9):
            bench.receive(str(number), chat=LID)
        await settle()
        bench.channel.receive("9", lid="100000000000009")
        await bench.clock.advance(3)
        await settle(2000)
    replies = [text for text in texts(bench) if text != "please wait"]
    assert replies == [f"re: {number}" for number in range(10)]
    assert set(bench.ledger.states().values()) == {InboxState.DONE}
    assert {row.state for row in bench.ledger.outbox.values()} == {OutboxState.ACCEPTED}


async def test_a_reply_that_is_lined_up_after_its_chat_was_merged_is_handed_over_once(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.receive("0")
        await settle()
        first = bench.channel.before_send = asyncio.Event()
        bench.receive("1", chat=LID)
        await settle()
        answered = bench.ledger.outages.hold("answer of process")
        bench.receive("2", chat=LID)
        await settle()
        bench.channel.receive("3", lid="100000000000009")
        await settle()
        second = bench.channel.before_send = asyncio.Event()
        first.set()
        await settle()
        assert [call.text for call in bench.channel.calls] == ["re: 0", "re: 1", "re: 2"]
        answered.set()
        await settle()
        second.set()
        await settle()
    assert [call.text for call in bench.channel.calls] == [f"re: {number}" for number in range(4)]
    assert [row.chat_key for row in bench.ledger.outbox.values()][2:] == [ChatKey(CUSTOMER)] * 2


async def test_a_merge_while_a_send_waits_for_its_answer_stops_cleanly(bench: Bench) -> None:
    async with bench.running():
        bench.receive("0")
        await settle()
        bench.channel.before_send = asyncio.Event()
        bench.receive("1", chat=LID)
        await settle()
        bench.channel.receive("2", lid="100000000000009")
        await settle()
    assert bench.task.cancelled()
    bench.channel.before_send = None
    async with bench.running():
        await settle()
    assert texts(bench) == ["re: 0", "re: 1", "re: 2"]


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


# -- starting again ----


async def test_a_start_first_sends_what_was_planned_then_answers_what_waited_then_catches_up(
    bench: Bench,
) -> None:
    bench.channel.send_mode = "lose"
    async with bench.running():
        bench.ledger.outages.hold("mark_sending")
        bench.receive("planned")
        await settle()
        bench.ledger.outages.hold("process")
        bench.receive("waiting")
        await settle()
    bench.ledger.outages = type(bench.ledger.outages)()
    bench.channel.send_mode = "ok"
    bench.receive("missed", live=False)
    async with bench.running():
        bench.receive("live")
        await settle()
    assert bench.sent() == ["re: planned", "re: waiting", "re: missed", "re: live"]


@pytest.mark.parametrize("held_up", ["process", "mark_sending"], ids=["waiting", "planned"])
async def test_more_than_one_read_holds_is_all_answered_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, held_up: str
) -> None:
    monkeypatch.setattr(tenant_module, "RESTORE_FIRST", 2)
    chats = [Jid(f"25570000000{number}@c.us") for number in range(4)]
    async with bench.running():
        bench.ledger.outages.hold(held_up)
        for number in range(3):
            for chat in chats:
                bench.receive(str(number), chat=chat)
        rows = bench.ledger.inbox if held_up == "process" else bench.ledger.outbox
        await until(lambda: len(rows) == 12)
    bench.ledger.outages = type(bench.ledger.outages)()
    async with bench.running():
        await until(lambda: len(bench.channel.sent) == 12)
    for chat in chats:
        assert bench.sent(chat) == ["re: 0", "re: 1", "re: 2"]


async def test_a_message_that_ends_every_process_is_dead_after_five_and_the_next_goes_on(
    bench: Bench,
) -> None:
    poison, after = await two_that_wait(bench)
    gate = bench.ledger.outages.hold("commit")  # never returns: the process dies in its step
    for _ in range(5):
        bench.memory = Memory()
        async with bench.running():
            await settle()
            assert bench.ledger.states()[poison] is InboxState.NEW
    gate.set()
    bench.memory = Memory()
    async with bench.running():
        await settle()
    assert bench.ledger.states() == {poison: InboxState.DEAD, after: InboxState.DONE}


async def test_processes_that_die_before_its_turn_cost_a_message_nothing(bench: Bench) -> None:
    first, after = await two_that_wait(bench)
    gate = bench.ledger.outages.hold("process")  # never begun: the store does not let it
    for _ in range(7):
        bench.memory = Memory()
        async with bench.running():
            await settle()
    gate.set()
    bench.memory = Memory()
    async with bench.running():
        await settle()
    assert bench.ledger.states() == {first: InboxState.DONE, after: InboxState.DONE}


async def two_that_wait(bench: Bench) -> list[str]:
    """Recorded by an earlier process, in one chat."""
    waiting = [bench.receive(text, live=False) for text in ("first", "after")]
    for message in [stored.message for stored in bench.channel.store[CUSTOMER]]:
        await bench.ledger.record(message, state=InboxState.NEW)
    return list(waiting)


async def test_runs_within_one_process_count_nothing_against_what_waits(bench: Bench) -> None:
    message_id = bench.receive("habari", live=False)
    bench.ledger.outages.hold("process")
    for _ in range(8):
        async with bench.running():
            await settle()
    assert bench.ledger.states()[message_id] is InboxState.NEW


async def test_after_a_logout_and_a_new_pairing_it_goes_on(bench: Bench) -> None:
    async with bench.running():
        bench.channel.emit(LoggedOut("removed"))
        await settle()
        assert bench.lifecycle.state is State.SCANNING
        bench.channel.document += 1
        bench.channel.ready()
        await settle()
        bench.receive("habari")
        await settle()
    assert bench.sent() == ["re: habari"]


# -- failing ----


async def test_a_page_that_dies_ends_the_run_with_its_reason_and_closes(bench: Bench) -> None:
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    bench.channel.crash(Reason.PAGE_CRASHED)
    error = await bench.failure()
    assert isinstance(error, ChannelRestartError)
    assert error.reason == Reason.PAGE_CRASHED
    assert bench.channel.closed == 1


async def test_a_run_that_is_made_to_fail_ends_with_that_failure(bench: Bench) -> None:
    failure = ChannelRestartError("No connection.", reason=Reason.CONNECTION_LOST)
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    bench.runner.fail(failure)
    bench.runner.fail(ChannelRestartError("Too late.", reason=Reason.PAGE_HUNG))
    assert await bench.failure() is failure
    bench.runner.fail(failure)


async def test_a_channel_that_cannot_open_is_closed_all_the_same(bench: Bench) -> None:
    bench.channel.fail_open(LoginRequiredError("Blocked.", reason=Reason.BLOCKED))
    await bench.start()
    assert isinstance(await bench.failure(), LoginRequiredError)
    assert bench.channel.closed == 1


async def test_what_failed_stays_open_for_the_next_attempt_until_it_is_closed(
    bench: Bench,
) -> None:
    first = asyncio.create_task(bench.new_runner().run())
    await settle()
    bench.channel.crash()
    await asyncio.wait({first})
    assert isinstance(first.exception(), ChannelRestartError)
    runner = bench.new_runner()
    second = asyncio.create_task(runner.run(Rung.PAGE))
    await settle()
    second.cancel()
    await asyncio.wait({second})
    assert bench.channel.rungs == [Rung.BROWSER, Rung.PAGE]
    assert bench.channel.closed == 0
    await runner.close()
    assert bench.channel.closed == 1


async def test_of_several_failures_the_one_for_a_person_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(message_ids: object, ack: object) -> None:
        raise StoreRefusedError("No rights.")

    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    group = ExceptionGroup(
        "x",
        [
            ValueError("a"),
            StoreRefusedError("b"),
            ExceptionGroup("y", [ChannelRestartError("c", reason=Reason.PAGE_HUNG)]),
            LoginRequiredError("d", reason=Reason.BLOCKED),
        ],
    )

    async def probe() -> None:
        raise group

    monkeypatch.setattr(bench.channel, "probe", probe)
    await bench.clock.advance(15)
    assert str(await bench.failure()) == "d"


async def test_a_browser_that_does_not_close_in_time_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_module, "CLOSE_S", 0.02)
    await bench.start()
    await settle()
    bench.channel.may_close.clear()
    await bench.stop()
    assert bench.task.cancelled()
    assert bench.channel.killed


async def test_a_browser_that_fails_to_close_is_killed(bench: Bench) -> None:
    await bench.start()
    await settle()
    bench.channel.close_error = ChannelRestartError("gone", reason=Reason.BROWSER_GONE)
    await bench.stop()
    assert bench.task.cancelled()
    assert bench.channel.killed


# -- stopping ----


async def test_a_stop_before_it_is_ready_leaves_nothing(bench: Bench) -> None:
    await bench.start()
    await settle()
    await bench.stop()
    assert bench.task.cancelled()
    assert bench.channel.closed == 1


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_stop_in_the_middle_of_the_closing_waits_for_it(bench: Bench, cancels: int) -> None:
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    bench.channel.may_close.clear()
    bench.channel.crash()
    await settle()
    for _ in range(cancels):
        bench.task.cancel()
        await settle()
    assert not bench.task.done()
    bench.channel.may_close.set()
    await asyncio.wait({bench.task})
    assert bench.task.cancelled()
    assert bench.channel.closed == 1
    assert not bench.channel.killed


async def test_draining_settles_what_is_under_way_and_begins_nothing_new(bench: Bench) -> None:
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        bench.receive("1")
        bench.receive("2")
        await settle()
        draining = asyncio.create_task(bench.runner.drain())
        await settle()
        assert not draining.done()
        bench.channel.before_send.set()
        await draining
    assert bench.sent() == ["re: 1"]
    assert [row.state for row in bench.ledger.outbox.values()] == [
        OutboxState.ACCEPTED,
        OutboxState.PLANNED,
    ]
    async with bench.running():
        await settle()
    assert bench.sent() == ["re: 1", "re: 2"]


async def test_draining_what_never_opened_is_over_at_once(bench: Bench) -> None:
    await bench.start()
    await bench.runner.drain()
    await bench.stop()


# -- whatever happens ----


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
        assert bench.sent(chat) == [f"re: {text}" for text in answered]
    assert {row.state for row in bench.ledger.outbox.values()} <= {OutboxState.ACCEPTED}


def _backlog(bench: Bench, chat: Jid) -> set[str]:
    """Recorded and left to the answer of a later message, as the rule for a backlog wants it."""
    return {
        row.message.text
        for row in bench.ledger.inbox.values()
        if row.message.chat == chat and row.reason == "backlog"
    }
