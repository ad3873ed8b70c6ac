"""Messages, receipts and read marks between the customers and an account's linked devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flowhq.simulator import ids
from flowhq.simulator.accounts import Account, Device, Frame, Send, SentMessage, message_frame
from flowhq.simulator.clock import SimClock
from flowhq.simulator.conversations import BOT, CUSTOMER, OWNER, Bubble
from flowhq.simulator.events import EventLog
from flowhq.simulator.settings import SEND_HOLD, SEND_OK, Settings

ACK_SERVER, ACK_DELIVERED, ACK_READ = 1, 2, 3


class QueueFull(Exception):
    """A device that is away holds as much as it may."""


class UnknownMessage(Exception):
    """No linked device sent a message with this id."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What a customer, or the owner on the phone, wrote. `customer`: the other side's number."""

    customer: str
    text: str
    name: str | None = None
    lid: str | None = None
    group: str | None = None
    from_me: bool = False
    type: str = "chat"
    t: int | None = None
    id: str | None = None
    extra: dict[str, Any] | None = None

    @property
    def sender_jid(self) -> str:
        return ids.person_jid(self.customer) if self.lid is None else ids.lid_jid(self.lid)

    @property
    def chat(self) -> str:
        return self.group or self.sender_jid


class Traffic:
    """Every effect is done when a method returns; nothing here waits."""

    def __init__(self, clock: SimClock, events: EventLog, settings: Callable[[], Settings]) -> None:
        self._clock = clock
        self._events = events
        self._settings = settings

    def write(self, account: Account, written: Written) -> Frame:
        """Queues the message for all linked devices; QueueFull, and nothing done, if one cannot."""
        for device in account.devices.values():
            if not device.has_room():
                raise QueueFull(device.id)
        if written.lid is not None:
            account.remember_lid(written.lid, written.customer)
        message = self._compose(account, written)
        frame: Frame = {"k": "msg", "msg": message}
        if written.lid is not None:
            frame["lid_pn"] = {"lid": written.lid, "phone": written.customer}
        for device in account.devices.values():
            device.enqueue(frame)
        self._show(account, message, OWNER if written.from_me else CUSTOMER, written.name)
        self._events.record(
            "message",
            phone=account.phone,
            chat=message["chat"],
            customer=account.phone_of(message["chat"]),
            id=message["id"],
            from_me=written.from_me,
            devices=len(account.devices),
        )
        return message

    def _compose(self, account: Account, written: Written) -> Frame:
        author = None
        if written.group is not None:
            author = account.jid if written.from_me else written.sender_jid
        return message_frame(
            account,
            message_id=written.id or ids.new_phone_message_id(),
            chat=written.chat,
            from_me=written.from_me,
            text=written.text,
            t=self._clock.unix() if written.t is None else written.t,
            notify=account.name if written.from_me else written.name or "",
            kind=written.type,
            author=author,
            extra=written.extra,
        )

    def _show(self, account: Account, message: Frame, by: str, name: str | None = None) -> None:
        chat = account.conversations.open(account.phone_of(message["chat"]))
        if name and by == CUSTOMER:
            chat.name = name
        if by == BOT:
            chat.typing = ""
        chat.bubbles.append(
            Bubble(message["id"], by, message["body"], message["type"], message["t"])
        )

    def confirm(self, device: Device, account: Account, seq: int) -> None:
        """The page has stored a queued frame."""
        frame = device.acknowledge(seq)
        if frame is None or frame["k"] != "msg":
            return
        message = frame["msg"]
        account.conversations.raise_ack(
            account.phone_of(message["chat"]), [message["id"]], ACK_DELIVERED
        )
        self._events.record(
            "delivered",
            phone=account.phone,
            device=device.id,
            chat=message["chat"],
            customer=account.phone_of(message["chat"]),
            id=message["id"],
        )

    def send(self, device: Device, account: Account, send: Send) -> None:
        """A linked device sends; the answer goes out by the settings `send` and `dedup_sends`."""
        settings, message = self._settings(), send.message
        known = account.sent.get(send.id)
        if known is not None and (settings.dedup_sends or known.frames & send.frames):
            self._record_send("repeated", device, account, message)
            self._answer(device, known.id, known.t)
        elif settings.send == SEND_HOLD:
            if account.hold(send, once=settings.dedup_sends):
                self._record_send("held", device, account, message)
            else:
                self._refuse(device, account, message, "ERROR_TOO_MANY_HELD")
        elif settings.send != SEND_OK:
            self._refuse(device, account, message, settings.send)
        else:
            self._accept(device, account, send, known)

    def release_held(self, account: Account) -> None:
        """Answers by the present setting what was held, also of devices that are gone."""
        for held in account.take_held():
            device = account.devices.get(held.device_id)
            if device is None:
                device = Device(held.device_id, account.phone, 0.0, 0)
            self.send(device, account, held)

    def _answer(self, device: Device, message_id: str, t: int, error: str | None = None) -> None:
        if device.wire is None or (error is None and not self._settings().ack_sends):
            return
        frame: Frame = {"k": "send_ack", "id": message_id, "t": t}
        device.wire.push(frame if error is None else {**frame, "error": error})

    def _refuse(self, device: Device, account: Account, message: Frame, error: str) -> None:
        self._record_send("refused", device, account, message, error=error)
        self._answer(device, message["id"], self._clock.unix(), error)

    def _accept(
        self, device: Device, account: Account, send: Send, before: SentMessage | None
    ) -> None:
        message, now = send.message, self._clock.now()
        customer = account.phone_of(message["chat"])
        frames = send.frames | (before.frames if before is not None else frozenset())
        sent = SentMessage(send.id, message["chat"], int(now), frames)
        account.remember_sent(sent)
        account.outbox.append(
            {
                "id": sent.id,
                "chat": sent.chat,
                "to": customer,
                "text": message["body"],
                "type": message["type"],
                "quoted": message.get("quoted"),
                "t": sent.t,
                "received_at": now,
                "device": device.id,
            }
        )
        self._show(account, {**message, "t": sent.t}, BOT)
        self._record_send("sent", device, account, message)
        self._answer(device, sent.id, sent.t)
        for other in account.devices.values():
            if other.id != device.id:
                other.enqueue({"k": "msg", "msg": self._echo(account, message, sent.t)})
        for ack in range(ACK_DELIVERED, self._settings().auto_receipts + 1):
            self._receipt(account, sent, ack)

    def _echo(self, account: Account, message: Frame, t: int) -> Frame:
        return {
            **message,
            "from": account.jid,
            "to": message["chat"],
            "from_me": True,
            "notify": account.name,
            "t": t,
            "ack": ACK_SERVER,
        }

    def _record_send(
        self, event: str, device: Device, account: Account, message: Frame, **more: Any
    ) -> None:
        self._events.record(
            event,
            phone=account.phone,
            device=device.id,
            chat=message["chat"],
            customer=account.phone_of(message["chat"]),
            id=message["id"],
            **more,
        )

    def receipt(self, account: Account, message_id: str, ack: int) -> SentMessage:
        """The customer's phone got or showed a message; UnknownMessage if there is none."""
        sent = account.sent.get(message_id)
        if sent is None:
            raise UnknownMessage(message_id)
        self._receipt(account, sent, ack)
        return sent

    def _receipt(self, account: Account, sent: SentMessage, ack: int) -> None:
        for device in account.devices.values():
            device.enqueue(
                {
                    "k": "receipt",
                    "id": sent.id,
                    "chat": sent.chat,
                    "ack": ack,
                    "t": self._clock.unix(),
                }
            )
        customer = account.phone_of(sent.chat)
        account.conversations.raise_ack(customer, [sent.id], ack)
        self._events.record(
            "receipt", phone=account.phone, chat=sent.chat, customer=customer, id=sent.id, ack=ack
        )

    def seen(self, device: Device, account: Account, chat: str, message_ids: list[str]) -> None:
        """A linked device marked messages as read."""
        customer = account.phone_of(chat)
        account.reads.append(
            {"chat": chat, "phone": customer, "ids": message_ids, "t": self._clock.unix()}
        )
        account.conversations.raise_ack(customer, message_ids, ACK_READ)
        self._events.record(
            "seen",
            phone=account.phone,
            device=device.id,
            chat=chat,
            customer=customer,
            ids=message_ids,
        )

    def chatstate(self, device: Device, account: Account, chat: str, state: str) -> None:
        """A linked device types, records or has stopped."""
        customer = account.phone_of(chat)
        conversation = account.conversations.find(customer)
        if conversation is not None:
            conversation.typing = "" if state == "paused" else state
            conversation.typing_at = self._clock.now()
        self._events.record(
            "chatstate",
            phone=account.phone,
            device=device.id,
            chat=chat,
            customer=customer,
            state=state,
        )
