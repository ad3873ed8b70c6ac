"""A cancellation waits for what must end, and is not lost over it."""

import asyncio

import pytest

from flowhq.bot.finishing import finish
from tests.fakes.clock import settle


async def test_the_result_and_the_error_come_through() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise ValueError("no")

    assert await finish(answer(), within_s=1) == 7
    with pytest.raises(ValueError, match="no"):
        await finish(fail(), within_s=1)


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancellation_waits_for_the_end_and_then_goes_on(cancels: int) -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        ended.set()

    finishing = asyncio.create_task(finish(work(), within_s=60))
    await settle()
    for _ in range(cancels):
        finishing.cancel()
        await settle()
    assert not finishing.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert ended.is_set()


async def test_work_that_takes_too_long_is_cancelled_and_gone() -> None:
    told = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.set()

    finishing = asyncio.create_task(finish(work(), within_s=0.01))
    await settle()
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert told.is_set()


async def test_an_error_after_the_cancellation_does_not_hide_it() -> None:
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        raise ValueError("late")

    finishing = asyncio.create_task(finish(work(), within_s=60))
    await settle()
    finishing.cancel()
    await settle()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await finishing
