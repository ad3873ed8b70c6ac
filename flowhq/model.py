"""The words of the product as types. Standard library only; nothing here does anything.

Rows, runtime objects and API views are three types: these are the runtime objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
ChatKey = NewType("ChatKey", str)
"""One chat of one tenant, whatever jid it shows under: the jid it was first seen with."""
Jid = NewType("Jid", str)
"""An address as the platform spells it: ``2557...@c.us``, ``1000...@lid``."""
MessageId = NewType("MessageId", str)
"""The bare message id, without chat and direction."""
OutboxId = NewType("OutboxId", int)


# -- the original's states: names of the API and the database ------------------------------------


class TenantStatus(StrEnum):
    NEW = "NEW"
    QR_PENDING = "QR_PENDING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ERROR = "ERROR"


class SessionState(StrEnum):
    DISCONNECTED = "DISCONNECTED"
    QR_READY = "QR_READY"
    CONNECTED = "CONNECTED"


class WorkerStatus(StrEnum):
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    ERROR = "ERROR"


class DesiredState(StrEnum):
    """What the operator wants; only a verb of the operator changes it."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class TemplateType(StrEnum):
    BOOKING = "BOOKING"
    ECOMMERCE = "ECOMMERCE"
    SUPPORT = "SUPPORT"


class Language(StrEnum):
    SW = "SW"
    EN = "EN"


class Direction(StrEnum):
    IN = "IN"
    OUT = "OUT"


class MessageKind(StrEnum):
    """What a message is; the spelling is the database's enum ``message_type``."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"
    AUDIO = "audio"
    STICKER = "sticker"
    INTERACTIVE = "interactive"
    REACTION = "reaction"
    LOCATION = "location"
    CONTACTS = "contacts"
    POLL = "poll"
    ORDER = "order"
    TEMPLATE = "template"
    UNSUPPORTED = "unsupported"


class MessageStatus(StrEnum):
    """Outgoing: queued -> sent -> delivered -> read -> played, or failed, or cancelled before it
    was sent. Incoming: received."""

    RECEIVED = "received"
    QUEUED = "queued"
    CANCELLED = "cancelled"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"


class Ack(IntEnum):
    """WhatsApp Web's acknowledgement levels."""

    ERROR = -1
    PENDING = 0
    SERVER = 1
    DELIVERED = 2
    READ = 3
    PLAYED = 4


class Source(StrEnum):
    LIVE = "live"
    CATCHUP = "catchup"
    WEBHOOK = "webhook"


class InboxState(StrEnum):
    NEW = "new"
    RETRY = "retry"
    DONE = "done"
    SKIPPED = "skipped"
    DEAD = "dead"


class OutboxState(StrEnum):
    PLANNED = "planned"
    SENDING = "sending"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    READ = "read"
    DEAD = "dead"
    CANCELLED = "cancelled"


class ChatEvent(StrEnum):
    """What stands in the tenant's history without changing its state; most of it happened in one
    chat."""

    PERSON_TOOK_OVER = "person_took_over"
    CHAT_MUTED = "chat_muted"
    CHAT_RESUMED = "chat_resumed"
    CONTENT_DIFFERED = "content_differed"
    MESSAGE_REQUEUED = "message_requeued"
    NUMBER_CHANGED = "number_changed"
    RESTORED = "restored"


class EventType(StrEnum):
    """What is told outward; the names are the API's."""

    TENANT_STATE = "tenant.state"
    MESSAGE_IN = "message.in"
    MESSAGE_OUT = "message.out"
    MESSAGE_ACK = "message.ack"
    HANDOFF = "handoff"
    INCIDENT = "incident"


class DeliveryState(StrEnum):
    """What became of one event at one webhook endpoint. ``dead``: given up after a day."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Reason(StrEnum):
    """Why a tenant is in the state it is in; each has a next action in bot/lifecycle.py."""

    NONE = "NONE"
    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    SCAN_QR = "SCAN_QR"
    PAIRING = "PAIRING"
    PAIRING_EXPIRED = "PAIRING_EXPIRED"
    CONNECTED = "CONNECTED"
    PAUSED_BY_ADMIN = "PAUSED_BY_ADMIN"
    STOPPED_BY_ADMIN = "STOPPED_BY_ADMIN"
    DAEMON_STOPPED = "DAEMON_STOPPED"
    CONNECTION_LOST = "CONNECTION_LOST"
    PAGE_CRASHED = "PAGE_CRASHED"
    PAGE_HUNG = "PAGE_HUNG"
    PAGE_UNUSABLE = "PAGE_UNUSABLE"
    BROWSER_GONE = "BROWSER_GONE"
    BROWSER_FAILED = "BROWSER_FAILED"
    CHROMIUM_MISSING = "CHROMIUM_MISSING"
    PROFILE_IN_USE = "PROFILE_IN_USE"
    LOGGED_OUT = "LOGGED_OUT"
    CONFLICT = "CONFLICT"
    BLOCKED = "BLOCKED"
    STALE = "STALE"
    SENDS_STUCK = "SENDS_STUCK"
    PROFILE_CORRUPT = "PROFILE_CORRUPT"
    CRASH_LOOP = "CRASH_LOOP"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_REFUSED = "STORE_REFUSED"
    MISCONFIGURED = "MISCONFIGURED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class Rung(IntEnum):
    """How much of what a failed attempt left is thrown away; each includes those before it."""

    RELOAD = 1  # the page's document
    PAGE = 2  # the page
    BROWSER = 3  # the browser; the profile is all that stays


# -- tenants --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """What a tenant's runner needs to know; a change of it takes effect with the next message.

    ``hours`` and ``details`` are the stored JSON: bot/hours.py and bot/profile.py read them.
    """

    tenant_id: TenantId
    name: str
    phone_number: str
    template: TemplateType
    language: Language
    business_name: str
    timezone: str
    hours: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """One tenant as it is now: the observed state with its reason and the next action."""

    tenant_id: TenantId
    status: TenantStatus
    session: SessionState
    worker: WorkerStatus
    desired: DesiredState
    reason: Reason
    next_action: str
    detail: str = ""
    last_seen_at: datetime | None = None
    restarts: int = 0
    paired: bool = False
    paused: bool = False


# -- messages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message as a channel showed it, incoming or (``from_me``) outgoing.

    ``text`` is set only for kind text (and a caption); ``content`` holds what else is worth
    keeping for the kind (mime type, coordinates ...), never a thumbnail.
    """

    message_id: MessageId
    chat: Jid
    from_me: bool
    kind: MessageKind
    text: str
    at: datetime
    source: Source
    sender: Jid
    phone: str = ""
    """Digits of the contact's phone number, empty while only a LID is known."""
    lid: str = ""
    push_name: str = ""
    raw_type: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InboxKey:
    """The primary key of an inbox row, within its tenant."""

    from_me: bool
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class Reply:
    """One text that the responder wants sent to the chat it answers.

    ``wait_s``: the sender waits so long after it was planned (rate limit).
    """

    text: str
    intent: str
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One planned reply as it stands in the outbox, to be handed to a channel.

    ``due_at_monotonic``: seconds of this process's clock that no change of the wall clock moves,
    nor a difference to the database's; not before. ``asked_for``: by a program; it answers nobody,
    and takes its turn in the tenant's limit when it is sent.
    """

    outbox_id: OutboxId
    chat_key: ChatKey
    to: Jid
    client_id: MessageId
    text: str
    state: OutboxState
    attempts: int
    due_at_monotonic: float = field(compare=False)
    planned_at: datetime
    asked_for: bool = False


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The platform accepted the message under this id."""

    message_id: MessageId
    ack: Ack


@dataclass(frozen=True, slots=True)
class ChatHead:
    """A chat and the time of its newest message."""

    chat: Jid
    last_at: datetime | None
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found: ``connected`` is usable and online, not merely loaded."""

    connected: bool
    mode: str
    detail: str
