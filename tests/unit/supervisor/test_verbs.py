"""What each verb does to a tenant and its wish, and what it answers."""

import asyncio

import pytest

from flowhq.bot.lifecycle import Event
from flowhq.errors import LoginRequiredError, NotFoundError, StoreUnavailableError, WrongStateError
from flowhq.model import DesiredState, Reason, TenantId, TenantStatus, WorkerStatus
from tests.fakes.clock import PATIENCE_S, settle
from tests.fakes.desk import tenant
from tests.unit.supervisor.conftest import CRASH, ONE, TWO, Bench


async def test_a_start_runs_the_tenant_and_is_its_wish_from_then_on(bench: Bench) -> None:
    snapshot = await bench.supervisor.start(ONE)
    assert snapshot.worker is WorkerStatus.RUNNING
    assert snapshot.desired is DesiredState.RUNNING
    await settle()
    assert bench.snapshot().status is TenantStatus.ACTIVE
    assert bench.desk.opened(ONE) == 1
    assert bench.desk.book.saved[0][1:] == (Event.START, "admin")


async def test_starting_what_runs_is_refused_with_a_hint_and_changes_nothing(bench: Bench) -> None:
    await bench.start()
    before = bench.snapshot()
    with pytest.raises(WrongStateError) as caught:
        await bench.supervisor.start(ONE)
    assert "restart" in caught.value.next_step
    assert bench.snapshot() == before
    assert bench.desk.opened(ONE) == 1


async def test_a_tenant_that_waits_for_its_next_attempt_counts_as_running(bench: Bench) -> None:
    await bench.start()
    await bench.fail(CRASH)
    with pytest.raises(WrongStateError):
        await bench.supervisor.start(ONE)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "force_restart", "pause", "log_out"])
async def test_a_tenant_that_does_not_exist_is_not_found(bench: Bench, verb: str) -> None:
    with pytest.raises(NotFoundError):
        await getattr(bench.supervisor, verb)(tenant(99))
    assert bench.supervisor.snapshot(tenant(99)) is None


async def test_a_stop_drains_closes_and_keeps_it_stopped(bench: Bench) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    snapshot = await bench.supervisor.stop(ONE)
    assert (runner.drains, runner.cancelled, runner.closed) == (1, True, True)
    assert snapshot.worker is WorkerStatus.STOPPED
    assert snapshot.desired is DesiredState.STOPPED
    assert snapshot.reason is Reason.STOPPED_BY_ADMIN
    await bench.clock.advance(3600)
    assert bench.desk.opened(ONE) == 1


async def test_stopping_what_is_stopped_changes_nothing(bench: Bench) -> None:
    await bench.start()
    first = await bench.supervisor.stop(ONE)
    saved = len(bench.desk.book.saved)
    assert await bench.supervisor.stop(ONE) == first
    assert len(bench.desk.book.saved) == saved
    await bench.start()
    assert bench.snapshot().worker is WorkerStatus.RUNNING


async def test_a_stop_ends_a_wait_for_the_next_attempt_at_once(bench: Bench) -> None:
    await bench.start()
    await bench.fail(CRASH)
    await bench.supervisor.stop(ONE)
    await bench.clock.advance(3600)
    assert bench.desk.opened(ONE) == 1


async def test_a_restart_closes_cleanly_and_starts_again(bench: Bench) -> None:
    await bench.start()
    first = bench.desk.runner(ONE)
    await bench.supervisor.restart(ONE)
    await settle()
    assert (first.drains, first.closed) == (1, True)
    assert bench.desk.runner(ONE) is not first
    assert bench.snapshot().status is TenantStatus.ACTIVE
    assert bench.desk.asked("kill") == []


async def test_a_restart_starts_what_was_stopped(bench: Bench) -> None:
    await bench.supervisor.restart(ONE)
    await settle()
    assert bench.snapshot().desired is DesiredState.RUNNING
    assert bench.desk.opened(ONE) == 1


async def test_a_forced_restart_kills_first_and_does_not_drain(bench: Bench) -> None:
    await bench.start()
    first = bench.desk.runner(ONE)
    first.drained.clear()
    await bench.supervisor.force_restart(ONE)
    await settle()
    assert bench.desk.calls == [("open", ONE), ("kill", ONE), ("open", ONE)]
    assert first.drains == 0
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_pausing_and_resuming_leave_the_worker_alone(bench: Bench) -> None:
    await bench.start()
    assert (await bench.supervisor.pause(ONE)).status is TenantStatus.PAUSED
    assert (await bench.supervisor.pause(ONE)).paused
    assert (await bench.supervisor.resume(ONE)).status is TenantStatus.ACTIVE
    assert bench.desk.opened(ONE) == 1


async def test_a_logout_of_a_running_tenant_unlinks_forgets_and_shows_a_new_code(
    bench: Bench,
) -> None:
    await bench.start()
    bench.desk.connects = False
    snapshot = await bench.supervisor.log_out(ONE)
    await settle()
    assert [name for name, _ in bench.desk.calls] == ["open", "log_out", "forget", "open"]
    assert not snapshot.paired
    assert snapshot.worker is WorkerStatus.RUNNING
    assert bench.desk.runners[ONE][0].closed


async def test_a_logout_that_fails_half_way_leaves_a_stopped_tenant_and_can_be_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(tenant_id: TenantId) -> None:
        raise StoreUnavailableError("The database is away.")

    await bench.start()
    with monkeypatch.context() as patch:
        patch.setattr(bench.desk, "forget", away)
        with pytest.raises(StoreUnavailableError):
            await bench.supervisor.log_out(ONE)
    assert bench.snapshot().worker is WorkerStatus.STOPPED
    assert (await bench.supervisor.log_out(ONE)).desired is DesiredState.RUNNING
    await settle()
    assert bench.desk.opened(ONE) == 2


async def test_a_logout_of_a_stopped_tenant_forgets_and_leaves_it_stopped(bench: Bench) -> None:
    snapshot = await bench.supervisor.log_out(ONE)
    assert [name for name, _ in bench.desk.calls] == ["forget"]
    assert snapshot.status is TenantStatus.NEW
    assert not snapshot.paired
    assert snapshot.desired is DesiredState.STOPPED


async def test_a_logout_of_a_parked_tenant_that_is_wanted_starts_it_afresh(bench: Bench) -> None:
    await bench.start()
    await bench.fail(LoginRequiredError("Blocked.", reason=Reason.BLOCKED))
    await bench.supervisor.log_out(ONE)
    await settle()
    assert [name for name, _ in bench.desk.calls] == ["open", "forget", "open"]


async def test_a_forgotten_tenant_is_unlinked_stopped_and_gone(bench: Bench) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    await bench.delete(ONE)
    assert runner.closed
    steps = ("log_out", "forget", "drop_log")
    assert bench.desk.asked(*steps) == [(step, ONE) for step in steps]
    assert bench.supervisor.snapshot(ONE) is None
    assert ONE not in bench.supervisor.snapshots()


@pytest.mark.parametrize("turns", range(0, 30, 3))
async def test_a_start_during_a_deletion_finds_no_tenant(bench: Bench, turns: int) -> None:
    await bench.start()
    deleting = asyncio.create_task(bench.delete(ONE))
    for _ in range(turns):
        await asyncio.sleep(0)
    with pytest.raises((NotFoundError, WrongStateError)):
        await bench.supervisor.start(ONE)
    await deleting
    assert bench.desk.opened(ONE) == 1
    assert all(runner.closed for runner in bench.desk.runners[ONE])
    with pytest.raises(NotFoundError):
        await bench.supervisor.start(ONE)


async def test_a_deletion_that_fails_leaves_a_stopped_tenant_and_can_be_repeated(
    bench: Bench,
) -> None:
    async def refuse() -> None:
        raise StoreUnavailableError("away")

    await bench.start()
    with pytest.raises(StoreUnavailableError):
        await bench.supervisor.forget(ONE, refuse)
    assert bench.snapshot().desired is DesiredState.STOPPED
    assert not bench.snapshot().paired
    assert bench.desk.runners[ONE][0].closed
    await bench.delete(ONE)
    assert bench.supervisor.snapshot(ONE) is None


async def test_a_reload_goes_to_the_desk(bench: Bench) -> None:
    await bench.supervisor.reload(ONE)
    assert bench.desk.calls == [("reload", ONE)]


async def test_a_change_is_told_to_who_waits_and_otherwise_the_present(bench: Bench) -> None:
    await bench.start()
    waiting = asyncio.create_task(bench.supervisor.changed(ONE, PATIENCE_S))
    await settle()
    await bench.supervisor.pause(ONE)
    told = await waiting
    assert told is not None
    assert told.paused
    assert await bench.supervisor.changed(ONE, 0.01) == bench.snapshot()
    assert await bench.supervisor.changed(tenant(99), 0.01) is None


async def test_health_counts_workers_and_waiting_messages(bench: Bench) -> None:
    await bench.start(ONE, TWO)
    await bench.supervisor.stop(TWO)
    assert await bench.supervisor.health() == {
        "tenants": 2,
        "workers": {"RUNNING": 1, "STOPPED": 1},
        "waiting_messages": 3,
        "incidents": 0,
        "incident": None,
    }
