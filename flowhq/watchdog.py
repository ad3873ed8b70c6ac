"""What systemd hears while the daemon serves: its status, and that it is alive only while it is.

Being scheduled at all proves that the loop turns, but not that it turns in time, nor that anybody
looks after the tenants: both are asked before each beat. Without a beat systemd kills the daemon
and starts it again.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from flowhq.pulse import Pulse
from flowhq.signals import SystemdNotifier

log = structlog.get_logger(__name__)

# Spec: a loop that is later than this answers nobody.
LAG_MAX_S = 5.0
# Seconds between two lines of status when no watchdog is wanted.
STATUS_EVERY_S = 30.0


class Fleet(Protocol):
    """The supervisor, as far as this goes."""

    @property
    def overdue_s(self) -> float:
        """For how long its rounds have been late; 0 when all is well."""
        ...

    async def health(self) -> Mapping[str, object]: ...


async def watch(notifier: SystemdNotifier, pulse: Pulse, fleet: Fleet) -> None:
    """Until cancelled."""
    interval_s = notifier.watchdog_interval_s
    silent = False
    while True:
        notifier.status(status(await fleet.health()))
        why_not = trouble(pulse, fleet)
        if why_not and not silent:
            log.critical("no sign of life for systemd", why=why_not)
        silent = bool(why_not)
        if interval_s is not None and not silent:
            notifier.alive()
        await asyncio.sleep(interval_s or STATUS_EVERY_S)


def trouble(pulse: Pulse, fleet: Fleet) -> str:
    """Why this daemon is no good any more; "" as a rule."""
    if pulse.lag_s >= LAG_MAX_S:
        return f"the event loop is {pulse.lag_s:.1f} s late"
    if fleet.overdue_s > 0:
        return f"nobody has looked after the tenants, {fleet.overdue_s:.0f} s overdue"
    return ""


def status(health: Mapping[str, object]) -> str:
    """The line of `systemctl status`: how many tenants, and how many workers of each kind."""
    workers = health["workers"]
    kinds = sorted(workers.items()) if isinstance(workers, Mapping) else ()
    told = ", ".join(f"{count} {kind}" for kind, count in kinds) or "none started"
    return f"{health['tenants']} tenants: {told}"
