"""What a platform can throw at the daemon: repeats, two names, nonsense, a moved clock."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.programs import until
from tests.faults.movedclock import set_offset
from tests.faults.world import World, running, wait

HOUR_S = 3600
ANSWER = re.compile(r"Jibu \w*(\d\d)\.")
YEAR_ONE, YEAR_9999 = -62_135_596_800, 253_402_300_799

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("platform")
    with running(World(home, shops=2)) as world:
        yield world


@pytest.fixture(autouse=True)
def unharmed(world: World) -> Iterator[None]:
    """No nonsense restarts a tenant, and what is none is answered."""
    before = world.failures()
    yield
    world.settle()
    assert world.failures() == before


def rows(world: World, message_id: str) -> list[dict[str, Any]]:
    return world.postgres.query(
        "SELECT from_me, state::text, reason FROM inbox WHERE wa_message_id = $1 ORDER BY from_me",
        message_id,
    )


def event(message_id: str, chat: str, text: str, **more: object) -> dict[str, Any]:
    user, _, server = chat.partition("@")
    return {
        "message": {
            "id": message_id,
            "chat": chat,
            "from_me": False,
            "text": text,
            "t": int(time.time()),
            "phone": user if server == "c.us" else "",
            "lid": user if server == "lid" else "",
            **more,
        }
    }


def test_an_event_told_again_after_a_restart_is_recorded_and_answered_once(world: World) -> None:
    tenant, chat = world.ids[0], "255714100001@c.us"
    message_id = world.ask(tenant, chat, 1)
    world.wait_until_settled()
    world.daemon.kill()
    world.daemon.start()
    world.wait_until_attached()
    text = f"{world.tenants[tenant]}01"
    # With the same content, with another, and with a later message behind which it must not fall.
    world.peer.command("tell", tenant=tenant, event=event(message_id, chat, text))
    world.peer.command("tell", tenant=tenant, event=event(message_id, chat, text + " tena"))
    world.ask(tenant, chat, 2)
    world.settle()
    assert len(rows(world, message_id)) == 1
    assert replies(world, chat) == ["01", "02"]


def test_the_same_id_from_both_sides_is_two_messages(world: World) -> None:
    tenant = world.ids[0]
    for chat, first in (("255714200001@c.us", False), ("255714200002@c.us", True)):
        message_id = f"3AFFFF{chat[:12]}"
        for from_me in (first, not first):
            world.ask(tenant, chat, 4, id=message_id, from_me=from_me)
        until(
            lambda message_id=message_id: rows(world, message_id),  # type: ignore[misc]
            lambda found: [row["from_me"] for row in found] == [False, True],
            "both are recorded",
        )


def test_a_chat_under_two_names_is_one_chat_in_order(world: World) -> None:
    tenant = world.ids[1]
    lid, phone = "100000000000777@lid", "255714300001@c.us"
    both = {"phone": "255714300001", "lid": "100000000000777"}
    for number in range(10):
        chat = (lid, phone)[number % 2]
        world.ask(tenant, chat, number, **(both if number else {}))
    world.settle()
    conversations = world.postgres.query(
        "SELECT DISTINCT chat_key FROM chat_aliases WHERE jid = ANY ($1::text[])", [lid, phone]
    )
    assert len(conversations) == 1
    assert sent_in_order(world, [lid, phone]) == [f"{number:02}" for number in range(10)]


def test_nonsense_is_recorded_or_refused_and_the_chat_goes_on(world: World) -> None:
    tenant, chat = world.ids[0], "255714400001@c.us"
    text = f"{world.tenants[tenant]}05"
    nonsense: list[dict[str, Any]] = [
        event("3A" + "F" * 10_000, chat, text),
        event("3AF0000000000000AA01", chat, text, t=YEAR_ONE),
        event("3AF0000000000000AA02", chat, text, t=YEAR_9999),
        event("3AF0000000000000AA03", "no chat at all", text),
        event("3AF0000000000000AA04", "x" * 5_000 + "@c.us", text),
        event("3AF0000000000000AA05", chat, "\0\ud7ff" + "a" * 100_000),
        event("", chat, text),
        {"acked": ["3EB0AAAAAAAAAAAAAAAA"], "ack": 2},
        {"acked": ["", "x" * 10_000], "ack": 3},
    ]
    for one in nonsense:
        world.peer.command("tell", tenant=tenant, event=one)
    world.ask(tenant, chat, 6)
    until(lambda: replies(world, chat), lambda found: "06" in found, "the chat goes on")


@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
def test_a_wall_clock_that_jumps_an_hour_delays_nothing(world: World, offset_s: int) -> None:
    world.load(40)
    wait(1.0)
    set_offset(world.clock, offset_s)
    wait(2.0)
    # Whoever went by that clock would wait for an hour.
    world.settle()
    set_offset(world.clock, 0.0)


def test_pages_that_crash_under_load_lose_nothing(world: World) -> None:
    world.load(40)
    before = len(world.failures())
    for tenant in world.ids * 2:
        wait(0.5)
        # A page that is just being loaded anew cannot crash.
        world.wait_until_attached()
        crash(world, tenant)
    until(world.failures, lambda found: len(found) >= before + 4, "every crash was noticed")
    world.wait_until_attached()
    world.settle()
    # What is expected here is not held against the test by its fixture.
    world.postgres.query("DELETE FROM tenant_events WHERE event = 'failed'")


def crash(world: World, tenant: str) -> None:
    """Returns when another page is there: two crashes of one page would be one failure."""
    before = world.peer.account(tenant)["document"]
    world.peer.command("crash", tenant=tenant)
    until(
        lambda: world.peer.account(tenant)["document"],
        lambda document: bool(document > before),
        "a new page",
    )


def replies(world: World, chat: str) -> list[str]:
    """The numbers of the questions whose answers reached this chat, in order."""
    return sent_in_order(world, [chat])


def sent_in_order(world: World, chats: list[str]) -> list[str]:
    found = (ANSWER.search(text) for text in world.arrivals(chats))
    return [answer[1] for answer in found if answer is not None]
