"""Verbs at once: one worker or none, and nobody waits for another tenant."""

import asyncio
import random

import pytest

from flowhq.errors import WrongStateError
from flowhq.model import DesiredState
from tests.fakes.clock import settle
from tests.unit.supervisor.conftest import CRASH, ONE, TWO, VERBS, Bench, Verb, nothing_more


async def test_two_starts_at_once_start_it_once(bench: Bench) -> None:
    results = await asyncio.gather(
        *(bench.supervisor.start(ONE) for _ in range(5)), return_exceptions=True
    )
    await settle()
    assert sum(isinstance(result, WrongStateError) for result in results) == 4
    assert bench.desk.opened(ONE) == 1


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
