"""Stops, cancellations and draining."""

import asyncio

import pytest

from flowhq.model import OutboxState
from tests.fakes.clock import settle
from tests.unit.bot.tenant.conftest import Bench


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
