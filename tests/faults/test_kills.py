"""kill -9 under load: nothing is lost, nothing answered twice, nothing out of order."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import World, running, wait

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("kills")
    with running(World(home)) as world:
        yield world


def test_a_daemon_killed_at_random_times_loses_nothing_and_answers_nothing_twice(
    world: World,
) -> None:
    dice = random.Random(20261102)
    world.peer.habits(delay_ms=5, duplicates=0.05, swaps=0.05, receipts=0.1)
    world.peer.command("traffic", rate=60, chats=8)
    for _ in range(6):
        wait(dice.uniform(0.3, 2.0))
        world.daemon.kill()
        world.daemon.start()
    world.peer.command("traffic", rate=0)
    world.wait_until_connected()
    world.wait_until_settled()
    verdict = world.verdict()
    assert verdict.clean, verdict
    assert verdict.asked > 100
