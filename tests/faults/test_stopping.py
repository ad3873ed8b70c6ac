"""SIGTERM under load: what is under way is finished; a second one goes straight to the closing."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.programs import until
from tests.faults.world import World, running, wait

# Sends are given up, and the draining too, long after a busy machine has done what is asserted.
PATIENCE_S = 90
DRAINED_WITHIN_S = CLOSED_WITHIN_S = 60.0
SETTINGS = {
    "FLOWHQ_LIMITS__SEND_TIMEOUT_S": str(PATIENCE_S),
    "FLOWHQ_SUPERVISOR__STOP_GRACE_S": str(PATIENCE_S),
}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("stopping")
    with running(World(home, settings=SETTINGS)) as world:
        yield world


def test_a_stop_under_load_finishes_what_is_handed_over(world: World) -> None:
    world.load(80, delay_ms=300)
    wait(2.0)
    began = time.monotonic()
    world.daemon.program.signal(signal.SIGTERM)
    assert world.daemon.program.wait() == 0
    assert time.monotonic() - began < DRAINED_WITHIN_S
    assert world.postgres.query("SELECT 1 FROM outbox WHERE state IN ('sending', 'unknown')") == []
    world.daemon.start()
    world.wait_until_connected()
    world.settle()


def test_a_second_signal_closes_at_once(world: World) -> None:
    world.load(40, send="lose_ack")
    until(
        lambda: world.postgres.query("SELECT 1 FROM outbox WHERE state = 'sending'"),
        lambda rows: len(rows) > 0,
        "something is handed over",
    )
    # Two signals that nobody has looked at yet are one; and the run before has stopped as well.
    before = world.daemon.program.output.count("stopping")
    world.daemon.program.signal(signal.SIGTERM)
    until(
        lambda: world.daemon.program.output,
        lambda text: text.count("stopping") > before,
        "it stops",
    )
    began = time.monotonic()
    world.daemon.program.signal(signal.SIGTERM)
    assert world.daemon.program.wait() == 0
    assert time.monotonic() - began < CLOSED_WITHIN_S
    world.quiet()
    world.daemon.start()
    world.wait_until_connected()
    world.settle()
