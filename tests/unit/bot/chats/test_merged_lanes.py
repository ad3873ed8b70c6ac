"""Lanes of chats that turn out to be one."""

import asyncio

import pytest

from flowhq.bot.chats import Place
from flowhq.model import ChatKey
from tests.fakes.clock import settle, until
from tests.unit.bot.chats.conftest import AMINA, JUMA, Joined

ZAINA = ChatKey("zaina")


async def test_what_comes_after_a_merge_waits_for_what_the_other_chat_has() -> None:
    work = Joined()
    gate = work.held(JUMA)
    async with asyncio.TaskGroup() as group:
        lanes = work.lanes(group)
        work.arrive(lanes, JUMA, 1, 2)
        await settle()
        work.join(lanes, AMINA, JUMA)
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
        work.join(lanes, AMINA, JUMA)
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
        work.join(lanes, AMINA, JUMA)
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
        work.join(lanes, AMINA, JUMA)
        work.arrive(lanes, AMINA, 3)
        await settle()
        work.join(lanes, ZAINA, AMINA)
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
        work.join(lanes, ZAINA, JUMA, AMINA)
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
        work.join(lanes, AMINA, JUMA)
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
            work.join(lanes, AMINA, JUMA)
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
            work.join(lanes, AMINA, JUMA)
            work.arrive(lanes, AMINA, 2)
            await settle()
            gate.set()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.value.exceptions == (work.error,)
    assert work.order == []
