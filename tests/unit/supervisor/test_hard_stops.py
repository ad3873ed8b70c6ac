"""Workers that do not stop when they are asked to."""

import asyncio

import pytest

from flowhq import keeper as keeper_module
from flowhq.bot.lifecycle import State
from flowhq.errors import WrongStateError
from flowhq.model import TenantId
from tests.fakes.clock import PATIENCE_S, settle
from tests.unit.supervisor.conftest import ONE, Bench


async def test_a_drain_that_takes_too_long_is_given_up(bench: Bench) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    runner.drained.clear()
    await bench.supervisor.stop(ONE)
    assert runner.closed
    assert bench.state() is State.STOPPED


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_does_not_end_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    bench.desk.runner(ONE).may_close.clear()
    kill = bench.desk.kill

    async def killed(tenant_id: TenantId) -> None:
        await kill(tenant_id)
        monkeypatch.setattr(keeper_module, "STOP_SLACK_S", PATIENCE_S)
        bench.desk.runner(ONE).may_close.set()

    monkeypatch.setattr(bench.desk, "kill", killed)
    await bench.supervisor.stop(ONE)
    assert bench.desk.asked("kill") == [("kill", ONE)]
    assert bench.state() is State.STOPPED


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_survives_even_that_keeps_its_place(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).may_close.clear()
    with pytest.raises(WrongStateError):
        await bench.supervisor.restart(ONE)
    assert bench.desk.opened(ONE) == 1
    with pytest.raises(WrongStateError):
        await bench.supervisor.start(ONE)
    bench.desk.runner(ONE).may_close.set()
    await bench.supervisor.restart(ONE)
    await settle()
    assert bench.desk.opened(ONE) == 2


async def test_a_stop_that_is_cancelled_does_not_leave_the_worker_half_drained(
    bench: Bench,
) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    runner.drained.clear()
    stopping = asyncio.create_task(bench.supervisor.stop(ONE))
    await settle()
    stopping.cancel()
    await asyncio.wait({stopping})
    await settle()
    assert runner.closed
    await bench.supervisor.stop(ONE)
    assert bench.state() is State.STOPPED


async def test_an_error_in_the_way_of_a_stop_does_not_keep_the_worker_going(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).swallows_cancel = True
    await bench.supervisor.stop(ONE)
    await bench.clock.advance(3600)
    assert bench.desk.opened(ONE) == 1
    assert bench.state() is State.STOPPED
    assert bench.snapshot().restarts == 0
