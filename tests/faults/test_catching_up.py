"""What came while nobody listened: all of it recorded, in order, and live messages behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.programs import until
from tests.faults.world import World, running

BACKLOG, CHATS = 5_000, 50

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("catching-up")
    with running(World(home, shops=1)) as world:
        yield world


def test_a_live_message_waits_behind_what_came_before_it(world: World) -> None:
    (tenant,) = world.ids
    chat = "255715100001@c.us"
    world.daemon.kill()
    world.peer.habits(gate_history=True, redeliver=False)
    read = world.peer.account(tenant)["readings"]
    before = world.ask(tenant, chat, 1)
    world.daemon.start()
    until(
        lambda: world.peer.account(tenant)["readings"],
        lambda count: count > read,
        "the chat is being read",
    )
    # The page reads its store without this one, and tells of it before the reading is answered.
    live = world.ask(tenant, chat, 2)
    elsewhere = world.ask(tenant, "255715100002@c.us", 3)
    world.peer.habits(gate_history=False, redeliver=True)
    world.settle()
    recorded = world.postgres.query(
        "SELECT wa_message_id AS id, state::text FROM inbox WHERE wa_message_id = ANY ($1)"
        " ORDER BY ord",
        [before, live, elsewhere],
    )
    assert [row["id"] for row in recorded] == [before, live, elsewhere]
    assert {row["state"] for row in recorded} == {"done"}


def test_a_long_backlog_is_recorded_whole_and_answered_once_a_chat(world: World) -> None:
    (tenant,) = world.ids
    word = world.tenants[tenant]
    world.daemon.kill()
    said = [
        {"chat": f"2557152{number % CHATS:05}@c.us", "text": f"{word}{number % 20:02}"}
        for number in range(BACKLOG)
    ]
    world.peer.command("say_all", tenant=tenant, said=said)
    before = world.arrived()
    world.daemon.start()
    verdict = world.settle()
    assert verdict.skipped["backlog"] >= BACKLOG - CHATS
    assert world.arrived() - before == CHATS
