"""kill -9 at random times and at each named point: nothing lost, nothing twice, all in order.

The long form is bench/faults.py.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.killpoints import KillPoint
from tests.acceptance.programs import Program, until
from tests.faults.campaign import PeerArena, throw, wage
from tests.faults.world import World, running

SEED = 20261102
CHAT = "255713100001@c.us"
OUTBOX = "SELECT state::text FROM outbox WHERE to_jid = $1"
INBOX = "SELECT state::text, attempts FROM inbox WHERE wa_message_id = $1"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("kills")
    # No test here waits for a send to be given up, and a busy machine must not be faster with it
    # than with a kill.
    with running(World(home, settings={"FLOWHQ_LIMITS__SEND_TIMEOUT_S": "30"})) as world:
        yield world


@pytest.fixture(autouse=True)
def well(world: World) -> Iterator[None]:
    """Each test begins and ends with a daemon that runs and a platform that behaves."""
    yield
    world.quiet()
    if world.daemon.program.exit_code is not None:
        world.daemon.start()


def test_blow_after_blow_loses_nothing_and_answers_nothing_twice_or_out_of_order(
    world: World,
) -> None:
    blows = throw(random.Random(SEED), kills=14, stops=2)
    outcome = wage(PeerArena(world), blows, batch=8)
    assert not outcome.broken
    assert outcome.verdict.asked > 500
    # Most came while nobody listened; a verdict on few answers would say little.
    assert outcome.verdict.replies > 100


@pytest.mark.parametrize(
    ("point", "recorded", "planned", "handed_over", "counted"),
    [
        (KillPoint.AFTER_INBOX, "new", [], 0, 0),
        (KillPoint.IN_TRANSACTION, "new", [], 0, 1),
        (KillPoint.AFTER_SENDING, "done", ["sending"], 0, 0),
        (KillPoint.AFTER_SEND_BEFORE_ACK, "done", ["sending"], 1, 0),
        (KillPoint.AFTER_ACK, "done", ["sending"], 1, 0),
    ],
)
def test_what_a_point_leaves_behind_is_taken_up_and_sent_once(
    world: World,
    point: KillPoint,
    recorded: str,
    planned: list[str],
    handed_over: int,
    counted: int,
) -> None:
    """``counted``: attempts of the message's step, of those that the process did not survive."""
    tenant = world.ids[0]
    chat = f"2557132000{list(KillPoint).index(point):02}@c.us"
    world.daemon.kill()
    world.daemon.start(kill_point=point)
    world.wait_until_attached()
    before = world.peer.account(tenant)["sent"]

    message_id = world.ask(tenant, chat, 7)

    world.daemon.wait_until_dead()
    (row,) = world.postgres.query(INBOX, message_id)
    assert (row["state"], row["attempts"]) == (recorded, 0)
    assert [row["state"] for row in world.postgres.query(OUTBOX, chat)] == planned
    assert world.peer.account(tenant)["sent"] - before == handed_over

    world.daemon.start()
    world.wait_until_connected()
    world.settle()
    assert world.peer.account(tenant)["sent"] - before == 1
    (row,) = world.postgres.query(INBOX, message_id)
    assert (row["state"], row["attempts"]) == ("done", counted)
    (row,) = world.postgres.query(OUTBOX, chat)
    assert row["state"] in ("accepted", "delivered")


@pytest.mark.parametrize("how", ["lose_ack", "hold"])
def test_a_send_without_an_answer_is_looked_up_after_a_kill_and_not_repeated(
    world: World, how: str
) -> None:
    tenant = world.ids[1]
    chat = {"lose_ack": "255713300001@c.us", "hold": "255713300002@c.us"}[how]
    before = world.peer.account(tenant)["sent"]
    world.peer.habits(send=how)
    world.ask(tenant, chat, 3)
    until(
        lambda: world.peer.account(tenant)["sent"] - before,
        lambda count: count == 1,
        "the page has it",
    )
    world.daemon.kill()
    looked_up = world.peer.account(tenant)["looked_up"]
    world.peer.habits(send="ok")
    world.daemon.start()
    until(
        lambda: world.peer.account(tenant)["looked_up"],
        lambda count: count > looked_up,
        "the page is asked for it",
    )
    world.peer.command("release")
    world.wait_until_connected()
    world.settle()
    assert world.peer.account(tenant)["sent"] - before == 1


def test_a_kill_point_is_refused_where_a_real_account_could_be_reached(
    world: World, tmp_path: Path
) -> None:
    settings = world.daemon.settings | {
        "FLOWHQ_WEB__URL": "https://web.whatsapp.com/",
        "FLOWHQ_TEST_KILL_POINT": "after_inbox",
    }
    program = Program("refused", tmp_path, "flowhq", "run", **settings)
    program.launch()
    assert program.wait() == 78
    assert "FLOWHQ_TEST_KILL_POINT makes the daemon kill itself" in program.output
