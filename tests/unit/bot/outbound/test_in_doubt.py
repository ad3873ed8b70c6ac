"""Messages whose fate is not known: looked up before they are sent again."""

import pytest

from flowhq.attempts import ATTEMPTS_MAX
from flowhq.bot.outbound import BLOCK_S, SETTLE_S
from flowhq.errors import PageReadError
from flowhq.model import Ack, Jid, MessageId, OutboxState, Reason
from tests.fakes.channel import CUSTOMER, SendMode
from tests.fakes.clock import settle
from tests.unit.bot.outbound.conftest import OTHER, Bench

LOSSES: list[SendMode] = ["lose"] * ATTEMPTS_MAX


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


async def test_a_message_that_is_never_found_is_given_up_and_the_next_goes_on(bench: Bench) -> None:
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


async def test_a_message_that_cannot_be_looked_up_blocks_its_chat_alone_and_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = bench.channel.look_up

    async def broken(chat: Jid, client_id: MessageId) -> Ack | None:
        if chat == CUSTOMER:
            raise PageReadError("The page could not answer.", reason=Reason.PAGE_UNUSABLE)
        return await look_up(chat, client_id)

    monkeypatch.setattr(bench.channel, "look_up", broken)
    bench.channel.plan_sends("lose_answer")
    async with bench.running():
        await bench.say("1", "2")
        await settle()
        await bench.say("a", chat=OTHER)
        await settle()
        assert bench.sent() == ["1", "a"]
        await bench.clock.advance(BLOCK_S + SETTLE_S)
        assert not bench.task.done()
    assert bench.sent() == ["1", "a", "2"]
    assert bench.states() == [OutboxState.DEAD, OutboxState.ACCEPTED, OutboxState.ACCEPTED]


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
