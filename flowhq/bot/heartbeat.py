"""Alive means probed: asks the page on a beat and writes ``last_seen_at`` when it answered."""

from collections.abc import Callable

import structlog

from flowhq.bot.lifecycle import Lifecycle
from flowhq.bot.ports import Channel, Ledger
from flowhq.clock import Clock
from flowhq.config import SupervisorSettings
from flowhq.errors import ChannelRestartError, StoreUnavailableError

log = structlog.get_logger(__name__)


class Heartbeat:
    """Probes until it is cancelled; raises ChannelRestartError after ``probe_misses`` misses."""

    def __init__(
        self,
        channel: Channel,
        ledger: Ledger,
        lifecycle: Lifecycle,
        clock: Clock,
        settings: SupervisorSettings,
        *,
        caught_up: Callable[[], bool],
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._clock = clock
        self._settings = settings
        self._caught_up = caught_up
        self._misses = 0
        self._touched = float("-inf")

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._settings.probe_s)
            await self.beat()

    async def beat(self) -> None:
        """One probe, and the write that is due after it."""
        try:
            health = await self._channel.probe()
        except ChannelRestartError as error:
            self._misses += 1
            log.warning("probe missed", misses=self._misses, why=error.message)
            if self._misses >= self._settings.probe_misses:
                raise
            return
        self._misses = 0
        if not health.connected:
            return
        self._lifecycle.seen(self._clock.now(), at_monotonic=self._clock.monotonic())
        if self._clock.monotonic() - self._touched < self._settings.heartbeat_s:
            return
        try:
            await self._ledger.touch(caught_up=self._caught_up())
        except StoreUnavailableError as error:
            log.warning("heartbeat not stored", why=str(error))
            return
        self._touched = self._clock.monotonic()
        await self._lifecycle.flush()
