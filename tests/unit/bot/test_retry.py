"""Waiting for the store: for ever, jittered, and over at once when cancelled."""

import asyncio
import gc
from itertools import count

import pytest
from tenacity import AsyncRetrying

from flowhq.bot import retry
from flowhq.bot.retry import LONGEST_WAIT_S, proved, until_stored
from flowhq.errors import (
    FlowHQError,
    InvalidInputError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUnusableError,
)
from tests.fakes.clock import FakeClock, settle


class Store:
    """Away for a number of calls."""

    def __init__(self, away: int, error: Exception | None = None) -> None:
        self.calls = 0
        self._away = away
        self._error = error or StoreUnavailableError("away")

    async def ask(self) -> int:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self._away:
            raise self._error
        return self.calls


async def test_an_answer_comes_through_at_once_whatever_wraps_the_call() -> None:
    clock, store = FakeClock(), Store(away=0)
    assert await until_stored(clock, store.ask) == 1
    assert await until_stored(clock, lambda: store.ask()) == 2
    assert clock.naps == []


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreUnusableError])
async def test_it_asks_until_the_store_is_back(error: type[FlowHQError]) -> None:
    clock, store = FakeClock(), Store(away=40, error=error("no"))
    waiting = asyncio.create_task(until_stored(clock, lambda: store.ask()))
    await clock.advance(40 * LONGEST_WAIT_S)
    assert await waiting == 41
    assert len(clock.naps) == 40
    assert all(0 <= nap <= LONGEST_WAIT_S for nap in clock.naps)


@pytest.mark.parametrize(
    "error", [InvalidInputError("no", field="text"), StoreRefusedError("this statement")]
)
async def test_another_error_passes_at_once(error: Exception) -> None:
    clock, store = FakeClock(), Store(away=1, error=error)
    with pytest.raises(type(error)):
        await until_stored(clock, lambda: store.ask())
    assert store.calls == 1


async def test_a_cancellation_ends_the_wait() -> None:
    clock, store = FakeClock(), Store(away=10**9)
    waiting = asyncio.create_task(until_stored(clock, lambda: store.ask()))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_cancellation_in_the_middle_of_a_call_ends_the_call() -> None:
    clock, ended = FakeClock(), asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(until_stored(clock, never))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_waiting_leaves_nothing_to_the_garbage_collector() -> None:
    clock, calls = FakeClock(), count(1)

    async def ask() -> int:
        number = next(calls)
        if number < 4:
            raise StoreUnavailableError("away")
        return number

    gc.collect()
    gc.disable()
    try:
        waiting = asyncio.create_task(until_stored(clock, ask))
        await clock.advance(3 * LONGEST_WAIT_S)
        assert await waiting == 4
        assert await until_stored(clock, ask) == 5
        kept = [one for one in gc.get_objects() if isinstance(one, AsyncRetrying)]
    finally:
        gc.enable()
    assert kept == []


async def test_a_store_that_writes_the_proof_at_once_is_well() -> None:
    assert await proved(Store(away=0).ask, StoreTimeoutError("late")) == 1


async def test_a_store_without_a_proof_in_time_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PROOF_S", 0.01)
    late = StoreTimeoutError("late")
    with pytest.raises(StoreTimeoutError) as raised:
        await proved(asyncio.Event().wait, late)
    assert raised.value is late
    with pytest.raises(StoreUnavailableError, match="away"):
        await proved(Store(away=1).ask, late)
