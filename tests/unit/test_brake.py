"""Many failures at once as one incident: when it begins, how restarts go, when it is over."""

import asyncio
import random

import pytest

from flowhq.brake import AT_ONCE, TENANTS_MIN, WINDOW_S, Brake
from flowhq.model import Reason, TenantId
from tests.fakes.clock import FakeClock, settle
from tests.fakes.desk import tenant


class Bench:
    def __init__(self, running: int = 10) -> None:
        self.clock = FakeClock()
        self.running = running
        self.starting = 0
        self.offline = 0
        self.reviving = 0
        self.brake = Brake(
            self.clock,
            random.Random(3),
            running=lambda: self.running,
            starting=lambda: self.starting,
            offline=lambda: self.offline,
            reviving=lambda: self.reviving,
        )

    def fail(self, *numbers: int, reason: Reason = Reason.CONNECTION_LOST) -> bool:
        return [self.brake.failed(tenant(number), reason) for number in numbers][-1]


def test_an_incident_begins_above_a_share_and_a_number_of_tenants() -> None:
    bench = Bench(running=10)
    assert not bench.fail(1, 2, 3)
    assert bench.fail(4)
    assert bench.brake.incidents == 1


@pytest.mark.parametrize("running", [1, 2, 6])
def test_a_few_tenants_make_an_incident_only_from_three_on(running: int) -> None:
    bench = Bench(running=running)
    assert not bench.fail(*range(1, TENANTS_MIN))
    assert bench.fail(TENANTS_MIN)


def test_one_tenant_that_fails_often_is_its_own_trouble() -> None:
    bench = Bench(running=3)
    assert not bench.fail(*[1] * 20, *[2] * 20)


async def test_failures_that_are_further_apart_than_the_window_are_not_one() -> None:
    bench = Bench(running=4)
    for number in range(1, 20):
        assert not bench.fail(number)
        await bench.clock.advance(WINDOW_S / 2 + 1)


def test_it_counts_everybody_and_names_the_most_frequent_cause() -> None:
    bench = Bench(running=10)
    bench.fail(1, reason=Reason.PAGE_CRASHED)
    bench.fail(2, 3, 4, 5)
    incident = bench.brake.incident()
    assert incident is not None
    assert incident.tenants == {tenant(number) for number in range(1, 6)}
    assert incident.reason is Reason.CONNECTION_LOST
    assert bench.brake.incidents == 1


async def test_it_is_over_when_nobody_failed_for_a_while() -> None:
    bench = Bench()
    bench.fail(1, 2, 3, 4)
    await bench.clock.advance(WINDOW_S)
    assert bench.brake.incident() is not None
    await bench.clock.advance(1)
    assert bench.brake.incident() is None
    assert not bench.fail(5)
    assert bench.fail(6, 7, 8)
    assert bench.brake.incidents == 2


async def test_stale_tenants_that_are_told_of_in_each_round_do_not_keep_it_alive() -> None:
    bench = Bench()
    rounds = 0
    while bench.fail(1, 2, 3, 4, reason=Reason.STALE) and rounds < 10:
        await bench.clock.advance(WINDOW_S / 4)
        rounds += 1
        if bench.brake.incident() is None:
            break
    assert rounds == 5


async def test_without_an_incident_nobody_waits() -> None:
    bench = Bench()
    bench.starting = 50
    await bench.brake.turn()
    assert bench.clock.naps == []


async def test_turns_come_two_at_a_time_and_never_at_the_same_moment() -> None:
    bench = Bench()
    bench.fail(1, 2, 3, 4)
    began: list[float] = []

    async def restart(tenant_id: TenantId) -> None:
        await bench.brake.turn()
        bench.starting += 1
        assert bench.starting <= AT_ONCE
        began.append(bench.clock.monotonic())
        await bench.clock.sleep(10)
        bench.starting -= 1

    restarts = [asyncio.create_task(restart(tenant(number))) for number in range(10)]
    await bench.clock.advance(200)
    await asyncio.gather(*restarts)
    assert len(set(began)) == len(began)
    assert began[-1] - began[0] >= 40


async def test_it_goes_on_while_somebody_waits_and_ends_with_who_gives_up() -> None:
    bench = Bench()
    bench.fail(1, 2, 3, 4)
    bench.starting = AT_ONCE
    waiting = asyncio.create_task(bench.brake.turn())
    await bench.clock.advance(600)
    assert bench.brake.incident() is not None
    waiting.cancel()
    await settle()
    assert bench.brake.incident() is None


@pytest.mark.parametrize(("offline", "running"), [(1, 1), (2, 2), (3, 10)])
def test_pages_of_a_few_without_a_connection_may_be_loaded_anew(offline: int, running: int) -> None:
    bench = Bench(running=running)
    bench.offline, bench.reviving = offline, 5
    assert bench.brake.may_reload()


def test_of_many_without_a_connection_two_at_a_time_may_be_loaded_anew() -> None:
    bench = Bench(running=10)
    bench.offline = 4
    bench.reviving = AT_ONCE - 1
    assert bench.brake.may_reload()
    bench.reviving = AT_ONCE
    assert not bench.brake.may_reload()


def test_in_an_incident_no_page_is_loaded_anew() -> None:
    bench = Bench(running=10)
    bench.offline = 1
    bench.fail(1, 2, 3, 4)
    assert not bench.brake.may_reload()
