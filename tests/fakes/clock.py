"""Time that a test moves by hand, and waiting for a condition without guessing how long."""

import asyncio
import heapq
import inspect
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
# Turns of the loop in which everything that can go on without time passing has gone on.
SETTLE_TURNS = 200
# Far longer than anything takes on a busy machine: only what never comes is waited for so long.
PATIENCE_S = 30.0


class FakeClock:
    """Stands still until told. Who sleeps wakes in the order of the deadlines, one at a time."""

    def __init__(self, start: datetime = EPOCH, *, monotonic_s: float = 1000.0) -> None:
        self.naps: list[float] = []
        """Every sleep asked for, in seconds."""
        self._now = start
        self._monotonic_s = monotonic_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._serial = itertools.count()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic_s

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_s = self._monotonic_s + seconds
        heapq.heappush(self._sleepers, (due_s, next(self._serial), waker))
        await waker

    @property
    def sleeping(self) -> int:
        return sum(not waker.done() for _, _, waker in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever is due on the way runs at its own moment, and may sleep again."""
        await settle()
        end_s = self._monotonic_s + seconds
        while self._sleepers and self._sleepers[0][0] <= end_s + 1e-9:
            due_s, _, waker = heapq.heappop(self._sleepers)
            if waker.done():
                continue
            self._pass(max(0.0, due_s - self._monotonic_s))
            waker.set_result(None)
            await settle()
        self._pass(max(0.0, end_s - self._monotonic_s))
        await settle()

    def move_wall(self, by: timedelta) -> None:
        """Somebody sets the machine's clock; monotonic time does not care."""
        self._now += by

    def _pass(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._now += timedelta(seconds=seconds)


async def settle(turns: int = SETTLE_TURNS) -> None:
    """Let everything go on that does not wait for time or for a thread."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(
    condition: Callable[[], object], what: str = "the condition", *, within_s: float = PATIENCE_S
) -> Any:
    """What the condition gives as soon as that is true; a coroutine is awaited. AssertionError that
    names ``what`` did not come, and what was given last, if it is not in time."""
    deadline = time.monotonic() + within_s
    while True:
        found: Any = condition()
        awaited = inspect.isawaitable(found)
        if awaited:
            found = await found
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}; last: {found!r}")
        await asyncio.sleep(0.01 if awaited else 0.001)
