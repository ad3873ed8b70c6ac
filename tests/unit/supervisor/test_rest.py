"""A work that needs a tenant at rest: stopped for it, and as before afterwards."""

import asyncio

import pytest

from flowhq.bot.lifecycle import State
from flowhq.errors import LoginRequiredError, WrongStateError
from flowhq.model import DesiredState, Reason, WorkerStatus
from tests.fakes.clock import settle, until
from tests.unit.supervisor.conftest import ONE, Bench, nothing_more


async def test_a_running_tenant_rests_during_a_work_and_runs_again(bench: Bench) -> None:
    await bench.start()
    seen = []

    async def work() -> str:
        seen.append((bench.snapshot().worker, bench.snapshot().desired))
        assert bench.desk.runners[ONE][0].closed
        return "done"

    assert await bench.supervisor.rest(ONE, work) == "done"
    await settle()
    assert seen == [(WorkerStatus.STOPPED, DesiredState.RUNNING)]
    assert bench.desk.opened(ONE) == 2
    assert bench.snapshot().worker is WorkerStatus.RUNNING


async def test_a_tenant_runs_again_after_a_work_that_failed(bench: Bench) -> None:
    async def work() -> None:
        raise WrongStateError("No room.")

    await bench.start()
    with pytest.raises(WrongStateError, match="No room"):
        await bench.supervisor.rest(ONE, work)
    await settle()
    assert bench.desk.opened(ONE) == 2


async def test_a_stopped_or_parked_tenant_stays_so_after_a_work(bench: Bench) -> None:
    await bench.supervisor.rest(ONE, nothing_more)
    assert bench.snapshot().desired is DesiredState.STOPPED
    assert bench.desk.opened(ONE) == 0
    await bench.start()
    await bench.fail(LoginRequiredError("Blocked.", reason=Reason.BLOCKED))
    await bench.supervisor.rest(ONE, nothing_more)
    await settle()
    assert (bench.snapshot().reason, bench.desk.opened(ONE)) == (Reason.BLOCKED, 1)


async def test_nobody_starts_a_tenant_during_a_work(bench: Bench) -> None:
    may_end, begun = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()

    resting = asyncio.create_task(bench.supervisor.rest(ONE, work))
    await begun.wait()
    starting = asyncio.create_task(bench.supervisor.start(ONE))
    await settle()
    assert bench.desk.opened(ONE) == 0
    may_end.set()
    await asyncio.gather(resting, starting)
    await settle()
    assert bench.desk.opened(ONE) == 1


async def test_a_stop_of_the_daemon_breaks_a_work_off_and_starts_nothing_again(
    bench: Bench,
) -> None:
    begun, broken_off = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    await bench.start()
    resting = asyncio.create_task(bench.supervisor.rest(ONE, endless))
    await begun.wait()
    await bench.supervisor.close()
    assert broken_off.is_set()
    with pytest.raises(WrongStateError, match="stopping"):
        await resting
    assert bench.desk.opened(ONE) == 1
    assert bench.snapshot().desired is DesiredState.RUNNING
    assert bench.snapshot().reason is Reason.DAEMON_STOPPED


async def test_a_work_does_not_begin_once_the_daemon_stops(bench: Bench) -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")

    await bench.start()
    stored = bench.desk.book.outages.hold("save")
    resting = asyncio.create_task(bench.supervisor.rest(ONE, work))
    await until(lambda: bench.state() is State.STOPPED)
    closing = asyncio.create_task(bench.supervisor.close())
    await settle()
    stored.set()
    await closing
    with pytest.raises(WrongStateError, match="stopping"):
        await resting
    assert begun == []
    assert bench.desk.opened(ONE) == 1


async def test_who_asked_for_a_work_and_goes_ends_it(bench: Bench) -> None:
    begun = asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    await bench.start()
    resting = asyncio.create_task(bench.supervisor.rest(ONE, endless))
    await begun.wait()
    resting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await resting
    await settle()
    assert bench.desk.opened(ONE) == 2
