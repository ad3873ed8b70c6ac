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


# -- chats that turn out to be one ----

ZAINA = ChatKey("zaina")


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

    def held(self, *chats: ChatKey) -> asyncio.Event:
        gate = asyncio.Event()
        self.gates.update(dict.fromkeys(chats, gate))
        return gate


async def test_what_comes_after_a_merge_waits_for_what_the_other_chat_has() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1, 2)
        await settle()
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA])
        assert lanes.kept(JUMA) == lanes.kept(AMINA) == AMINA
        assert work.arrive(lanes, AMINA, 3) == [Place.STILL_FULL]
        await settle()
        assert work.handled == [(JUMA, 1)]
        gate.set()
    assert work.order == [1, 2, 3]
    assert work.handled == [(JUMA, 1), (AMINA, 2), (AMINA, 3)]
    assert lanes.kept(JUMA) == JUMA


async def test_a_lane_that_has_more_in_the_database_leaves_it_to_the_kept_one() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, *range(10))
        await settle()
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 10)
        gate.set()
    assert work.order == list(range(11))
    assert not any(work.waiting.values())


async def test_what_both_have_in_line_goes_on_in_one_order() -> None:
    work = Joined()
    mine, theirs = work.held(AMINA), work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        for number in range(6):
            work.arrive(lanes, (AMINA, JUMA)[number % 2], number)
        await settle()
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 6)
        mine.set()
        await settle()
        assert work.order == [0]
        theirs.set()
    assert work.order == list(range(7))


async def test_a_chat_merged_into_one_that_is_merged_in_its_turn_is_waited_for() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1, 2)
        await settle()
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 3)
        await settle()
        work.merge(ZAINA, AMINA)
        lanes.follow(ZAINA, [AMINA])
        work.arrive(lanes, ZAINA, 4)
        assert lanes.kept(JUMA) == ZAINA
        await settle()
        assert work.order == []
        gate.set()
    assert work.order == [1, 2, 3, 4]


async def test_several_chats_merged_at_once_are_all_waited_for() -> None:
    work = Joined()
    gates = [work.held(JUMA), work.held(AMINA)]
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1)
        work.arrive(lanes, AMINA, 2)
        await settle()
        work.merge(ZAINA, JUMA, AMINA)
        lanes.follow(ZAINA, [JUMA, AMINA])
        work.arrive(lanes, ZAINA, 3)
        for gate in gates:
            assert 3 not in work.order
            gate.set()
            await settle()
    assert work.order == [1, 2, 3]


async def test_a_lane_that_waits_for_another_takes_nothing_twice() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1)
        await settle()
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 2)
        await settle()
        lanes.wake(AMINA)
        work.record(AMINA, 3)
        lanes.put_first(AMINA, 3)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 4)
        lanes.wake(JUMA)
        assert lanes.waiting(AMINA) == 1
        gate.set()
    assert [item for _, item in work.handled] == work.order == [1, 2, 3, 4]


async def test_what_was_read_while_the_chats_were_merged_is_read_again() -> None:
    work = Joined()
    gate = work.held(JUMA)
    work.refill_gate = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1, 2)
        await settle()
        work.merge(AMINA, JUMA)
        lanes.wake(AMINA)  # it reads what stands under its key by now, before it is told
        await until(lambda: work.refills)
        lanes.follow(AMINA, [JUMA])
        work.arrive(lanes, AMINA, 3)
        work.refill_gate.set()
        await settle()
        assert work.handled == [(JUMA, 1)]
        gate.set()
    assert work.order == [1, 2, 3]
    assert work.most_in_hand == 1


async def test_a_chat_without_a_lane_is_not_waited_for_and_the_database_is_read_once() -> None:
    work = Joined()
    work.record(JUMA, 1)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.merge(AMINA, JUMA)
        lanes.follow(AMINA, [JUMA, AMINA])
        assert lanes.kept(JUMA) == JUMA
    assert work.order == [1]
    assert work.refills == [(AMINA, 3)]


async def test_what_still_stands_under_the_key_that_is_gone_is_found() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1)
        await settle()
        work.merge(AMINA, JUMA)
        work.arrive(lanes, JUMA, 2)  # planned while the merge was not to be seen yet
        lanes.follow(AMINA, [JUMA])
        gate.set()
    assert work.order == [1, 2]


async def test_chats_that_follow_each_other_do_not_wait_for_ever() -> None:
    work = Joined()
    gate = work.held(JUMA, AMINA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        for number, chat in enumerate((JUMA, AMINA, ZAINA)):
            work.arrive(lanes, chat, number)
        await settle()
        for kept, gone in ((AMINA, JUMA), (ZAINA, AMINA), (JUMA, ZAINA), (JUMA, AMINA)):
            lanes.follow(kept, [gone])
        gate.set()
    assert sorted(work.order) == [0, 1, 2]


@pytest.mark.parametrize("turns", range(10))
async def test_a_lane_that_waits_for_another_can_be_cancelled(turns: int) -> None:
    work = Joined()
    work.held(JUMA)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = work.lanes(group)
            work.arrive(lanes, JUMA, 1, 2)
            await asyncio.sleep(0)
            work.merge(AMINA, JUMA)
            lanes.follow(AMINA, [JUMA])
            work.arrive(lanes, AMINA, 3)
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.order == []


async def test_an_error_of_the_lane_that_is_waited_for_ends_the_group() -> None:
    work = Joined()
    work.error = RuntimeError("broken")
    gate = work.held(JUMA)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = work.lanes(group)
            work.arrive(lanes, JUMA, 1)
            await settle()
            work.merge(AMINA, JUMA)
            lanes.follow(AMINA, [JUMA])
            work.arrive(lanes, AMINA, 2)
            await settle()
            gate.set()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.value.exceptions == (work.error,)
    assert work.order == []


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


@settings(deadline=None, max_examples=200)
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
