"""What a channel tells: frozen events, shared by the channels and the bot. Nothing else here."""

from dataclasses import dataclass
from datetime import datetime

from flowhq.model import Ack, InboundMessage, MessageId


@dataclass(frozen=True, slots=True)
class QrShown:
    """A pairing code to scan; ``text`` is the full code, ``expires_at`` an estimate."""

    text: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class QrIdle:
    """The codes ran out; none is shown until asked for."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """A phone scanned; the link is being made or the first sync runs."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Paired and usable, after pairing, start, reload or reconnect. ``document`` numbers the page
    document: a new one means that messages may have come unseen. Digits in phone and lid."""

    phone: str
    lid: str
    document: int


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The page lives but WhatsApp cannot be reached; it comes back by itself with Ready."""

    detail: str


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """A message, incoming or own. ``seen_at_monotonic``: seconds, when it reached Python."""

    message: InboundMessage
    seen_at_monotonic: float


@dataclass(frozen=True, slots=True)
class AckSeen:
    ids: tuple[MessageId, ...]
    ack: Ack


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The phone removed this device; the page goes on to show a new QR."""

    reason: str


@dataclass(frozen=True, slots=True)
class Conflicted:
    """Another window of the same profile took over; nothing is received until a person
    decides."""


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """The bounded buffer was full: the page's own store must be read again."""

    count: int


ChannelEvent = (
    QrShown
    | QrIdle
    | Pairing
    | Ready
    | ConnectionLost
    | MessageSeen
    | AckSeen
    | LoggedOut
    | Conflicted
    | EventsDropped
)
