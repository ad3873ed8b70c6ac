"""Lanes: one bounded queue and one worker per chat, so that order holds within a chat only.

What does not fit into a lane is not kept here: it is in the database already, and the lane reads
it from there once it has caught up. A lane ends when it is empty. Of chats that turn out to be one,
the kept one's lane outwaits the others and reads on for all of them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from flowhq.model import ChatKey, InboxKey

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A recorded message on its way to the responder."""

    key: InboxKey
    seen_at: float | None = None
    """When its event came in, in monotonic seconds. None: it was read, from the page's past or from
    the inbox, so nobody knows how long it has waited."""


class Place(Enum):
    """Where an item went."""

    IN_LINE = auto()
    FULL = auto()  # the first that did not fit since the lane was last empty: told once
    STILL_FULL = auto()


class _Lane(Generic[Item]):
    __slots__ = ("behind", "into", "items", "missed", "task", "told")

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.behind = False
        """Items are waiting in the database behind those in line."""
        self.missed = False
        """One was refused since the database was last read."""
        self.told = False
        """That it is full was said already."""
        self.into: ChatKey | None = None
        """The chat into which this one was merged."""

    def read_anew(self) -> None:
        """Have the database read after what is in line."""
        # Nothing was too much for it: what comes meanwhile is read with the rest, without a word.
        self.behind = self.missed = self.told = True


class Lanes(Generic[Item]):
    """Runs ``handle(chat, item)`` for each item, in order per chat, chats side by side.

    ``refill(chat, limit)`` reads what waits in the database, in order. An error of the handler
    ends the task group, and with it the tenant: handlers deal with what they can deal with.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        handle: Callable[[ChatKey, Item], Awaitable[None]],
        refill: Callable[[ChatKey, int], Awaitable[Sequence[Item]]],
        *,
        name: str,
        capacity: int,
    ) -> None:
        self._group = group
        self._handle = handle
        self._refill = refill
        self._name = name
        self._capacity = capacity
        self._lanes: dict[ChatKey, _Lane[Item]] = {}
        self._before: dict[ChatKey, list[asyncio.Task[None]]] = {}
        """The lanes that a chat's lane has to outwait before it reads the database again."""

    def put(self, chat: ChatKey, item: Item) -> Place:
        """Line the item up, or leave it to the database when the lane is full."""
        lane = self._lane(chat)
        if not lane.behind and len(lane.items) < self._capacity:
            lane.items.append(item)
            return Place.IN_LINE
        lane.behind = lane.missed = True
        if lane.told:
            return Place.STILL_FULL
        lane.told = True
        return Place.FULL

    def put_first(self, chat: ChatKey, item: Item) -> None:
        """Before all that is in line. In a lane that is about to read the database it is found
        there, where it stands as well."""
        lane = self._lane(chat)
        if lane.behind and not lane.items:
            lane.missed = True
        else:
            lane.items.appendleft(item)

    def waiting(self, chat: ChatKey) -> int:
        """What is in line in one chat; what waits in the database counts as one."""
        lane = self._lanes.get(chat)
        return 0 if lane is None else len(lane.items) + lane.behind

    def wake(self, chat: ChatKey) -> None:
        """Have the database read after what is in line: something waits there that nobody lined
        up."""
        self._lane(chat).read_anew()

    def follow(self, chat: ChatKey, others: Iterable[ChatKey]) -> None:
        """``others`` were merged into ``chat`` in the database: each ends what it has in hand, then
        ``chat`` goes on with what all of them have, in the order in which it stands there."""
        lane = self._lane(chat)
        lane.items.clear()
        lane.read_anew()
        if lane.into is not None:  # erased meanwhile and begun anew: each would wait for the other
            return
        for other in others:
            ended = self._lanes.get(other)
            if ended is None or ended is lane:
                continue
            ended.into = chat
            # What stood in line waits under the kept key now; what does not, the reading finds.
            ended.items.clear()
            ended.read_anew()
            self._before.setdefault(chat, []).append(ended.task)

    def kept(self, chat: ChatKey) -> ChatKey:
        """The chat into which this one was merged, as long as its own lane lasts; else itself."""
        while (lane := self._lanes.get(chat)) is not None and lane.into is not None:
            chat = lane.into
        return chat

    def depth(self) -> int:
        """Items in line over all chats, for status."""
        return sum(len(lane.items) for lane in self._lanes.values())

    def forget(self) -> None:
        """The run is over: lets go of its task group and of who handles, which hold this. The
        garbage collector would look for such circles rarely."""
        del self._group, self._handle, self._refill

    def _lane(self, chat: ChatKey) -> _Lane[Item]:
        lane = self._lanes.get(chat)
        if lane is None:
            lane = self._lanes[chat] = _Lane()
            work = self._work(chat, lane)
            lane.task = self._group.create_task(work, name=f"{self._name} {chat}")
        return lane

    async def _work(self, chat: ChatKey, lane: _Lane[Item]) -> None:
        while True:
            if lane.items:
                await self._handle(chat, lane.items.popleft())
            elif lane.behind:
                while before := self._before.pop(chat, None):
                    await asyncio.wait(before)
                lane.missed = False
                items = await self._refill(chat, self._capacity)
                if chat in self._before:  # merged meanwhile: some of it may be in their hands
                    continue
                lane.items.extend(items)
                lane.behind = lane.missed or len(items) == self._capacity
            else:
                del self._lanes[chat]
                return
