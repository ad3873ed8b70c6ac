"""A handler of lanes that notes what it is given."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

from flowhq.bot.chats import Lanes, Place
from flowhq.model import ChatKey

AMINA, JUMA = ChatKey("amina"), ChatKey("juma")


class Work:
    """What waits in the database per chat, and a handler that takes it from there."""

    def __init__(self) -> None:
        self.waiting: dict[ChatKey, list[int]] = defaultdict(list)
        self.done: dict[ChatKey, list[int]] = defaultdict(list)
        self.handled: list[tuple[ChatKey, int]] = []
        self.refills: list[tuple[ChatKey, int]] = []
        self.gates: dict[ChatKey, asyncio.Event] = {}
        self.refill_gate: asyncio.Event | None = None
        self.error: Exception | None = None

    def record(self, chat: ChatKey, item: int) -> None:
        self.waiting[chat].append(item)

    async def handle(self, chat: ChatKey, item: int) -> None:
        self.handled.append((chat, item))
        if chat in self.gates:
            await self.gates[chat].wait()
        if self.error is not None:
            raise self.error
        self.finish(chat, item)

    def finish(self, chat: ChatKey, item: int) -> None:
        if item in self.waiting[chat]:
            self.waiting[chat].remove(item)
            self.done[chat].append(item)

    async def refill(self, chat: ChatKey, limit: int) -> Sequence[int]:
        self.refills.append((chat, limit))
        found = self.waiting[chat][:limit]
        if self.refill_gate is not None:
            await self.refill_gate.wait()
        return found

    def lanes(self, group: asyncio.TaskGroup, capacity: int = 3) -> Lanes[int]:
        return Lanes(group, self.handle, self.refill, name="test", capacity=capacity)

    def arrive(self, lanes: Lanes[int], chat: ChatKey, *items: int) -> list[Place]:
        for item in items:
            self.record(chat, item)
        return [lanes.put(chat, item) for item in items]


class Joined(Work):
    """Items ascend in the order of arrival, and are found wherever they stand."""

    def __init__(self, *dice: random.Random) -> None:
        super().__init__(*dice)
        self.order: list[int] = []
        self.in_hand: list[int] = []
        self.most_in_hand = 0
        """Of one item, at one time."""

    async def handle(self, chat: ChatKey, item: int) -> None:
        self.in_hand.append(item)
        self.most_in_hand = max(self.most_in_hand, self.in_hand.count(item))
        await super().handle(chat, item)
        self.in_hand.remove(item)

    def finish(self, chat: ChatKey, item: int) -> None:
        for waiting in self.waiting.values():
            if item in waiting:
                waiting.remove(item)
                self.order.append(item)

    def merge(self, kept: ChatKey, *gone: ChatKey) -> None:
        """In the database: the lanes do not know yet."""
        for chat in gone:
            self.waiting[kept] += self.waiting.pop(chat, [])
        self.waiting[kept].sort()

    def join(self, lanes: Lanes[int], kept: ChatKey, *gone: ChatKey) -> None:
        """In the database, and the lanes are told."""
        self.merge(kept, *gone)
        lanes.follow(kept, gone)

    def held(self, *chats: ChatKey) -> asyncio.Event:
        gate = asyncio.Event()
        self.gates.update(dict.fromkeys(chats, gate))
        return gate
