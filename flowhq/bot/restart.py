"""The restart policy: what a failure means, how long to wait after it, how much to throw away, when
to stop trying.

Pure: the clock's readings and the dice are handed in. Full jitter, so that tenants that failed
together do not come back together.
"""

import random
from collections import deque
from collections.abc import Mapping
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
from flowhq.model import Reason, Rung

# More doublings than lie between any two settings, and few enough for a float.
DOUBLINGS_MAX = 64
# Spec: reload the page twice, a new page twice, a new browser twice, then parked.
LADDER = (Rung.RELOAD, Rung.RELOAD, Rung.PAGE, Rung.PAGE, Rung.BROWSER, Rung.BROWSER)
# What less cannot mend: a page that is dead or does not answer cannot be told to reload.
LEAST: Mapping[Reason, Rung] = {
    Reason.PAGE_CRASHED: Rung.PAGE,
    Reason.PAGE_HUNG: Rung.PAGE,
    Reason.BROWSER_GONE: Rung.BROWSER,
    Reason.BROWSER_FAILED: Rung.BROWSER,
    Reason.PROFILE_IN_USE: Rung.BROWSER,
}
# Causes outside of the tenant: they are waited out, and no number of them parks it.
OUTSIDE = frozenset({Reason.STORE_UNAVAILABLE, Reason.STORE_REFUSED, Reason.CONNECTION_LOST})

# Spec: never automatic, not by a start of the daemon either. Trying costs more than waiting: the
# number, or the window of somebody who works.
FOR_A_PERSON = frozenset({Reason.BLOCKED, Reason.CONFLICT})


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after ``wait_s``, from this rung of the ladder."""

    wait_s: float
    rung: Rung


class RestartPolicy:
    """One tenant's. `failed` is told how long the run lasted and answers what to do.

    An incident lasts until the tenant was well for ``healthy_reset_s``; its failures climb the
    ladder. The failures within ``restarts_window_s`` are counted over all incidents.
    """

    def __init__(self, settings: SupervisorSettings, *, dice: random.Random) -> None:
        self._settings = settings
        self._dice = dice
        self._failures = 0
        self._climbed = 0
        self._on_trial = False
        self._at: deque[float] = deque()

    def failed(
        self, reason: Reason, *, now_s: float, healthy_s: float, counted: bool = True
    ) -> Again | None:
        """None when it failed too often: to be parked, with no attempt but the hourly one.

        ``now_s``: monotonic seconds. ``healthy_s``: how long the run was connected.
        ``counted``: False for a cause outside the tenant, which neither climbs nor parks."""
        settings = self._settings
        if healthy_s >= settings.healthy_reset_s:
            self._failures = self._climbed = 0
            self._on_trial = False
        rung = LEAST.get(reason, Rung.RELOAD)
        if counted:
            self._count(now_s)
            too_often = len(self._at) > settings.restarts_max
            if self._on_trial or too_often or self._climbed == len(LADDER):
                return None
            rung = max(rung, LADDER[self._climbed])
            self._climbed += 1
        ceiling = min(settings.backoff_max_s, settings.backoff_min_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, DOUBLINGS_MAX)
        return Again(self._dice.uniform(0, ceiling), rung)

    def reset(self) -> None:
        """A person restarted it."""
        self._failures = self._climbed = 0
        self._on_trial = False
        self._at.clear()

    def try_once(self) -> None:
        """One attempt of a parked tenant: failing before it was well parks it again."""
        self.reset()
        self._on_trial = True

    def _count(self, now_s: float) -> None:
        self._at.append(now_s)
        while self._at[0] < now_s - self._settings.restarts_window_s:
            self._at.popleft()


def verdict(failure: Exception) -> tuple[Event, Reason]:
    """FAILED to be restarted or PARK for a person, by the failure's class alone."""
    match failure:
        case LoginRequiredError(reason=reason):
            return Event.PARK, _reason(reason, Reason.BLOCKED)
        case ChannelRestartError(reason=reason):
            return Event.FAILED, _reason(reason, Reason.INTERNAL_ERROR)
        case ChromiumMissingError():
            return Event.PARK, Reason.CHROMIUM_MISSING
        case MisconfiguredError() | ConfigError():
            return Event.PARK, Reason.MISCONFIGURED
        case InvalidInputError() | NotFoundError():
            return Event.PARK, Reason.MISCONFIGURED
        case StoreUnavailableError():
            return Event.FAILED, Reason.STORE_UNAVAILABLE
        case StoreRefusedError():
            return Event.FAILED, Reason.STORE_REFUSED
        case _:
            return Event.FAILED, Reason.INTERNAL_ERROR


def _reason(word: str, other: Reason) -> Reason:
    try:
        return Reason(word)
    except ValueError:
        return other
