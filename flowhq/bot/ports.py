"""What the bot needs of the outside, as Protocols: a channel, a ledger, a book of states.

``channel`` and ``db`` satisfy these by shape and import nothing from here. The values that cross
are those of ``flowhq.model`` and the frozen classes below.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from flowhq.events import ChannelEvent
from flowhq.model import (
    Ack,
    ChatHead,
    ChatKey,
    Health,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxId,
    Reply,
    Rung,
    SendReceipt,
    TenantId,
    TenantSnapshot,
)
from flowhq.steps import ConversationView, Decision, Recorded


class Channel(Protocol):
    """One tenant's way to WhatsApp. Opened and closed by the tenant's runner, used by it alone.

    Every method may raise ChannelRestartError (the channel is no use any more) and is limited in
    time by the channel itself.
    """

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        """Start and hook the page; events flow from now on. LoginRequiredError,
        MisconfiguredError and ChannelRestartError say what to do when it cannot. What an earlier
        opening left is used again as far as ``rung`` allows, and as far as it is of any use."""
        ...

    async def close(self) -> None:
        """Close cleanly so that the pairing reaches the disk; safe to call twice."""
        ...

    async def kill(self) -> None:
        """End the browser's whole process tree now, whatever state it is in."""
        ...

    def events(self) -> AsyncIterator[ChannelEvent]:
        """Events in the order the page saw them. One reader; ends when the channel is closed and
        raises ChannelRestartError when the page or browser is gone."""
        ...

    async def send(self, message: OutboundMessage) -> SendReceipt:
        """Hand the message over under its ``client_id`` and wait for the server's ack.
        SendRefusedError: not sent. SendUnknownError: look it up later."""
        ...

    async def look_up(self, chat: Jid, client_id: MessageId) -> Ack | None:
        """The ack of an own message in the page's store; None when it is not there."""
        ...

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        """Messages of a chat, oldest first, both directions, source catchup."""
        ...

    async def chats(self) -> Sequence[ChatHead]:
        """Every one-to-one chat that the page knows, newest first."""
        ...

    async def mark_read(self, chat: Jid) -> None: ...

    async def show_typing(self, chat: Jid, seconds: float) -> None: ...

    async def probe(self) -> Health:
        """Ask the page for its health; ChannelRestartError when it does not answer in time."""
        ...

    async def log_out(self) -> None:
        """Unlink this device on the server; the profile is forgotten by the caller."""
        ...


# -- figures ---------------------------------------------------------------------------------------


class Stage(StrEnum):
    """Where a message was when something became of it."""

    RECEIVED = "received"
    ANSWERED = "answered"
    SENT = "sent"


class Span(StrEnum):
    """From the event in Python to the page having the reply; from there to the server's ack."""

    HAND_OVER = "hand_over"
    ACK = "ack"


class Meter(Protocol):
    """Counts what became of messages, all tenants together. Never fails, never waits."""

    def count(self, stage: Stage, outcome: str) -> None:
        """``outcome`` is one of a few words of the code, never anything of a message."""
        ...

    def took(self, span: Span, seconds: float) -> None: ...


# -- the ledger -----------------------------------------------------------------------------------


Decide = Callable[[InboundMessage, ConversationView], Decision]
"""Pure and synchronous: it runs inside the transaction and must not wait for anything."""


class Ledger(Protocol):
    """The durable memory of ONE tenant; nothing of another can be reached through it.

    Every method is one transaction and may raise StoreUnavailableError (nothing was stored).
    """

    tenant_id: TenantId

    async def record(
        self,
        message: InboundMessage,
        *,
        state: InboxState,
        reason: str = "",
        person_pause_s: float = 0.0,
    ) -> Recorded:
        """Store a message before anything acts on it: ledger row, inbox row, contact,
        conversation, alias and cursor. Known already: ``fresh`` is False, nothing changes.
        ``state`` SKIPPED with its reason records without work to do. An outgoing message that is
        not ours pauses the bot in its chat for ``person_pause_s`` from its own time on (0: not)
        and takes back what is planned there, in the same transaction. Addresses that belong to
        several chats make them one: ``merged`` names those that are gone, and what waits in them
        stands under the kept one from then on."""
        ...

    async def are_recorded(self, messages: Sequence[InboundMessage]) -> Sequence[bool]:
        """Of each, in their order, whether to record it would change nothing: it is known with what
        it says, or it is the echo of a message of ours."""
        ...

    async def process(self, key: InboxKey, decide: Decide) -> Sequence[OutboundMessage]:
        """One step: lock the inbox row, decide, mark it, plan the replies. A row that is not
        waiting any more gives (); one given reply per (cause, part) whatever happens."""
        ...

    async def postpone(self, key: InboxKey, *, error: str) -> float | None:
        """Count a failed attempt; seconds until the next one, or None when the row is dead now."""
        ...

    async def count_interrupted(self) -> Sequence[InboxKey]:
        """At a process's start, before anything is answered: an attempt is counted for each waiting
        row whose step had begun and was never ended, since it may have ended the process before;
        for one that only waited its turn, none. Those that are dead by that."""
        ...

    async def waiting(self, chat_key: ChatKey | None, *, limit: int) -> Sequence[Recorded]:
        """Inbox rows in state new or retry, in order; of one chat or of all."""
        ...

    async def notify(
        self, chat_key: ChatKey, to: Jid, *, cause: str, reply: Reply
    ) -> Sequence[OutboundMessage]:
        """Plan a notice of our own (please wait ...), once per cause; () if it was planned
        before, or if the chat is gone."""
        ...

    async def unsettled(
        self, chat_key: ChatKey | None = None, *, limit: int | None = None
    ) -> Sequence[OutboundMessage]:
        """Rows in planned, sending or unknown, oldest first, of one chat or of all: what a start
        must look after."""
        ...

    async def mark_sending(self, outbox_id: OutboxId, *, max_age_s: float | None = None) -> bool:
        """Commit the intent and count the attempt; False if the row is settled or cancelled, or
        is cancelled now: because a person took over since it was tried last, or because it was due
        longer than ``max_age_s`` ago (None: of any age)."""
        ...

    async def mark_accepted(self, outbox_id: OutboxId, ack: Ack) -> None: ...

    async def mark_unknown(self, outbox_id: OutboxId, *, error: str) -> None: ...

    async def mark_failed(self, outbox_id: OutboxId, *, error: str, retry: bool) -> float | None:
        """A refusal: back to planned, due in so many seconds, or None when the row is dead now."""
        ...

    async def acknowledge(self, ids: Sequence[MessageId], ack: Ack) -> None:
        """Raise the status of own messages; acks never go back, unknown ids are ignored."""
        ...

    async def known_own(self, message_id: MessageId) -> OutboxId | None:
        """The outbox row of an own message, None if a person typed it on the phone."""
        ...

    async def save_qr(self, *, text: str, data_url: str, expires_at: datetime | None) -> None: ...

    async def save_identity(self, *, phone: str, lid: str) -> datetime:
        """The paired number, digits only; clears the QR and sets paired_at if it is not set. What
        is '' stays as it was known.
        Returns paired_at: what is older than the pairing is no backlog. Another number than that
        of the pairing before begins another pairing, whether the old one was forgotten or not: what
        waits is skipped and what is planned taken back."""
        ...

    async def forget_pairing(self) -> None: ...

    async def touch(self, *, caught_up: bool = False) -> datetime:
        """last_seen_at = now, after a successful probe. ``caught_up``: no message is missing that
        is older than the newest one recorded."""
        ...

    async def now(self) -> datetime:
        """By the store's clock, which all that it keeps goes by."""
        ...

    async def caught_up_to(self) -> datetime | None:
        """The time of the newest message recorded when nothing was missing the last time, on the
        platform's clock; None before that, and after a new pairing."""
        ...


class StatusBook(Protocol):
    """Where states are kept, with their history."""

    async def save(self, snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        """Tenant, session and worker rows and, if the tenant's status or reason changed, a
        tenant_events row: one transaction."""
        ...
