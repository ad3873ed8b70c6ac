"""While the store is away everything waits, in order, and a stop ends it."""

import asyncio

import pytest

from flowhq.model import (
    InboxState,
)
from tests.fakes.clock import settle, until
from tests.unit.bot.pump.conftest import Bench

OUTAGES = ["save_identity", "caught_up_to", "known_own", "are_recorded", "record", "touch"]


@pytest.mark.parametrize("method", OUTAGES)
@pytest.mark.parametrize("how", ["fail", "lose_answer"])
async def test_an_outage_at_any_step_is_waited_out_in_order(
    bench: Bench, method: str, how: str
) -> None:
    bench.channel.receive("by hand", message_id="by hand", from_me=True, live=False)
    bench.receive("missed", live=False)
    getattr(bench.ledger.outages, how)(method, 3)
    bench.channel.ready()
    bench.receive("live 1")
    bench.receive("live 2")
    await bench.clock.advance(60)
    assert [key.message_id for key in bench.ledger.inbox] == [
        "by hand",
        "missed",
        "live 1",
        "live 2",
    ]
    assert bench.ledger.states()["live 2"] is InboxState.NEW


async def test_during_an_outage_the_pump_stops_reading_and_the_channel_counts_what_it_drops(
    bench: Bench,
) -> None:
    await bench.ready()
    bench.ledger.outages.down = True
    for number in range(1500):
        bench.receive(f"m{number:04}")
    await bench.clock.advance(60)
    assert bench.ledger.inbox == {}
    bench.ledger.outages.down = False
    await bench.clock.advance(10)
    await until(lambda: len(bench.ledger.inbox) == 1000)
    bench.receive("after")
    await until(lambda: len(bench.ledger.inbox) == 1501)


async def test_a_stop_during_an_outage_ends_at_once(bench: Bench) -> None:
    await bench.ready()
    bench.ledger.outages.down = True
    bench.receive("live")
    await settle()
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_stop_anywhere_swallows_nothing(bench: Bench, turns: int) -> None:
    bench.receive("missed", live=False)
    bench.channel.show_qr()
    bench.channel.ready()
    bench.receive("live")
    await settle(turns)
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
