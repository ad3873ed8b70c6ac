"""Time that tests move, and logs that are read by waiting."""

import asyncio

import pytest

from flowhq.simulator.clock import SimClock
from flowhq.simulator.events import EventLog
from flowhq.simulator.ring import RingLog
from tests.fakes.clock import PATIENCE_S


def test_the_clock_is_its_source_plus_the_offset() -> None:
    clock = SimClock(lambda: 1000.5)
    assert (clock.now(), clock.unix()) == (1000.5, 1000)
    clock.set_offset(-60.0)
    assert (clock.now(), clock.offset_s) == (940.5, -60.0)


async def test_a_sleeper_wakes_when_the_clock_is_moved_past_its_deadline() -> None:
    clock = SimClock(lambda: 0.0)
    sleeper = asyncio.create_task(clock.sleep_until(1000.0))
    await asyncio.sleep(0)
    clock.set_offset(999.0)
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.set_offset(1000.0)
    async with asyncio.timeout(PATIENCE_S):
        await sleeper


async def test_a_deadline_that_has_passed_is_no_wait() -> None:
    async with asyncio.timeout(PATIENCE_S):
        await SimClock(lambda: 10.0).sleep_until(5.0)


def test_entries_are_numbered_from_one_and_read_after_an_index() -> None:
    log = RingLog(10)
    for n in range(3):
        log.append({"n": n})
    assert [e["index"] for e in log.since(0)] == [1, 2, 3]
    assert [e["n"] for e in log.since(1)] == [1, 2]
    assert [e["n"] for e in log.since(-1)] == [0, 1, 2]
    assert [e["n"] for e in log.since(0, limit=2)] == [0, 1]
    assert log.since(3) == log.since(99) == []


@pytest.mark.parametrize("capacity", [1, 8, 100])
def test_only_the_newest_entries_are_kept_under_their_numbers(capacity: int) -> None:
    log = RingLog(capacity)
    for n in range(1, 1001):
        log.append({"n": n})
        assert [e["n"] for e in log.since(0)] == list(range(max(1, n - capacity + 1), n + 1))
        assert all(e["n"] == e["index"] for e in log.since(0))
    assert log.since(999)[0]["n"] == 1000


async def test_a_wait_ends_with_the_first_entry_a_close_or_its_time() -> None:
    log = RingLog(10)
    waiting = asyncio.create_task(log.wait_since(0, 60))
    await asyncio.sleep(0)
    log.append({"n": 1})
    async with asyncio.timeout(PATIENCE_S):
        assert [e["n"] for e in await waiting] == [1]
        assert await log.wait_since(1, 0.01) == []
        closing = asyncio.create_task(log.wait_since(1, 60))
        await asyncio.sleep(0)
        log.close()
        assert await closing == []
        assert await log.wait_since(1, 60) == []


def test_events_carry_kind_time_and_details() -> None:
    log = EventLog(SimClock(lambda: 7.0))
    log.record("paired", phone="255")
    assert log.since(0) == [{"index": 1, "event": "paired", "at": 7.0, "phone": "255"}]
