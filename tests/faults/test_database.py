"""PostgreSQL stops, freezes, cuts its connections or loses its answers: the daemon waits for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.programs import until
from tests.faults.world import World, running, wait

RESUMED_WITHIN_S = 30.0
OVERFLOWED = "SELECT count(*) FROM outbox WHERE cause LIKE 'wait:%'"
# The end of a step, a recording, a mark of a send.
LOST = ("COMMIT", "row of a chat", "row")
LOST_MIN = 40
# Some thousand transactions in one chat of each tenant.
LOST_LIMIT_S = 150.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("database")
    # The shortest lanes, so that what does not fit is read from the database again.
    with running(World(home, slow_way=True, settings={"FLOWHQ_LIMITS__CHAT_QUEUE": "1"})) as world:
        yield world


@pytest.fixture(autouse=True)
def unharmed(world: World) -> Iterator[None]:
    """Whatever PostgreSQL does, the daemon goes on and no tenant is restarted."""
    pid = world.daemon.program.pid
    yield
    assert world.way is not None
    world.way.habits()
    verdict = world.settle()
    assert verdict.asked
    assert world.daemon.program.exit_code is None
    assert world.daemon.program.pid == pid
    assert world.failures() == []


def test_an_immediate_stop_under_load_delays_and_loses_nothing(world: World) -> None:
    world.load(40)
    for _ in range(3):
        wait(0.7)
        world.postgres.stop_at_once()
        wait(0.5)
        world.postgres.start()
        before = world.arrived()
        until(
            world.arrived,
            lambda count, before=before: bool(count > before),  # type: ignore[misc]
            "sending resumes",
            limit_s=RESUMED_WITHIN_S,
        )


def test_a_frozen_server_is_waited_for(world: World) -> None:
    world.load(40)
    wait(0.5)
    with world.postgres.frozen():
        # Longer than a command may take (5 s), so that each one under way is given up.
        wait(8.0)
    wait(0.5)


def test_terminated_backends_are_replaced(world: World) -> None:
    world.load(40)
    for _ in range(6):
        wait(0.3)
        until(world.postgres.terminate_backends, bool, "there are connections to end")


def test_what_was_done_is_not_done_twice_because_its_answer_never_came(world: World) -> None:
    assert world.way is not None
    notices = world.postgres.query(OVERFLOWED)[0]["count"]
    # Of each connection's beginning some is lost as well: more, and there would be none for long.
    world.way.habits(lose_answers=0.04)
    world.load(120, chats=1)
    until(
        world.way.lost,
        lambda lost: all(lost[what] >= LOST_MIN for what in LOST),
        "answers of all kinds were lost",
        limit_s=LOST_LIMIT_S,
    )
    world.way.habits()
    until(
        lambda: world.postgres.query(OVERFLOWED)[0]["count"],
        lambda count: bool(count > notices),
        "a lane was full",
    )


def test_slow_queries_keep_the_order(world: World) -> None:
    assert world.way is not None
    world.way.habits(delay_s=0.1)
    world.load(10, chats=3)
    wait(4.0)
