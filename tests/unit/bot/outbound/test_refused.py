"""Refusals, and a store that is away."""

import pytest

from flowhq.attempts import ATTEMPTS_MAX
from flowhq.bot.outbound import BLOCK_S
from flowhq.model import OutboxState
from tests.fakes.channel import SendMode
from tests.fakes.clock import settle
from tests.unit.bot.outbound.conftest import Bench

REFUSALS: list[SendMode] = ["refuse_for_now"] * ATTEMPTS_MAX


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
