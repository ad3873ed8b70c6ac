"""Accounts, their linked devices and what waits for them. Pure state: no sockets, no timers."""

import dataclasses
from collections import OrderedDict, deque
from typing import Any, Protocol

from flowhq.simulator import ids
from flowhq.simulator.conversations import Conversations
from flowhq.simulator.ring import RingLog

Frame = dict[str, Any]
# The device, and the number of the frame in its page's queue.
FrameKey = tuple[str, int]

QUEUE_CAPACITY = 100_000
OUTBOX_CAPACITY = 100_000
READS_CAPACITY = 100_000
SENT_IDS_CAPACITY = 100_000
HELD_CAPACITY = 10_000
CONTACTS_CAPACITY = 100_000


class Wire(Protocol):
    """A connected page, as the state sees it. No method waits."""

    def push(self, frame: Frame) -> None:
        """Sends a frame that is not worth keeping when the page goes away."""

    def wake(self) -> None:
        """Says that the device's queue has something."""

    def remove(self, reason: int) -> None:
        """Tells the page that its device was unlinked; the socket is no device's from now on."""

    def hold_back(self) -> None:
        """Stops the device's queue until the page takes over."""

    def close(self, code: int, reason: str, *, hard: bool = False) -> None:
        """Ends the socket now; `hard` without a closing handshake."""


class Device:
    """One linked page. Its queue keeps every frame until the page says that it has it."""

    def __init__(self, device_id: str, phone: str, linked_at: float, history_logins: int) -> None:
        self.id = device_id
        self.phone = phone
        self.linked_at = linked_at
        self.key_spki: bytes | None = None
        self.wire: Wire | None = None
        self.history: list[Frame] = []
        self.history_logins_left = history_logins
        self.overflowed = 0
        self._pending: deque[Frame] = deque()
        self._unacked: dict[int, Frame] = {}
        self._last_seq = 0

    @property
    def queued(self) -> int:
        """Frames the page has not confirmed yet."""
        return len(self._pending) + len(self._unacked)

    @property
    def unsent(self) -> int:
        """Frames not handed to the present socket yet."""
        return len(self._pending)

    def has_room(self) -> bool:
        return self.queued < QUEUE_CAPACITY

    def enqueue(self, frame: Frame) -> bool:
        """False, and counted, when the queue is full."""
        if not self.has_room():
            self.overflowed += 1
            return False
        self._last_seq += 1
        self._pending.append({**frame, "seq": self._last_seq})
        if self.wire is not None:
            self.wire.wake()
        return True

    def next_frame(self) -> Frame | None:
        """The oldest frame not sent on this socket; it stays kept until `acknowledge`."""
        if not self._pending:
            return None
        frame = self._pending.popleft()
        self._unacked[frame["seq"]] = frame
        return frame

    def acknowledge(self, seq: int) -> Frame | None:
        return self._unacked.pop(seq, None)

    def rewind(self) -> None:
        """What a lost socket did not confirm is due again, in the old order."""
        self._pending.extendleft(reversed(self._unacked.values()))
        self._unacked.clear()

    def take_history(self) -> list[Frame]:
        """What the first login after the pairing carries; nothing later."""
        if self.history_logins_left <= 0:
            return []
        self.history_logins_left -= 1
        history = self.history
        if not self.history_logins_left:
            self.history = []
        return history


@dataclasses.dataclass(frozen=True)
class Contact:
    phone: str
    name: str = ""
    lid: str | None = None

    def as_frame(self) -> Frame:
        frame: Frame = {"phone": self.phone, "name": self.name}
        return frame if self.lid is None else {**frame, "lid": self.lid}


@dataclasses.dataclass(frozen=True)
class Send:
    """A message that a linked device sends. ``number``: of its frame in the page's own queue; a
    frame that got no answer comes again under the same. None from a page that does not count."""

    device_id: str
    message: Frame
    number: int | None = None

    @property
    def id(self) -> str:
        return str(self.message["id"])

    @property
    def frames(self) -> frozenset[FrameKey]:
        return frozenset() if self.number is None else frozenset({(self.device_id, self.number)})

    def repeats(self, other: "Send") -> bool:
        """The page's transport repeats itself: no server takes that for another message."""
        return bool(self.frames & other.frames)


@dataclasses.dataclass(frozen=True)
class SentMessage:
    """An accepted message of a linked device, and the frames that brought it."""

    id: str
    chat: str
    t: int
    frames: frozenset[FrameKey] = frozenset()


class Account:
    """One WhatsApp number: the owner's phone, its linked devices and its chats."""

    def __init__(self, phone: str, lid: str, name: str) -> None:
        self.phone = phone
        self.lid = lid
        self.name = name
        self.devices: dict[str, Device] = {}
        self.contacts: OrderedDict[str, Contact] = OrderedDict()
        self.outbox = RingLog(OUTBOX_CAPACITY)
        self.reads = RingLog(READS_CAPACITY)
        self.sent: OrderedDict[str, SentMessage] = OrderedDict()
        self.held: list[Send] = []
        self.conversations = Conversations()
        self.away_until = 0.0
        self._phones_by_lid: OrderedDict[str, str] = OrderedDict()

    @property
    def jid(self) -> str:
        return ids.person_jid(self.phone)

    def me(self) -> Frame:
        return {
            "phone": self.phone,
            "lid": self.lid,
            "pushname": self.name,
            "platform": "android",
        }

    def remember_contact(self, contact: Contact) -> None:
        self.contacts[contact.phone] = contact
        while len(self.contacts) > CONTACTS_CAPACITY:
            self.contacts.popitem(last=False)
        if contact.lid is not None:
            self.remember_lid(contact.lid, contact.phone)

    def remember_lid(self, lid: str, phone: str) -> None:
        self._phones_by_lid[lid] = phone
        while len(self._phones_by_lid) > CONTACTS_CAPACITY:
            self._phones_by_lid.popitem(last=False)

    def phone_of(self, jid: str) -> str:
        """The customer's number behind a chat; the jid itself for a group or an unknown lid."""
        user, _, server = jid.partition("@")
        if server == "c.us":
            return user
        return self._phones_by_lid.get(user, jid) if server == "lid" else jid

    def remember_sent(self, message: SentMessage) -> None:
        self.sent[message.id] = message
        while len(self.sent) > SENT_IDS_CAPACITY:
            self.sent.popitem(last=False)

    def hold(self, send: Send, *, once: bool) -> bool:
        """Keeps a send without an answer; False when too many are kept already. ``once``: one for
        each message id."""
        if any(send.repeats(held) or (once and held.id == send.id) for held in self.held):
            return True
        if len(self.held) >= HELD_CAPACITY:
            return False
        self.held.append(send)
        return True

    def take_held(self) -> list[Send]:
        held, self.held = self.held, []
        return held

    def close(self) -> None:
        """Ends the long polls on this account."""
        self.outbox.close()
        self.reads.close()


def message_frame(
    account: Account,
    *,
    message_id: str,
    chat: str,
    from_me: bool,
    text: str,
    t: int,
    notify: str = "",
    kind: str = "chat",
    ack: int = 1,
    author: str | None = None,
    extra: dict[str, Any] | None = None,
) -> Frame:
    """A MSG as docs/simulator-protocol.md has it."""
    frame: Frame = {
        "id": message_id,
        "chat": chat,
        "from": account.jid if from_me else chat,
        "to": chat if from_me else account.jid,
        "from_me": from_me,
        "type": kind,
        "body": text,
        "t": t,
        "notify": notify,
        "ack": ack,
    }
    if author is not None:
        frame["author"] = author
    if extra is not None:
        frame["extra"] = extra
    return frame
