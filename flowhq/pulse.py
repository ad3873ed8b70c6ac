"""The event loop's pulse: how late it is, sampled all the time.

A loop that is late answers nobody in time; one that stands still cannot even say so, which is why
whoever asks here must be scheduled by it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

BEAT_S = 0.25
WINDOW_S = 60.0


class Pulse:
    """Samples while `run` runs. ``monotonic``: seconds that never run backwards."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_s = monotonic()
        self._last_lag_s = 0.0
        self._samples: deque[tuple[float, float]] = deque(maxlen=2 * int(WINDOW_S / BEAT_S))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._due_s = self._monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self.note(self._monotonic() - self._due_s)

    def note(self, lag_s: float) -> None:
        """One sample. A long one stands for all the beats that fell into it, or the share of time
        in which the loop was late would look like one moment."""
        now_s = self._monotonic()
        self._last_lag_s = lag_s = max(0.0, lag_s)
        while lag_s > BEAT_S and lag_s > self._last_lag_s - WINDOW_S:
            self._samples.append((now_s, lag_s))
            lag_s -= BEAT_S
        self._samples.append((now_s, lag_s))

    @property
    def lag_s(self) -> float:
        """How late the loop is at this moment, or was at the last beat."""
        return max(self._last_lag_s, self._monotonic() - self._due_s)

    def figures_ms(self) -> Mapping[str, float]:
        """``p50``, ``p99`` and ``max`` of the last minute, in milliseconds."""
        since_s = self._monotonic() - WINDOW_S
        lags = sorted(lag for at, lag in self._samples if at >= since_s) or [0.0]
        chosen = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {
            name: round(lags[min(len(lags) - 1, int(share * len(lags)))] * 1000, 2)
            for name, share in chosen.items()
        }
