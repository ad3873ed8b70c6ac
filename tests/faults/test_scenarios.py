"""The scenarios of bench/scenarios.py, in short."""

from pathlib import Path

import pytest

from bench import scenarios

pytestmark = pytest.mark.timeout(240)

# A p99 of few replies on a busy machine says little: the long form holds it to its bound.
TAIL = "their p99 stays within 1.5 times of quiet"


def test_ill_tenants_cost_their_neighbours_nothing_and_say_what_to_do(tmp_path: Path) -> None:
    report = scenarios.ill_neighbours(tmp_path, seconds=16.0)
    assert [promise for promise in report.broken if promise != TAIL] == [], report


def test_after_a_long_absence_each_chat_gets_one_reply_unless_a_person_answered(
    tmp_path: Path,
) -> None:
    report = scenarios.long_absence(tmp_path)
    assert report.broken == [], report
