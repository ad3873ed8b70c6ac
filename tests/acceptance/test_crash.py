"""kill -9 of the daemon: nothing of it stays behind, and the next start takes up where it was.

Nobody scans again; what was planned is sent once, what came meanwhile is answered, nothing twice.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.acceptance.parts import CODE_SHOWN, SYNC_DELAY_MS, Daemon, Simulator
from tests.acceptance.programs import until
from tests.acceptance.shop import QUESTIONS, Shop

WORDS = {"zuhura": "255754000021", "bakari": "255754000022"}
# After a restart a send in doubt gets a minute to be acknowledged before it is asked for again.
SETTLED_LIMIT_S = 150.0
UNSETTLED = "SELECT state::text FROM outbox WHERE state IN ('planned', 'sending', 'unknown')"
WAITING = "SELECT 1 FROM inbox WHERE state IN ('new', 'retry')"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def shops(daemon: Daemon, simulator: Simulator) -> list[Shop]:
    return [Shop(daemon, simulator, word, phone).open() for word, phone in WORDS.items()]


@pytest.fixture
def at(simulator: Simulator, daemon: Daemon, shops: list[Shop]) -> Iterator[int]:
    """The place in the simulator's events where the test begins, with everything well."""
    simulator.control("config", send="ok")
    if daemon.program.exit_code is not None:
        come_back(daemon, shops)
    yield simulator.last_event()
    simulator.control("config", send="ok", sync_delay_ms=SYNC_DELAY_MS)


def come_back(daemon: Daemon, shops: list[Shop]) -> None:
    """Started again on the same data, and connected without anybody's doing."""
    daemon.start()
    for shop in shops:
        shop.wait_for("CONNECTED")


def wait_until_settled(daemon: Daemon) -> None:
    until(
        lambda: [daemon.query(UNSETTLED), daemon.query(WAITING)],
        lambda rows: rows == [[], []],
        "nothing waits any more",
        limit_s=SETTLED_LIMIT_S,
        poll_s=0.2,
    )


def answered(shop: Shop, customer: str) -> list[list[int]]:
    return [shop.answers(text) for text in shop.replies().get(customer, [])]


@pytest.mark.parametrize("released", ["while the daemon is away", "when it is back"])
def test_what_was_planned_is_sent_once_by_the_next_daemon(
    shops: list[Shop], daemon: Daemon, simulator: Simulator, at: int, released: str
) -> None:
    few = {"while the daemon is away": "2557132001", "when it is back": "2557132002"}[released]
    customers = [f"{few}{number:02}" for number in range(6)]
    late = f"{few}99"
    simulator.control("config", send="hold")
    for shop in shops:
        for number, customer in enumerate(customers):
            shop.ask(customer, number)
    until(
        lambda: [row["state"] for row in daemon.query(UNSETTLED)],
        lambda states: len(states) == 12 and states.count("sending") >= 8,
        "every reply is planned, some are handed over",
    )
    assert [shop.replies().get(customers[0]) for shop in shops] == [None, None]

    daemon.kill()
    for shop in shops:
        for number in (10, 11, 12):
            shop.ask(late, number)
    if released == "while the daemon is away":
        simulator.control("config", send="ok")
    # What was queued is filed before the page is ready: what is filed later is no backlog.
    simulator.control("config", sync_delay_ms=3000)
    come_back(daemon, shops)
    simulator.control("config", send="ok")

    for shop in shops:
        shop.wait_for_replies(1, customer=late, limit_s=SETTLED_LIMIT_S)
    wait_until_settled(daemon)
    for shop in shops:
        for number, customer in enumerate(customers):
            assert answered(shop, customer) == [[number]]
        assert answered(shop, late) == [[12]], "one reply for a backlog, to the newest"
    assert simulator.events(*CODE_SHOWN, after=at) == []


@pytest.mark.parametrize("out", [1, 30, 60])
def test_a_kill_in_a_burst_loses_nothing_and_answers_nothing_twice(
    shops: list[Shop], daemon: Daemon, simulator: Simulator, at: int, out: int
) -> None:
    customers = [f"25571330{out:02}{number:02}" for number in range(6)]
    before = {shop.word: len(shop.sent()) for shop in shops}
    for number in range(10):
        for customer in customers:
            for shop in shops:
                shop.ask(customer, number)
    until(
        lambda: sum(len(shop.sent()) - before[shop.word] for shop in shops),
        lambda count: count >= out,
        f"{out} of 120 replies are out",
        poll_s=0.01,
    )

    daemon.kill()
    come_back(daemon, shops)

    for shop in shops:
        for customer in customers:
            until(
                partial(answered, shop, customer),
                lambda numbers: [9] in numbers,
                f"{customer} is answered",
                limit_s=SETTLED_LIMIT_S,
            )
    wait_until_settled(daemon)
    for shop in shops:
        recorded = inbox(daemon, shop, customers)
        for customer in customers:
            assert len(recorded[customer]) == 10
            done = [number for number, row in enumerate(recorded[customer]) if row["done"]]
            assert answered(shop, customer) == [[number] for number in done]
            skipped = {row["reason"] for row in recorded[customer] if not row["done"]}
            assert skipped <= {"backlog"}
    assert simulator.events(*CODE_SHOWN, after=at) == []


def inbox(daemon: Daemon, shop: Shop, customers: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What became of each customer's questions, in the order in which they were asked."""
    rows = daemon.query(
        "SELECT m.from_number, i.state = 'done' AS done, i.reason FROM inbox i"
        " JOIN message_logs m ON m.id = i.log_id AND m.created_at = i.log_at"
        " WHERE i.tenant_id = $1 AND NOT i.from_me ORDER BY m.message_text",
        shop.id,
    )
    return {
        customer: [row for row in rows if row["from_number"].lstrip("+") == customer]
        for customer in customers
    }


def test_a_kill_while_the_tenants_come_up_does_no_harm(
    shops: list[Shop], daemon: Daemon, simulator: Simulator, at: int
) -> None:
    customer = "255713400001"
    daemon.kill()
    daemon.start()
    until(lambda: [shop.browser() for shop in shops], any, "a browser is starting", poll_s=0.01)
    daemon.kill()
    for shop in shops:
        shop.ask(customer, QUESTIONS - 1)
    come_back(daemon, shops)
    for shop in shops:
        shop.wait_for_replies(1, customer=customer)
    wait_until_settled(daemon)
    for shop in shops:
        assert answered(shop, customer) == [[QUESTIONS - 1]]
    assert simulator.events(*CODE_SHOWN, after=at) == []
