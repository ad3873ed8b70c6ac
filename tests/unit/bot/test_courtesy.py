"""Read marks and typing: shown when there is time, and never in the way."""

import asyncio

import pytest

from flowhq.bot.courtesy import TYPING_MAX_S, TYPING_S, WAITING_MAX, Courtesy
from flowhq.model import Jid, Reason
from tests.fakes.channel import CUSTOMER, FakeChannel
from tests.fakes.clock import settle, until


async def opened() -> FakeChannel:
    channel = FakeChannel()
    await channel.open()
    return channel


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("due_in_s", "shown_s"), [(-3, TYPING_S), (0, TYPING_S), (8, 8), (600, TYPING_MAX_S)]
)
async def test_a_chat_that_gets_an_answer_is_marked_and_typed_in(
    due_in_s: float, shown_s: float
) -> None:
    channel = await opened()
    courtesy = Courtesy(channel)
    running = asyncio.create_task(courtesy.run())
    courtesy.offer(CUSTOMER, due_in_s=due_in_s)
    await until(lambda: channel.reads)
    assert channel.typing == [(CUSTOMER, shown_s)]
    assert channel.reads == [CUSTOMER]
    await ended(running)


async def test_with_too_many_waiting_the_others_go_without() -> None:
    channel = await opened()
    courtesy = Courtesy(channel)
    for number in range(WAITING_MAX + 30):
        courtesy.offer(Jid(f"{number}@c.us"), due_in_s=0)
    running = asyncio.create_task(courtesy.run())
    await until(lambda: len(channel.reads) == WAITING_MAX)
    await settle()
    assert len(channel.reads) == WAITING_MAX
    await ended(running)


async def test_a_page_that_is_gone_does_not_end_it() -> None:
    channel = await opened()
    courtesy = Courtesy(channel)
    channel.crash(Reason.PAGE_CRASHED)
    running = asyncio.create_task(courtesy.run())
    courtesy.offer(CUSTOMER, due_in_s=0)
    await settle()
    assert not running.done()
    await channel.open()
    courtesy.offer(CUSTOMER, due_in_s=0)
    await until(lambda: channel.reads == [CUSTOMER])
    await ended(running)
