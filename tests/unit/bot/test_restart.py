"""How long to wait after a failure, and when to stop trying."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bot.restart import Again, Park, RestartPolicy
from flowhq.config import SupervisorSettings


class HighestRoll(random.Random):
    """Always the whole ceiling, so that the ceilings can be read off."""

    def uniform(self, a: float, b: float) -> float:
        return b


def policy(settings: SupervisorSettings | None = None, *, seed: int | None = None) -> RestartPolicy:
    dice = HighestRoll() if seed is None else random.Random(seed)
    return RestartPolicy(settings or SupervisorSettings(), dice=dice)


def wait_of(decision: Again | Park) -> float:
    assert isinstance(decision, Again)
    return decision.wait_s


def test_the_ceiling_doubles_from_the_least_to_the_most() -> None:
    under_test = policy(SupervisorSettings(restarts_max=100))
    waits = [wait_of(under_test.failed(now_s=n, healthy_s=0)) for n in range(9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_ten_healthy_minutes_start_the_backoff_afresh() -> None:
    under_test = policy()
    for n in range(5):
        under_test.failed(now_s=n, healthy_s=0)
    assert wait_of(under_test.failed(now_s=700, healthy_s=599)) > 5
    assert wait_of(under_test.failed(now_s=1400, healthy_s=600)) == 5


def test_the_eleventh_failure_within_the_window_parks() -> None:
    under_test = policy()
    decisions = [under_test.failed(now_s=n * 60, healthy_s=0) for n in range(11)]
    assert all(isinstance(decision, Again) for decision in decisions[:10])
    assert decisions[10] == Park(11)


def test_failures_that_are_further_apart_than_the_window_never_park() -> None:
    under_test = policy()
    assert all(isinstance(under_test.failed(now_s=n * 181, healthy_s=0), Again) for n in range(100))


def test_a_person_who_restarts_it_gets_the_whole_allowance_again() -> None:
    under_test = policy()
    for n in range(11):
        under_test.failed(now_s=n, healthy_s=0)
    under_test.reset()
    assert under_test.failed(now_s=11, healthy_s=0) == Again(5)


def test_an_outage_that_is_nobodys_fault_waits_and_never_parks() -> None:
    under_test = policy()
    decisions = [under_test.failed(now_s=n, healthy_s=0, counted=False) for n in range(2000)]
    assert decisions[0] == Again(5)
    assert decisions[-1] == Again(300)


@pytest.mark.parametrize("failures", [1025, 5000])
def test_very_many_failures_still_have_a_wait(failures: int) -> None:
    under_test = policy(SupervisorSettings(restarts_max=1000, restarts_window_s=60))
    for n in range(failures):
        decision = under_test.failed(now_s=n * 61, healthy_s=0)
    assert decision == Again(300)


@given(
    gaps=st.lists(st.floats(0, 4000), min_size=1, max_size=60),
    healthy=st.lists(st.floats(0, 1200), min_size=60, max_size=60),
    seed=st.integers(0, 2**32),
    most=st.integers(1, 15),
)
def test_the_policy_holds_its_bounds(
    gaps: list[float], healthy: list[float], seed: int, most: int
) -> None:
    settings = SupervisorSettings(restarts_max=most)
    under_test = policy(settings, seed=seed)
    now_s, counted = 0.0, list[float]()
    for gap, well in zip(gaps, healthy, strict=False):
        now_s += gap
        decision = under_test.failed(now_s=now_s, healthy_s=well)
        if well >= settings.healthy_reset_s:
            counted.clear()
        counted = [at for at in counted if at >= now_s - settings.restarts_window_s] + [now_s]
        if isinstance(decision, Park):
            assert len(counted) > most
            assert decision.restarts == len(counted)
        else:
            assert len(counted) <= most
            assert 0 <= decision.wait_s <= settings.backoff_max_s
