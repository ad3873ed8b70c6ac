"""Three tenants in real browsers at once: nothing of one reaches another, nothing gets lost.

The same ten customers write to all three, so that a chat, a reply or a row that strays would find
a place to stray to.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.parts import HASH, PASSWORD, Daemon, Simulator
from tests.acceptance.programs import until
from tests.acceptance.shop import QUESTIONS, Shop

WORDS = {"zuhura": "255754000001", "bakari": "255754000002", "kichwe": "255754000003"}
CUSTOMERS = [f"2557131000{number:02}" for number in range(10)]
MESSAGES = len(CUSTOMERS) * QUESTIONS
# Three browsers, a database and the simulator may share one busy core.
TRAFFIC_LIMIT_S = 200.0

pytestmark = pytest.mark.timeout(400)


def questions_of(customer: str) -> list[int]:
    """What this customer asks, in this order: every question once, each from another start."""
    start = 7 * CUSTOMERS.index(customer)
    return [(start + step) % QUESTIONS for step in range(QUESTIONS)]


@pytest.fixture(scope="module")
def shops(daemon: Daemon, simulator: Simulator) -> list[Shop]:
    """All three, after 200 messages each, interleaved over tenants and chats."""
    shops = [Shop(daemon, simulator, word, phone).create() for word, phone in WORDS.items()]
    for shop in shops:
        shop.verb("worker/start")
    for shop in shops:
        shop.scan()
    for shop in shops:
        shop.wait_for("CONNECTED")
        shop.wait_until_caught_up()
    for step in range(QUESTIONS):
        for customer in CUSTOMERS:
            for shop in shops:
                shop.ask(customer, questions_of(customer)[step])
    for shop in shops:
        shop.wait_for_replies(MESSAGES, limit_s=TRAFFIC_LIMIT_S)
    return shops


def test_every_message_has_one_reply_in_its_chat_and_in_order(shops: list[Shop]) -> None:
    for shop in shops:
        replies = shop.replies()
        assert sorted(replies) == CUSTOMERS
        for customer, texts in replies.items():
            answered = [shop.answers(text) for text in texts]
            assert answered == [[number] for number in questions_of(customer)], customer


def test_the_ledger_has_each_message_once_and_nothing_waits(
    shops: list[Shop], daemon: Daemon
) -> None:
    waiting = "SELECT state::text FROM outbox WHERE state <> 'accepted' LIMIT 5"
    until(lambda: daemon.query(waiting), lambda rows: not rows, "every outcome is stored")
    for shop in shops:
        inbox = daemon.query(
            "SELECT state::text, count(*) FROM inbox WHERE tenant_id = $1 GROUP BY 1", shop.id
        )
        assert inbox == [{"state": "done", "count": MESSAGES}]
        outbox = daemon.query(
            "SELECT state::text, count(*), count(DISTINCT cause) AS causes FROM outbox"
            " WHERE tenant_id = $1 GROUP BY 1",
            shop.id,
        )
        assert outbox == [{"state": "accepted", "count": MESSAGES, "causes": MESSAGES}]
        for direction, status in (("IN", "received"), ("OUT", "sent")):
            logged = shop.logs(direction)
            assert len({item["wa_message_id"] for item in logged}) == len(logged) == MESSAGES
            assert {item["status"] for item in logged} == {status}


def test_no_row_of_a_tenant_tells_anything_of_another(shops: list[Shop], daemon: Daemon) -> None:
    tables = daemon.query(
        "SELECT c.table_name AS name FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE c.column_name = 'tenant_id' AND t.table_type = 'BASE TABLE'"
        " AND table_schema = 'public'"
    )
    filled = set()
    for table in (row["name"] for row in tables):
        of_tenant = f"SELECT t::text AS row FROM {table} t WHERE tenant_id = $1"  # noqa: S608
        for shop in shops:
            rows = daemon.query(of_tenant, shop.id)
            filled |= {table} if rows else set()
            for row in rows:
                assert not traces_of_others(row["row"].encode(), shop, shops), table
    assert {
        "message_logs",
        "inbox",
        "outbox",
        "contacts",
        "conversations",
        "chat_cursors",
    } <= filled


def test_the_api_gives_a_tenant_its_own_messages_alone(shops: list[Shop], daemon: Daemon) -> None:
    for shop in shops:
        for what in ("logs?limit=1000", "events?limit=1000", "qr", ""):
            answer = daemon.api.ask("GET", f"{shop.path}/{what}".rstrip("/"))
            assert answer.status == 200
            assert not traces_of_others(answer.content, shop, shops)


def test_a_tenants_log_file_has_its_own_lines_alone(shops: list[Shop], daemon: Daemon) -> None:
    for shop in shops:
        text = (daemon.logs / "tenants" / f"{shop.id}.log").read_bytes()
        assert text.count(shop.id.encode()) >= MESSAGES
        assert not traces_of_others(text, shop, shops)


def test_a_browser_profile_knows_nothing_of_another_tenant(shops: list[Shop]) -> None:
    for shop in shops:
        content = list(contents(shop.profile))
        assert any(shop.phone.encode() in data for data in content), "its own pairing is in it"
        for data in content:
            assert not traces_of_others(data, shop, shops)


def test_no_log_tells_a_number_a_text_or_a_secret(shops: list[Shop], daemon: Daemon) -> None:
    written = [daemon.program.output]
    written += [file.read_text() for file in daemon.logs.rglob("*.log*")]
    written += [file.read_text() for file in (daemon.home / "postgres").glob("*.log*")]
    assert len(written) >= 2 + len(shops)
    numbers = [*CUSTOMERS, *WORDS.values()]
    secrets = [PASSWORD, HASH, "2@", "Jibu", *numbers]
    texts = re.compile("|".join(rf"{word}\d\d" for word in WORDS))
    for text in written:
        assert [secret for secret in secrets if secret in text] == []
        assert texts.search(text) is None


def traces_of_others(data: bytes, shop: Shop, shops: list[Shop]) -> list[str]:
    """What of the other tenants stands there, however it is written."""
    foreign = [
        mark
        for other in shops
        if other is not shop
        for mark in (other.id, other.phone, f"{other.word}0", f"{other.word}1")
    ]
    return [mark for mark in foreign if mark.encode() in data or mark.encode("utf-16-le") in data]


def contents(folder: Path) -> Iterator[bytes]:
    """Of every file below that is still there when its turn comes: a browser works in it."""
    for place, _, names in os.walk(folder):
        for file in (Path(place) / name for name in names):
            if file.is_symlink():
                continue
            try:
                yield file.read_bytes()
            except FileNotFoundError:
                continue
