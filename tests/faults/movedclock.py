"""A wall clock that a test can set while the daemon runs, by a file that both look at."""

import mmap
import struct
from datetime import datetime, timedelta
from pathlib import Path

from flowhq.clock import SystemClock

# How far the clock is ahead of the machine's, in seconds.
OFFSET = struct.Struct("d")


def make_offset(path: Path) -> None:
    """The file, for a clock that is right."""
    path.write_bytes(OFFSET.pack(0.0))


def set_offset(path: Path, seconds: float) -> None:
    """In place: whoever looks at the file in memory must not find it empty."""
    with path.open("r+b") as file:
        file.write(OFFSET.pack(seconds))


class MovedClock(SystemClock):
    """The machine's clock, as somebody set it meanwhile. It is asked for each message, so the file
    stays in memory."""

    def __init__(self, offset: Path) -> None:
        with offset.open("rb") as file:
            self._offset = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)

    def now(self) -> datetime:
        (offset_s,) = OFFSET.unpack_from(self._offset)
        return super().now() + timedelta(seconds=offset_s)
