"""The line between page and reader: ordered, bounded, and honest about what it dropped."""

import asyncio
import tracemalloc
from datetime import UTC, datetime

import pytest

from flowhq.channel.web.buffer import EventBuffer, Room
from flowhq.errors import ChannelRestartError
from flowhq.events import (
    AckSeen,
    ChannelEvent,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    MessageSeen,
    Ready,
)
from flowhq.model import Ack, InboundMessage, Jid, MessageId, MessageKind, Reason, Source

READY = Ready("255712345678", "", 1)


def ack(n: int) -> AckSeen:
    return AckSeen((MessageId(f"A{n}"),), Ack.SERVER)


def message(message_id: str) -> MessageSeen:
    """Of its own objects, like one that was parsed."""
    return MessageSeen(
        InboundMessage(
            message_id=MessageId(message_id),
            chat=Jid("255711111111@c.us"),
            from_me=False,
            kind=MessageKind.TEXT,
            text=f"text of {message_id} " * 10,
            at=datetime.now(UTC),
            source=Source.LIVE,
            sender=Jid("255711111111@c.us"),
        ),
        1.0,
    )


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


async def test_all_buffers_together_keep_no_more_than_their_room() -> None:
    room = Room(6)
    buffers = [EventBuffer(4, room) for _ in range(3)]
    for buffer in buffers:
        for n in range(4):
            assert buffer.put(ack(n))
        buffer.put(READY)
    assert room.taken == 6
    assert [len(buffer) for buffer in buffers] == [5, 4, 2]
    told = [await read_all(buffer) for buffer in buffers]
    assert told == [
        [*(ack(n) for n in range(4)), READY],
        [ack(0), ack(1), EventsDropped(2), READY],
        [EventsDropped(4), READY],
    ]
    assert room.taken == 0


async def test_what_nobody_is_going_to_read_takes_no_room() -> None:
    room = Room(4)
    first = EventBuffer(4, room)
    for n in range(4):
        first.put(ack(n))
    first.discard()
    assert room.taken == 0
    assert await read_all(first) == []
    second = EventBuffer(4, room)
    second.put(ack(1))
    assert await read_all(second) == [ack(1)]


async def test_an_outage_with_two_hundred_tenants_keeps_memory_within_bounds() -> None:
    """The defaults: at most 500 events a tenant and 20,000 in all, whatever comes."""
    tracemalloc.start()
    try:
        room = Room(20_000)
        buffers = [EventBuffer(500, room) for _ in range(200)]
        sizes = []
        for round_ in range(2):
            for buffer in buffers:
                for n in range(500):
                    buffer.put(message(f"{round_}-{n}"))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    told = [event for buffer in buffers for event in await read_all(buffer)]
    assert sum(isinstance(event, MessageSeen) for event in told) == 20_000
    assert sum(event.count for event in told if isinstance(event, EventsDropped)) == 180_000
    assert sizes[0] < 60_000_000
    assert sizes[-1] < sizes[0] * 1.05
