"""How often one credential may ask: a burst, and so many a second in the long run."""

import math

from cachetools import TTLCache

from flowhq.admin.problems import TOO_MANY_REQUESTS, ProblemError
from flowhq.bucket import TokenBucket
from flowhq.clock import Clock
from flowhq.config import AdminSettings

# Credentials remembered; beyond it the longest unseen starts afresh.
KEPT_MAX = 10_000


class RequestLimits:
    """A bucket for each principal's name. A bucket unused until it is full again is forgotten."""

    def __init__(self, settings: AdminSettings, clock: Clock) -> None:
        self._per_s = settings.requests_per_s
        self._burst = settings.requests_burst
        self._clock = clock
        self._buckets: TTLCache[str, TokenBucket] = TTLCache(
            KEPT_MAX, max(1.0, self._burst / self._per_s), timer=clock.monotonic
        )

    def admit(self, name: str) -> None:
        """ProblemError (429) with the seconds to wait, if it asks too often."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = TokenBucket(
                capacity=self._burst, refill_per_s=self._per_s, monotonic=self._clock.monotonic
            )
        self._buckets[name] = bucket
        if not bucket.try_acquire():
            wait_s = math.ceil(bucket.wait_for())
            raise ProblemError(
                TOO_MANY_REQUESTS,
                f"These credentials may ask {self._per_s:g} times a second.",
                next_step=f"Try again in {wait_s} s, or raise [admin] requests_per_s.",
                headers={"Retry-After": str(wait_s)},
            )
