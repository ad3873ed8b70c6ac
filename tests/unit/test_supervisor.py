"""Wanted against observed: verbs, restarts, parking, staleness, and nobody in another's way."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from flowhq import keeper as keeper_module
from flowhq.bot.lifecycle import Event, State
from flowhq.bot.restart import LADDER
from flowhq.config import SupervisorSettings
from flowhq.errors import (
    ChannelRestartError,
    ChromiumMissingError,
    ConfigError,
    ConfigProblem,
    LoginRequiredError,
    MisconfiguredError,
    NotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    WrongStateError,
)
from flowhq.model import (
    DesiredState,
    Reason,
    Rung,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.supervisor import ROUND_MAX_S, Supervisor
from tests.fakes.clock import PATIENCE_S, FakeClock, settle, until
from tests.fakes.desk import FakeDesk, FakeRunner, tenant

ONE, TWO, THREE = tenant(1), tenant(2), tenant(3)
CRASH = ChannelRestartError("The page crashed.", reason=Reason.PAGE_CRASHED)
Verb = Callable[[Supervisor, TenantId], Awaitable[object]]


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.desk = FakeDesk(self.clock)
        # Less than the settings allow, so that a drain that never ends costs the test nothing.
        self.settings = SupervisorSettings().model_copy(update={"stop_grace_s": 0.05})
        self.supervisor = Supervisor(self.desk, self.clock, self.settings, dice=random.Random(7))
        for tenant_id in (ONE, TWO, THREE):
            self.desk.add(tenant_id)

    def snapshot(self, tenant_id: TenantId = ONE) -> TenantSnapshot:
        return self.desk.known[tenant_id].snapshot

    def state(self, tenant_id: TenantId = ONE) -> State:
        return self.desk.known[tenant_id].state

    async def start(self, *tenants: TenantId) -> None:
        for tenant_id in tenants or (ONE,):
            await self.supervisor.start(tenant_id)
        await settle()

    async def delete(self, tenant_id: TenantId) -> None:
        async def rows() -> None:
            await asyncio.sleep(0)
            del self.desk.known[tenant_id]

        await self.supervisor.forget(tenant_id, rows)

    async def fail(self, error: Exception, tenant_id: TenantId = ONE) -> FakeRunner:
        """The present attempt fails; the supervisor has dealt with it."""
        runner = self.desk.runner(tenant_id)
        runner.fail(error)
        await settle()
        return runner


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(keeper_module, "STOP_SLACK_S", 0.05)
    bench = Bench()
    yield bench
    for runners in bench.desk.runners.values():
        for runner in runners:
            runner.drained.set()
            runner.may_close.set()
    await bench.supervisor.close()


# -- verbs ----


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


async def test_a_reload_goes_to_the_desk(bench: Bench) -> None:
    await bench.supervisor.reload(ONE)
    assert bench.desk.calls == [("reload", ONE)]


async def test_a_change_is_told_to_who_waits_and_otherwise_the_present(bench: Bench) -> None:
    await bench.start()
    waiting = asyncio.create_task(bench.supervisor.changed(ONE, 5))
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


# -- verbs at once ----


async def test_two_starts_at_once_start_it_once(bench: Bench) -> None:
    results = await asyncio.gather(
        *(bench.supervisor.start(ONE) for _ in range(5)), return_exceptions=True
    )
    await settle()
    assert sum(isinstance(result, WrongStateError) for result in results) == 4
    assert bench.desk.opened(ONE) == 1


async def nothing_more() -> None:
    """The rows stay: as if the tenant were made anew at once."""


VERBS: dict[str, Verb] = {
    "start": lambda supervisor, tenant_id: supervisor.start(tenant_id),
    "stop": lambda supervisor, tenant_id: supervisor.stop(tenant_id),
    "restart": lambda supervisor, tenant_id: supervisor.restart(tenant_id),
    "force_restart": lambda supervisor, tenant_id: supervisor.force_restart(tenant_id),
    "pause": lambda supervisor, tenant_id: supervisor.pause(tenant_id),
    "resume": lambda supervisor, tenant_id: supervisor.resume(tenant_id),
    "log_out": lambda supervisor, tenant_id: supervisor.log_out(tenant_id),
    "forget": lambda supervisor, tenant_id: supervisor.forget(tenant_id, nothing_more),
    "rest": lambda supervisor, tenant_id: supervisor.rest(tenant_id, nothing_more),
}


@pytest.mark.parametrize("seed", range(40))
async def test_verbs_in_any_crowd_leave_one_worker_or_none_and_the_wish_obeyed(
    bench: Bench, seed: int
) -> None:
    dice = random.Random(seed)
    verbs = [dice.choice(list(VERBS.values())) for _ in range(12)]

    async def give(verb: Verb) -> object:
        await settle(dice.randrange(20))
        return await verb(bench.supervisor, ONE)

    async def misfortune() -> None:
        for _ in range(3):
            await settle(dice.randrange(30))
            if ONE in bench.desk.runners:
                bench.desk.runner(ONE).fail(CRASH)

    results = await asyncio.gather(
        misfortune(), *(give(verb) for verb in verbs), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, WrongStateError) for error in errors)
    await bench.clock.advance(60)
    working = [runner for runner in bench.desk.runners.get(ONE, []) if not runner.closed]
    wanted = bench.snapshot().desired is DesiredState.RUNNING
    assert len(working) <= 1
    if ONE in bench.supervisor.snapshots():
        assert bool(working) is wanted


async def test_a_verb_that_waited_while_its_tenant_was_forgotten_is_not_lost_sight_of(
    bench: Bench,
) -> None:
    await bench.start()
    bench.desk.runner(ONE).may_close.clear()
    forgetting = asyncio.create_task(bench.supervisor.forget(ONE, nothing_more))
    await settle()
    starting = asyncio.create_task(bench.supervisor.start(ONE))
    await settle()
    bench.desk.runner(ONE).may_close.set()
    await forgetting
    await starting
    await settle()
    assert ONE in bench.supervisor.snapshots()
    await bench.supervisor.close()
    assert all(runner.closed for runner in bench.desk.runners[ONE])


async def test_a_verb_for_one_tenant_waits_for_no_other(bench: Bench) -> None:
    await bench.start(ONE, TWO)
    bench.desk.runner(ONE).may_close.clear()
    stopping = asyncio.create_task(bench.supervisor.stop(ONE))
    await settle()
    await bench.supervisor.restart(TWO)
    assert not stopping.done()
    bench.desk.runner(ONE).may_close.set()
    await stopping


# -- stops that are hard ----


async def test_a_drain_that_takes_too_long_is_given_up(bench: Bench) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    runner.drained.clear()
    await bench.supervisor.stop(ONE)
    assert runner.closed
    assert bench.state() is State.STOPPED


async def test_a_worker_that_does_not_end_is_killed(bench: Bench) -> None:
    await bench.start()
    runner = bench.desk.runner(ONE)
    runner.may_close.clear()
    stopping = asyncio.create_task(bench.supervisor.stop(ONE))
    await until(lambda: bench.desk.asked("kill"))
    runner.may_close.set()
    await stopping
    assert bench.state() is State.STOPPED


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


# -- failures ----


def ceilings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest that each wait could have been; the waits themselves take no time."""
    seen: list[float] = []

    def roll(dice: random.Random, low: float, high: float) -> float:
        seen.append(high)
        return 0.0

    monkeypatch.setattr(random.Random, "uniform", roll)
    return seen


async def test_a_failure_is_shown_waited_out_and_restarted(bench: Bench) -> None:
    await bench.start()
    await bench.fail(CRASH)
    failed = bench.snapshot()
    assert failed.status is TenantStatus.ERROR
    assert failed.reason is Reason.PAGE_CRASHED
    assert failed.detail == "The page crashed."
    assert failed.restarts == 1
    assert failed.desired is DesiredState.RUNNING
    await bench.clock.advance(5)
    assert bench.desk.opened(ONE) == 2
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_a_channel_that_just_ends_is_restarted(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).end()
    await bench.clock.advance(5)
    assert bench.desk.opened(ONE) == 2


async def test_one_tenants_crash_touches_no_other(bench: Bench) -> None:
    await bench.start(ONE, TWO, THREE)
    before = bench.snapshot(TWO), bench.snapshot(THREE)
    await bench.fail(RuntimeError("a bug"))
    assert bench.snapshot().reason is Reason.INTERNAL_ERROR
    assert bench.snapshot().detail == "RuntimeError"
    await bench.clock.advance(60)
    assert (bench.snapshot(TWO), bench.snapshot(THREE)) == before
    assert bench.desk.opened(TWO) == bench.desk.opened(THREE) == 1


PARKING = [
    (LoginRequiredError("x", reason=Reason.BLOCKED), Reason.BLOCKED),
    (LoginRequiredError("x", reason="a word nobody knows"), Reason.INTERNAL_ERROR),
    (ChromiumMissingError("x"), Reason.CHROMIUM_MISSING),
    (MisconfiguredError("x"), Reason.MISCONFIGURED),
    (NotFoundError("x"), Reason.MISCONFIGURED),
    (StoreRefusedError("x"), Reason.MISCONFIGURED),
    (ConfigError([ConfigProblem("x", "y", "z")]), Reason.MISCONFIGURED),
]


@pytest.mark.parametrize(("error", "reason"), PARKING)
@pytest.mark.parametrize("when", ["opening", "running"])
async def test_what_a_person_must_mend_parks_the_tenant_and_keeps_the_wish(
    bench: Bench, error: Exception, reason: Reason, when: str
) -> None:
    if when == "opening":
        bench.desk.fail_opens(ONE, [error])
        await bench.start()
    else:
        await bench.start()
        await bench.fail(error)
    assert bench.state() is State.PARKED
    assert bench.snapshot().reason is reason
    assert bench.snapshot().next_action
    assert bench.snapshot().desired is DesiredState.RUNNING
    await bench.clock.advance(7200)
    assert bench.desk.opened(ONE) == 1
    await bench.start()
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def climb(bench: Bench, tenant_id: TenantId = ONE) -> None:
    """Fails on every rung of the ladder: parked afterwards."""
    for _ in range(len(LADDER) + 1):
        await bench.fail(CRASH, tenant_id)
        await bench.clock.advance(300)


async def test_a_failure_throws_away_no_more_than_it_must_until_nothing_helps(
    bench: Bench,
) -> None:
    await bench.start()
    for rung in LADDER:
        bench.desk.connects = False
        runner = await bench.fail(RuntimeError("a bug"))
        assert runner.closed is (rung is Rung.BROWSER)
        await bench.clock.advance(300)
        assert bench.desk.runner(ONE).rungs == [rung]
    last = await bench.fail(RuntimeError("a bug"))
    assert last.closed
    assert bench.snapshot().reason is Reason.CRASH_LOOP
    assert bench.snapshot().detail == "RuntimeError"
    assert bench.snapshot().worker is WorkerStatus.ERROR
    await bench.start()
    assert bench.desk.runner(ONE).rungs == [Rung.BROWSER]


async def test_a_stop_while_it_waits_with_its_page_open_closes_it(bench: Bench) -> None:
    await bench.start()
    runner = await bench.fail(CRASH)
    assert not runner.closed
    await bench.supervisor.stop(ONE)
    assert runner.closed


async def test_a_browser_that_does_not_close_does_not_end_the_supervision(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).close_error = ChannelRestartError("x", reason=Reason.BROWSER_FAILED)
    await bench.fail(ChannelRestartError("x", reason=Reason.BROWSER_GONE))
    await bench.clock.advance(5)
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_too_many_restarts_within_the_window_park_whatever_lay_between(bench: Bench) -> None:
    settings = bench.settings
    settings.__dict__["restarts_max"] = 2
    await bench.start()
    for _ in range(3):
        lifecycle = bench.desk.known[ONE]
        await bench.clock.advance(settings.healthy_reset_s)
        lifecycle.seen(bench.clock.now(), at_monotonic=bench.clock.monotonic())
        await bench.fail(CRASH)
        await bench.clock.advance(5)
    assert bench.snapshot().reason is Reason.CRASH_LOOP


# -- parked, and tried once an hour ----


async def test_a_parked_tenant_is_tried_once_an_hour_and_is_back_when_it_holds(
    bench: Bench,
) -> None:
    await bench.supervisor.open()
    await bench.start()
    await climb(bench)
    opened = bench.desk.opened(ONE)
    await bench.clock.advance(bench.settings.parked_probe_s - 600)
    assert bench.desk.opened(ONE) == opened
    bench.desk.fail_opens(ONE, [CRASH])
    await bench.clock.advance(900)
    assert bench.desk.opened(ONE) == opened + 1
    assert bench.snapshot().reason is Reason.CRASH_LOOP
    parked_s = bench.clock.monotonic()
    while bench.desk.opened(ONE) == opened + 1:
        await bench.clock.advance(30)
    assert 2400 < bench.clock.monotonic() - parked_s <= 3660
    assert bench.snapshot().status is TenantStatus.ACTIVE
    assert bench.desk.book.saved[-1][2] == "daemon"
    lifecycle = bench.desk.known[ONE]
    await bench.clock.advance(bench.settings.healthy_reset_s)
    lifecycle.seen(bench.clock.now(), at_monotonic=bench.clock.monotonic())
    await bench.fail(CRASH)
    assert bench.state() is State.RECOVERING


@pytest.mark.parametrize(
    "reason", [Reason.BLOCKED, Reason.CONFLICT, Reason.LOGGED_OUT, Reason.PROFILE_CORRUPT]
)
async def test_what_only_a_person_can_mend_is_never_tried_again(
    bench: Bench, reason: Reason
) -> None:
    await bench.supervisor.open()
    await bench.start()
    await bench.fail(LoginRequiredError("x", reason=reason))
    await bench.clock.advance(3 * bench.settings.parked_probe_s)
    assert bench.desk.opened(ONE) == 1
    assert bench.snapshot().reason is reason


async def test_a_parked_tenant_that_was_stopped_is_not_tried(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start()
    await climb(bench)
    opened = bench.desk.opened(ONE)
    await bench.supervisor.stop(ONE)
    await bench.clock.advance(2 * bench.settings.parked_probe_s)
    assert bench.desk.opened(ONE) == opened


# -- one cause for many ----

LOST = ChannelRestartError("No network.", reason=Reason.CONNECTION_LOST)
FLEET = [tenant(number) for number in range(1, 13)]


async def fleet_of(bench: Bench) -> None:
    for tenant_id in FLEET:
        if tenant_id not in bench.desk.known:
            bench.desk.add(tenant_id)
    await bench.start(*FLEET)


async def test_a_network_that_stays_away_parks_nobody_and_closes_no_browser(bench: Bench) -> None:
    await bench.start()
    first = bench.desk.runner(ONE)
    await bench.fail(LOST)
    bench.desk.fail_opens(ONE, [LOST] * 40)
    await bench.clock.advance(40 * 310)
    assert not first.closed or bench.desk.runner(ONE) is not first
    assert bench.snapshot().status is TenantStatus.ACTIVE
    assert bench.desk.runner(ONE).rungs == [Rung.RELOAD]


async def test_many_failures_at_once_are_one_incident_and_nobodys_fault(bench: Bench) -> None:
    await fleet_of(bench)
    for tenant_id in FLEET:
        await bench.fail(ChannelRestartError("x", reason=Reason.BROWSER_GONE), tenant_id)
    health = await bench.supervisor.health()
    assert health["incidents"] == 1
    incident = health["incident"]
    assert isinstance(incident, dict)
    assert incident["tenants"] == len(FLEET)
    assert incident["reason"] is Reason.BROWSER_GONE
    await bench.clock.advance(600)
    assert all(bench.snapshot(one).status is TenantStatus.ACTIVE for one in FLEET)
    assert (await bench.supervisor.health())["incident"] is None


async def test_during_an_incident_no_more_than_two_start_at_a_time(bench: Bench) -> None:
    await fleet_of(bench)
    bench.desk.connects = False
    for tenant_id in FLEET:
        await bench.fail(CRASH, tenant_id)
    most = 0
    for _ in range(60):
        await bench.clock.advance(1)
        starting = [one for one in FLEET if bench.state(one) is State.STARTING]
        most = max(most, len(starting))
        for tenant_id in starting:
            await bench.desk.runner(tenant_id).connect()
    assert most == 2
    assert all(bench.snapshot(one).status is TenantStatus.ACTIVE for one in FLEET)


async def test_during_an_incident_a_silent_page_is_left_alone(bench: Bench) -> None:
    await bench.supervisor.open()
    await fleet_of(bench)
    for tenant_id in FLEET[:6]:
        await bench.fail(LOST, tenant_id)
        bench.desk.fail_opens(tenant_id, [LOST] * 50)
    await bench.clock.advance(180)
    assert bench.desk.asked("kill") == []
    assert (await bench.supervisor.health())["incident"] is not None


async def test_a_few_failures_are_no_incident(bench: Bench) -> None:
    await fleet_of(bench)
    for tenant_id in FLEET[:3]:
        await bench.fail(CRASH, tenant_id)
    assert (await bench.supervisor.health())["incidents"] == 0


async def test_rounds_that_do_not_end_are_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.supervisor.open()
    await bench.start()
    for _ in range(10):
        await bench.clock.advance(bench.settings.stale_check_s)
        assert bench.supervisor.overdue_s == 0
    gate = asyncio.Event()
    monkeypatch.setattr(bench.desk.known[ONE], "flush", gate.wait)
    await bench.clock.advance(600)
    assert bench.supervisor.overdue_s == 600 - bench.settings.stale_check_s - ROUND_MAX_S
    gate.set()
    await settle()
    assert bench.supervisor.overdue_s == 0


# -- outages ----


async def test_a_database_that_stays_away_never_parks_a_tenant(bench: Bench) -> None:
    bench.desk.fail_opens(ONE, [StoreUnavailableError("away")] * 40)
    await bench.start()
    assert bench.snapshot().reason is Reason.STORE_UNAVAILABLE
    await bench.clock.advance(300 * 45)
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_a_tenant_that_was_well_until_it_hung_starts_its_backoff_afresh(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = ceilings(monkeypatch)
    await bench.start()
    for _ in range(4):
        await bench.clock.advance(bench.settings.healthy_reset_s)
        lifecycle = bench.desk.known[ONE]
        lifecycle.seen(bench.clock.now(), at_monotonic=bench.clock.monotonic())
        await bench.clock.advance(200)
        await lifecycle.apply(Event.STALE)
        await bench.fail(CRASH)
        await settle()
    assert waits == [bench.settings.backoff_min_s] * 4


async def test_a_short_life_each_time_lengthens_the_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = ceilings(monkeypatch)
    await bench.start()
    for _ in range(4):
        await bench.clock.advance(1)
        await bench.fail(CRASH)
    assert waits == [5, 10, 20, 40]


async def test_a_state_that_the_store_refuses_parks_the_tenant_and_not_the_supervisor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start(ONE, TWO)

    async def refuse(snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        raise StoreRefusedError("No rights.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.desk.book, "save", refuse)
        await bench.fail(CRASH)
    assert bench.state() is State.PARKED
    await bench.supervisor.restart(ONE)
    await settle()
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_an_outage_while_it_fails_does_not_stop_the_restarts(bench: Bench) -> None:
    await bench.start()
    bench.desk.book.outages.down = True
    await bench.fail(CRASH)
    await bench.clock.advance(5)
    assert bench.desk.opened(ONE) == 2
    assert bench.snapshot().status is TenantStatus.ACTIVE


# -- coming back ----


async def test_after_a_start_of_the_daemon_only_the_wanted_come_back_one_after_the_other(
    bench: Bench,
) -> None:
    for tenant_id in (ONE, THREE):
        bench.desk.add(tenant_id, desired=DesiredState.RUNNING)
    await bench.supervisor.open()
    await settle()
    assert bench.desk.calls == [("open", ONE)]
    await bench.clock.advance(bench.settings.stagger_s)
    assert bench.desk.calls == [("open", ONE), ("open", THREE)]
    await bench.clock.advance(3600)
    assert bench.desk.opened(TWO) == 0
    assert bench.desk.book.saved[0][2] == "daemon"


async def test_who_was_started_or_stopped_meanwhile_is_left_as_it_is(bench: Bench) -> None:
    for tenant_id in (ONE, TWO, THREE):
        bench.desk.add(tenant_id, desired=DesiredState.RUNNING)
    await bench.supervisor.open()
    await settle()
    await bench.supervisor.start(TWO)
    await bench.supervisor.stop(THREE)
    await bench.clock.advance(60)
    assert bench.desk.opened(TWO) == 1
    assert bench.desk.opened(THREE) == 0


async def test_who_was_forgotten_meanwhile_does_not_come_back(bench: Bench) -> None:
    for tenant_id in (ONE, TWO):
        bench.desk.add(tenant_id, desired=DesiredState.RUNNING)
    await bench.supervisor.open()
    await settle()
    await bench.delete(TWO)
    await bench.clock.advance(60)
    assert bench.desk.opened(TWO) == 0


async def test_one_that_cannot_come_back_keeps_no_other_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.desk.add(ONE, desired=DesiredState.RUNNING)
    bench.desk.add(TWO, desired=DesiredState.RUNNING)

    async def refuse(event: Event, **kwargs: object) -> TenantSnapshot:
        raise StoreRefusedError("No rights.")

    with monkeypatch.context() as patch:
        patch.setattr(first, "apply", refuse)
        await bench.supervisor.open()
        await bench.clock.advance(10)
    assert bench.desk.opened(TWO) == 1


# -- staleness ----


async def stale_after_silence(bench: Bench, *tenants: TenantId) -> None:
    """The tenants are silent, all others go on proving that they live."""
    for _ in range(4):
        await bench.clock.advance(bench.settings.stale_check_s)
        for tenant_id, lifecycle in bench.desk.known.items():
            if tenant_id not in tenants:
                lifecycle.seen(bench.clock.now(), at_monotonic=bench.clock.monotonic())


async def test_a_tenant_that_is_silent_for_two_minutes_is_killed_and_restarted(
    bench: Bench,
) -> None:
    await bench.supervisor.open()
    await bench.start(ONE, TWO)
    await stale_after_silence(bench, ONE)
    assert bench.desk.asked("kill") == [("kill", ONE)]
    assert bench.snapshot().reason is Reason.STALE
    assert bench.snapshot().worker is WorkerStatus.ERROR
    await bench.fail(CRASH)
    await bench.clock.advance(5)
    assert bench.desk.opened(ONE) == 2
    assert bench.desk.opened(TWO) == 1
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_a_tenant_without_a_network_is_shown_as_stale_and_not_killed(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start()
    await bench.desk.known[ONE].apply(Event.LOST)
    await stale_after_silence(bench, ONE)
    assert bench.desk.asked("kill") == []
    assert bench.snapshot().status is TenantStatus.ERROR
    assert bench.snapshot().reason is Reason.CONNECTION_LOST
    await bench.desk.runner(ONE).connect()
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def lose_for_good(bench: Bench, *tenants: TenantId) -> None:
    """Their pages lose the connection, and no later one gets it."""
    bench.desk.connects = False
    for tenant_id in tenants:
        await bench.desk.known[tenant_id].apply(Event.LOST)


async def test_a_page_that_stays_without_a_connection_is_loaded_anew_after_longer_and_longer_waits(
    bench: Bench,
) -> None:
    await bench.supervisor.open()
    await bench.start()
    await lose_for_good(bench, ONE)
    round_s, jitter_s = bench.settings.stale_check_s, bench.settings.backoff_max_s
    longest_s = keeper_module.OFFLINE_WAITS_S[-1]
    for least_s in (*keeper_module.OFFLINE_WAITS_S, longest_s):
        waited_s = await time_until_the_next_attempt(bench)
        assert least_s - round_s <= waited_s <= least_s + 2 * round_s + jitter_s
        assert bench.desk.runner(ONE).rungs == [Rung.RELOAD]
        await bench.desk.known[ONE].apply(Event.LOST)
    assert bench.desk.asked("kill") == []


async def time_until_the_next_attempt(bench: Bench) -> float:
    """Seconds, in steps of a round."""
    began_s, before = bench.clock.monotonic(), bench.desk.opened(ONE)
    for _ in range(100):
        await bench.clock.advance(bench.settings.stale_check_s)
        if bench.desk.opened(ONE) > before:
            break
    return bench.clock.monotonic() - began_s


async def test_a_page_that_came_back_meanwhile_has_its_first_wait_again(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start()
    await lose_for_good(bench, ONE)
    await bench.clock.advance(keeper_module.OFFLINE_WAITS_S[0] + 2 * bench.settings.stale_check_s)
    assert bench.desk.opened(ONE) == 2
    await bench.desk.runner(ONE).connect()
    await bench.clock.advance(1)
    await bench.desk.known[ONE].apply(Event.LOST)
    await bench.clock.advance(keeper_module.OFFLINE_WAITS_S[0] + 2 * bench.settings.stale_check_s)
    assert bench.desk.opened(ONE) == 3


async def test_when_the_network_is_away_for_all_two_pages_are_tried_and_the_others_left(
    bench: Bench,
) -> None:
    everybody = [tenant(number) for number in range(1, 8)]
    for tenant_id in everybody[3:]:
        bench.desk.add(tenant_id)
    await bench.supervisor.open()
    await bench.start(*everybody)
    await lose_for_good(bench, *everybody)
    await bench.clock.advance(4 * 3600)
    tried = [one for one in everybody if bench.desk.opened(one) > 1]
    assert len(tried) == 2
    for tenant_id in tried:
        await bench.desk.runner(tenant_id).connect()
    bench.desk.connects = True
    for _ in range(12):
        await bench.clock.advance(bench.settings.stale_check_s)
        for one in everybody:
            if bench.state(one) is State.CONNECTED:
                await bench.desk.runner(one).connect()
    assert [bench.desk.opened(one) for one in everybody] == [2] * 7
    assert all(bench.state(one) is State.CONNECTED for one in everybody)


async def test_a_tenant_that_shows_a_code_for_hours_is_not_stale(bench: Bench) -> None:
    bench.desk.connects = False
    await bench.supervisor.open()
    await bench.start()
    await bench.desk.known[ONE].apply(Event.QR_SHOWN)
    await bench.clock.advance(4 * 3600)
    assert bench.desk.asked("kill") == []
    assert bench.state() is State.SCANNING


async def test_trouble_with_one_stale_tenant_ends_the_watch_for_none(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start(ONE, TWO)
    bench.desk.kill_error = RuntimeError("no such process")
    await stale_after_silence(bench, ONE)
    bench.desk.kill_error = None
    await stale_after_silence(bench, TWO)
    assert ("kill", TWO) in bench.desk.calls


async def test_a_tenant_with_a_verb_at_work_holds_up_no_check_of_another(bench: Bench) -> None:
    await bench.supervisor.open()
    await bench.start(ONE, TWO)
    bench.desk.runner(ONE).may_close.clear()
    stopping = asyncio.create_task(bench.supervisor.stop(ONE))
    await settle()
    await stale_after_silence(bench, ONE, TWO)
    assert bench.desk.asked("kill")[0] == ("kill", TWO)
    bench.desk.runner(ONE).may_close.set()
    await stopping


async def test_a_wish_that_could_not_be_stored_is_stored_when_the_database_is_back(
    bench: Bench,
) -> None:
    await bench.supervisor.open()
    await bench.start()
    bench.desk.book.outages.down = True
    await bench.supervisor.stop(ONE)
    await bench.clock.advance(120)
    bench.desk.book.outages.down = False
    await bench.clock.advance(bench.settings.stale_check_s)
    stored = bench.desk.book.latest(ONE)
    assert stored is not None
    assert stored.desired is DesiredState.STOPPED


# -- the end ----


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


async def test_a_verb_under_way_when_the_daemon_closes_leaves_nothing_running(
    bench: Bench,
) -> None:
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


async def test_one_that_cannot_be_closed_keeps_no_other_from_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
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
