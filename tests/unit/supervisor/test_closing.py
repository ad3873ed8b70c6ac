"""The end of the daemon: everything stopped, every wish kept."""

import asyncio

import pytest

from flowhq.errors import WrongStateError
from flowhq.model import DesiredState, Reason
from tests.fakes.clock import PATIENCE_S, settle, until
from tests.unit.supervisor.conftest import ONE, THREE, TWO, VERBS, Bench


async def test_closing_stops_all_at_once_and_keeps_their_wish(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start(ONE, TWO, THREE)
    await bench.supervisor.stop(THREE)
    for tenant_id in (ONE, TWO):
        bench.desk.runner(tenant_id).may_close.clear()
    closing = asyncio.create_task(bench.supervisor.close())
    await until(lambda: all(bench.desk.runner(one).cancelled for one in (ONE, TWO)))
    for tenant_id in (ONE, TWO):
        bench.desk.runner(tenant_id).may_close.set()
    await closing
    assert bench.snapshot(ONE).desired is DesiredState.RUNNING
    assert bench.snapshot(ONE).reason is Reason.DAEMON_STOPPED
    assert bench.snapshot(THREE).desired is DesiredState.STOPPED
    assert bench.snapshot(THREE).reason is Reason.STOPPED_BY_ADMIN
    assert bench.desk.asked("kill") == []


async def test_closing_twice_changes_nothing_more(bench: Bench) -> None:
    await bench.start()
    await bench.supervisor.close()
    saved = len(bench.desk.book.saved)
    await bench.supervisor.close()
    assert len(bench.desk.book.saved) == saved


async def test_after_closing_every_verb_is_refused(bench: Bench) -> None:
    await bench.start()
    await bench.supervisor.close()
    for verb in VERBS.values():
        with pytest.raises(WrongStateError):
            await verb(bench.supervisor, ONE)
    assert bench.desk.opened(ONE) == 1


async def test_a_verb_under_way_when_the_daemon_closes_leaves_nothing_running(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).may_close.clear()
    restarting = asyncio.create_task(bench.supervisor.restart(ONE))
    await settle()
    closing = asyncio.create_task(bench.supervisor.close())
    await settle()
    bench.desk.runner(ONE).may_close.set()
    await asyncio.gather(restarting, closing)
    assert all(runner.closed for runner in bench.desk.runners[ONE])
    assert bench.snapshot().desired is DesiredState.RUNNING


@pytest.mark.usefixtures("impatient")
async def test_one_that_cannot_be_closed_keeps_no_other_from_it(bench: Bench) -> None:
    await bench.start(ONE, TWO)
    bench.desk.runner(ONE).may_close.clear()
    bench.desk.runner(TWO).drained.clear()
    bench.desk.kill_error = RuntimeError("no such process")
    closing = asyncio.create_task(bench.supervisor.close())
    await closing
    assert bench.desk.runner(TWO).closed
    bench.desk.runner(ONE).may_close.set()
    await until(lambda: bench.desk.runner(ONE).closed)


async def test_hurry_gives_up_the_draining_and_still_closes(bench: Bench) -> None:
    bench.settings.__dict__["stop_grace_s"] = 60.0
    await bench.start(ONE, TWO)
    for tenant_id in (ONE, TWO):
        bench.desk.runner(tenant_id).drained.clear()
    closing = asyncio.create_task(bench.supervisor.close())
    await until(lambda: bench.desk.runner(TWO).drains)
    assert not bench.desk.runner(ONE).cancelled
    bench.supervisor.hurry()
    bench.supervisor.hurry()
    await until(lambda: bench.desk.runner(ONE).closed and bench.desk.runner(TWO).closed)
    async with asyncio.timeout(PATIENCE_S):
        await closing


async def test_closing_ends_the_coming_back(bench: Bench) -> None:
    for tenant_id in (ONE, TWO):
        bench.desk.add(tenant_id, desired=DesiredState.RUNNING)
    await bench.supervisor.open()
    await settle()
    await bench.supervisor.close()
    await bench.clock.advance(60)
    assert bench.desk.opened(TWO) == 0
    assert bench.snapshot(TWO).desired is DesiredState.RUNNING
