"""The same blows against the whole product, with real browsers and the simulator outside of it.

The long form is bench/faults.py.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.killpoints import KillPoint
from tests.faults.browsers import BrowserArena
from tests.faults.campaign import Kind, throw, wage

SEED = 20261121
AROUND = frozenset({KillPoint.AFTER_SENDING, KillPoint.AFTER_SEND_BEFORE_ACK, KillPoint.AFTER_ACK})

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[BrowserArena]:
    arena = BrowserArena(tmp_path, random.Random(SEED))
    try:
        arena.start()
        yield arena
    finally:
        arena.end()


def test_killed_daemons_databases_browsers_and_drivers_cost_no_message_and_repeat_none(
    arena: BrowserArena,
) -> None:
    blows = throw(
        random.Random(SEED),
        kills=6,
        stops=1,
        browsers=3,
        longest_s=4.0,
        nth_max=4,
        first=KillPoint.AFTER_SENDING,
    )
    outcome = wage(arena, blows, batch=len(blows))
    assert not outcome.broken
    assert outcome.blows[Kind.BROWSER] == 3
    # The three points around a send; the others are struck in tests/faults/test_kills.py.
    assert {blow.name.partition(":")[0] for blow in blows if blow.kind is Kind.POINT} == AROUND
    assert outcome.verdict.replies > 20
