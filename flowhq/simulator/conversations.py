"""What the customers' phones show: per account one conversation with each customer or group."""

import dataclasses
from collections import OrderedDict, deque
from typing import Any

MESSAGES_PER_CHAT = 500
CHATS_PER_ACCOUNT = 20_000
# A phone takes "typing" back when it has heard nothing for this long.
TYPING_S = 25.0

CUSTOMER = "customer"
OWNER = "owner"
BOT = "bot"


@dataclasses.dataclass
class Bubble:
    """One message as the phone page draws it. `ack`: 1 server, 2 delivered, 3 read."""

    id: str
    by: str
    text: str
    type: str
    t: int
    ack: int = 1

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Conversation:
    """The newest messages of one chat, and whether a linked device is typing in it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.name = ""
        self.typing = ""
        self.typing_at = 0.0
        self.bubbles: deque[Bubble] = deque(maxlen=MESSAGES_PER_CHAT)

    def typing_now(self, now: float) -> str:
        return self.typing if now - self.typing_at < TYPING_S else ""

    def as_json(self, limit: int, now: float) -> dict[str, Any]:
        """As the customer's phone shows it, with the newest `limit` messages."""
        messages = list(self.bubbles)[-limit:] if limit else []
        return {
            "with": self.key,
            "name": self.name,
            "typing": self.typing_now(now),
            "messages": [bubble.as_json() for bubble in messages],
        }


class Conversations:
    """The account's chats, the one used longest ago first."""

    def __init__(self) -> None:
        self._chats: OrderedDict[str, Conversation] = OrderedDict()

    def find(self, key: str) -> Conversation | None:
        return self._chats.get(key)

    def open(self, key: str) -> Conversation:
        chat = self._chats.get(key)
        if chat is None:
            chat = self._chats[key] = Conversation(key)
            if len(self._chats) > CHATS_PER_ACCOUNT:
                self._chats.popitem(last=False)
        self._chats.move_to_end(key)
        return chat

    def newest(self, limit: int) -> list[Conversation]:
        return [chat for chat, _ in zip(reversed(self._chats.values()), range(limit), strict=False)]

    def raise_ack(self, key: str, message_ids: list[str], ack: int) -> None:
        """Sets the ticks of messages; they never go back."""
        chat = self._chats.get(key)
        wanted = set(message_ids)
        for bubble in reversed(chat.bubbles) if chat else ():
            if bubble.id in wanted:
                bubble.ack = max(bubble.ack, ack)
                wanted.discard(bubble.id)
                if not wanted:
                    return
