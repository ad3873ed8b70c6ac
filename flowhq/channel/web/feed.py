"""What the page tells, in order, as events. Python's end of inject/line.js and inject/hooks.js."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import groupby
from typing import Any

import orjson
import structlog

from flowhq.channel.web import convert, faults
from flowhq.channel.web.buffer import EventBuffer
from flowhq.clock import Clock
from flowhq.errors import ChannelError, ChannelRestartError, LoginRequiredError
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
from flowhq.model import Ack, MessageId, Reason, Source

log = structlog.get_logger(__name__)

# WhatsApp Web shows the first code of a document for a minute and each further one for 20 s
# (2026-11). Only an estimate for people: the next code tells that the last one is void.
FIRST_CODE_S = 60
NEXT_CODE_S = 20


class Feed:
    """Numbers the page's documents and turns what the present one tells into events.

    A new document that follows a ready one is a lost connection until it is ready itself: what it
    shows is held back until the past is read. What an old document still had to say is dropped and
    counted: the new one tells its own state.
    ``tenant_id`` is for its log lines: the driver calls it in nobody's context.
    ``on_loaded`` is told False for a new document and True once wa-js found its way in it;
    ``on_fault`` gets what ends the channel.
    """

    def __init__(
        self,
        clock: Clock,
        buffer: EventBuffer,
        *,
        tenant_id: str,
        on_loaded: Callable[[bool], None],
        on_fault: Callable[[ChannelError], None],
    ) -> None:
        self._clock = clock
        self._buffer = buffer
        self._log = log.bind(tenant_id=tenant_id)
        self._on_loaded = on_loaded
        self._on_fault = on_fault
        self._document_id = ""
        self._codes_shown = 0
        self._logout_told = False
        self._ready_told = False
        self.is_unlinked = False
        """It told a logout, and was not ready since."""
        self.document = 0
        self.page_version = ""
        self.unreadable = 0
        self.late = 0
        self._readers: dict[str, Callable[[dict[str, Any]], ChannelEvent | None]] = {
            "msg": self._message,
            "ack": _ack,
            "ready": self._ready,
            "lost": lambda raw: ConnectionLost(convert.string(raw, "detail")),
            "qr": self._code,
            "idle": lambda _: QrIdle(),
            "pairing": lambda _: Pairing(),
            "out": lambda raw: self._logged_out(convert.string(raw, "reason")),
            "conflict": lambda _: Conflicted(),
            "dropped": lambda raw: EventsDropped(int(raw["n"])),
            "loaded": self._loaded,
            "blocked": self._blocked,
        }

    def take(self, payload: str) -> None:
        """One call of the page: a batch of events of one document. Never raises."""
        try:
            batch = orjson.loads(payload)
            document_id, events = convert.string(batch, "d"), batch["e"]
            if events and events[0].get("k") == "hello":
                self._begin(document_id)
            if document_id == self._document_id:
                self.take_events(events)
            else:
                self._count_late(len(events))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._count_unreadable(error)
            # Nobody knows what it held: it is looked for in the page's store.
            self._put(EventsDropped(1))

    def take_events(self, raws: Iterable[dict[str, Any]]) -> None:
        """Events of the present document, in their order."""
        for event in self._read(raws):
            self._put(event)

    def left(self, reason: str) -> None:
        """The page went to its logged-out address: the event, unless it was told before."""
        if not self._logout_told:
            self._put(self._logged_out(reason))

    def _begin(self, document_id: str) -> None:
        self._document_id = document_id
        self._codes_shown = 0
        self.document += 1
        if self._ready_told:
            self._put(ConnectionLost("The page loads anew."))
        self._on_loaded(False)

    def _read(self, raws: Iterable[dict[str, Any]]) -> Iterable[ChannelEvent]:
        """One event each, except that acks of one level that stand together are one."""
        tried = (self._try(raw) for raw in raws)
        events = (event for event in tried if event is not None)
        for level, group in groupby(events, key=_level):
            if level is None:
                yield from group
            else:
                acks = (event for event in group if isinstance(event, AckSeen))
                yield AckSeen(tuple(one for ack in acks for one in ack.ids), level)

    def _try(self, raw: dict[str, Any]) -> ChannelEvent | None:
        """One event that cannot be read costs none of the others."""
        try:
            return self._read_one(raw)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._count_unreadable(error)
            return None

    def _read_one(self, raw: dict[str, Any]) -> ChannelEvent | None:
        """None for what is of this floor only; a kind that is not known is no harm."""
        read = self._readers.get(raw["k"])
        return None if read is None else read(raw)

    def _message(self, raw: dict[str, Any]) -> ChannelEvent:
        message = convert.to_message(raw["m"], source=Source.LIVE)
        return MessageSeen(message, self._clock.monotonic())

    def _ready(self, raw: dict[str, Any]) -> ChannelEvent:
        self._logout_told = self.is_unlinked = False
        phone, lid = (convert.digits(convert.string(raw, name)) for name in ("phone", "lid"))
        return Ready(phone, lid, self.document)

    def _loaded(self, raw: dict[str, Any]) -> None:
        self.page_version = convert.string(raw, "page")
        self._on_loaded(True)

    def _blocked(self, raw: dict[str, Any]) -> None:
        self._on_fault(blocked(convert.string(raw, "mode")))

    def _code(self, raw: dict[str, Any]) -> ChannelEvent:
        lives_s = NEXT_CODE_S if self._codes_shown else FIRST_CODE_S
        self._codes_shown += 1
        self._logout_told = False
        return QrShown(convert.string(raw, "text"), self._clock.now() + timedelta(seconds=lives_s))

    def _logged_out(self, reason: str) -> LoggedOut:
        self._logout_told = self.is_unlinked = True
        return LoggedOut(reason or "unknown")

    def _put(self, event: ChannelEvent) -> None:
        if isinstance(event, Ready | ConnectionLost | LoggedOut | Conflicted):
            self._ready_told = isinstance(event, Ready)
        if not self._buffer.put(event):
            self._on_fault(
                ChannelRestartError(
                    "Nobody reads the channel's events.", reason=Reason.INTERNAL_ERROR
                )
            )

    def _count_late(self, number: int) -> None:
        self.late += number
        self._log.info("events of a document that is gone", number=number, count=self.late)

    def _count_unreadable(self, error: Exception) -> None:
        self.unreadable += 1
        self._log.warning(
            "page event unreadable", error=type(error).__name__, count=self.unreadable
        )


def _ack(raw: dict[str, Any]) -> AckSeen:
    return AckSeen(tuple(MessageId(str(one)) for one in raw["ids"]), to_ack(raw["ack"]))


def _level(event: ChannelEvent) -> Ack | None:
    return event.ack if isinstance(event, AckSeen) else None


def to_ack(level: Any) -> Ack:
    """The page's number as a level; unknown higher ones are as good as played."""
    return Ack(max(Ack.ERROR, min(Ack.PLAYED, int(level))))


def blocked(mode: str) -> ChannelError:
    """A page that refuses to go on: by its version, or by what WhatsApp thinks of the number."""
    if mode == "DEPRECATED_VERSION":
        return faults.page_unusable("WhatsApp Web says that its page is too old.")
    return LoginRequiredError(
        f"WhatsApp blocks this device ({mode}).",
        reason=Reason.BLOCKED,
        next_step="Open WhatsApp on the tenant's phone and follow what it says there.",
    )
