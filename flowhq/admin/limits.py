"""How often somebody may ask: a burst, and so many a second in the long run."""

import math
from dataclasses import dataclass

from cachetools import TTLCache

from flowhq.admin.problems import TOO_MANY_REQUESTS, ProblemError
from flowhq.bucket import TokenBucket
from flowhq.clock import Clock
from flowhq.config import AdminSettings

# Names remembered; beyond it the longest unseen starts afresh.
KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` requests at once, ``per_s`` in the long run; ``whose`` and ``remedy`` are words for
    whoever asks more often."""

    per_s: float
    burst: int
    whose: str
    remedy: str = ""


def of_credentials(settings: AdminSettings) -> Rate:
    """What one user or token may, by the settings."""
    return Rate(
        settings.requests_per_s,
        settings.requests_burst,
        "These credentials",
        ", or raise [admin] requests_per_s",
    )


class RequestLimits:
    """A bucket for each name. A bucket unused until it is full again is forgotten."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: TTLCache[str, TokenBucket] = TTLCache(
            KEPT_MAX, max(1.0, rate.burst / rate.per_s), timer=clock.monotonic
        )

    def admit(self, name: str) -> None:
        """ProblemError (429) with the seconds to wait, if it asks too often."""
        rate, bucket = self._rate, self._buckets.get(name)
        if bucket is None:
            bucket = TokenBucket(
                capacity=rate.burst, refill_per_s=rate.per_s, monotonic=self._clock.monotonic
            )
        self._buckets[name] = bucket
        if not bucket.try_acquire():
            wait_s = math.ceil(bucket.wait_for())
            raise ProblemError(
                TOO_MANY_REQUESTS,
                f"{rate.whose} may ask {rate.per_s:g} times a second.",
                next_step=f"Try again in {wait_s} s{rate.remedy}.",
                headers={"Retry-After": str(wait_s)},
            )
