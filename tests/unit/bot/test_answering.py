"""One message through the responder: one step, within the limits, to its end."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from flowhq.bot import retry
from flowhq.bot.answering import LIVE_S, LONGEST_WAIT_S, Answering
from flowhq.bot.chats import QueuedMessage
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.bot.trace import Traces
from flowhq.errors import ChannelRestartError
from flowhq.model import (
    ChatKey,
    InboundMessage,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    Reason,
    Source,
)
from flowhq.steps import ConversationView, Decision, Outcome
from tests.fakes.clock import EPOCH, PATIENCE_S, FakeClock, settle
from tests.fakes.guards import guards
from tests.fakes.ledger import FakeLedger
from tests.fakes.meter import FakeMeter
from tests.fakes.responder import FakeResponder
from tests.fakes.rows import OutboxRow

CHAT = Jid("255700000001@c.us")
MAX_AGE_S = 3600.0


class Bench:
    def __init__(self, limits: ReplyBudget | None = None) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.responder = FakeResponder()
        self.paused = False
        self.sent: list[OutboundMessage] = []
        self.meter = FakeMeter()
        self.guards = guards(self.clock, budget=limits or ReplyBudget())
        self.limits = self.guards.limits
        self.traces = Traces(self.clock, self.meter)
        self.answering = Answering(
            self.ledger,
            self.clock,
            self.guards,
            self.traces,
            responder=lambda: self.responder,
            paused=lambda: self.paused,
            max_age_s=MAX_AGE_S,
            send=self._send,
        )

    def _send(self, _: ChatKey, rows: Sequence[OutboundMessage]) -> None:
        self.sent.extend(rows)

    async def receive(self, number: int, chat: Jid = CHAT) -> tuple[ChatKey, QueuedMessage]:
        message = InboundMessage(
            message_id=MessageId(f"3A{number:04}"),
            chat=chat,
            from_me=False,
            kind=MessageKind.TEXT,
            text=f"text {number}",
            at=EPOCH,
            source=Source.LIVE,
            sender=chat,
        )
        self.traces.begin(message.message_id, self.clock.monotonic())
        recorded = await self.ledger.record(message, state=InboxState.NEW)
        return recorded.chat_key, QueuedMessage(recorded.key, self.clock.monotonic())

    async def answer(self, number: int, chat: Jid = CHAT) -> list[OutboxRow]:
        """Receive and handle one message without letting time pass; its planned replies."""
        chat_key, queued = await self.receive(number, chat)
        await self.answering.handle(chat_key, queued)
        return self.ledger.replies(queued.key.message_id)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(retry, "PROOF_S", PATIENCE_S)
    return Bench()


async def test_the_answer_is_planned_before_it_is_lined_up(bench: Bench) -> None:
    planned = await bench.answer(1)
    assert [row.text for row in planned] == ["re: text 1"]
    assert [row.outbox_id for row in bench.sent] == [planned[0].outbox_id]
    assert bench.ledger.states() == {"3A0001": InboxState.DONE}


async def test_the_conversation_goes_on_from_the_last_turn(bench: Bench) -> None:
    await bench.answer(1)
    await bench.answer(2)
    assert bench.ledger.conversations[ChatKey(CHAT)].bot_state == {"turns": 2}


async def test_a_message_is_answered_once_however_often_it_is_lined_up(bench: Bench) -> None:
    chat, queued = await bench.receive(1)
    for _ in range(3):
        await bench.answering.handle(chat, queued)
    assert len(bench.sent) == 1
    assert bench.responder.seen == ["3A0001"]


async def test_two_at_once_answer_it_once(bench: Bench) -> None:
    chat, queued = await bench.receive(1)
    await asyncio.gather(*(bench.answering.handle(chat, queued) for _ in range(5)))
    assert len(bench.ledger.outbox) == 1


async def test_a_tenant_paused_meanwhile_answers_nothing(bench: Bench) -> None:
    bench.paused = True
    assert await bench.answer(1) == []
    assert bench.ledger.reasons()["3A0001"] == "paused"
    assert bench.responder.seen == []


async def test_a_message_that_waited_too_long_is_not_answered(bench: Bench) -> None:
    chat, queued = await bench.receive(1)
    await bench.clock.advance(MAX_AGE_S + 1)
    await bench.answering.handle(chat, queued)
    assert bench.ledger.reasons()["3A0001"] == "too_old"
    assert bench.sent == []


async def test_a_contact_can_stop_the_bot_while_a_person_writes_to_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, queued = await bench.receive(1)
    bench.ledger.conversations[chat].paused_until = EPOCH + timedelta(hours=1)
    seen: list[ConversationView] = []

    def stop(message: InboundMessage, view: ConversationView) -> Decision:
        seen.append(view)
        return Decision(Outcome.DONE, "opt_out", opted_out=True)

    monkeypatch.setattr(bench.responder, "respond", stop)
    await bench.answering.handle(chat, queued)
    assert seen[0].paused_until is not None
    assert bench.ledger.conversations[chat].opted_out


# -- the limits ----


async def test_beyond_the_tenants_budget_answers_come_later_in_order_after_one_notice() -> None:
    bench = Bench(ReplyBudget(tenant_replies=2, tenant_period_s=60))
    started = bench.clock.monotonic()
    rows = [await bench.answer(n, Jid(f"{n}@c.us")) for n in range(1, 5)]
    texts = [[row.text for row in planned] for planned in rows]
    assert texts == [
        ["re: text 1"],
        ["re: text 2"],
        ["slow down", "re: text 3"],
        ["re: text 4"],
    ]
    due = [planned[-1].due_at_monotonic - started for planned in rows]
    assert due == [0, 0, 30, 60]
    assert rows[2][0].due_at_monotonic == started


@pytest.mark.parametrize(
    ("waited_s", "planned"), [(LIVE_S - 1, ["slow down", "re: text 1"]), (LIVE_S, [])]
)
async def test_what_waited_for_long_takes_its_turn_without_a_notice(
    waited_s: float, planned: list[str]
) -> None:
    bench = Bench(ReplyBudget(tenant_replies=1, tenant_period_s=300))
    chat, queued = await bench.receive(1)
    await bench.clock.advance(waited_s)
    await bench.answer(2, Jid("2@c.us"))
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await settle()
    assert [row.text for row in bench.ledger.replies(queued.key.message_id)] == planned
    await bench.clock.advance(300)
    await handling
    assert [row.text for row in bench.sent][-1] == "re: text 1"


async def test_a_contacts_budget_refuses_with_one_notice_an_episode() -> None:
    bench = Bench(ReplyBudget(contact_replies=2, contact_period_s=600))
    rows = [await bench.answer(n) for n in range(1, 6)]
    assert [[row.text for row in planned] for planned in rows] == [
        ["re: text 1"],
        ["re: text 2"],
        ["slow down"],
        [],
        [],
    ]
    assert bench.ledger.reasons()["3A0005"] == "contact_limit"
    assert bench.ledger.states()["3A0003"] is InboxState.SKIPPED


async def test_a_refused_answer_does_not_move_the_conversation_on() -> None:
    bench = Bench(ReplyBudget(contact_replies=1, contact_period_s=600))
    await bench.answer(1)
    await bench.answer(2)
    assert bench.ledger.conversations[ChatKey(CHAT)].bot_state == {"turns": 1}


async def test_an_answer_of_several_messages_takes_one_token() -> None:
    bench = Bench(ReplyBudget(tenant_replies=2, tenant_period_s=60))
    bench.responder.parts = 3
    assert len(await bench.answer(1)) == 3
    now = bench.clock.monotonic()
    assert [row.due_at_monotonic for row in await bench.answer(2)] == [now] * 3


@pytest.mark.parametrize("failure", ["commit", "process"])
async def test_repeated_tries_for_the_store_take_one_token_and_lose_no_notice(failure: str) -> None:
    bench = Bench(ReplyBudget(tenant_replies=3, tenant_period_s=60, max_wait_s=20))
    for number in (1, 2):
        await bench.answer(number, Jid(f"{number}@c.us"))
    bench.ledger.outages.fail(failure, 5)
    handling = asyncio.create_task(bench.answer(3))
    await bench.clock.advance(25)
    assert [row.text for row in await handling] == ["re: text 3"]
    tokens = bench.limits.peek().tenant_tokens
    assert 0 <= tokens <= 25 / 20 + 1e-9


async def test_the_notice_is_not_lost_when_its_first_transaction_fails() -> None:
    bench = Bench(ReplyBudget(contact_replies=1, contact_period_s=600))
    await bench.answer(1)
    bench.ledger.outages.fail("commit", 2)
    handling = asyncio.create_task(bench.answer(2))
    await bench.clock.advance(5)
    assert [row.text for row in await handling] == ["slow down"]


# -- failing ----


async def test_a_message_that_fails_is_tried_again_after_its_waits_and_then_given_up(
    bench: Bench,
) -> None:
    bench.responder.before = lambda message: 1 / 0
    chat, queued = await bench.receive(1)
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await bench.clock.advance(371)
    assert not handling.done()
    assert bench.ledger.states()["3A0001"] is InboxState.RETRY
    await bench.clock.advance(2)
    await handling
    assert bench.responder.seen == ["3A0001"] * 5
    assert bench.ledger.states()["3A0001"] is InboxState.DEAD
    assert bench.ledger.inbox[queued.key].error == "ZeroDivisionError"
    assert bench.meter.answered == {"failed": 5, "dead": 1}
    assert bench.sent == []


async def test_a_message_that_failed_once_is_answered_at_the_next_attempt(bench: Bench) -> None:
    def once(message: InboundMessage) -> None:
        if len(bench.responder.seen) == 1:
            raise ValueError("once")

    bench.responder.before = once
    handling = asyncio.create_task(bench.answer(1))
    await bench.clock.advance(2)
    assert [row.text for row in await handling] == ["re: text 1"]


async def test_a_wall_clock_set_back_does_not_prolong_the_wait(bench: Bench) -> None:
    bench.responder.before = lambda message: 1 / 0
    chat, queued = await bench.receive(1)
    gate = bench.ledger.outages.hold("postpone")
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await settle()
    bench.ledger.outages.lose_answer("postpone")
    gate.set()
    await settle()
    bench.clock.move_wall(timedelta(hours=-1))
    await bench.clock.advance(5 * LONGEST_WAIT_S + 10)
    await handling
    assert max(bench.clock.naps) <= LONGEST_WAIT_S


async def test_a_channel_that_is_no_use_ends_the_handler(bench: Bench) -> None:
    def gone(message: InboundMessage) -> None:
        raise ChannelRestartError("gone", reason=Reason.PAGE_CRASHED)

    bench.responder.before = gone
    chat, queued = await bench.receive(1)
    with pytest.raises(ChannelRestartError):
        await bench.answering.handle(chat, queued)
    assert bench.ledger.states()["3A0001"] is InboxState.NEW


async def test_an_outage_is_waited_out_and_is_no_failure_of_the_message(bench: Bench) -> None:
    chat, queued = await bench.receive(1)
    bench.ledger.outages.down = True
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await bench.clock.advance(3600 - 60)
    assert not handling.done()
    bench.ledger.outages.down = False
    await bench.clock.advance(5)
    await handling
    assert bench.ledger.inbox[queued.key].attempts == 0
    assert [row.text for row in bench.sent] == ["re: text 1"]


async def test_a_message_that_the_store_never_gets_done_with_is_given_up_and_the_chat_goes_on(
    bench: Bench,
) -> None:
    chat, poison = await bench.receive(1)
    bench.ledger.outages.time_out("process", 5)
    handling = asyncio.create_task(bench.answering.handle(chat, poison))
    await bench.clock.advance(2 + 10 + 60 + 300)
    await handling
    assert bench.ledger.states()["3A0001"] is InboxState.DEAD
    assert bench.ledger.inbox[poison.key].error == "StoreTimeoutError"
    assert [row.text for row in await bench.answer(2)] == ["re: text 2"]


async def test_a_step_without_an_answer_in_time_is_no_failure_while_the_store_is_away(
    bench: Bench,
) -> None:
    chat, queued = await bench.receive(1)
    bench.ledger.outages.time_out("process", 20)
    bench.ledger.outages.fail("postpone", 10)
    bench.ledger.outages.time_out("postpone", 10)
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await bench.clock.advance(120)
    await handling
    assert bench.ledger.inbox[queued.key].attempts == 0
    assert bench.ledger.states()["3A0001"] is InboxState.DONE


async def test_a_commit_without_an_answer_still_lines_the_replies_up_once(bench: Bench) -> None:
    chat, queued = await bench.receive(1)
    bench.ledger.outages.lose_answer("process")
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    await bench.clock.advance(5)
    await handling
    assert [row.text for row in bench.sent] == ["re: text 1"]
    assert len(bench.ledger.outbox) == 1


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_anywhere_leaves_the_step_undone_or_whole(
    bench: Bench, turns: int
) -> None:
    chat, queued = await bench.receive(1)
    handling = asyncio.create_task(bench.answering.handle(chat, queued))
    for _ in range(turns):
        await asyncio.sleep(0)
    handling.cancel()
    await asyncio.wait({handling})
    waiting = await bench.ledger.waiting(chat, limit=10)
    planned = await bench.ledger.unsettled()
    assert len(waiting) + len(planned) == 1


async def test_a_refill_reads_the_chats_waiting_messages_in_order(bench: Bench) -> None:
    for number in range(1, 6):
        await bench.receive(number)
    await bench.receive(9, Jid("255700000009@c.us"))
    found = await bench.answering.refill(ChatKey(CHAT), 3)
    assert [queued.key.message_id for queued in found] == ["3A0001", "3A0002", "3A0003"]
    assert {queued.seen_at for queued in found} == {None}


async def test_a_changed_configuration_holds_from_the_next_message_on(bench: Bench) -> None:
    await bench.answer(1)
    bench.responder = FakeResponder()
    bench.responder.parts = 2
    assert len(await bench.answer(2)) == 2
