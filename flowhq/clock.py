"""Time as a dependency: what runs on a clock takes one, so that tests can hold it still."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines; the two are never mixed."""

    def now(self) -> datetime:
        """Aware UTC, for what people read and what is stored; never for ordering."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never run backwards, for limits and backoff."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
