"""What systemd hears from a process that is well, one whose loop stands still, one neglected."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.pulse import Pulse
from flowhq.watchdog import LAG_MAX_S, trouble
from tests.integration.serving import Fleet

BEAT_S = 0.1
QUIET_S = 10 * BEAT_S
# A process has so long to start, or to be heard, on a busy machine.
HEARD_S = 60.0
ALIVE = b"WATCHDOG=1"


class Served:
    """The process, and the socket on which systemd would listen."""

    def __init__(self, home: Path) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(str(home / "notify"))
        environ = os.environ | {
            "NOTIFY_SOCKET": str(home / "notify"),
            "WATCHDOG_USEC": str(int(2 * BEAT_S * 1_000_000)),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.serving"],
            env=environ,
            cwd=Path(__file__).parents[2],
        )

    def hears(self, wanted: bytes, *, within_s: float) -> bool:
        """Whether this is said; what is said before it is passed over."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self.line.settimeout(left)
            try:
                if self.line.recv(4096) == wanted:
                    return True
            except TimeoutError:
                break
        return False

    def falls_silent(self) -> bool:
        """Beats on their way are passed over; then none comes for ten times their distance."""
        deadline = time.monotonic() + HEARD_S
        while time.monotonic() < deadline:
            if not self.hears(ALIVE, within_s=QUIET_S):
                return True
        return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait(HEARD_S)
        self.line.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    try:
        yield served
    finally:
        served.end()


def test_beats_come_while_all_is_well(served: Served) -> None:
    assert served.hears(b"STATUS=2 tenants: 2 RUNNING", within_s=HEARD_S)
    for _ in range(5):
        assert served.hears(ALIVE, within_s=HEARD_S)


def test_a_loop_that_stands_still_says_nothing_any_more(served: Served) -> None:
    assert served.hears(ALIVE, within_s=HEARD_S)
    served.process.send_signal(signal.SIGUSR1)
    assert served.falls_silent()
    assert served.process.poll() is None


def test_a_daemon_that_neglects_its_tenants_gives_no_sign_of_life(served: Served) -> None:
    assert served.hears(ALIVE, within_s=HEARD_S)
    served.process.send_signal(signal.SIGUSR2)
    assert served.falls_silent()
    assert served.hears(b"STATUS=2 tenants: 2 RUNNING", within_s=HEARD_S)


def test_a_loop_that_is_too_late_is_trouble_although_it_turns() -> None:
    pulse = Pulse()
    assert trouble(pulse, Fleet()) == ""
    pulse.note(LAG_MAX_S)
    assert "late" in trouble(pulse, Fleet())
    pulse.note(0.01)
    assert trouble(pulse, Fleet()) == ""
