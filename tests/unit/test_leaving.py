"""The watch that tells how long a killed daemon's browsers run on."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.leaving import Leaving, browsers_of

FOR_A_WHILE = "import sys, time; time.sleep(60)"


@pytest.fixture
def two() -> Iterator[list[subprocess.Popen[bytes]]]:
    """One for the daemon, one for its driver."""
    lives = [
        subprocess.Popen([sys.executable, "-c", FOR_A_WHILE, argument])
        for argument in ("run", "run-driver")
    ]
    yield lives
    for life in lives:
        life.kill()
        life.wait()


def test_the_time_runs_from_the_daemons_end_to_that_of_the_last(
    two: list[subprocess.Popen[bytes]],
) -> None:
    processes = [psutil.Process(life.pid) for life in two]
    left = browsers_of(processes)
    assert [one.pid for one in left] == [two[1].pid]
    leaving = Leaving()
    leaving.watch(processes[0], left)
    for life in two:
        life.kill()
        life.wait()
    [seconds] = leaving.seconds()
    assert seconds >= 0


def test_a_daemon_without_browsers_gives_no_figure(two: list[subprocess.Popen[bytes]]) -> None:
    leaving = Leaving()
    leaving.watch(psutil.Process(two[0].pid), [])
    assert leaving.seconds() == []
