"""Token buckets: never more than they hold, in the order of asking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bucket import TokenBucket


class HeldClock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


def bucket_of(clock: HeldClock, capacity: int = 3, refill_per_s: float = 0.5) -> TokenBucket:
    return TokenBucket(capacity=capacity, refill_per_s=refill_per_s, monotonic=clock.monotonic)


def test_a_full_bucket_gives_its_capacity_and_then_nothing(clock: HeldClock) -> None:
    bucket = bucket_of(clock)
    assert [bucket.try_acquire() for _ in range(4)] == [True, True, True, False]


def test_a_refused_try_takes_nothing(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    assert bucket.try_acquire()
    assert not bucket.try_acquire()
    clock.seconds += 2
    assert bucket.try_acquire()


def test_a_bucket_never_holds_more_than_its_capacity(clock: HeldClock) -> None:
    bucket = bucket_of(clock)
    clock.seconds += 10_000
    assert bucket.peek() == 3.0


def test_waiting_is_told_to_the_second(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    assert bucket.wait_for() == 0.0
    bucket.try_acquire()
    assert bucket.wait_for() == pytest.approx(2.0)
    clock.seconds += 1.5
    assert bucket.wait_for() == pytest.approx(0.5)


def test_reservations_queue_up_in_the_order_of_asking(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    assert [bucket.reserve() for _ in range(4)] == pytest.approx([0.0, 2.0, 4.0, 6.0])


def test_nobody_overtakes_a_reservation(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    bucket.reserve()
    bucket.reserve()
    clock.seconds += 2
    assert not bucket.try_acquire()
    clock.seconds += 2
    assert bucket.try_acquire()


def test_a_reservation_beyond_the_longest_wait_takes_nothing(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    bucket.reserve()
    assert bucket.reserve(max_wait_s=1.9) is None
    assert bucket.peek() == pytest.approx(0.0)
    assert bucket.reserve(max_wait_s=2.0) == pytest.approx(2.0)


def test_a_clock_that_stands_still_is_no_refill(clock: HeldClock) -> None:
    bucket = bucket_of(clock, capacity=1)
    bucket.try_acquire()
    clock.seconds -= 5
    assert bucket.wait_for() == pytest.approx(2.0)


@pytest.mark.parametrize(("capacity", "refill"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_a_bucket_that_can_give_nothing_is_refused(
    clock: HeldClock, capacity: int, refill: float
) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        bucket_of(clock, capacity, refill)


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=80))
def test_no_window_sees_more_than_a_burst_and_the_refill(steps: list[tuple[float, bool]]) -> None:
    clock = HeldClock()
    bucket = bucket_of(clock, capacity=3, refill_per_s=0.5)
    used_at: list[float] = []
    for pause_s, reserve in steps:
        clock.seconds += pause_s
        if reserve:
            wait_s = bucket.reserve(max_wait_s=20)
            if wait_s is not None:
                used_at.append(clock.seconds + wait_s)
        elif bucket.try_acquire():
            used_at.append(clock.seconds)
    assert used_at == sorted(used_at)
    for first, start in enumerate(used_at):
        for last in range(first, len(used_at)):
            assert last - first + 1 <= 3 + 0.5 * (used_at[last] - start) + 1e-6
