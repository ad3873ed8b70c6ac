"""How long to wait after a failure, how much to throw away, and when to stop trying."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bot.restart import LADDER, LEAST, OUTSIDE, Again, RestartPolicy
from flowhq.config import SupervisorSettings
from flowhq.model import Reason, Rung

ERROR = Reason.INTERNAL_ERROR
AWAY = Reason.STORE_UNAVAILABLE


class HighestRoll(random.Random):
    """Always the whole ceiling, so that the ceilings can be read off."""

    def uniform(self, a: float, b: float) -> float:
        return b


def policy(settings: SupervisorSettings | None = None, *, seed: int | None = None) -> RestartPolicy:
    dice = HighestRoll() if seed is None else random.Random(seed)
    return RestartPolicy(settings or SupervisorSettings(), dice=dice)


def wait_of(decision: Again | None) -> float:
    assert decision is not None
    return decision.wait_s


def rung_of(decision: Again | None) -> Rung:
    assert decision is not None
    return decision.rung


# -- waiting ----


def test_the_ceiling_doubles_from_the_least_to_the_most() -> None:
    under_test = policy()
    waits = [
        wait_of(under_test.failed(AWAY, now_s=n, healthy_s=0, counted=False)) for n in range(10)
    ]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_ten_healthy_minutes_start_the_backoff_afresh() -> None:
    under_test = policy()
    for n in range(5):
        under_test.failed(ERROR, now_s=n, healthy_s=0)
    assert wait_of(under_test.failed(ERROR, now_s=700, healthy_s=599)) > 2
    assert wait_of(under_test.failed(ERROR, now_s=1400, healthy_s=600)) == 2


@pytest.mark.parametrize("failures", [1025, 5000])
def test_very_many_failures_still_have_a_wait(failures: int) -> None:
    under_test = policy()
    for n in range(failures):
        decision = under_test.failed(AWAY, now_s=n * 61, healthy_s=0, counted=False)
    assert wait_of(decision) == 300


# -- the ladder ----


def test_the_least_is_tried_first_each_rung_twice_then_nothing_more() -> None:
    under_test = policy()
    decisions = [under_test.failed(ERROR, now_s=n, healthy_s=0) for n in range(7)]
    assert [rung_of(decision) for decision in decisions[:6]] == [
        Rung.RELOAD,
        Rung.RELOAD,
        Rung.PAGE,
        Rung.PAGE,
        Rung.BROWSER,
        Rung.BROWSER,
    ]
    assert decisions[6] is None


@pytest.mark.parametrize(("reason", "least"), LEAST.items())
def test_what_a_rung_cannot_mend_is_not_tried_with_it(reason: Reason, least: Rung) -> None:
    under_test = policy()
    rungs = [rung_of(under_test.failed(reason, now_s=n, healthy_s=0)) for n in range(6)]
    assert rungs == [max(least, rung) for rung in LADDER]


def test_an_incident_that_is_over_begins_the_ladder_at_its_foot_again() -> None:
    under_test = policy(SupervisorSettings(restarts_max=100))
    for n in range(5):
        under_test.failed(ERROR, now_s=n, healthy_s=0)
    assert rung_of(under_test.failed(ERROR, now_s=1400, healthy_s=600)) is Rung.RELOAD


@pytest.mark.parametrize("reason", sorted(OUTSIDE))
def test_a_cause_outside_climbs_no_rung_and_never_parks(reason: Reason) -> None:
    under_test = policy()
    rungs = {
        rung_of(under_test.failed(reason, now_s=n, healthy_s=0, counted=False)) for n in range(2000)
    }
    assert rungs == {Rung.RELOAD}
    assert rung_of(under_test.failed(ERROR, now_s=2001, healthy_s=0)) is Rung.RELOAD


# -- too often ----


def test_the_eleventh_failure_within_the_window_parks_whatever_lay_between() -> None:
    under_test = policy()
    decisions = [under_test.failed(ERROR, now_s=n * 60, healthy_s=600) for n in range(11)]
    assert None not in decisions[:10]
    assert decisions[10] is None


def test_failures_that_are_further_apart_than_the_window_never_park() -> None:
    under_test = policy()
    assert all(
        under_test.failed(ERROR, now_s=n * 181, healthy_s=600) is not None for n in range(100)
    )


def test_a_person_who_restarts_it_gets_the_whole_allowance_again() -> None:
    under_test = policy()
    for n in range(11):
        under_test.failed(ERROR, now_s=n, healthy_s=0)
    under_test.reset()
    assert under_test.failed(ERROR, now_s=11, healthy_s=0) == Again(2, Rung.RELOAD)


# -- parked, and tried once an hour ----


def test_a_trial_that_fails_parks_again_at_once() -> None:
    under_test = policy()
    for n in range(7):
        under_test.failed(ERROR, now_s=n, healthy_s=0)
    under_test.try_once()
    assert under_test.failed(ERROR, now_s=3600, healthy_s=599) is None


def test_a_trial_that_held_is_a_tenant_like_every_other() -> None:
    under_test = policy()
    under_test.try_once()
    assert under_test.failed(ERROR, now_s=5000, healthy_s=600) == Again(2, Rung.RELOAD)
    assert under_test.failed(ERROR, now_s=5001, healthy_s=0) == Again(4, Rung.RELOAD)


def test_a_trial_that_meets_an_outage_is_not_over() -> None:
    under_test = policy()
    under_test.try_once()
    assert under_test.failed(AWAY, now_s=1, healthy_s=0, counted=False) is not None
    assert under_test.failed(ERROR, now_s=2, healthy_s=0) is None


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
    now_s, incident, counted = 0.0, 0, list[float]()
    for gap, well in zip(gaps, healthy, strict=False):
        now_s += gap
        decision = under_test.failed(ERROR, now_s=now_s, healthy_s=well)
        incident = 0 if well >= settings.healthy_reset_s else incident
        counted = [at for at in counted if at >= now_s - settings.restarts_window_s] + [now_s]
        if decision is None:
            assert len(counted) > most or incident == len(LADDER)
        else:
            incident += 1
            assert len(counted) <= most
            assert incident <= len(LADDER)
            assert 0 <= decision.wait_s <= settings.backoff_max_s
