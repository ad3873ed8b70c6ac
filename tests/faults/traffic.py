"""Customers who write at a rate, and owners who answer some of them themselves."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tests.faults.accounts import Account

TICK_S = 0.02
QUESTIONS = 20
# Of what is written, so much belongs to the chats in which an owner takes part. They are few: the
# daemon is silent there from then on.
OWNER_SHARE = 0.03
OWNER_WRITES = 0.3
# No other chat has such a number.
OWNERS_FIRST_CHAT = 90_000_000


class OwnersChats:
    """Of one shop, one after the other: a few messages long each, so that an owner takes over again
    and again, at all times."""

    LENGTH = 6

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._said = 0

    def next(self) -> tuple[int, bool]:
        """The number of the chat in which something is written now, and whether the owner does."""
        chat = OWNERS_FIRST_CHAT + self._said // self.LENGTH
        first = self._said % self.LENGTH == 0
        self._said += 1
        return chat, not first and self._dice.random() < OWNER_WRITES


class Traffic:
    """Writes to all accounts, chosen by the dice; ``said`` counts what customers wrote."""

    def __init__(self, accounts: Mapping[str, Account], dice: random.Random) -> None:
        self.said = 0
        self._accounts = accounts
        self._dice = dice
        self._rate = 0.0
        self._chats = 1
        self._owners = 0.0
        self._owners_chats = defaultdict[str, OwnersChats](lambda: OwnersChats(dice))
        self._task: asyncio.Task[None] | None = None

    def change(self, rate: float, chats: int = 10, owners: float = OWNER_SHARE) -> dict[str, Any]:
        """Messages a second over all accounts from now on, in so many chats each; 0 is none.
        ``owners``: the share of them that falls to chats in which the owner writes as well."""
        self._rate, self._chats, self._owners = rate, chats, owners
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
        chat, by_owner = self._dice.randrange(self._chats), False
        if self._owners and self._dice.random() < self._owners:
            chat, by_owner = self._owners_chats[account.tenant].next()
        jid = f"2557{chat:08}@c.us"
        if by_owner:
            account.say(jid, "Nimekujibu.", from_me=True)
            return
        self.said += 1
        number = self._dice.randrange(QUESTIONS)
        account.say(jid, f"{account.word}{number:02} {self.said:07}")
