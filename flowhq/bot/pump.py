"""The reader of one channel: each event becomes a state, a record or a signal, in order.

Live messages are held back until the page is ready and what came before is in the ledger. Nothing
is sent before that either: a person may have answered meanwhile. While something waits for the
store the pump does not read on: the channel's bounded buffer fills, and what it has to drop is read
from the page's own store afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import assert_never

import structlog

from flowhq.bot.catchup import OVERLAP, CatchUp
from flowhq.bot.inbound import Inbound
from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.bot.memory import Memory
from flowhq.bot.ports import Channel, Ledger
from flowhq.bot.retry import until_stored
from flowhq.clock import Clock
from flowhq.errors import ChannelRestartError, LoginRequiredError, UnlinkedError
from flowhq.events import (
    AckSeen,
    ChannelEvent,
    Conflicted,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    MessageSeen,
    Pairing,
    QrIdle,
    QrShown,
    Ready,
)
from flowhq.model import MessageId, Reason
from flowhq.qr import png_data_url

log = structlog.get_logger(__name__)

# Live messages held back at most; beyond it they are read from the page's store like the others, so
# that hundreds of tenants hold no more than `memory_events_total` of them.
HELD_MAX = 50
# A page that was offline for longer than this has a backlog when it is back.
LONG_ABSENCE_S = 60.0
# After a reading that took longer, what came meanwhile may be older than the overlap of the next.
LONG_READING_S = OVERLAP.total_seconds() / 2
# Spec: replaced by another client three times is for a person; the window is that of the restarts.
REPLACED_MAX = 3
REPLACED_WINDOW_S = 1800.0


class Pump:
    """Reads until cancelled; raises what the channel raises. ``restore`` runs once, at the first
    Ready, when what came before is recorded: it lines up all that waits. ``paired`` is told the own
    number and LID."""

    def __init__(
        self,
        channel: Channel,
        ledger: Ledger,
        lifecycle: Lifecycle,
        clock: Clock,
        *,
        inbound: Inbound,
        catchup: CatchUp,
        online: asyncio.Event,
        acknowledged: Callable[[Sequence[MessageId]], None],
        paired: Callable[[str, str], None],
        restore: Callable[[], Awaitable[None]],
        memory: Memory,
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._clock = clock
        self._inbound = inbound
        self._catchup = catchup
        self._online = online
        self._acknowledged = acknowledged
        self._paired = paired
        self._restore = restore
        self._memory = memory
        self._restored = False
        self._document: int | None = None
        """The page document whose past is recorded; its live events need no holding back."""
        self._held: list[MessageSeen] = []
        self._leaving = False
        """The page has lost its link and not told it yet."""
        self._paired_at = clock.now()
        self._absence = _Absence(clock, lifecycle.snapshot.last_seen_at)
        self._unsure_since: datetime | None = None
        """What came from then on may stand neither in the ledger nor among the events to come."""
        self._read_at = 0.0
        """When the last reading of the past ended, in monotonic seconds."""

    async def run(self) -> None:
        async for event in self._channel.events():
            try:
                await self._take(event)
            except UnlinkedError as error:
                log.warning("unlinked while its past was read", why=error.message)
                await self._leave()
        raise ChannelRestartError("The page's events ended.", reason=Reason.BROWSER_GONE)

    async def _take(self, event: ChannelEvent) -> None:  # noqa: C901 - one arm per event
        match event:
            case MessageSeen():
                await self._message(event)
            case AckSeen(ids, ack):
                await until_stored(self._clock, lambda: self._ledger.acknowledge(ids, ack))
                self._acknowledged(ids)
            case QrShown():
                await self._code(event)
            case QrIdle():
                await self._lifecycle.apply(Event.QR_IDLE)
            case Pairing():
                await self._lifecycle.apply(Event.SCANNED)
            case Ready():
                await self._ready(event)
            case ConnectionLost(detail):
                self._go_offline()
                await self._lifecycle.apply(Event.LOST, detail=detail)
            case LoggedOut(reason):
                await self._logged_out(reason)
            case Conflicted():
                await self._replaced()
            case EventsDropped(count):
                await self._dropped(count)
            case _:
                assert_never(event)

    @property
    def caught_up(self) -> bool:
        """All that this page told of before is recorded, apart from what it tells right now."""
        return self._is_live and self._unsure_since is None and self._catchup.is_whole

    @property
    def _is_live(self) -> bool:
        return self._document is not None and self._online.is_set()

    async def _message(self, event: MessageSeen) -> None:
        """Held back until the past of its page document is recorded: a page that is not online
        may be another document by the time it is, with something missed in between."""
        if event.seen_at_monotonic >= self._read_at:
            self._unsure_since = None  # all that waited since the reading began came before it
        if self._is_live or self._leaving:
            await self._admit(event)
        elif len(self._held) < HELD_MAX:
            self._held.append(event)
        else:
            self._document = None

    async def _admit(self, event: MessageSeen) -> None:
        await self._inbound.admit(
            event.message, seen_at=event.seen_at_monotonic, line_up=self._restored
        )

    async def _admit_held(self) -> None:
        held, self._held = self._held, []
        for event in held:
            await self._admit(event)

    async def _code(self, event: QrShown) -> None:
        self._online.clear()
        picture = await asyncio.to_thread(png_data_url, event.text)
        await until_stored(
            self._clock,
            lambda: self._ledger.save_qr(
                text=event.text, data_url=picture, expires_at=event.expires_at
            ),
        )
        await self._lifecycle.apply(Event.QR_SHOWN)

    async def _ready(self, event: Ready) -> None:
        self._leaving = False
        self._paired_at = await until_stored(
            self._clock, lambda: self._ledger.save_identity(phone=event.phone, lid=event.lid)
        )
        self._paired(event.phone, event.lid)
        self._lifecycle.seen(self._clock.now(), at_monotonic=self._clock.monotonic())
        await self._lifecycle.apply(Event.READY)
        if self._absence.is_long:
            self._document = None
            await self._catchup.await_arrivals()
        if self._document != event.document:
            await self._read_past(event.document)
            sure = self._unsure_since is None and self._catchup.is_whole
            await until_stored(self._clock, lambda: self._ledger.touch(caught_up=sure))
        if not self._restored:
            await self._restore()
            self._restored = True
        # Before anything is sent: one of them may be the answer of a person.
        await self._admit_held()
        self._absence.end()
        self._online.set()

    async def _replaced(self) -> None:
        """Another window took over. It is never taken back by itself; who is replaced again and
        again gives way until a person decides."""
        self._go_offline()
        await self._lifecycle.apply(Event.CONFLICT)
        times, now_s = self._memory.replaced_at, self._clock.monotonic()
        times.append(now_s)
        while times[0] < now_s - REPLACED_WINDOW_S:
            times.popleft()
        if len(times) >= REPLACED_MAX:
            times.clear()
            raise LoginRequiredError(
                f"Another window took over {REPLACED_MAX} times in half an hour.",
                reason=Reason.CONFLICT,
            )

    async def _logged_out(self, reason: str) -> None:
        await self._leave()
        self._leaving = False
        await until_stored(self._clock, self._ledger.forget_pairing)
        await self._lifecycle.apply(Event.LOGGED_OUT, detail=reason)

    async def _leave(self) -> None:
        """The page's store goes with its link, so what was held back stands nowhere else, nor does
        what it still tells."""
        self._online.clear()
        self._document = None
        self._leaving = True
        await self._admit_held()

    async def _dropped(self, count: int) -> None:
        """A page that is not online is read when it is: by then it may be another document."""
        log.warning("events dropped, reading the page's store", count=count)
        document, self._document = self._document, None
        if document is not None and self._online.is_set():
            await self._read_past(document)

    async def _read_past(self, document: int) -> None:
        """Until all of it is recorded nothing counts as caught up with: a heartbeat in between
        would move the mark past what a crash then leaves unread for ever. The same holds after a
        long reading, until what came meanwhile is recorded as well."""
        self._document = None
        began, began_s = self._clock.now(), self._clock.monotonic()
        await self._catchup.run(
            paired_at=self._paired_at,
            paused=self._lifecycle.snapshot.paused,
            unsure_since=self._unsure_since,
            line_up=self._restored,
        )
        self._read_at = self._clock.monotonic()
        took_long = self._read_at - began_s > LONG_READING_S
        self._unsure_since = began if took_long else None
        self._document = document

    def _go_offline(self) -> None:
        self._online.clear()
        self._absence.begin()


class _Absence:
    """How long the page has been without its connection, by the clock that says more: the monotonic
    one stands still while a machine sleeps. ``seen_at``: when it last showed that it lives, in
    whatever process."""

    def __init__(self, clock: Clock, seen_at: datetime | None) -> None:
        self._clock = clock
        self._since = None if seen_at is None else (seen_at, clock.monotonic())

    def begin(self) -> None:
        """One that has begun goes on."""
        if self._since is None:
            self._since = (self._clock.now(), self._clock.monotonic())

    def end(self) -> None:
        self._since = None

    @property
    def is_long(self) -> bool:
        if self._since is None:
            return False
        since, since_s = self._since
        by_the_wall_s = (self._clock.now() - since).total_seconds()
        return max(self._clock.monotonic() - since_s, by_the_wall_s) > LONG_ABSENCE_S
