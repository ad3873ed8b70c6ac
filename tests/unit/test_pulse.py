"""How late the event loop is: now, and over the last minute."""

import asyncio
import time

from flowhq.pulse import BEAT_S, WINDOW_S, Pulse
from tests.fakes.clock import until


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def beating(time: Time, lags: list[float]) -> Pulse:
    """Every beat this much late."""
    pulse = Pulse(time)
    for lag in lags:
        time.now_s += BEAT_S + lag
        pulse.note(lag)
    return pulse


def test_before_the_first_beat_nothing_is_late() -> None:
    assert Pulse(Time()).figures_ms() == {"p50": 0, "p99": 0, "max": 0}


def test_the_figures_are_those_of_the_last_minute() -> None:
    time = Time()
    pulse = beating(time, [0.001] * 98 + [0.02, 0.05])
    assert pulse.figures_ms() == {"p50": 1, "p99": 50, "max": 50}
    time.now_s += WINDOW_S + 1
    assert pulse.figures_ms()["max"] == 0


def test_one_long_stand_counts_for_all_the_beats_it_swallowed() -> None:
    pulse = beating(Time(), [0.0] * 40 + [10.0])
    assert pulse.figures_ms()["max"] == 10_000
    assert pulse.figures_ms()["p99"] > 9_000
    assert 100 < pulse.figures_ms()["p50"] < 5_000


def test_a_stand_of_hours_costs_no_memory_and_is_told() -> None:
    pulse = beating(Time(), [36_000.0] * 3)
    assert pulse.figures_ms()["max"] == 36_000_000


def test_a_beat_that_is_overdue_counts_before_it_comes() -> None:
    time = Time()
    pulse = beating(time, [0.001])
    time.now_s += 7
    assert pulse.lag_s >= 7


async def test_it_samples_the_loop_that_runs_it() -> None:
    pulse = Pulse()
    task = asyncio.create_task(pulse.run())
    try:
        await asyncio.sleep(0)
        time.sleep(BEAT_S + 0.2)  # noqa: ASYNC251 - what is measured
        await until(lambda: pulse.figures_ms()["max"] >= 150)
        assert pulse.lag_s >= 0.15
        await until(lambda: pulse.lag_s < 0.1)
    finally:
        task.cancel()
        await asyncio.wait({task})
