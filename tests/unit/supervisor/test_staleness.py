"""Tenants that are silent, or without a connection for long."""

import asyncio

from flowhq import keeper as keeper_module
from flowhq.bot.lifecycle import Event, State
from flowhq.model import DesiredState, Reason, Rung, TenantId, TenantStatus, WorkerStatus
from tests.fakes.clock import settle
from tests.fakes.desk import tenant
from tests.unit.supervisor.conftest import CRASH, ONE, TWO, Bench


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
