"""Parked tenants: tried once an hour, or left to a person."""

import pytest

from flowhq.bot.lifecycle import State
from flowhq.bot.restart import LADDER
from flowhq.errors import LoginRequiredError
from flowhq.model import Reason, TenantId, TenantStatus
from tests.unit.supervisor.conftest import CRASH, ONE, Bench


async def climb(bench: Bench, tenant_id: TenantId = ONE) -> None:
    """Fails on every rung of the ladder: parked afterwards."""
    for _ in range(len(LADDER) + 1):
        await bench.fail(CRASH, tenant_id)
        await bench.clock.advance(300)


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
