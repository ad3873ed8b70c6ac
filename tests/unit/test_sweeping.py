"""When old things go, and when the clock is not believed."""

from datetime import UTC, datetime, timedelta

import pytest

from flowhq.db.retention import Terms
from flowhq.db.sweeps import SweepState
from flowhq.sweeping import HELD_FOR, STEP_MAX, judge_clock, next_time

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=10)
YEAR = timedelta(days=365)


def test_a_clock_that_goes_on_evenly_is_believed() -> None:
    state = judge_clock(SweepState(seen_at=NOW - MINUTES), now=NOW, newest=NOW)
    assert (state.seen_at, state.held_since) == (NOW, None)


def test_an_empty_installation_is_believed() -> None:
    assert judge_clock(SweepState(), now=NOW, newest=None).held_since is None


@pytest.mark.parametrize("step", [YEAR, -YEAR])
def test_a_clock_that_jumped_since_the_last_look_is_not_believed(step: timedelta) -> None:
    state = judge_clock(SweepState(seen_at=NOW), now=NOW + step, newest=None)
    assert state.held_since == NOW + step
    assert "365 days" in state.held_why


def test_what_was_written_by_a_clock_that_jumped_is_no_proof_for_it() -> None:
    ahead = NOW + YEAR
    assert judge_clock(SweepState(seen_at=NOW), now=ahead, newest=ahead).held_since == ahead


def test_a_clock_behind_what_was_written_is_not_believed_until_it_is_past() -> None:
    state = SweepState(seen_at=NOW)
    for look in range(1, 6):
        at = NOW + look * STEP_MAX / 2
        state = judge_clock(state, now=at, newest=NOW + YEAR)
        assert state.held_since == at


@pytest.mark.parametrize("step", [YEAR, -YEAR])
def test_a_clock_far_from_what_was_written_last_is_not_believed(step: timedelta) -> None:
    assert judge_clock(SweepState(), now=NOW + step, newest=NOW).held_since == NOW + step


def test_a_quiet_installation_is_believed_as_long_as_somebody_looks() -> None:
    state = SweepState(seen_at=NOW)
    newest = NOW - timedelta(days=40)
    assert judge_clock(state, now=NOW + MINUTES, newest=newest).held_since is None


def test_after_a_jump_it_must_go_on_evenly_for_days() -> None:
    state = judge_clock(SweepState(seen_at=NOW - YEAR), now=NOW, newest=None)
    at = NOW
    while at - NOW < HELD_FOR - STEP_MAX / 2:
        at += STEP_MAX / 2
        state = judge_clock(state, now=at, newest=at)
        assert state.held_since == NOW
    state = judge_clock(state, now=NOW + HELD_FOR, newest=at)
    assert (state.held_since, state.held_why) == (None, "")


def test_a_second_jump_begins_the_wait_anew() -> None:
    state = judge_clock(SweepState(seen_at=NOW - YEAR), now=NOW, newest=None)
    again = judge_clock(state, now=NOW + YEAR, newest=None)
    assert again.held_since == NOW + YEAR


def test_a_clock_that_was_ahead_and_is_set_right_is_believed_after_the_wait() -> None:
    wrong = SweepState(seen_at=NOW + YEAR, held_since=NOW + YEAR)
    state = judge_clock(wrong, now=NOW, newest=NOW)
    assert state.held_since == NOW
    assert judge_clock(state, now=NOW + MINUTES, newest=NOW).held_since == NOW


def test_the_next_run_is_at_the_hour_and_never_now() -> None:
    assert next_time(NOW, 10) == datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    assert next_time(NOW, 9) == datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    assert next_time(NOW, 1) == datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


def test_a_tenants_days_win_and_no_text_outlives_its_metadata() -> None:
    usual = Terms(90, 400, 7)
    assert usual.of_tenant({}) == usual
    assert usual.of_tenant({"text_days": 10}) == Terms(10, 400, 7)
    assert usual.of_tenant({"metadata_days": 30}) == Terms(30, 30, 7)
    assert usual.of_tenant({"payload_days": 900}) == Terms(90, 400, 400)
