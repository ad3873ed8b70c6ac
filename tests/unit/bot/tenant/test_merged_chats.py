"""Chats that turn out to be one while they are busy."""

import asyncio

from flowhq.model import ChatKey, InboundMessage, InboxState, Jid, OutboxState
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import settle
from tests.unit.bot.tenant.conftest import Bench

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


async def test_a_step_after_the_merge_and_before_its_answer_waits_for_the_earlier_reply(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.receive("0")
        await settle()
        bench.channel.plan_sends("refuse_for_now")
        bench.receive("1", chat=LID)
        await settle()
        begun = bench.ledger.outages.hold("process")
        bench.receive("2", chat=LID)
        await settle()
        answered = bench.ledger.outages.hold("answer of record")
        bench.channel.receive("3", lid="100000000000009")
        await settle()
        begun.set()
        await settle()
        assert bench.ledger.replies(f"in {LID} 2")[0].chat_key == ChatKey(CUSTOMER)
        assert texts(bench) == ["re: 0"]
        answered.set()
        await bench.clock.advance(3)
    assert texts(bench) == [f"re: {number}" for number in range(4)]


async def test_whoever_was_asked_to_wait_is_not_asked_again_once_the_chats_are_one() -> None:
    bench = Bench(chat_queue=2)
    fail_once(bench, "3")
    async with bench.running():
        bench.receive("0")
        await settle()
        sending = bench.channel.before_send = asyncio.Event()
        bench.receive("1")
        await settle()
        gate = bench.ledger.outages.hold("process")
        for number in range(2, 6):
            bench.receive(str(number), chat=LID)
        await settle()
        bench.channel.receive("6", lid="100000000000009")
        await settle()
        gate.set()
        await settle()
        bench.receive("7")
        bench.receive("8")
        await settle()
        sending.set()
        await bench.clock.advance(3)
        await settle(2000)
    assert texts(bench).count("please wait") == 1
    replies = [text for text in texts(bench) if text != "please wait"]
    assert replies == [f"re: {number}" for number in range(9)]


async def test_a_notice_that_is_lined_up_after_its_chat_was_merged_is_handed_over_once() -> None:
    bench = Bench(chat_queue=2)
    async with bench.running():
        bench.receive("0")
        await settle()
        gate = bench.ledger.outages.hold("process")
        planned = bench.ledger.outages.hold("answer of notify")
        for number in range(1, 5):
            bench.receive(str(number), chat=LID)
        await settle()
        sending = bench.channel.before_send = asyncio.Event()
        bench.channel.receive("5", lid="100000000000009")
        await settle()
        planned.set()
        await settle()
        sending.set()
        gate.set()
        await settle(2000)
    handed_over = [call.text for call in bench.channel.calls]
    assert handed_over == ["re: 0", "please wait", *(f"re: {number}" for number in range(1, 6))]
