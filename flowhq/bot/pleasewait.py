"""The one notice for a chat whose messages come faster than they can be answered."""

from collections.abc import Callable, Iterable

from flowhq.bot.chats import Place
from flowhq.model import ChatKey, InboundMessage
from flowhq.steps import Recorded


class PleaseWait:
    """Asked at each message that is lined up. ``waiting`` counts a chat's messages and replies that
    wait, wherever; ``say`` plans the notice. An episode ends when nothing of the chat waits."""

    def __init__(
        self,
        most: int,
        *,
        waiting: Callable[[ChatKey], int],
        say: Callable[[Recorded, InboundMessage], None],
    ) -> None:
        self._most = most
        self._waiting = waiting
        self._say = say
        self._told: set[ChatKey] = set()

    def lined_up(self, recorded: Recorded, message: InboundMessage, place: Place) -> None:
        chat = recorded.chat_key
        waiting = self._waiting(chat)
        if waiting <= 1:  # this message alone
            self._told.discard(chat)
        if (place is Place.FULL or waiting > self._most) and chat not in self._told:
            self._told = {one for one in self._told if self._waiting(one)} | {chat}
            self._say(recorded, message)

    def follow(self, chat: ChatKey, others: Iterable[ChatKey]) -> None:
        """``others`` were merged into ``chat``: whoever was told under one of them is told."""
        if not self._told.isdisjoint(others):
            self._told.add(chat)
