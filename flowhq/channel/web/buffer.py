"""The bounded line between the page and its one reader."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from flowhq.errors import ChannelError
from flowhq.events import AckSeen, ChannelEvent, EventsDropped, MessageSeen


class EventBuffer:
    """Keeps the order, never grows beyond its limit, and never loses anything silently.

    Messages and acks beyond ``limit`` are counted and told as one EventsDropped in their place:
    the page's own store still has them. States (ready, lost, logged out ...) are few and never
    dropped, but twice the limit in all means that nobody reads: ``put`` is then False.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
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
        if len(self._events) >= self._limit and isinstance(event, MessageSeen | AckSeen):
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

    async def read(self) -> AsyncIterator[ChannelEvent]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._error is not None:
                raise self._error
            if self._closed:
                return
            self._more.clear()
            await self._more.wait()

    def _count_dropped(self) -> None:
        last = self._events[-1]
        if isinstance(last, EventsDropped):
            self._events[-1] = EventsDropped(last.count + 1)
        else:
            self._events.append(EventsDropped(1))
