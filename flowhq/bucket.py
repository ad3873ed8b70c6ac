"""A token bucket on a monotonic clock: how often something may happen. Nothing here waits."""

from collections.abc import Callable

Monotonic = Callable[[], float]
"""Seconds that never run backwards: ``clock.monotonic``."""

TINY = 1e-9
"""Tokens this near to whole are whole: sums of floating point refills fall short by less."""


class TokenBucket:
    """At most ``capacity`` at once and ``refill_per_s`` in the long run, in order of asking.

    A reservation may take the level below zero; until it is paid back nobody gets a token at
    once, so a later request never overtakes an earlier one.
    """

    def __init__(self, *, capacity: float, refill_per_s: float, monotonic: Monotonic) -> None:
        if capacity < 1 or refill_per_s <= 0:
            raise ValueError("a bucket holds at least one token and refills")
        self._capacity = float(capacity)
        self._refill_per_s = float(refill_per_s)
        self._monotonic = monotonic
        self._level = float(capacity)
        self._counted_at = monotonic()

    def peek(self) -> float:
        """Tokens there now; negative while reserved ones are still owed. Takes nothing."""
        elapsed_s = max(0.0, self._monotonic() - self._counted_at)
        return min(self._capacity, self._level + elapsed_s * self._refill_per_s)

    def try_acquire(self) -> bool:
        """Take a token if one is there now; False changes nothing."""
        if self.wait_for() > 0:
            return False
        self._take()
        return True

    def wait_for(self) -> float:
        """Seconds until a token could be had, were it asked for now; 0.0 is at once."""
        missing = 1.0 - self.peek()
        return 0.0 if missing <= TINY else missing / self._refill_per_s

    def reserve(self, *, max_wait_s: float = float("inf")) -> float | None:
        """Take the next token, now or to come: seconds until it may be used.

        None when that would be more than ``max_wait_s``; then nothing is taken.
        """
        wait_s = self.wait_for()
        if wait_s > max_wait_s:
            return None
        self._take()
        return wait_s

    def give_back(self) -> None:
        """A token that was taken and not used is there again."""
        self._level = min(self._capacity, self.peek() + 1.0)
        self._counted_at = self._monotonic()

    def _take(self) -> None:
        self._level = self.peek() - 1.0
        self._counted_at = self._monotonic()
