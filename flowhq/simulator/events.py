"""The log of what happened, for tests and for the phone page."""

from typing import Any

from flowhq.simulator.clock import SimClock
from flowhq.simulator.ring import RingLog

# 200,000 entries of about 300 bytes: 60 MB at the very worst.
CAPACITY = 200_000


class EventLog(RingLog):
    """Every entry has `index`, `event`, `at` (epoch seconds, float) and the details of its kind."""

    def __init__(self, clock: SimClock, capacity: int = CAPACITY) -> None:
        super().__init__(capacity)
        self._clock = clock

    def record(self, event: str, /, **details: Any) -> None:
        self.append({"event": event, "at": self._clock.now(), **details})
