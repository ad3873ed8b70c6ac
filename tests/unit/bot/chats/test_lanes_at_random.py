"""Whatever happens to lanes in whatever order, merges included."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from flowhq.model import ChatKey
from tests.unit.bot.chats.conftest import Joined, Work


class Restless(Work):
    """Takes some turns of the loop wherever something else could happen meanwhile."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    async def pause(self) -> None:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)

    async def handle(self, chat: ChatKey, item: int) -> None:
        await self.pause()
        await super().handle(chat, item)
        await self.pause()

    async def refill(self, chat: ChatKey, limit: int) -> Sequence[int]:
        await self.pause()
        found = await super().refill(chat, limit)
        await self.pause()
        return found


@settings(max_examples=200)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12),
    capacity=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_every_item_is_done_once_and_in_order(
    bursts: list[tuple[int, int]], capacity: int, seed: int
) -> None:
    dice = random.Random(seed)
    work = Restless(dice)
    arrived: dict[ChatKey, list[int]] = defaultdict(list)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = work.lanes(group, capacity)
            for number, (who, count) in enumerate(bursts):
                chat = ChatKey(str(who))
                for item in range(number * 10, number * 10 + count):
                    # Recorded first, lined up later: a refill may come in between.
                    arrived[chat].append(item)
                    work.record(chat, item)
                    await work.pause()
                    lanes.put(chat, item)
                await work.pause()

    asyncio.run(run())
    assert work.done == arrived
    assert not any(work.waiting.values())


class RestlessJoined(Joined, Restless):
    """Both: turns of the loop everywhere, and chats that merge. With ``locks`` a second hand waits
    for the first, as a step does."""

    def __init__(self, dice: random.Random, *, locks: bool) -> None:
        super().__init__(dice)
        self._locks: dict[int, asyncio.Lock] | None = defaultdict(asyncio.Lock) if locks else None

    async def handle(self, chat: ChatKey, item: int) -> None:
        if self._locks is None:
            await super().handle(chat, item)
        else:
            async with self._locks[item]:
                await super().handle(chat, item)


@settings(max_examples=200)
@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), max_size=14),
    capacity=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    told_late=st.booleans(),
)
def test_whatever_merges_when_every_item_comes_after_all_that_its_chat_had(
    steps: list[tuple[int, int, int]], capacity: int, seed: int, told_late: bool
) -> None:
    """Of each step: a chat, another one, and how many items come to the first. None: the other is
    merged into it, and one item comes with that. The lanes may be told some turns after the
    database has it: until then the locks of the steps keep the order."""
    dice = random.Random(seed)
    work = RestlessJoined(dice, locks=told_late)
    keys = [ChatKey(str(who)) for who in range(4)]
    had: dict[ChatKey, list[int]] = {key: [] for key in keys}
    before: dict[int, list[int]] = {}

    def recorded(chat: ChatKey) -> int:
        item = len(before)
        before[item] = list(had[chat])
        had[chat].append(item)
        work.record(chat, item)
        return item

    def merge(kept: ChatKey, gone: ChatKey) -> None:
        work.merge(kept, gone)
        had[kept] += had.pop(gone)
        keys[:] = [kept if key == gone else key for key in keys]

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = work.lanes(group, capacity)
            for one, other, count in steps:
                chat, gone = keys[one], keys[other]
                if count == 0 and gone != chat:
                    merge(chat, gone)
                    item = recorded(chat)
                    if told_late:
                        await work.pause()
                    lanes.follow(chat, [gone])
                    lanes.put(chat, item)
                for _ in range(count):
                    item = recorded(chat)
                    await work.pause()
                    lanes.put(chat, item)
                await work.pause()

    asyncio.run(run())
    assert sorted(work.order) == list(range(len(before)))
    place = {item: number for number, item in enumerate(work.order)}
    for item, earlier in before.items():
        assert all(place[one] < place[item] for one in earlier)
    assert work.most_in_hand <= 1
    assert not any(work.waiting.values())
