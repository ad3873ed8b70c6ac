"""Webhooks and events over the API: made, tried out, listed, repeated; and streamed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from flowhq.admin.outward import Outward
from flowhq.admin.server import AdminServer
from flowhq.admin.store import PostgresStore
from flowhq.db.audit import EntryRow
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.egress.client import EgressClient
from tests.fakes.admin import FakeAudit
from tests.fakes.clock import PATIENCE_S, FakeClock, until
from tests.integration.admin.conftest import TOKEN, Api
from tests.integration.db.conftest import Shop
from tests.integration.webhooks.conftest import (
    LOOPBACK,
    Office,
    Receiver,
    open_office,
    other_shop,
    receive,
    receiver,
    shop,
)

__all__ = ["other_shop", "receiver", "shop"]

BASES = ["/admin/webhooks", "/admin/tenants/{tenant}/webhooks"]


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
async def office(database: Database) -> AsyncIterator[Office]:
    async with EgressClient(LOOPBACK) as client:
        office = open_office(database, FakeClock(datetime.now(UTC)), client)
        await office.tell()
        running = asyncio.create_task(office.dispatcher.run())
        yield office
        running.cancel()
        await asyncio.wait({running})


@pytest.fixture
async def outward(office: Office, postgres_url: str) -> Outward:
    sending = Sending(office.database, await load_installation(postgres_url))
    return Outward(webhooks=office.desk, feed=office.feed, sending=sending)


@pytest.mark.parametrize("base", BASES)
async def test_an_endpoint_from_its_making_to_its_end(
    api: Api, office: Office, shop: Shop, receiver: Receiver, base: str
) -> None:
    base = base.format(tenant=shop.tenant_id)
    made = await api.call("POST", base, json={"url": receiver.url, "types": ["message.in"]})
    assert made.status == 201, made.body
    assert made.body["secret"].startswith("whsec_")
    assert made.body["tenant_id"] == (str(shop.tenant_id) if "tenants" in base else None)
    one = f"{base}/{made.body['id']}"
    shown = await api.call("GET", one)
    assert shown.status == 200
    assert "secret" not in shown.body
    assert (await api.call("GET", base)).body["items"] == [shown.body]

    tried = await api.call("POST", f"{one}/test")
    assert (tried.status, tried.body["delivered"], tried.body["status"]) == (200, True, 200)

    async def delivered() -> list[Any]:
        """What was sent and stored as such; a replay is neither until it arrived again."""
        answer = await api.call("GET", f"{one}/deliveries?state=delivered")
        return list(answer.body["items"])

    await receive(shop, 1)
    await office.tell()
    [row] = await until(delivered)
    assert (row["type"], row["attempts"], row["status"]) == ("message.in", 1, 200)
    known = len(receiver.seen)
    again = await api.call("POST", f"{one}/deliveries/{row['id']}/replay")
    assert again.status == 202
    [row] = await until(delivered)
    assert row["attempts"] == 1
    assert len(receiver.seen) > known
    since = {"since": "2026-01-01T00:00:00Z"}
    known = len(receiver.seen)
    replayed = await api.call("POST", f"{one}/replay", json=since)
    assert (replayed.status, replayed.body) == (202, {"queued": 1, "next_since": None})
    assert [each["id"] for each in await until(delivered)] == [row["id"]]
    assert len(receiver.seen) > known
    assert {seen.event_id for seen in receiver.seen[1:]} == {row["id"]}

    rotated = await api.call("POST", f"{one}/rotate")
    assert rotated.body["secret"] != made.body["secret"]
    assert rotated.body["old_secret_until"] is not None
    changed = await api.call("PATCH", one, json={"enabled": False, "types": []})
    assert (changed.body["enabled"], changed.body["types"]) == (False, [])
    assert changed.body["disabled_reason"]
    assert (await api.call("DELETE", one)).status == 204
    assert (await api.call("GET", one)).kind == "not-found"
    assert (await api.call("GET", f"{one}/deliveries")).kind == "not-found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"url": "ftp://example.org/"}, "url"),
        ({"url": "https://user:secret@example.org/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://[fd00:ec2::254]/"}, "url"),
        ({"url": "https://2130706433/"}, "url"),
        ({"url": "https://10.0.0.1/", "types": []}, "url"),
        ({"url": "https://example.org/", "types": ["message.on"]}, "types[0]"),
        ({"url": "https://example.org/", "types": "message.in"}, "types"),
        ({"url": "https://example.org/", "secret": "x"}, "secret"),
    ],
)
async def test_a_bad_endpoint_is_refused_by_its_field(
    api: Api, body: dict[str, Any], field: str
) -> None:
    answer = await api.call("POST", "/admin/webhooks", json=body)
    assert answer.kind == "invalid-input"
    assert answer.fields == [field]
    assert "secret@" not in answer.raw.decode()


async def test_an_endpoint_of_another_is_not_there(
    api: Api, shop: Shop, other_shop: Shop, receiver: Receiver
) -> None:
    mine = f"/admin/tenants/{shop.tenant_id}/webhooks"
    made = await api.call("POST", mine, json={"url": receiver.url})
    for base in (f"/admin/tenants/{other_shop.tenant_id}/webhooks", "/admin/webhooks"):
        one = f"{base}/{made.body['id']}"
        for method, path, body in (
            ("GET", one, None),
            ("PATCH", one, {"enabled": False}),
            ("DELETE", one, None),
            ("POST", f"{one}/test", None),
            ("POST", f"{one}/rotate", None),
            ("GET", f"{one}/deliveries", None),
            ("POST", f"{one}/replay", {"since": "2026-01-01T00:00:00Z"}),
            ("POST", f"{one}/deliveries/evt_1/replay", None),
        ):
            answer = await api.call(method, path, json=body)
            assert answer.kind == "not-found", (method, path)
    assert (await api.call("GET", f"{mine}/{made.body['id']}")).body["enabled"] is True
    nobody = "/admin/tenants/00000000-0000-4000-8000-000000000000/webhooks"
    assert (await api.call("GET", nobody)).kind == "not-found"


# -- the stream -----------------------------------------------------------------------------------


class Stream:
    """One client's stream, read frame by frame."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def frame(self) -> dict[str, str]:
        """The next one with an event in it, signs of life left out."""
        while True:
            fields: dict[str, str] = {}
            while (line := (await self._content.readline()).decode()) not in ("\n", ""):
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
            if fields or line == "":
                return fields

    async def event(self) -> Any:
        return json.loads((await self.frame())["data"])


@asynccontextmanager
async def streaming(
    api: Api, office: Office, query: str = "", **headers: str
) -> AsyncIterator[Stream]:
    known = office.feed.open
    sent = {"Authorization": f"Bearer {TOKEN}"} | headers
    url = f"{api.base}/admin/events{query}"
    async with api.session.get(url, headers=sent) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        await until(lambda: office.feed.open == known + 1)
        yield Stream(response.content)


async def test_what_happens_is_streamed_to_who_wants_it(
    api: Api, office: Office, shop: Shop, other_shop: Shop
) -> None:
    query = f"?types=message.in,handoff&tenant={shop.tenant_id}"
    async with streaming(api, office, query) as narrow, streaming(api, office) as wide:
        await receive(other_shop, 1, "wengine")
        await receive(shop, 1, "sisi")
        await office.tell()
        told = await narrow.event()
        assert (told["type"], told["tenant_id"]) == ("message.in", str(shop.tenant_id))
        assert told["data"]["text"] == "sisi"
        assert [(await wide.event())["data"]["text"] for _ in "12"] == ["wengine", "sisi"]


async def test_who_comes_back_goes_on_where_it_was(api: Api, office: Office, shop: Shop) -> None:
    async with streaming(api, office) as stream:
        await receive(shop, 1, "moja")
        await office.tell()
        first = await stream.frame()
    await until(lambda: not office.feed.open, "the end of the first stream")
    for number, text in ((2, "mbili"), (3, "tatu")):
        await receive(shop, number, text)
    await office.tell()
    headers = {"Last-Event-ID": first["id"]}
    async with streaming(api, office, **headers) as stream:
        assert [(await stream.event())["data"]["text"] for _ in "12"] == ["mbili", "tatu"]
        await receive(shop, 4, "nne")
        await office.tell()
        assert (await stream.event())["data"]["text"] == "nne"


async def test_who_was_away_for_too_long_is_told_so(api: Api, office: Office, shop: Shop) -> None:
    await receive(shop, 1)
    await office.tell()
    async with streaming(api, office, **{"Last-Event-ID": "evt_999"}) as stream:
        assert (await stream.frame())["event"] == "gap"


async def test_a_stream_more_than_allowed_is_refused(api: Api, office: Office) -> None:
    async with (
        streaming(api, office),
        streaming(api, office),
        streaming(api, office),
    ):
        answer = await api.call("GET", "/admin/events")
        assert answer.kind == "too-many-streams"
        assert answer.headers["Retry-After"]
        figures = await api.call("GET", "/metrics")
        assert "flowhq_event_streams 3.0" in figures.raw.decode().splitlines()
    await until(lambda: not office.feed.open)
    async with streaming(api, office):
        pass


async def test_streams_end_at_once_when_the_server_stops(
    api: Api, office: Office, server: AdminServer
) -> None:
    async with streaming(api, office) as stream:
        server.tell_stopping()
        async with asyncio.timeout(PATIENCE_S):
            assert await stream.frame() == {}
    await until(lambda: not office.feed.open)


async def test_a_stream_ends_when_it_was_asked_to(api: Api, office: Office) -> None:
    async with streaming(api, office, "?seconds=1") as stream:
        async with asyncio.timeout(PATIENCE_S):
            assert await stream.frame() == {}


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?types=message.on", {}, "types"),
        ("?types=", {}, "types"),
        ("?tenant=nobody", {}, "tenant"),
        ("?seconds=0", {}, "seconds"),
        ("", {"Last-Event-ID": "17"}, "Last-Event-ID"),
    ],
)
async def test_a_stream_of_nonsense_is_refused(
    api: Api, query: str, headers: dict[str, str], field: str
) -> None:
    answer = await api.call("GET", f"/admin/events{query}", headers=headers)
    assert answer.kind == "invalid-input"
    assert answer.fields == [field]


async def test_an_unknown_tenant_has_no_stream(api: Api) -> None:
    path = "/admin/events?tenant=00000000-0000-4000-8000-000000000000"
    assert (await api.call("GET", path)).kind == "not-found"
    assert (await api.call("HEAD", "/admin/events")).status == 200


@pytest.mark.parametrize("base", BASES)
async def test_a_change_to_what_is_no_more_is_refused(
    api: Api, shop: Shop, receiver: Receiver, base: str
) -> None:
    base = base.format(tenant=shop.tenant_id)
    made = await api.call("POST", base, json={"url": receiver.url})
    one = f"{base}/{made.body['id']}"
    tag = (await api.call("GET", one)).headers["ETag"]
    assert (await api.call("GET", one, headers={"If-None-Match": tag})).status == 304
    first = await api.call("PATCH", one, json={"enabled": False}, headers={"If-Match": tag})
    assert (first.status, first.body["enabled"]) == (200, False)
    for method, body in (("PATCH", {"enabled": True}), ("DELETE", None)):
        lost = await api.call(method, one, json=body, headers={"If-Match": tag})
        assert (lost.status, lost.kind) == (409, "changed-meanwhile")
    now = {"If-Match": first.headers["ETag"]}
    assert (await api.call("GET", one)).body["enabled"] is False
    assert (await api.call("DELETE", one, headers=now)).status == 204


@pytest.mark.parametrize("lacking", ["events:read", "messages:read"])
async def test_who_may_not_read_messages_has_them_sent_nowhere(
    api: Api, shop: Shop, receiver: Receiver, lacking: str
) -> None:
    base = f"/admin/tenants/{shop.tenant_id}/webhooks"
    made = await api.call("POST", base, json={"url": receiver.url})
    scopes = {"webhooks:write", "events:read", "messages:read"}
    for held, status in ((scopes - {lacking}, 403), (scopes, 201)):
        body = {"name": "hooks", "scopes": sorted(held), "tenants": [str(shop.tenant_id)]}
        token = (await api.call("POST", "/admin/tokens", json=body)).body["token"]
        sent = {"Authorization": f"Bearer {token}"}
        tried = await api.call("POST", base, json={"url": receiver.url}, headers=sent)
        assert tried.status == status, tried.body
        one = f"{base}/{made.body['id']}"
        moved = await api.call("PATCH", one, json={"url": receiver.url}, headers=sent)
        assert moved.status == (403 if status == 403 else 200), moved.body
        assert (await api.call("GET", base, headers=sent)).status == 200


async def test_the_audit_tells_where_events_go_and_no_secret(
    api: Api, shop: Shop, audit: FakeAudit
) -> None:
    base = f"/admin/tenants/{shop.tenant_id}/webhooks"
    url = "https://hooks.example.org/T0/siri-ya-njia?sign=siri-ya-swali"
    made = await api.call("POST", base, json={"url": url, "types": ["message.in"]})
    assert made.status == 201, made.body
    one = f"{base}/{made.body['id']}"
    await api.call("PATCH", one, json={"url": url.replace("hooks", "elsewhere"), "types": []})
    await api.call("POST", f"{one}/rotate")
    await api.call("DELETE", one)
    told = [(row.entry.route, _fields(row)) for row in audit.entries.values()]
    assert [route.removesuffix("_of_tenant") for route, _ in told] == [
        *("create_webhook", "change_webhook", "rotate_webhook", "delete_webhook"),
    ]
    assert told[0][1]["url"][1].startswith("https://hooks.example.org/… (")
    before, after = told[1][1]["url"]
    assert (before, after[:31]) == (told[0][1]["url"][1], "https://elsewhere.example.org/…")
    assert told[1][1]["types[0]"] == ("message.in", None)
    assert "secret" in told[2][1]
    assert told[3][1]["url"] == (after, None)
    written = repr(told)
    assert "siri-ya" not in written
    assert made.body["secret"] not in written


def _fields(row: EntryRow) -> dict[str, tuple[Any, Any]]:
    return {change.field: (change.before, change.after) for change in row.changes}
