"""Failures of a tenant: shown, waited out, the ladder, what parks it, the store away."""

import random

import pytest

from flowhq.bot.lifecycle import Event, State
from flowhq.bot.restart import LADDER
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
)
from flowhq.model import DesiredState, Reason, Rung, TenantSnapshot, TenantStatus, WorkerStatus
from tests.fakes.clock import settle
from tests.unit.supervisor.conftest import CRASH, ONE, THREE, TWO, Bench


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


async def test_a_run_that_is_cancelled_from_inside_is_restarted(bench: Bench) -> None:
    await bench.start()
    bench.desk.runner(ONE).cancel_from_inside()
    await settle()
    assert bench.snapshot().status is TenantStatus.ERROR
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
    (LoginRequiredError("x", reason="a word nobody knows"), Reason.BLOCKED),
    (ChromiumMissingError("x"), Reason.CHROMIUM_MISSING),
    (MisconfiguredError("x"), Reason.MISCONFIGURED),
    (NotFoundError("x"), Reason.MISCONFIGURED),
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


async def test_a_failure_throws_away_no_more_than_it_must_until_nothing_helps(bench: Bench) -> None:
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
    assert waits == [2, 4, 8, 16]


async def test_a_database_that_refuses_for_long_never_parks_a_tenant(bench: Bench) -> None:
    bench.desk.fail_opens(ONE, [StoreRefusedError("No rights.")] * 40)
    await bench.start()
    assert bench.snapshot().reason is Reason.STORE_REFUSED
    assert bench.snapshot().detail == "No rights."
    await bench.clock.advance(300 * 45)
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_a_state_that_the_store_refuses_is_stored_when_it_takes_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()

    async def refuse(snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        raise StoreRefusedError("No rights.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.desk.book, "save", refuse)
        await bench.fail(CRASH)
        assert bench.state() is State.RECOVERING
    await bench.desk.known[ONE].flush()
    stored = bench.desk.book.latest(ONE)
    assert stored is not None
    assert (stored.status, stored.reason) == (TenantStatus.ERROR, CRASH.reason)
    await bench.clock.advance(5)
    assert bench.snapshot().status is TenantStatus.ACTIVE


async def test_a_mistake_in_the_supervision_itself_parks_the_tenant_for_an_hour(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.supervisor.open()
    await bench.start(ONE, TWO)

    async def mistaken(snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        raise TypeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(bench.desk.book, "save", mistaken)
        await bench.fail(CRASH)
    assert bench.state() is State.PARKED
    assert (bench.snapshot().reason, bench.snapshot().detail) == (Reason.CRASH_LOOP, "TypeError")
    assert bench.snapshot(TWO).status is TenantStatus.ACTIVE
    await bench.clock.advance(bench.settings.parked_probe_s + 60)
    assert (bench.desk.opened(ONE), bench.snapshot().status) == (2, TenantStatus.ACTIVE)


async def test_an_outage_while_it_fails_does_not_stop_the_restarts(bench: Bench) -> None:
    await bench.start()
    bench.desk.book.outages.down = True
    await bench.fail(CRASH)
    await bench.clock.advance(5)
    assert bench.desk.opened(ONE) == 2
    assert bench.snapshot().status is TenantStatus.ACTIVE
