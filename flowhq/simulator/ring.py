"""Bounded logs with running numbers, read by long polling."""

import asyncio
from typing import Any

Entry = dict[str, Any]


class RingLog:
    """Keeps the newest `capacity` entries; their `index` starts at 1 and is never reused."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: list[Entry] = []
        self._last = 0
        self._grown = asyncio.Event()
        self._closed = False

    @property
    def last(self) -> int:
        """The index of the newest entry ever added; 0 when there was none."""
        return self._last

    def append(self, entry: Entry) -> Entry:
        self._last += 1
        numbered = {"index": self._last, **entry}
        self._entries.append(numbered)
        # Trimming in steps keeps an append O(1) on average.
        if len(self._entries) > self._capacity + self._capacity // 8:
            del self._entries[: len(self._entries) - self._capacity]
        self._wake()
        return numbered

    def since(self, after: int, limit: int | None = None) -> list[Entry]:
        """The entries with an index above `after`, oldest first."""
        wanted = min(max(self._last - after, 0), len(self._entries), self._capacity)
        start = len(self._entries) - wanted
        stop = len(self._entries) if limit is None else min(start + limit, len(self._entries))
        return self._entries[start:stop]

    async def wait_since(self, after: int, wait_s: float, limit: int | None = None) -> list[Entry]:
        """Like `since`, but waits up to `wait_s` for the first such entry."""
        try:
            async with asyncio.timeout(wait_s):
                while self._last <= after and not self._closed:
                    await self._grown.wait()
        except TimeoutError:
            pass
        return self.since(after, limit)

    def close(self) -> None:
        """Ends every wait now and makes later ones return at once."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
