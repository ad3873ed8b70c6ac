"""Alive means probed: asks the page on a beat and writes ``last_seen_at`` when it answered."""

from collections.abc import Callable

import structlog

from flowhq.bot.lifecycle import Lifecycle, State
from flowhq.bot.ports import Channel, Ledger
from flowhq.clock import Clock
from flowhq.config import SupervisorSettings
from flowhq.errors import ChannelRestartError, StoreError
from flowhq.model import Health, Reason

log = structlog.get_logger(__name__)

# The page's mode while it takes over what the phone has.
SYNCING = "SYNCING"

# A linked page that is there and never gets ready, though it has lost no network, hangs in its own
# start, or told it while nobody heard. Long enough to take in a long absence, after which a reload
# would begin again.
START_MAX_S = 600.0
# The first synchronisation of a phone with years of chats takes a quarter of an hour.
PAIRING_MAX_S = 1800.0


class Heartbeat:
    """Probes an open channel until it is cancelled; raises ChannelRestartError after
    ``probe_misses`` misses, and for a page that is linked, or scanned, and does not get ready."""

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
        self._began = clock.monotonic()
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
            self._require_start(health)
            return
        self._lifecycle.seen(self._clock.now(), at_monotonic=self._clock.monotonic())
        if self._clock.monotonic() - self._touched < self._settings.heartbeat_s:
            return
        try:
            await self._ledger.touch(caught_up=self._caught_up())
        except StoreError as error:
            log.warning("heartbeat not stored", why=str(error))
            # A start waits for the store as well: its time begins anew.
            self._began = self._clock.monotonic()
            return
        self._touched = self._clock.monotonic()
        await self._lifecycle.flush()
        self._require_start(health)

    def _require_start(self, health: Health) -> None:
        """Its time begins anew whenever it is somebody else who is waited for."""
        limit_s = self._limit_s(health)
        if limit_s is None:
            self._began = self._clock.monotonic()
        elif self._clock.monotonic() - self._began > limit_s:
            raise ChannelRestartError(
                f"The page did not get ready within {limit_s:g} s ({health.mode} {health.detail}).",
                reason=Reason.PAGE_UNUSABLE,
            )

    def _limit_s(self, health: Health) -> float | None:
        state = self._lifecycle.state
        if state is State.STARTING and self._lifecycle.snapshot.paired:
            return START_MAX_S
        # A page that is linked and not ready shows no code when it is loaded anew.
        syncing = state is State.STARTING and health.mode == SYNCING
        return PAIRING_MAX_S if syncing or state is State.PAIRING else None
