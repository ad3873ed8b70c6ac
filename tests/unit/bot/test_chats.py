"""Lanes: order within a chat, chats side by side, nothing lost or done twice when one is full."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowhq.bot.chats import Lanes, Place
from flowhq.model import ChatKey
from tests.fakes.clock import settle, until

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


async def test_one_chat_keeps_its_order() -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        work.arrive(work.lanes(group), AMINA, 1, 2, 3)
    assert work.done[AMINA] == [1, 2, 3]


async def test_a_slow_chat_holds_up_no_other() -> None:
    work = Work()
    work.gates[AMINA] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, AMINA, 1)
        work.arrive(lanes, JUMA, 2, 3)
        await until(lambda: work.done[JUMA] == [2, 3])
        assert work.done[AMINA] == []
        work.gates[AMINA].set()
    assert work.done[AMINA] == [1]


async def test_what_does_not_fit_is_read_from_the_database_in_order() -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        places = work.arrive(work.lanes(group), AMINA, *range(10))
    assert places == [Place.IN_LINE] * 3 + [Place.FULL] + [Place.STILL_FULL] * 6
    assert work.done[AMINA] == list(range(10))
    assert work.handled == [(AMINA, n) for n in range(10)]
    assert {limit for _, limit in work.refills} == {3}


async def test_a_lane_that_fills_again_while_it_refills_loses_nothing_and_keeps_the_order() -> None:
    work = Work()
    work.refill_gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, AMINA, 0, 1, 2, 3)
        await until(lambda: work.refills)
        work.arrive(lanes, AMINA, 4, 5, 6, 7, 8)
        work.refill_gate.set()
    assert work.done[AMINA] == list(range(9))
    assert work.handled == [(AMINA, n) for n in range(9)]


async def test_a_full_lane_is_told_once_until_it_was_empty() -> None:
    work = Work()
    work.gates[AMINA] = asyncio.Event()
    work.refill_gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, AMINA, 0)
        await until(lambda: work.handled)
        assert Place.FULL in work.arrive(lanes, AMINA, 1, 2, 3, 4)
        work.gates[AMINA].set()
        await until(lambda: work.refills)
        work.gates[AMINA] = asyncio.Event()
        work.refill_gate.set()
        await until(lambda: work.handled[-1] == (AMINA, 4))
        assert Place.FULL not in work.arrive(lanes, AMINA, 5, 6, 7, 8, 9, 10)
        work.gates[AMINA].set()
        await until(lambda: work.done[AMINA] == list(range(11)))
        await settle()
        assert Place.FULL in work.arrive(lanes, AMINA, *range(11, 20))
    assert work.done[AMINA] == list(range(20))


async def test_an_idle_lane_ends_and_a_later_item_begins_another() -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        before = len(asyncio.all_tasks())
        work.arrive(lanes, AMINA, 1)
        await until(lambda: len(asyncio.all_tasks()) == before)
        work.arrive(lanes, AMINA, 2)
    assert work.done[AMINA] == [1, 2]


async def test_an_error_of_the_handler_ends_the_group() -> None:
    work = Work()
    work.error = RuntimeError("broken")
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            work.arrive(work.lanes(group), AMINA, 1)
    assert caught.value.exceptions == (work.error,)


async def test_the_depth_counts_what_is_in_line_over_all_chats() -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, AMINA, 1, 2)
        work.arrive(lanes, JUMA, 3)
        assert lanes.depth() == 3
    assert lanes.depth() == 0


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_at_any_moment_leaves_no_lane_behind(turns: int) -> None:
    work = Work()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = work.lanes(group)
            work.arrive(lanes, AMINA, *range(10))
            work.arrive(lanes, JUMA, *range(10))
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for chat in (AMINA, JUMA):
        assert sorted(work.done[chat] + work.waiting[chat]) == (list(range(10)) if turns else [])


# -- whatever happens in whatever order ---------------------------------------------------------


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


@settings(deadline=None, max_examples=200)
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


# -- what was put back ----


@pytest.mark.parametrize("busy", [False, True])
async def test_a_woken_chat_gets_what_nobody_lined_up_after_what_is_in_line(busy: bool) -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        if busy:
            work.gates[AMINA] = asyncio.Event()
            work.arrive(lanes, AMINA, 1, 2)
            await settle()
        work.record(AMINA, 9)
        lanes.wake(AMINA)
        if busy:
            work.gates[AMINA].set()
    assert work.done[AMINA] == ([1, 2, 9] if busy else [9])


async def test_a_woken_chat_is_not_called_full() -> None:
    work = Work()
    work.refill_gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        lanes.wake(AMINA)
        assert work.arrive(lanes, AMINA, 1, 2) == [Place.STILL_FULL] * 2
        work.refill_gate.set()
    assert work.done[AMINA] == [1, 2]


async def test_waking_a_chat_without_anything_ends_at_once() -> None:
    work = Work()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        lanes.wake(AMINA)
        lanes.wake(AMINA)
    assert (work.handled, lanes.depth()) == ([], 0)
    assert len(work.refills) == 1
