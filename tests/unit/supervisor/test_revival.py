"""After a start of the daemon: who is wanted comes back, one after the other."""

import asyncio

import pytest

from flowhq.bot.lifecycle import Event
from flowhq.errors import StoreRefusedError
from flowhq.model import DesiredState, TenantSnapshot
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
