"""The common-cause brake: when many tenants fail at once, that is one incident and not many.

While it lasts nobody's failure is held against them, nothing is torn down, and restarts go two at a
time. What does not belong here: what one tenant's failure means (bot/restart.py).
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from flowhq.clock import Clock
from flowhq.model import Reason, TenantId

log = structlog.get_logger(__name__)

# Spec: more than 30 % of the tenants within 60 s; of very few, a third proves nothing.
WINDOW_S = 60.0
SHARE = 0.3
TENANTS_MIN = 3
# Spec: two at a time. More, and what was too much for the machine is too much again.
AT_ONCE = 2
# Between two looks whether it is one's turn; also the jitter between two that start.
LOOK_S = (0.5, 2.0)


@dataclass(slots=True)
class Incident:
    """Many tenants that failed for one cause, most likely."""

    began_at: datetime
    began_s: float
    tenants: set[TenantId] = field(default_factory=set)
    reasons: Counter[Reason] = field(default_factory=Counter)

    @property
    def reason(self) -> Reason:
        """The most frequent one."""
        return self.reasons.most_common(1)[0][0]


class Brake:
    """One for all tenants. How many of them at this moment: ``running`` are wanted up, ``starting``
    are being started, ``offline`` have no connection, ``reviving`` failed and are not up yet."""

    def __init__(
        self,
        clock: Clock,
        dice: random.Random,
        *,
        running: Callable[[], int],
        starting: Callable[[], int],
        offline: Callable[[], int],
        reviving: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._dice = dice
        self._running = running
        self._starting = starting
        self._offline = offline
        self._reviving = reviving
        self._failed: dict[TenantId, tuple[float, Reason]] = {}
        self._incident: Incident | None = None
        self._waiting = 0
        self.incidents = 0
        """How many there were, with the present one."""

    def failed(self, tenant_id: TenantId, reason: Reason) -> bool:
        """Note a tenant's failure; whether it is part of an incident."""
        present = self.incident()
        known = self._failed.get(tenant_id)
        # One that is left stale is told of in each round: that is no new failure.
        if known is None or known[1] is not Reason.STALE or reason is not Reason.STALE:
            self._failed[tenant_id] = self._clock.monotonic(), reason
        if present is None and self._too_many(len(self._failed)):
            present = self._begin()
        if present is not None:
            present.tenants.add(tenant_id)
            present.reasons[reason] += 1
        return present is not None

    def incident(self) -> Incident | None:
        """The present one. It is over when nobody failed for a while and nobody waits."""
        self._forget_old()
        if self._incident is not None and not self._failed and not self._waiting:
            lasted_s = round(self._clock.monotonic() - self._incident.began_s)
            log.warning("incident over", tenants=len(self._incident.tenants), lasted_s=lasted_s)
            self._incident = None
        return self._incident

    def may_reload(self) -> bool:
        """Whether a page that lives without a connection may be loaded anew. Where many have none,
        it is hardly their pages: two try, and the others wait for what becomes of those."""
        if self.incident() is not None:
            return False
        return not self._too_many(self._offline()) or self._reviving() < AT_ONCE

    async def turn(self) -> None:
        """Return when this tenant may start: at once, except during an incident."""
        if self.incident() is None:
            return
        self._waiting += 1
        try:
            while True:
                await self._clock.sleep(self._dice.uniform(*LOOK_S))
                if self._starting() < AT_ONCE:
                    return
        finally:
            self._waiting -= 1

    def _too_many(self, count: int) -> bool:
        return count >= TENANTS_MIN and count > SHARE * self._running()

    def _begin(self) -> Incident:
        self._incident = Incident(self._clock.now(), self._clock.monotonic())
        self._incident.tenants.update(self._failed)
        self._incident.reasons.update(reason for _, reason in self._failed.values())
        self.incidents += 1
        log.error(
            "many tenants failed at once: they are restarted two at a time",
            tenants=len(self._failed),
            of=self._running(),
            why=self._incident.reason,
        )
        return self._incident

    def _forget_old(self) -> None:
        oldest_s = self._clock.monotonic() - WINDOW_S
        self._failed = {one: known for one, known in self._failed.items() if known[0] >= oldest_s}
