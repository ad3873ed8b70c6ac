"""Guessing made slow: each wrong guess is answered later than the one before.

Counted by address and by the name that was tried, whichever had more, known or not. What is right
is never delayed, so nobody elsewhere can lock anybody out. Beyond MAX_TRYING different guesses at
once an address is refused unread.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cachetools import TTLCache

from flowhq.admin.problems import TOO_MANY_ATTEMPTS, ProblemError
from flowhq.clock import Clock

# The first wrong guess waits this long, each further one twice as long, up to the limit.
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0
FAILURES_KEPT_S = 900
# Addresses, and names, whose failures are remembered; the oldest is forgotten beyond it.
KEPT_MAX = 10_000
# Different guesses in progress from one address; a browser with one password counts as one.
MAX_TRYING = 8


class Throttle:
    """What one process remembers of wrong guesses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_address = self._new_counts()
        self._by_name = self._new_counts()
        self._trying: dict[str, Counter[bytes]] = {}

    @asynccontextmanager
    async def turn(self, address: str, guess: bytes) -> AsyncIterator[None]:
        """Room for one guess; ``guess`` tells it from others and is no secret. ProblemError (429)
        if the address has too many under way."""
        trying = self._trying.setdefault(address, Counter())
        if guess not in trying and len(trying) >= MAX_TRYING:
            wait = {"Retry-After": str(round(LONGEST_DELAY_S))}
            raise ProblemError(
                TOO_MANY_ATTEMPTS, "Too many different credentials at once.", headers=wait
            )
        trying[guess] += 1
        try:
            yield
        finally:
            trying[guess] -= 1
            if not trying[guess]:
                del trying[guess]
            if not trying:
                self._trying.pop(address, None)

    async def failed(self, address: str, name: str = "") -> None:
        """The guess was wrong: returns when it may be answered."""
        failures = self._by_address.get(address, 0)
        self._by_address[address] = failures + 1
        if name:
            of_name = self._by_name.get(name, 0)
            self._by_name[name] = of_name + 1
            failures = max(failures, of_name)
        await self._clock.sleep(min(FIRST_DELAY_S * 2 ** min(failures, 16), LONGEST_DELAY_S))

    def _new_counts(self) -> "TTLCache[str, int]":
        return TTLCache(KEPT_MAX, FAILURES_KEPT_S, timer=self._clock.monotonic)
