"""How long what a killed daemon leaves behind runs on: noted beside everything else."""

import threading
import time
from collections.abc import Sequence

import psutil

from tests.acceptance.programs import LIMIT_S, command_of, running

# Finer than what is to be told, which is tenths of a second.
LOOK_S = 0.01


def browsers_of(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The browsers with all that belongs to them, and the driver; not the database server."""
    return [one for one in processes if _named(one, "chrom") or " run-driver" in command_of(one)]


class Leaving:
    """One figure a kill: seconds from the daemon's end to that of the last process it left."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._threads: list[threading.Thread] = []

    def watch(self, daemon: psutil.Process, left: Sequence[psutil.Process]) -> None:
        """Before the kill. Returns at once; nothing is noted if there is nothing to leave."""
        if left:
            thread = threading.Thread(target=self._note, args=(daemon, left), daemon=True)
            self._threads.append(thread)
            thread.start()

    def seconds(self) -> list[float]:
        """Of all kills so far, when the last is over."""
        while self._threads:
            thread = self._threads.pop()
            thread.join(LIMIT_S)
            assert not thread.is_alive(), "the daemon, or what it left, does not end"
        return list(self._seconds)

    def _note(self, daemon: psutil.Process, left: Sequence[psutil.Process]) -> None:
        while running([daemon]):
            time.sleep(LOOK_S)
        began = time.monotonic()
        while running(left):
            time.sleep(LOOK_S)
        self._seconds.append(time.monotonic() - began)


def _named(process: psutil.Process, part: str) -> bool:
    try:
        return part in process.name()
    except psutil.NoSuchProcess:
        return False
