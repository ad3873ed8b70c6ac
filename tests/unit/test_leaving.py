"""The watch that tells how long a killed daemon's browsers run on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.faults.leaving import Leaving, browsers_of

FOR_A_WHILE = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture
def two() -> Iterator[list[subprocess.Popen[bytes]]]:
    """One for the daemon, one for its driver; both have their own command lines by now."""
    with ExitStack() as lives:
        yield [lives.enter_context(_life(argument)) for argument in ("run", "run-driver")]


@contextmanager
def _life(argument: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", FOR_A_WHILE, argument]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as life:
        try:
            assert life.stdout is not None
            life.stdout.readline()
            yield life
        finally:
            life.kill()


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
