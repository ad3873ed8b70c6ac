"""From planned to accepted: the intent first, doubts looked up, order kept, stops clean."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import pytest

from flowhq.bot.acks import STUCK_MAX, AckWatch
from flowhq.bot.memory import Memory
from flowhq.bot.outbound import AT_ONCE, ATTEMPTS_MAX, BLOCK_S, SETTLE_S, Outbound
from flowhq.bot.ratelimit import ReplyBudget, ReplyLimits
from flowhq.bot.trace import Traces
from flowhq.config import LimitSettings
from flowhq.errors import ChannelRestartError
from flowhq.model import (
    Ack,
    ChatKey,
    Health,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxState,
    Reason,
    Reply,
    SendReceipt,
)
from tests.fakes.channel import CUSTOMER, FakeChannel, SendMode
from tests.fakes.clock import FakeClock, settle, until
from tests.fakes.ledger import FakeLedger, OutboxRow
from tests.fakes.meter import FakeMeter

OTHER = Jid("255700000002@c.us")
LOSSES: list[SendMode] = ["lose"] * ATTEMPTS_MAX
REFUSALS: list[SendMode] = ["refuse_for_now"] * ATTEMPTS_MAX


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
        self.memory = Memory()
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
                    take_turn=self.limits.take,
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
        [row] = await self.ledger.notify(ChatKey(chat), chat, cause=cause, reply=reply)
        return row

    async def say(self, *texts: str, chat: Jid = CUSTOMER) -> list[OutboundMessage]:
        rows = [await self.plan(text, chat) for text in texts]
        self.outbound.put(rows)
        return rows

    def row(self, message: OutboundMessage) -> OutboxRow:
        return self.ledger.outbox[message.outbox_id]

    def sent(self) -> list[str]:
        return [message.text for message in self.channel.sent]

    def calls(self) -> list[str]:
        return [message.text for message in self.channel.calls]

    def states(self) -> list[OutboxState]:
        return [row.state for row in self.ledger.outbox.values()]

    async def restore(self) -> None:
        self.outbound.put(await self.ledger.unsettled())


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- sending ----


async def test_the_intent_is_committed_before_the_page_gets_the_message(bench: Bench) -> None:
    async with bench.running():
        [row] = await bench.say("habari")
        await settle()
    assert bench.channel.states == [OutboxState.SENDING]
    assert bench.row(row).state is OutboxState.ACCEPTED
    assert bench.sent() == ["habari"]


async def test_messages_of_one_chat_keep_their_order_and_other_chats_do_not_wait(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        await bench.say("1", "2", "3")
        await settle()
        await bench.say("a", chat=OTHER)
        await settle()
        assert bench.sent() == ["a"]
        bench.channel.release()
        await bench.ledger.acknowledge([bench.channel.calls[0].client_id], Ack.SERVER)
        bench.outbound.note_ack([bench.channel.calls[0].client_id])
        await settle()
    assert bench.sent() == ["a", "1", "2", "3"]


async def test_the_page_gets_few_messages_at_once(bench: Bench) -> None:
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        for number in range(10):
            await bench.say(str(number), chat=Jid(f"{number}@c.us"))
        await settle()
        assert bench.channel.under_way == AT_ONCE
        bench.channel.before_send.set()
        await settle()
    assert bench.channel.most_under_way == AT_ONCE
    assert sorted(bench.sent()) == [str(number) for number in range(10)]


async def test_a_pace_is_kept_between_two_messages_of_a_chat() -> None:
    bench = Bench(pace_ms=250)
    async with bench.running():
        await bench.say("1", "2")
        await settle()
        assert bench.sent() == ["1"]
        await bench.clock.advance(0.25)
        assert bench.sent() == ["1", "2"]


async def test_a_reply_waits_for_its_time_and_holds_the_later_ones_of_its_chat(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.outbound.put([await bench.plan("late", in_s=30), await bench.plan("after")])
        await bench.say("other", chat=OTHER)
        await bench.clock.advance(29)
        assert bench.sent() == ["other"]
        await bench.clock.advance(1)
    assert bench.sent() == ["other", "late", "after"]


async def test_a_wall_clock_set_back_holds_nothing_up_for_longer_than_a_block(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.outbound.put([await bench.plan("late", in_s=30)])
        bench.clock.move_wall(timedelta(hours=-1))
        await bench.clock.advance(BLOCK_S + 1)
    assert bench.sent() == ["late"]


async def test_offline_nothing_is_handed_over(bench: Bench) -> None:
    bench.online.clear()
    async with bench.running():
        await bench.say("habari")
        await bench.clock.advance(3600)
        assert bench.channel.calls == []
        bench.online.set()
        await settle()
    assert bench.sent() == ["habari"]


async def test_a_full_lane_sends_everything_in_order() -> None:
    bench = Bench(chat_queue=3)
    async with bench.running():
        await bench.say(*(str(number) for number in range(20)))
        await settle(2000)
    assert bench.sent() == [str(number) for number in range(20)]
    assert bench.calls() == bench.sent()


async def test_a_cancelled_row_is_not_sent(bench: Bench) -> None:
    async with bench.running():
        row = await bench.plan("habari")
        bench.row(row).state = OutboxState.CANCELLED
        bench.outbound.put([row])
        await settle()
    assert bench.channel.calls == []


async def test_a_row_lined_up_twice_is_sent_once(bench: Bench) -> None:
    async with bench.running():
        row = await bench.plan("habari")
        bench.outbound.put([row, row])
        bench.outbound.put(await bench.ledger.unsettled())
        await settle()
    assert bench.calls() == ["habari"]


async def test_replies_of_chats_that_turn_out_to_be_one_go_out_once_in_one_order() -> None:
    bench = Bench(chat_queue=2)
    bench.channel.before_send = asyncio.Event()
    async with bench.running():
        for number in range(10):
            await bench.say(str(number), chat=(CUSTOMER, OTHER)[number % 2])
        await settle()
        assert bench.calls() == ["0", "1"]
        for row in bench.ledger.outbox.values():
            row.chat_key = ChatKey(CUSTOMER)
        bench.outbound.follow(ChatKey(CUSTOMER), [ChatKey(OTHER)])
        await bench.say("10")
        bench.channel.before_send.set()
        await settle(2000)
    assert bench.calls() == [str(number) for number in range(11)]


# -- in doubt ----


async def test_a_pending_message_is_accepted_as_soon_as_its_ack_comes(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        [row] = await bench.say("habari")
        await settle()
        assert bench.row(row).state is OutboxState.UNKNOWN
        bench.channel.release()
        bench.outbound.note_ack([row.client_id])
        await settle()
    assert bench.row(row).state is OutboxState.ACCEPTED
    assert bench.calls() == ["habari"]


async def test_a_pending_message_is_looked_up_every_minute_without_an_ack(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        [row] = await bench.say("habari")
        await bench.clock.advance(SETTLE_S * 3 + 1)
        assert len(bench.channel.look_ups) == 4
        assert bench.calls() == ["habari"]
        bench.channel.release()
        await bench.clock.advance(SETTLE_S)
    assert bench.row(row).state is OutboxState.ACCEPTED


async def test_a_message_whose_answer_was_lost_is_found_and_not_repeated(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("lose_answer")
        [row] = await bench.say("habari")
        await settle()
    assert bench.calls() == ["habari"]
    assert bench.row(row).state is OutboxState.ACCEPTED
    assert bench.meter.sent == {"unknown": 1, "accepted": 1}


async def test_a_message_that_is_nowhere_is_sent_again_under_the_same_id(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("lose")
        [row] = await bench.say("habari")
        await settle()
    assert [call.client_id for call in bench.channel.calls] == [row.client_id] * 2
    assert bench.channel.look_ups == [row.client_id]
    assert bench.row(row).state is OutboxState.ACCEPTED


async def test_a_message_that_is_never_found_is_given_up_and_the_next_goes_on(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.plan_sends(*LOSSES)
        first, second = await bench.say("1", "2")
        await settle(2000)
    assert bench.calls() == ["1"] * ATTEMPTS_MAX + ["2"]
    assert bench.row(first).state is OutboxState.DEAD
    assert bench.row(second).state is OutboxState.ACCEPTED


async def test_a_message_that_stays_pending_blocks_its_chat_ten_minutes_at_most(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        first, second = await bench.say("1", "2")
        await bench.clock.advance(BLOCK_S - 1)
        assert bench.row(first).state is OutboxState.UNKNOWN
        await bench.clock.advance(SETTLE_S + 1)
    assert bench.row(first).state is OutboxState.DEAD
    assert bench.row(second).state is OutboxState.ACCEPTED


async def test_time_until_a_message_is_due_is_not_held_against_it(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        row = await bench.plan("habari", in_s=BLOCK_S)
        bench.outbound.put([row])
        await bench.clock.advance(BLOCK_S + 10)
        assert bench.row(row).state is OutboxState.UNKNOWN
        bench.channel.release()
        bench.outbound.note_ack([row.client_id])
        await settle()
    assert bench.row(row).state is OutboxState.ACCEPTED


async def test_time_offline_is_not_held_against_a_message(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        [row] = await bench.say("habari")
        await settle()
        bench.online.clear()
        await bench.clock.advance(10 * BLOCK_S)
        bench.online.set()
        await settle()
        assert bench.row(row).state is OutboxState.UNKNOWN
        bench.channel.release()
        bench.outbound.note_ack([row.client_id])
        await settle()
    assert bench.row(row).state is OutboxState.ACCEPTED


async def test_an_ack_of_another_message_settles_nothing(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        [row] = await bench.say("habari")
        await settle()
        bench.outbound.note_ack([MessageId("3EB0OTHER")])
        await settle()
        assert bench.row(row).state is OutboxState.UNKNOWN
        assert len(bench.channel.look_ups) == 1


# -- refused ----


async def test_a_final_refusal_is_the_end_of_the_message_and_not_of_its_chat(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("refuse")
        first, second = await bench.say("1", "2")
        await settle()
    assert bench.row(first).state is OutboxState.DEAD
    assert bench.row(second).state is OutboxState.ACCEPTED
    assert bench.channel.look_ups == []


async def test_a_passing_refusal_is_tried_again_in_its_place_after_its_wait(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends("refuse_for_now")
        await bench.say("1", "2")
        await bench.clock.advance(1)
        assert bench.calls() == ["1"]
        await bench.clock.advance(1)
    assert bench.sent() == ["1", "2"]


async def test_a_refusal_that_does_not_pass_is_given_up_within_ten_minutes(bench: Bench) -> None:
    async with bench.running():
        bench.channel.plan_sends(*REFUSALS)
        first, second = await bench.say("1", "2")
        await bench.clock.advance(BLOCK_S)
    assert bench.calls() == ["1"] * ATTEMPTS_MAX + ["2"]
    assert bench.row(first).state is OutboxState.DEAD
    assert bench.row(second).state is OutboxState.ACCEPTED
    assert bench.meter.sent == {"refused": ATTEMPTS_MAX - 1, "dead": 1, "accepted": 1}


# -- the store away ----


METHODS = ["mark_sending", "mark_accepted", "mark_unknown", "mark_failed", "unsettled"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["fail", "lose_answer"])
async def test_an_outage_at_any_step_is_waited_out_and_nothing_goes_out_twice(
    method: str, how: str
) -> None:
    bench = Bench(chat_queue=2)
    getattr(bench.ledger.outages, how)(method, 3)
    async with bench.running():
        bench.channel.plan_sends("lose_answer", "refuse_for_now")
        await bench.say("1", "2", "3", "4", "5")
        await bench.clock.advance(120)
    assert bench.sent() == ["1", "2", "3", "4", "5"]
    assert set(bench.states()) == {OutboxState.ACCEPTED}
    assert bench.calls() == ["1", "2", "2", "3", "4", "5"]


async def test_nothing_is_sent_whose_intent_is_not_committed(bench: Bench) -> None:
    async with bench.running():
        rows = [await bench.plan("habari")]
        bench.ledger.outages.down = True
        bench.outbound.put(rows)
        await bench.clock.advance(3600)
        assert bench.channel.calls == []
        bench.ledger.outages.down = False
        await bench.clock.advance(5)
    assert bench.sent() == ["habari"]


# -- stopping ----


async def test_draining_begins_nothing_new_and_settles_what_was_handed_over(bench: Bench) -> None:
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        first, second = await bench.say("1", "2")
        await settle()
        draining = asyncio.create_task(bench.outbound.drain())
        await settle()
        assert not draining.done()
        bench.channel.before_send.set()
        await draining
        assert bench.row(first).state is OutboxState.ACCEPTED
        await settle()
    assert bench.row(second).state is OutboxState.PLANNED
    assert bench.calls() == ["1"]


async def test_draining_waits_for_an_intent_under_way(bench: Bench) -> None:
    async with bench.running():
        gate = bench.ledger.outages.hold("mark_sending")
        [row] = await bench.say("1")
        await until(lambda: "mark_sending" in bench.ledger.outages.calls)
        draining = asyncio.create_task(bench.outbound.drain())
        await settle()
        assert not draining.done()
        gate.set()
        await draining
        assert bench.row(row).state is OutboxState.ACCEPTED


async def test_draining_with_a_full_lane_comes_to_rest() -> None:
    bench = Bench(chat_queue=2)
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        await bench.say(*(str(number) for number in range(30)))
        await settle()
        draining = asyncio.create_task(bench.outbound.drain())
        bench.channel.before_send.set()
        await draining
        await settle()
        calls = len(bench.ledger.outages.calls)
        await bench.clock.advance(60)
        assert len(bench.ledger.outages.calls) == calls
    assert bench.calls() == ["0"]


async def test_draining_with_nothing_under_way_is_over_at_once(bench: Bench) -> None:
    async with bench.running():
        await bench.outbound.drain()
        await bench.say("late")
        await settle()
    assert bench.channel.calls == []


async def test_what_was_accepted_is_recorded_even_if_the_stop_comes_meanwhile(
    bench: Bench,
) -> None:
    async with bench.running():
        gate = bench.ledger.outages.hold("mark_accepted")
        [row] = await bench.say("habari")
        await until(lambda: "mark_accepted" in bench.ledger.outages.calls)
        bench.task.cancel()
        await settle()
        assert not bench.task.done()
        gate.set()
        await asyncio.wait({bench.task})
        assert bench.task.cancelled()
    assert bench.row(row).state is OutboxState.ACCEPTED


async def test_a_stop_with_the_store_away_leaves_no_record_waiting_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowhq.bot.outbound.RECORD_S", 0.05)
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        [row] = await bench.say("habari")
        await settle()
        bench.ledger.outages.down = True
        bench.channel.before_send.set()
        await settle()
    assert bench.row(row).state is OutboxState.SENDING


# -- a run that ends anywhere, and the next one ----


async def killed_at(bench: Bench, turns: int) -> None:
    """One run with two chats, ended after so many turns of the loop; then the next run."""
    async with bench.running():
        await bench.say("1", "2")
        await bench.say("a", chat=OTHER)
        await settle(turns)
    async with bench.running():
        await bench.restore()
        await bench.clock.advance(SETTLE_S + 1)


@pytest.mark.parametrize("mode", ["ok", "lose", "lose_answer"])
@pytest.mark.parametrize("turns", range(24))
async def test_wherever_a_run_ends_each_message_reaches_the_peer_once_and_in_order(
    bench: Bench, turns: int, mode: SendMode
) -> None:
    bench.channel.plan_sends(mode, mode, mode)
    await killed_at(bench, turns)
    sent = bench.sent()
    assert sorted(sent) == ["1", "2", "a"]
    assert sent.index("1") < sent.index("2")
    assert set(bench.states()) == {OutboxState.ACCEPTED}


async def test_a_page_that_dies_during_a_send_ends_the_run_and_the_next_one_looks_it_up(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        [row] = await bench.say("habari")
        await settle()
        bench.channel.crash()
        bench.channel.before_send.set()
        await asyncio.wait({bench.task})
        error = bench.task.exception()
        assert isinstance(error, ExceptionGroup)
        assert isinstance(error.exceptions[0], ChannelRestartError)
    assert bench.row(row).state is OutboxState.SENDING
    async with bench.running():
        await bench.restore()
        await settle()
    assert bench.channel.look_ups == [row.client_id]
    assert bench.sent() == ["habari"]


async def test_a_message_that_brings_the_page_down_each_time_is_given_up(bench: Bench) -> None:
    row = await bench.plan("poison")
    bench.row(row).state = OutboxState.SENDING
    bench.row(row).attempts = ATTEMPTS_MAX
    async with bench.running():
        await bench.restore()
        await bench.say("next")
        await settle()
    assert bench.row(row).state is OutboxState.DEAD
    assert bench.sent() == ["next"]


async def test_restored_rows_go_out_in_their_order(bench: Bench) -> None:
    rows = [await bench.plan(str(number)) for number in range(5)]
    bench.row(rows[0]).state = OutboxState.SENDING
    async with bench.running():
        await bench.restore()
        await settle(1000)
    assert bench.sent() == ["0", "1", "2", "3", "4"]
    assert bench.channel.look_ups == [rows[0].client_id]


# -- acks that stay out ----


def chats(number: int) -> list[Jid]:
    return [Jid(f"25570000010{n}@c.us") for n in range(number)]


async def test_a_connected_page_that_gets_no_acks_any_more_is_to_be_loaded_anew(
    bench: Bench,
) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            await bench.say("habari", chat=chat)
        await settle()
        await bench.clock.advance(SETTLE_S - 1)
        assert not bench.task.done()
        await bench.clock.advance(2)
        assert bench.task.done()
    failure = bench.task.exception()
    assert isinstance(failure, ExceptionGroup)
    [error] = failure.exceptions
    assert isinstance(error, ChannelRestartError)
    assert error.reason == Reason.SENDS_STUCK


async def test_one_message_that_never_gets_its_ack_is_held_against_no_page(bench: Bench) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    for _ in range(3):
        async with bench.running():
            if not bench.ledger.outbox:
                await bench.say("habari")
            await bench.restore()
            await bench.clock.advance(BLOCK_S + 2 * SETTLE_S)
            assert not bench.task.done()
    assert bench.states() == [OutboxState.DEAD]


async def test_an_ack_in_between_shows_that_the_page_still_sends(bench: Bench) -> None:
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            bench.channel.send_mode = "hold"
            await bench.say("stuck", chat=chat)
            await bench.clock.advance(SETTLE_S + 1)
            bench.channel.send_mode = "ok"
            await bench.say("goes", chat=OTHER)
            await settle()
        assert not bench.task.done()


async def test_acks_that_stay_out_while_it_is_offline_are_no_sign(bench: Bench) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            await bench.say("habari", chat=chat)
        await settle()
        bench.channel.health = Health(connected=False, mode="MAIN", detail="")
        await bench.clock.advance(SETTLE_S + 1)
        bench.online.clear()
        await bench.clock.advance(4 * SETTLE_S)
        assert not bench.task.done()


async def test_a_page_that_does_not_answer_when_asked_for_the_ack_ends_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> Health:
        raise ChannelRestartError("no answer", reason=Reason.PAGE_HUNG)

    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    monkeypatch.setattr(bench.channel, "probe", hangs)
    async with bench.running():
        await bench.say("habari")
        await bench.clock.advance(SETTLE_S + 1)
        assert bench.task.done()
    assert isinstance(bench.task.exception(), ExceptionGroup)


async def test_a_lane_that_was_full_reads_its_own_chat_alone() -> None:
    bench = Bench(chat_queue=2)
    async with bench.running():
        bench.online.clear()
        for chat in (CUSTOMER, OTHER):
            await bench.say(*"12345", chat=chat)
        bench.online.set()
        await until(lambda: len(bench.sent()) == 10)
    for chat in (CUSTOMER, OTHER):
        assert [one.text for one in bench.channel.sent if one.to == chat] == list("12345")


async def test_what_a_program_asks_for_takes_its_turn_in_the_tenants_limit() -> None:
    bench = Bench()
    async with bench.running():
        for number in range(4):
            jid = Jid(f"25571200000{number}@c.us")
            bench.outbound.put([await bench.plan(str(number), jid, why="api")])
        await settle()
        assert bench.sent() == ["0", "1"]
        await bench.say("a reply", chat=OTHER)
        await settle()
        assert bench.sent() == ["0", "1", "a reply"]
        await bench.clock.advance(30.1)
        assert bench.sent() == ["0", "1", "a reply", "2"]
        await bench.clock.advance(30.1)
        assert bench.sent() == ["0", "1", "a reply", "2", "3"]


async def test_a_turn_is_taken_once_however_often_a_message_is_tried() -> None:
    bench = Bench()
    bench.channel.send_mode = "refuse_for_now"
    async with bench.running():
        bench.outbound.put([await bench.plan("again", why="api")])
        await settle()
        bench.channel.send_mode = "ok"
        await bench.clock.advance(10)
    assert bench.sent() == ["again"]
    assert bench.limits.peek().tenant_tokens > 1
