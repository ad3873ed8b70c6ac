"""Customers who write at a rate, and an owner who sometimes answers himself."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from tests.faults.accounts import Account

TICK_S = 0.02
QUESTIONS = 20


class Traffic:
    """Writes to all accounts, chosen by the dice; ``said`` counts."""

    def __init__(self, accounts: Mapping[str, Account], dice: random.Random) -> None:
        self.said = 0
        self._accounts = accounts
        self._dice = dice
        self._rate = 0.0
        self._chats = 1
        self._task: asyncio.Task[None] | None = None

    def change(self, rate: float, chats: int = 10) -> dict[str, Any]:
        """Messages a second over all accounts from now on, in so many chats each; 0 is none."""
        self._rate, self._chats = rate, chats
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="traffic")
        if rate == 0:
            for account in self._accounts.values():
                account.flush()
        return {"said": self.said}

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        due = 0.0
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            due = min(due + (now - last) * self._rate, self._rate) if self._rate else 0.0
            last = now
            while due >= 1:
                due -= 1
                self._say()

    def _say(self) -> None:
        account = self._dice.choice(list(self._accounts.values()))
        self.said += 1
        number = self._dice.randrange(QUESTIONS)
        chat = f"2557{self._dice.randrange(self._chats):08}@c.us"
        account.say(chat, f"{account.word}{number:02} {self.said:07}")
