"""Draining and stops, and what the run after them finds."""

import asyncio

import pytest

from flowhq.attempts import ATTEMPTS_MAX
from flowhq.bot.outbound import SETTLE_S
from flowhq.errors import ChannelRestartError
from flowhq.model import OutboxState
from tests.fakes.channel import SendMode
from tests.fakes.clock import PATIENCE_S, settle, until
from tests.unit.bot.outbound.conftest import OTHER, Bench


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
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowhq.bot.outbound.RECORD_S", PATIENCE_S)
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
