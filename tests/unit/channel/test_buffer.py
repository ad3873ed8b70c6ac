"""The line between page and reader: ordered, bounded, and honest about what it dropped."""

import asyncio

import pytest

from flowhq.channel.web.buffer import EventBuffer
from flowhq.errors import ChannelRestartError
from flowhq.events import (
    AckSeen,
    ChannelEvent,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    Ready,
)
from flowhq.model import Ack, MessageId, Reason

READY = Ready("255712345678", "", 1)


def ack(n: int) -> AckSeen:
    return AckSeen((MessageId(f"A{n}"),), Ack.SERVER)


async def read_all(buffer: EventBuffer) -> list[ChannelEvent]:
    buffer.close()
    return [event async for event in buffer.read()]


async def test_events_are_read_in_their_order() -> None:
    buffer = EventBuffer(10)
    for n in range(5):
        assert buffer.put(ack(n))
    assert await read_all(buffer) == [ack(n) for n in range(5)]


async def test_what_does_not_fit_is_counted_in_its_place() -> None:
    buffer = EventBuffer(3)
    for n in range(7):
        buffer.put(ack(n))
    buffer.put(READY)
    buffer.put(ack(8))
    assert await read_all(buffer) == [
        *(ack(n) for n in range(3)),
        EventsDropped(4),
        READY,
        EventsDropped(1),
    ]


async def test_states_are_kept_when_messages_are_not() -> None:
    buffer = EventBuffer(1)
    buffer.put(ack(0))
    assert buffer.put(LoggedOut("unknown"))
    assert LoggedOut("unknown") in await read_all(buffer)


async def test_a_line_that_nobody_reads_comes_to_an_end() -> None:
    buffer = EventBuffer(4)
    kept = 0
    while buffer.put(ConnectionLost(str(kept))):
        kept += 1
        assert kept <= 8
    assert kept == 8


async def test_room_that_was_read_free_is_used_again() -> None:
    buffer = EventBuffer(2)
    buffer.put(ack(0))
    buffer.put(ack(1))
    reading = buffer.read()
    assert [await anext(reading), await anext(reading)] == [ack(0), ack(1)]
    buffer.put(ack(2))
    assert await anext(reading) == ack(2)


async def test_a_reader_that_waits_gets_the_next_event_and_the_end() -> None:
    buffer = EventBuffer(2)
    reading = asyncio.ensure_future(anext(buffer.read()))
    await asyncio.sleep(0)
    assert not reading.done()
    buffer.put(READY)
    assert await reading == READY
    waiting = asyncio.ensure_future(anext(buffer.read(), None))
    await asyncio.sleep(0)
    buffer.close()
    assert await waiting is None


async def test_a_fault_comes_after_what_was_there_and_the_first_one_stays() -> None:
    buffer = EventBuffer(2)
    buffer.put(READY)
    buffer.fail(ChannelRestartError("first", reason=Reason.PAGE_CRASHED))
    buffer.fail(ChannelRestartError("second", reason=Reason.BROWSER_GONE))
    buffer.put(ack(1))
    reading = buffer.read()
    assert await anext(reading) == READY
    with pytest.raises(ChannelRestartError, match="first"):
        await anext(reading)
