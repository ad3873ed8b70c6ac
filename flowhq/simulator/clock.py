"""The simulator's own time: the wall clock plus an offset that tests move.

Message timestamps and the expiry of QR refs run on it. Socket timers and the length of a dropped
network do not: they are real seconds.
"""

import asyncio
import time
from collections.abc import Callable


class SimClock:
    """Tells the time in seconds since the epoch; a change of the offset wakes whoever waits."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset_s = 0.0
        self._moved = asyncio.Event()

    @property
    def offset_s(self) -> float:
        return self._offset_s

    def now(self) -> float:
        return self._source() + self._offset_s

    def unix(self) -> int:
        return int(self.now())

    def set_offset(self, offset_s: float) -> None:
        self._offset_s = offset_s
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep_until(self, deadline: float) -> None:
        """Returns once `deadline` (epoch seconds) has come, also by a move of the clock."""
        while (left_s := deadline - self.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left_s):
                    await moved.wait()
            except TimeoutError:
                continue
