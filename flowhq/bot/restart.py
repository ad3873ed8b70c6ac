"""The restart policy: what a failure means, how long to wait after it, when to stop trying.

Pure: the clock's readings and the dice are handed in. Full jitter, so that tenants that failed
together do not come back together.
"""

import random
from collections import deque
from dataclasses import dataclass

from flowhq.bot.lifecycle import Event
from flowhq.config import SupervisorSettings
from flowhq.errors import (
    ChannelRestartError,
    ChromiumMissingError,
    ConfigError,
    InvalidInputError,
    LoginRequiredError,
    MisconfiguredError,
    NotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
)
from flowhq.model import Reason

# More doublings than lie between any two settings, and few enough for a float.
DOUBLINGS_MAX = 64


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after ``wait_s``."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Park:
    """Too often: no further attempt by itself."""

    restarts: int


class RestartPolicy:
    """One tenant's. `failed` is told how long the run lasted and answers what to do."""

    def __init__(self, settings: SupervisorSettings, *, dice: random.Random) -> None:
        self._settings = settings
        self._dice = dice
        self._failures = 0
        self._at: deque[float] = deque()

    def failed(self, *, now_s: float, healthy_s: float, counted: bool = True) -> Again | Park:
        """``now_s``: monotonic seconds. ``healthy_s``: how long the run was connected.
        ``counted``: False for a cause outside the tenant, which never parks it."""
        settings = self._settings
        if healthy_s >= settings.healthy_reset_s:
            self.reset()
        if counted:
            self._at.append(now_s)
        while self._at and self._at[0] < now_s - settings.restarts_window_s:
            self._at.popleft()
        if counted and len(self._at) > settings.restarts_max:
            return Park(len(self._at))
        ceiling = min(settings.backoff_max_s, settings.backoff_min_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, DOUBLINGS_MAX)
        return Again(self._dice.uniform(0, ceiling))

    def reset(self) -> None:
        """A person restarted it, or it was well for long enough."""
        self._failures = 0
        self._at.clear()


def verdict(failure: Exception) -> tuple[Event, Reason]:
    """FAILED to be restarted or PARK for a person, by the failure's class alone."""
    match failure:
        case LoginRequiredError(reason=reason):
            return Event.PARK, _reason(reason)
        case ChannelRestartError(reason=reason):
            return Event.FAILED, _reason(reason)
        case ChromiumMissingError():
            return Event.PARK, Reason.CHROMIUM_MISSING
        case MisconfiguredError() | ConfigError() | StoreRefusedError():
            return Event.PARK, Reason.MISCONFIGURED
        case InvalidInputError() | NotFoundError():
            return Event.PARK, Reason.MISCONFIGURED
        case StoreUnavailableError():
            return Event.FAILED, Reason.STORE_UNAVAILABLE
        case _:
            return Event.FAILED, Reason.INTERNAL_ERROR


def _reason(word: str) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        return Reason.INTERNAL_ERROR
