"""Where and how a store fails."""

import asyncio
from collections import Counter

from flowhq.errors import StoreTimeoutError, StoreUnavailableError


class Outages:
    """Where and how the store fails. Names are those of the ledger's methods, "*" is all."""

    def __init__(self) -> None:
        self.down = False
        self.calls: list[str] = []
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}

    def fail(self, method: str, times: int = 1) -> None:
        """The next calls are refused: nothing is stored. "commit" is the end of ``process``."""
        self._before[method] += times

    def time_out(self, method: str, times: int = 1) -> None:
        """The next calls are taken up and not ended in time: nothing is stored."""
        self._late[method] += times

    def lose_answer(self, method: str, times: int = 1) -> None:
        """The next calls are stored, and the connection breaks before the answer."""
        self._after[method] += times

    def hold(self, method: str) -> asyncio.Event:
        """Calls of the method wait for this event before they store anything, those of "commit"
        in their step, and those of "answer of <method>" when all is stored."""
        return self._gates.setdefault(method, asyncio.Event())

    async def enter(self, method: str) -> None:
        self.calls.append(method)
        await self.turn(method)
        if self.breaks(method):
            raise StoreUnavailableError("The database is away.")
        if self._spend(self._late, method):
            raise StoreTimeoutError("The database did not answer in time.")

    async def turn(self, method: str) -> None:
        await asyncio.sleep(0)
        gate = self._gates.get(method)
        if gate is not None:
            await gate.wait()

    def breaks(self, method: str) -> bool:
        return self.down or self._spend(self._before, method)

    async def leave(self, method: str) -> None:
        await self.turn(f"answer of {method}")
        if self._spend(self._after, method):
            raise StoreUnavailableError("The connection broke before the answer.")

    def _spend(self, counts: Counter[str], method: str) -> bool:
        for name in (method, "*"):
            if counts[name]:
                counts[name] -= 1
                return True
        return False
