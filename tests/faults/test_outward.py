"""Events reach their receiver whole and in order, however often the daemon is killed; and the
cookbook works as it is printed."""

import random
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.acceptance.programs import until
from tests.faults.journal import Entry, entries
from tests.faults.world import World, running, wait

SEED = 20261103
KILLS = 4
SCOPES = ["messages:send", "messages:read", "events:read", "webhooks:write"]
COOKBOOK = Path(__file__).parents[2] / "docs" / "cookbook.md"
SETTINGS = {
    "FLOWHQ_EGRESS__ALLOW_HTTP": "true",
    "FLOWHQ_EGRESS__ALLOW_NETWORKS": '["127.0.0.0/8"]',
}
EVENTS = "SELECT seq, tenant_id::text AS tenant_id FROM events ORDER BY seq"
PENDING = "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'"
UNNUMBERED = "SELECT count(*) FROM events WHERE seq IS NULL"

pytestmark = pytest.mark.timeout(240)


class Receiver:
    """A web server on a thread of its own that takes what its secret fits."""

    def __init__(self) -> None:
        self.secret = ""
        self.documents: list[dict[str, Any]] = []
        self.refused: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.take(dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver")

    def take(self, headers: dict[str, str], body: bytes) -> int:
        document = Webhook(self.secret).verify(body, headers)
        if document["id"] != {k.lower(): v for k, v in headers.items()}["webhook-id"]:
            self.refused.append(document["id"])
        self.documents.append(document)
        return 204

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("outward")
    with running(World(home, shops=2, settings=SETTINGS)) as world:
        yield world


def count(world: World, sql: str) -> int:
    return int(world.postgres.query(sql)[0]["count"])


def ids_told(receiver: Receiver, kind: str) -> set[str]:
    documents = (document for document in receiver.documents if document["type"] == kind)
    return {document["data"]["wa_message_id"] for document in documents}


def ids_of(seen: list[Entry], kind: str, *, by_owner: bool | None = None) -> set[str]:
    """Of the journal's messages of this kind, by the owner or by customers if it matters."""
    found = (entry for entry in seen if entry[0] == kind)
    return {entry[3] for entry in found if by_owner is None or entry[4] == by_owner}


def test_a_receiver_gets_every_event_though_the_daemon_is_killed_again_and_again(
    world: World,
) -> None:
    dice = random.Random(SEED)
    until(lambda: count(world, UNNUMBERED), lambda left: not left, "all so far is numbered")
    with Receiver() as receiver:
        made = world.daemon.api.call("POST", "/admin/webhooks", {"url": receiver.url})
        receiver.secret = made["secret"]
        first = count(world, "SELECT coalesce(max(seq), 0) AS count FROM events")
        world.load(30)
        for _ in range(KILLS):
            wait(dice.uniform(0.5, 2.0))
            world.daemon.kill()
            world.daemon.start()
        world.wait_until_connected()
        world.settle()
        until(
            lambda: count(world, UNNUMBERED) + count(world, PENDING),
            lambda left: not left,
            "every event is told",
            limit_s=120,
        )
        world.daemon.api.call("DELETE", f"/admin/webhooks/{made['id']}")
    told: dict[str, list[int]] = {}
    for document in receiver.documents:
        told.setdefault(document["tenant_id"], []).append(int(document["id"].split("_")[1]))
    expected: dict[str, list[int]] = {}
    for row in world.postgres.query(EVENTS):
        if row["seq"] > first:
            expected.setdefault(row["tenant_id"], []).append(row["seq"])
    assert sum(map(len, expected.values())) > 100
    assert {tenant: list(dict.fromkeys(numbers)) for tenant, numbers in told.items()} == expected
    assert receiver.refused == []
    # And as seen from outside: whatever came in or reached a customer is among them.
    seen = list(entries(world.peer.journal))
    assert ids_told(receiver, "message.in") == ids_of(seen, "in", by_owner=False)
    sent = ids_of(seen, "out") | ids_of(seen, "in", by_owner=True)
    assert sent <= ids_told(receiver, "message.out")


def test_the_cookbook_works_as_it_is_printed(world: World) -> None:
    script = "\n".join(
        re.findall(r"^```sh\n(.*?)^```", COOKBOOK.read_text(encoding="utf-8"), re.M | re.S)
    )
    tenant = world.ids[0]
    wanted = {"name": "cookbook", "scopes": SCOPES, "tenants": [tenant]}
    token = world.daemon.api.call("POST", "/admin/tokens", wanted)["token"]
    names = {"API": world.daemon.api.url, "TOKEN": token, "TENANT": tenant}
    assigned = "".join(f"{name}='{value}'\n" for name, value in names.items())
    ran = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=assigned + script,
        text=True,
        capture_output=True,
        timeout=120,
        cwd=world.home,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = ran.stdout
    assert re.search(r"^msg_", said, re.M)
    assert re.search(r"^(queued|sent|delivered|read)$", said, re.M)
    assert len(re.findall(r"^whsec_", said, re.M)) == 2
    assert '"delivered":false' in said
    assert '"next_since":null' in said
    assert re.findall(r"^(?:False|True|204)$", said, re.M) == ["False", "True", "204"]
    until(
        lambda: world.arrivals({"255711111111@c.us"}),
        lambda texts: texts == ["Agizo lako liko tayari."],
        "the customer has the message",
    )
