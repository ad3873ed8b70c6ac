"""A scripted channel: tells what a test says, records what it is asked to send.

It keeps to the same contract as the real one (tests/contract/channel_contract.py runs over both):
its store answers look_up and history, its events end with close and fail with crash.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flowhq.errors import ChannelRestartError, SendRefusedError, SendUnknownError
from flowhq.events import AckSeen, ChannelEvent, EventsDropped, MessageSeen, QrShown, Ready
from flowhq.model import (
    Ack,
    ChatHead,
    Health,
    InboundMessage,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    Reason,
    Rung,
    SendReceipt,
    Source,
)

SendMode = Literal["ok", "refuse", "refuse_for_now", "hold", "lose", "lose_answer"]
CUSTOMER = Jid("255700000001@c.us")
OWNER_PHONE = "255712000000"
OWNER_LID = "100000000000001"
EPOCH = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


@dataclass
class StoredMessage:
    """One message of the fake page's own store, with its ack."""

    message: InboundMessage
    ack: Ack


class FakeChannel:
    """What ``Channel`` promises, from a script. Everything here is for one event loop.

    ``calls`` has every send as it was asked for, repeats included; ``sent`` has each message that
    reached the peer, once per id. ``send_mode`` holds until changed; ``plan_sends`` overrides it
    for the next sends, one mode each.
    """

    def __init__(self, *, buffer: int = 1000) -> None:
        self.calls: list[OutboundMessage] = []
        self.sent: list[OutboundMessage] = []
        self.reached: list[OutboundMessage] = []
        """With what was sent more than once."""
        self.reads: list[Jid] = []
        self.typing: list[tuple[Jid, float]] = []
        self.look_ups: list[MessageId] = []
        self.send_mode: SendMode = "ok"
        self.echo = True
        """Own messages come back as events, before their send resolves, as on the page."""
        self.before_send: asyncio.Event | None = None
        """When set to an unset Event, sends wait for it: a slow page."""
        self.logged_out = False
        self.killed = False
        self.opened = 0
        self.rungs: list[Rung] = []
        """How each opening was asked for."""
        self.health = Health(connected=True, mode="MAIN", detail="")
        self.document = 0
        self.monotonic: Callable[[], float] = lambda: 0.0
        """The clock by which messages come in."""
        self.store: dict[Jid, list[StoredMessage]] = {}
        self._planned: list[SendMode] = []
        self._queue: asyncio.Queue[ChannelEvent | None] = asyncio.Queue(maxsize=buffer)
        self._buffer = buffer
        self._dropped = 0
        self._open = False
        self._fault: ChannelRestartError | None = None
        self._open_error: Exception | None = None
        self._held: list[OutboundMessage] = []
        self._serial = 0

    # -- the script ---------------------------------------------------------------------------

    def emit(self, event: ChannelEvent) -> None:
        """Show one event to the reader; a full buffer counts it and tells EventsDropped."""
        if self._dropped and self._queue.qsize() < self._buffer - 1:
            self._queue.put_nowait(EventsDropped(self._dropped))
            self._dropped = 0
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped += 1

    def ready(self, *, phone: str = OWNER_PHONE, lid: str = OWNER_LID) -> None:
        self.health = Health(connected=True, mode="MAIN", detail="")
        self.emit(Ready(phone, lid, self.document))

    def show_qr(self, text: str = "ref,noise,identity,adv,1") -> None:
        self.health = Health(connected=False, mode="QR", detail="")
        self.emit(QrShown(text, EPOCH + timedelta(seconds=20)))

    def receive(
        self,
        text: str,
        *,
        chat: Jid = CUSTOMER,
        message_id: str = "",
        kind: MessageKind = MessageKind.TEXT,
        from_me: bool = False,
        at: datetime | None = None,
        push_name: str = "Amina",
        phone: str | None = None,
        lid: str = "",
        raw_type: str = "chat",
        content: Mapping[str, Any] | None = None,
        live: bool = True,
        seen_at_monotonic: float | None = None,
    ) -> InboundMessage:
        """A message arrives: into the store and, if ``live``, as an event as well."""
        self._serial += 1
        user, _, server = chat.partition("@")
        message = InboundMessage(
            message_id=MessageId(message_id or f"3AFA4E{self._serial:014X}"),
            chat=chat,
            from_me=from_me,
            kind=kind,
            text=text,
            at=at or EPOCH + timedelta(seconds=self._serial),
            source=Source.LIVE,
            sender=Jid(f"{OWNER_PHONE}@c.us") if from_me else chat,
            phone=phone if phone is not None else (user if server == "c.us" else ""),
            lid=lid or (user if server == "lid" else ""),
            push_name="" if from_me else push_name,
            raw_type=raw_type,
            content=content or {},
        )
        self._keep(message, Ack.SERVER)
        if live:
            now_s = self.monotonic() if seen_at_monotonic is None else seen_at_monotonic
            self.emit(MessageSeen(message, now_s))
        return message

    def plan_sends(self, *modes: SendMode) -> None:
        """The next sends end like this, one mode each; then ``send_mode`` again."""
        self._planned.extend(modes)

    def release(self) -> None:
        """What was held goes out now, once each, with its ack event: the page came back."""
        held, self._held = self._held, []
        self.send_mode = "ok" if self.send_mode == "hold" else self.send_mode
        for message in held:
            self._reach(message)
            self.acknowledge(message.client_id, Ack.SERVER)

    def acknowledge(self, message_id: MessageId, ack: Ack) -> None:
        """An ack arrives for an own message: into the store and as an event."""
        for stored in self._own(message_id):
            stored.ack = max(stored.ack, ack)
        self.emit(AckSeen((message_id,), ack))

    def forget(self, message_id: MessageId) -> None:
        """The page's store loses a message, so that look_up finds nothing."""
        for messages in self.store.values():
            messages[:] = [m for m in messages if m.message.message_id != message_id]

    def fail_open(self, error: Exception) -> None:
        """The next ``open`` raises this, once."""
        self._open_error = error

    def crash(self, reason: Reason = Reason.PAGE_CRASHED) -> None:
        """The page is gone: every call and the event reader raise from now on."""
        self._fault = ChannelRestartError(f"The page is gone ({reason}).", reason=reason)
        self._wake()

    # -- Channel --------------------------------------------------------------------------------

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        self.rungs.append(rung)
        error, self._open_error = self._open_error, None
        if error is not None:
            raise error
        self._fault = None
        self._open = True
        self.opened += 1
        self.document += 1
        if self.opened > 1:
            self._queue = asyncio.Queue(maxsize=self._buffer)

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._wake()

    async def kill(self) -> None:
        self.killed = True
        await self.close()

    async def events(self) -> AsyncIterator[ChannelEvent]:
        while True:
            event = None if self._ended() and self._queue.empty() else await self._queue.get()
            if event is not None:
                yield event
            elif self._fault is not None:
                raise self._fault
            elif not self._open:
                return

    async def send(self, message: OutboundMessage) -> SendReceipt:
        self._check()
        self.calls.append(message)
        if self.before_send is not None:
            await self.before_send.wait()
            self._check()
        mode = self._planned.pop(0) if self._planned else self.send_mode
        if mode in ("refuse", "refuse_for_now"):
            raise SendRefusedError("The platform refused.", retry=mode == "refuse_for_now")
        if mode == "lose":
            raise SendUnknownError("No answer within the limit.")
        self._echo(message)
        if mode == "hold":
            self._held.append(message)
            raise SendUnknownError("No answer within the limit.")
        self._reach(message)
        if mode == "lose_answer":
            raise SendUnknownError("No answer within the limit.")
        return SendReceipt(message.client_id, Ack.SERVER)

    async def look_up(self, chat: Jid, client_id: MessageId) -> Ack | None:
        self._check()
        self.look_ups.append(client_id)
        return next((stored.ack for stored in self._own(client_id)), None)

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        self._check()
        found = [
            replace(stored.message, source=Source.CATCHUP)
            for stored in self.store.get(chat, [])
            if since is None or stored.message.at >= since
        ]
        return sorted(found, key=lambda message: message.at)[-limit:]

    async def chats(self) -> Sequence[ChatHead]:
        self._check()
        heads = [
            ChatHead(
                chat=chat,
                last_at=max(stored.message.at for stored in messages),
                phone=messages[-1].message.phone,
            )
            for chat, messages in self.store.items()
            if messages
        ]
        return sorted(heads, key=lambda head: head.last_at or EPOCH, reverse=True)

    async def mark_read(self, chat: Jid) -> None:
        self._check()
        self.reads.append(chat)

    async def show_typing(self, chat: Jid, seconds: float) -> None:
        self._check()
        self.typing.append((chat, seconds))

    async def probe(self) -> Health:
        self._check()
        return self.health

    async def log_out(self) -> None:
        self._check()
        self.logged_out = True

    # -- inside ---------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault
        if not self._open:
            raise ChannelRestartError("The channel is closed.", reason=Reason.BROWSER_GONE)

    def _ended(self) -> bool:
        return self._fault is not None or not self._open

    def _wake(self) -> None:
        """A reader that waits sees the end; one with events left sees those first."""
        if self._queue.empty():
            self._queue.put_nowait(None)

    def _keep(self, message: InboundMessage, ack: Ack) -> None:
        self.store.setdefault(message.chat, []).append(StoredMessage(message, ack))

    def _own(self, message_id: MessageId) -> list[StoredMessage]:
        return [
            stored
            for messages in self.store.values()
            for stored in messages
            if stored.message.from_me and stored.message.message_id == message_id
        ]

    def _echo(self, message: OutboundMessage) -> None:
        """The page's store takes the message at once, whatever becomes of it."""
        if self._own(message.client_id):
            return
        self.receive(
            message.text,
            chat=message.to,
            message_id=message.client_id,
            from_me=True,
            live=self.echo,
        )
        for stored in self._own(message.client_id):
            stored.ack = Ack.PENDING

    def _reach(self, message: OutboundMessage) -> None:
        """The peer takes one id once."""
        self.reached.append(message)
        if all(known.client_id != message.client_id for known in self.sent):
            self.sent.append(message)
        for stored in self._own(message.client_id):
            stored.ack = max(stored.ack, Ack.SERVER)
