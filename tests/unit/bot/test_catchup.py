"""What came while we were away: all of it recorded, at most one answer a chat."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowhq.bot.catchup import CHAT_LIMITS, LOOK_AT_ONCE, OVERLAP, UNREADABLE_RUNS, CatchUp
from flowhq.bot.chats import Place, QueuedMessage
from flowhq.bot.inbound import Inbound
from flowhq.bot.trace import Traces
from flowhq.errors import PageReadError
from flowhq.model import (
    Ack,
    ChatKey,
    InboundMessage,
    InboxState,
    Jid,
    MessageKind,
    Reason,
    Reply,
    Source,
)
from flowhq.steps import Recorded
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.memory import dedup, memory
from tests.fakes.recording import recording

OTHER = Jid("255700000002@c.us")
NOW = EPOCH + timedelta(hours=1)
PAIRED = EPOCH - timedelta(days=30)
MAX_AGE_S = 43_200.0


class CountingChannel(FakeChannel):
    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[Jid, datetime | None]] = []

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        self.read.append((chat, since))
        return await super().history(chat, since=since, limit=limit)


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.ledger = FakeLedger(self.clock)
        self.channel = CountingChannel()
        self.lined_up: list[str] = []
        self.inbound = Inbound(
            recording(self.ledger, self.clock),
            dedup(self.clock),
            Traces(self.clock),
            paused=lambda: False,
            line_up=self._line_up,
            lined_up=lambda recorded, message, place: None,
        )
        self.memory = memory(self.clock)
        self.catchup = self.next_run()

    def next_run(self) -> CatchUp:
        return CatchUp(
            self.channel,
            self.ledger,
            self.inbound,
            self.clock,
            max_age_s=MAX_AGE_S,
            memory=self.memory,
        )

    def _line_up(self, chat: ChatKey, queued: QueuedMessage) -> Place:
        self.lined_up.append(queued.key.message_id)
        return Place.IN_LINE

    def missed(
        self,
        message_id: str,
        *,
        ago_s: float,
        chat: Jid = CUSTOMER,
        from_me: bool = False,
        kind: MessageKind = MessageKind.TEXT,
        raw_type: str = "chat",
    ) -> InboundMessage:
        """In the page's store, and never seen live."""
        return self.channel.receive(
            f"text of {message_id}",
            message_id=message_id,
            at=NOW - timedelta(seconds=ago_s),
            chat=chat,
            from_me=from_me,
            kind=kind,
            raw_type=raw_type,
            live=False,
        )

    async def known(self, message: InboundMessage) -> None:
        """Recorded and answered before the absence, with nothing missing then."""
        recorded = await self.ledger.record(message, state=InboxState.NEW)
        self.ledger.inbox[recorded.key].state = InboxState.DONE
        await self.ledger.touch(caught_up=True)

    async def run(self, *, paired_at: datetime = PAIRED, paused: bool = False) -> int:
        return await self.catchup.run(paired_at=paired_at, paused=paused)


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.channel.open()
    return bench


# -- a chat that the page cannot tell ----


async def test_a_chat_that_the_page_cannot_tell_is_left_out_in_the_third_run_until_it_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = _break(bench, monkeypatch)
    unreadable.add(OTHER)
    bench.missed("a1", ago_s=100)
    bench.missed("b1", ago_s=200, chat=OTHER)
    for _ in range(UNREADABLE_RUNS):
        with pytest.raises(PageReadError):
            await bench.run()
        bench.catchup = bench.next_run()
    for _ in range(2):
        assert await bench.run() == 1
        assert not bench.catchup.is_whole
        bench.catchup = bench.next_run()
    assert bench.lined_up == ["a1"]
    unreadable.clear()
    await bench.run()
    assert bench.catchup.is_whole
    assert bench.lined_up == ["a1", "b1"]


@pytest.mark.parametrize("many", [9, 301])
async def test_many_chats_that_the_page_cannot_tell_cost_no_more_runs_than_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    chats = [Jid(f"255715{number:06}@c.us") for number in range(many)]
    for number, chat in enumerate(chats):
        bench.missed(f"m{number}", ago_s=900 - number, chat=chat)
    unreadable = _break(bench, monkeypatch)
    unreadable.update(chats[::2])
    for _ in range(UNREADABLE_RUNS):
        with pytest.raises(PageReadError):
            await bench.run()
        assert bench.lined_up == [f"m{number}" for number in range(1, many, 2)]
        bench.catchup = bench.next_run()
    await bench.run()
    unreadable.clear()
    await bench.run()
    assert sorted(bench.lined_up) == sorted(f"m{number}" for number in range(many))


def _break(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> set[Jid]:
    """The chats that the page cannot tell: to be filled."""
    unreadable: set[Jid] = set()
    history = bench.channel.history

    async def tell(chat: Jid, **how: Any) -> Sequence[InboundMessage]:
        if chat in unreadable:
            raise PageReadError("The page could not answer.", reason=Reason.PAGE_UNUSABLE)
        return await history(chat, **how)

    monkeypatch.setattr(bench.channel, "history", tell)
    return unreadable


# -- one answer a chat ----


async def test_of_a_backlog_only_the_newest_message_of_each_chat_is_answered(bench: Bench) -> None:
    for number in range(1, 4):
        bench.missed(f"a{number}", ago_s=100 - number)
        bench.missed(f"b{number}", ago_s=200 - number, chat=OTHER)
    assert await bench.run() == 6
    assert bench.lined_up == ["b3", "a3"]
    assert bench.ledger.reasons() == {
        "a1": "backlog",
        "a2": "backlog",
        "a3": "",
        "b1": "backlog",
        "b2": "backlog",
        "b3": "",
    }


@pytest.mark.parametrize("from_me", [False, True], ids=["theirs", "a person's"])
async def test_a_message_of_an_impossible_future_does_not_stand_for_the_others(
    bench: Bench, from_me: bool
) -> None:
    bench.missed("far ahead", ago_s=-86_400, from_me=from_me)
    bench.missed("a1", ago_s=100)
    bench.missed("a2", ago_s=50)
    await bench.run()
    reasons = bench.ledger.reasons()
    assert (reasons["a1"], reasons["a2"]) == ("backlog", "")
    assert reasons["far ahead"] == ("own" if from_me else "")


async def test_messages_are_recorded_oldest_first_and_as_caught_up(bench: Bench) -> None:
    for number in (3, 1, 2):
        bench.missed(f"a{number}", ago_s=100 - number)
    await bench.run()
    rows = sorted(bench.ledger.inbox.values(), key=lambda row: row.ord)
    assert [row.message.message_id for row in rows] == ["a1", "a2", "a3"]
    assert {row.message.source for row in rows} == {Source.CATCHUP}


async def test_a_chat_that_a_person_answered_meanwhile_gets_nothing(bench: Bench) -> None:
    bench.missed("question", ago_s=60)
    bench.missed("by hand", ago_s=30, from_me=True)
    await bench.run()
    assert bench.lined_up == []
    assert bench.ledger.reasons() == {"question": "answered", "by hand": "own"}


async def test_a_question_after_a_persons_answer_is_open_again(bench: Bench) -> None:
    bench.missed("question", ago_s=60)
    bench.missed("by hand", ago_s=30, from_me=True)
    bench.missed("another", ago_s=10)
    await bench.run()
    assert bench.lined_up == ["another"]
    assert bench.ledger.reasons()["question"] == "backlog"


async def test_our_own_reply_in_the_history_is_no_person(bench: Bench) -> None:
    bench.missed("question", ago_s=60)
    bench.ledger.know(CUSTOMER)
    [planned] = await bench.ledger.notify(
        ChatKey(CUSTOMER), CUSTOMER, cause="wait:earlier", reply=Reply("one moment", "x")
    )
    bench.missed(planned.client_id, ago_s=30, from_me=True)
    await bench.run()
    assert bench.lined_up == ["question"]
    assert list(bench.ledger.states()) == ["question"]


async def test_what_is_too_old_is_recorded_and_not_answered(bench: Bench) -> None:
    bench.missed("older", ago_s=MAX_AGE_S + 60)
    bench.missed("old", ago_s=MAX_AGE_S + 1)
    bench.missed("young", ago_s=MAX_AGE_S - 1, chat=OTHER)
    await bench.run()
    assert bench.lined_up == ["young"]
    assert bench.ledger.reasons()["older"] == bench.ledger.reasons()["old"] == "too_old"


async def test_a_reaction_or_a_notice_after_the_question_does_not_take_its_answer(
    bench: Bench,
) -> None:
    bench.missed("question", ago_s=60)
    bench.missed("thumb", ago_s=30, kind=MessageKind.REACTION)
    bench.missed("call", ago_s=20, raw_type="call_log")
    await bench.run()
    assert bench.lined_up == ["question"]
    assert bench.ledger.reasons() == {"question": "", "thumb": "reaction"}


async def test_a_paused_tenant_records_the_backlog_and_answers_none_of_it(bench: Bench) -> None:
    bench.missed("question", ago_s=60)
    await bench.run(paused=True)
    assert bench.lined_up == []
    assert bench.ledger.reasons() == {"question": "paused"}


# -- what is read ----


async def test_groups_channels_and_status_are_not_read(bench: Bench) -> None:
    for chat in ("1203@g.us", "12@newsletter", "status@broadcast"):
        bench.missed(f"in {chat}", ago_s=60, chat=Jid(chat))
    assert await bench.run() == 0
    assert bench.channel.read == []


async def test_a_chat_unknown_so_far_is_read_from_the_pairing_on(bench: Bench) -> None:
    bench.missed("before", ago_s=7200)
    bench.missed("after", ago_s=60)
    paired_at = NOW - timedelta(hours=1)
    await bench.run(paired_at=paired_at)
    assert bench.channel.read == [(CUSTOMER, paired_at)]
    assert list(bench.ledger.states()) == ["after"]


async def test_a_message_of_the_second_of_the_pairing_is_read(bench: Bench) -> None:
    bench.missed("just after", ago_s=60)
    await bench.run(paired_at=NOW - timedelta(seconds=60) + timedelta(milliseconds=700))
    assert bench.lined_up == ["just after"]


async def test_a_chat_silent_since_before_the_pairing_is_not_read(bench: Bench) -> None:
    bench.missed("before", ago_s=7200)
    await bench.run(paired_at=NOW - timedelta(hours=1))
    assert bench.channel.read == []


async def test_it_reads_from_a_little_before_the_newest_message_of_the_last_time(
    bench: Bench,
) -> None:
    before = bench.missed("before", ago_s=3000)
    await bench.known(before)
    bench.missed("missed", ago_s=60)
    await bench.run()
    assert bench.channel.read == [(CUSTOMER, before.at - OVERLAP)]
    assert bench.lined_up == ["missed"]
    assert bench.ledger.states()["before"] is InboxState.DONE


async def test_chats_in_which_nothing_was_written_since_are_not_read(bench: Bench) -> None:
    for number in range(500):
        quiet = Jid(f"25571500{number:04}@c.us")
        await bench.known(bench.missed(f"old {number}", ago_s=9000 - number, chat=quiet))
    await bench.known(bench.missed("before", ago_s=3000))
    bench.missed("missed", ago_s=60)
    await bench.run()
    assert [chat for chat, _ in bench.channel.read] == [CUSTOMER]
    assert bench.lined_up == ["missed"]


async def test_what_was_missed_under_a_chats_other_address_is_found_behind_its_newest_message(
    bench: Bench,
) -> None:
    await bench.known(bench.missed("before", ago_s=7000))
    bench.missed("missed", ago_s=5000)
    newer = bench.missed("newer", ago_s=60, chat=Jid("100000000000001@lid"))
    await bench.ledger.record(newer, state=InboxState.NEW)
    bench.ledger.cursors = dict.fromkeys(bench.ledger.cursors, newer.at)
    await bench.run()
    assert "missed" in bench.ledger.states()


async def test_a_message_that_came_late_and_out_of_order_is_found(bench: Bench) -> None:
    bench.missed("late", ago_s=90)
    await bench.known(bench.missed("newest", ago_s=60))
    await bench.run()
    assert bench.ledger.reasons()["late"] == "backlog"


async def test_catching_up_twice_answers_once(bench: Bench) -> None:
    bench.missed("question", ago_s=60)
    await bench.run()
    await bench.run()
    assert bench.lined_up == ["question"]


async def test_what_is_recorded_costs_one_look_a_chat_and_no_recording(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        await bench.known(bench.missed(f"a{number}", ago_s=100 - number))
    bench.missed("a9", ago_s=50)
    recorded: list[str] = []
    record = bench.ledger.record

    async def note(message: InboundMessage, **how: Any) -> Recorded:
        recorded.append(message.message_id)
        return await record(message, **how)

    monkeypatch.setattr(bench.ledger, "record", note)
    assert await bench.run() == 9
    assert recorded == bench.lined_up == ["a9"]
    assert bench.ledger.states()["a8"] is InboxState.DONE


async def test_a_quiet_chat_costs_one_small_read_and_a_busy_one_is_read_whole(bench: Bench) -> None:
    bench.missed("quiet", ago_s=60, chat=OTHER)
    for number in range(CHAT_LIMITS[-1]):
        bench.missed(f"m{number:04}", ago_s=7000 - number)
    assert await bench.run() == CHAT_LIMITS[-1] + 1
    reads = Counter(chat for chat, _ in bench.channel.read)
    assert reads == {CUSTOMER: len(CHAT_LIMITS), OTHER: 1}
    assert sorted(bench.lined_up) == [f"m{CHAT_LIMITS[-1] - 1:04}", "quiet"]


async def test_of_a_very_long_backlog_the_newest_are_read(bench: Bench) -> None:
    most = CHAT_LIMITS[-1]
    for number in range(most + 10):
        bench.missed(f"m{number:04}", ago_s=most + 10 - number)
    assert await bench.run() == most
    assert bench.lined_up == [f"m{most + 9:04}"]


@pytest.mark.parametrize("hours", [-13, 13])
async def test_a_daemon_whose_clock_is_wrong_judges_a_backlog_by_the_databases(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    async def now() -> datetime:
        return NOW

    monkeypatch.setattr(bench.ledger, "now", now)
    bench.clock.move_wall(timedelta(hours=hours))
    bench.missed("too old", ago_s=MAX_AGE_S + 60, chat=OTHER)
    for number in range(3):
        bench.missed(f"a{number}", ago_s=100 - number)
    await bench.run()
    assert bench.lined_up == ["a2"]


async def test_the_ledger_is_asked_about_so_many_at_once(bench: Bench) -> None:
    asked: list[int] = []
    look = bench.ledger.are_recorded

    async def counted(messages: Sequence[InboundMessage]) -> Sequence[bool]:
        asked.append(len(messages))
        return await look(messages)

    bench.ledger.are_recorded = counted  # type: ignore[method-assign]
    for number in range(LOOK_AT_ONCE + 7):
        message = bench.missed(f"m{number:04}", ago_s=3600 - number)
        if number % 2:
            await bench.known(message)
    await bench.run()
    assert asked == [LOOK_AT_ONCE, 7]
    assert len(bench.ledger.inbox) == LOOK_AT_ONCE + 7


async def test_what_cannot_be_asked_about_costs_no_other_message(bench: Bench) -> None:
    async def cannot(messages: Sequence[InboundMessage]) -> Sequence[bool]:
        raise TypeError("a bug")

    bench.ledger.are_recorded = cannot  # type: ignore[method-assign]
    await bench.known(bench.missed("a1", ago_s=90))
    bench.missed("a2", ago_s=80)
    bench.missed("a3", ago_s=70)
    assert await bench.run() == 3
    assert bench.lined_up == ["a3"]
    assert [key.message_id for key in bench.ledger.inbox] == ["a1", "a2", "a3"]


# -- interrupted ----


async def test_an_outage_in_the_middle_is_waited_out(bench: Bench) -> None:
    for number in range(1, 4):
        bench.missed(f"a{number}", ago_s=100 - number)
    bench.ledger.outages.fail("caught_up_to", 2)
    bench.ledger.outages.fail("known_own", 2)
    bench.ledger.outages.fail("are_recorded", 2)
    bench.ledger.outages.lose_answer("record", 2)
    running = asyncio.create_task(bench.run())
    await bench.clock.advance(30)
    assert await running == 3
    assert bench.lined_up == ["a3"]
    assert len(bench.ledger.inbox) == 3


@pytest.mark.parametrize("turns", range(0, 20, 2))
async def test_a_catch_up_broken_off_anywhere_is_completed_by_the_next(
    bench: Bench, turns: int
) -> None:
    for number in range(1, 4):
        bench.missed(f"a{number}", ago_s=100 - number)
    first = asyncio.create_task(bench.run())
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    await bench.run()
    assert len(bench.ledger.inbox) == 3
    waiting = await bench.ledger.waiting(None, limit=10)
    assert [one.key.message_id for one in waiting] == ["a3"]


async def test_acks_in_the_pages_store_do_not_matter(bench: Bench) -> None:
    message = bench.missed("question", ago_s=60)
    bench.channel.store[CUSTOMER][0].ack = Ack.READ
    await bench.run()
    assert bench.lined_up == [message.message_id]
