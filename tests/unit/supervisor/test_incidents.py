"""One cause for many: an incident, and nobody's fault."""

import asyncio

import pytest

from flowhq.bot.lifecycle import State
from flowhq.errors import ChannelRestartError
from flowhq.model import Reason, Rung, TenantStatus
from flowhq.supervisor import ROUND_MAX_S
from tests.fakes.clock import settle
from tests.fakes.desk import tenant
from tests.unit.supervisor.conftest import CRASH, ONE, Bench

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
