"""One lane a chat: order, capacity, refilling, waking, cancelling."""

import asyncio

import pytest

from flowhq.bot.chats import Place
from tests.fakes.clock import settle, until
from tests.unit.bot.chats.conftest import AMINA, JUMA, Work


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
