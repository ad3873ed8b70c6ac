"""The bounded line between the page and its one reader."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from flowhq.errors import ChannelError
from flowhq.events import AckSeen, ChannelEvent, EventsDropped, MessageSeen


class Room:
    """How many events may wait in all buffers of one daemon together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self) -> bool:
        """A place, if there is one."""
        if self.taken >= self._limit:
            return False
        self.taken += 1
        return True

    def give_back(self, count: int = 1) -> None:
        self.taken -= count


class EventBuffer:
    """Keeps the order, never grows beyond its limit, and never loses anything silently.

    Messages and acks beyond ``limit``, or beyond the ``room`` that all buffers share, are counted
    and told as one EventsDropped in their place: the page's own store still has them. States
    (ready, lost, logged out ...) are few and never dropped, but twice the limit in all means that
    nobody reads: ``put`` is then False.
    """

    def __init__(self, limit: int, room: Room | None = None) -> None:
        self._limit = limit
        self._room = room or Room(limit)
        self._events: deque[ChannelEvent] = deque()
        self._more = asyncio.Event()
        self._error: ChannelError | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: ChannelEvent) -> bool:
        """Appends; False when the event could not be kept, which is an end."""
        if self._closed or self._error is not None:
            return True
        if isinstance(event, MessageSeen | AckSeen):
            if len(self._events) < self._limit and self._room.take():
                self._events.append(event)
            else:
                self._count_dropped()
        elif len(self._events) >= 2 * self._limit:
            return False
        else:
            self._events.append(event)
        self._more.set()
        return True

    def fail(self, error: ChannelError) -> None:
        """The reader gets what is here already, then this error; the first one stays."""
        if self._error is None:
            self._error = error
            self._more.set()

    def close(self) -> None:
        """The reader gets what is here already, then the end."""
        self._closed = True
        self._more.set()

    def discard(self) -> None:
        """Nobody is going to read what is left; the reader gets the end."""
        self.close()
        while self._events:
            self._next()

    async def read(self) -> AsyncIterator[ChannelEvent]:
        while True:
            while self._events:
                yield self._next()
            if self._error is not None:
                raise self._error
            if self._closed:
                return
            self._more.clear()
            await self._more.wait()

    def _next(self) -> ChannelEvent:
        event = self._events.popleft()
        if isinstance(event, MessageSeen | AckSeen):
            self._room.give_back()
        return event

    def _count_dropped(self) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(last, EventsDropped):
            self._events[-1] = EventsDropped(last.count + 1)
        else:
            self._events.append(EventsDropped(1))
