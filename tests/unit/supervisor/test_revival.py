"""After a start of the daemon: who is wanted comes back, one after the other."""

import asyncio

import pytest

from flowhq.bot.lifecycle import Event
from flowhq.bot.restart import FOR_A_PERSON
from flowhq.errors import LoginRequiredError, StoreRefusedError
from flowhq.model import DesiredState, Reason, TenantSnapshot, TenantStatus, WorkerStatus
from tests.fakes.clock import settle
from tests.unit.supervisor.conftest import ONE, THREE, TWO, Bench


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


@pytest.mark.parametrize("reason", sorted(FOR_A_PERSON))
async def test_who_is_parked_for_a_person_stays_so_over_restarts_of_the_daemon(
    bench: Bench, reason: Reason
) -> None:
    bench.desk.add(ONE, desired=DesiredState.RUNNING, parked=reason)
    bench.desk.add(TWO, desired=DesiredState.RUNNING)
    await bench.supervisor.open()
    await bench.clock.advance(2 * bench.settings.parked_probe_s)
    assert (bench.desk.opened(ONE), bench.desk.opened(TWO)) == (0, 1)
    snapshot = bench.snapshot(ONE)
    assert (snapshot.status, snapshot.reason) == (TenantStatus.ERROR, reason)
    await bench.fail(LoginRequiredError("x", reason=reason), TWO)
    await bench.supervisor.close()
    saved = bench.desk.book.latest(TWO)
    assert saved is not None
    assert (saved.status, saved.worker, saved.reason) == (
        TenantStatus.ERROR,
        WorkerStatus.ERROR,
        reason,
    )


async def test_a_parking_for_a_person_that_was_not_stored_is_stored_at_the_end(
    bench: Bench,
) -> None:
    await bench.start()
    bench.desk.book.outages.fail("save")
    await bench.fail(LoginRequiredError("x", reason=Reason.BLOCKED))
    await bench.supervisor.close()
    saved = bench.desk.book.latest(ONE)
    assert saved is not None
    assert (saved.worker, saved.reason) == (WorkerStatus.ERROR, Reason.BLOCKED)


async def test_who_is_parked_for_a_person_starts_when_a_person_says_so(bench: Bench) -> None:
    bench.desk.add(ONE, desired=DesiredState.RUNNING, parked=Reason.BLOCKED)
    await bench.supervisor.open()
    await bench.clock.advance(60)
    await bench.supervisor.start(ONE)
    await settle()
    assert bench.snapshot(ONE).status is TenantStatus.ACTIVE


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


async def test_one_that_a_verb_holds_keeps_no_other_away(bench: Bench) -> None:
    for tenant_id in (ONE, TWO, THREE):
        bench.desk.add(tenant_id, desired=DesiredState.RUNNING)
    done = asyncio.Event()
    await bench.supervisor.open()
    await settle()
    resting = asyncio.create_task(bench.supervisor.rest(TWO, done.wait))
    await bench.clock.advance(60)
    assert (bench.desk.opened(TWO), bench.desk.opened(THREE)) == (0, 1)
    done.set()
    await resting
    await settle()
    assert bench.desk.opened(TWO) == 1


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
