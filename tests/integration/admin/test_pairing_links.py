"""Pairing links over HTTP: what the operator gets, and what whoever has the token may do."""

from uuid import uuid4

import pytest

from flowhq.admin.owner_pages import POLICY
from flowhq.admin.pairing_links import ADDRESS_RATE, LINK_RATE
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.store import PostgresStore
from flowhq.db.pool import Database
from flowhq.model import Reason, SessionState, WorkerStatus
from flowhq.qr import png_data_url
from tests.fakes.admin import FakeAudit, FakeFleet
from tests.integration.admin.conftest import Api, QuickClock
from tests.integration.admin.pairing_links import Pairing, open_pairing, token_of


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


class HandClock(QuickClock):
    """Its monotonic time goes on when a test says so."""

    at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def pairing(api: Api, database: Database, fleet: FakeFleet) -> Pairing:
    return await open_pairing(api, database, fleet)


async def test_from_the_link_to_the_connection(pairing: Pairing) -> None:
    link = await pairing.make_link()
    token = token_of(link)
    assert link["url"].startswith(f"{pairing.api.base}/pair#")
    assert pairing.fleet.calls == [("restart", pairing.tenant_id)]
    first = await pairing.ask(token)
    assert (first.status, first.body["state"], first.body["qr"]) == (200, "wait", None)
    assert first.body["business_name"] == "Duka la Asha"
    assert first.body["expires_at"] == link["expires_at"]
    for code in ("2@one", "2@two"):
        await pairing.show(code)
        shown = (await pairing.ask(token)).body
        assert (shown["state"], shown["qr"]) == ("scan", png_data_url(code))
    await pairing.become(SessionState.CONNECTED, Reason.CONNECTED)
    done = (await pairing.ask(token)).body
    assert (done["state"], done["qr"]) == ("connected", None)
    (listed,) = (await pairing.api.call("GET", pairing.path)).body["items"]
    assert listed["opened_at"]
    assert listed["used_at"]
    assert "url" not in listed


async def test_a_used_link_never_shows_a_code_again(pairing: Pairing) -> None:
    token = token_of(await pairing.make_link())
    await pairing.become(SessionState.CONNECTED, Reason.CONNECTED)
    await pairing.show("2@again")
    calls = list(pairing.fleet.calls)
    for path in ("/pair/code", "/pair/renew"):
        answer = await pairing.ask(token, path)
        assert (answer.body["state"], answer.body["qr"]) == ("connected", None)
    assert pairing.fleet.calls == calls


async def test_new_codes_are_made_when_they_ran_out_and_only_then(pairing: Pairing) -> None:
    token = token_of(await pairing.make_link())
    await pairing.show("2@one")
    assert (await pairing.ask(token, "/pair/renew")).body["state"] == "scan"
    assert len(pairing.fleet.calls) == 1
    await pairing.become(SessionState.DISCONNECTED, Reason.PAIRING_EXPIRED)
    assert (await pairing.ask(token)).body["state"] == "again"
    assert len(pairing.fleet.calls) == 1
    assert (await pairing.ask(token, "/pair/renew")).body["state"] == "wait"
    assert pairing.fleet.calls == [("restart", pairing.tenant_id)] * 2


async def test_the_audit_tells_of_links_and_of_new_codes_but_no_token(
    pairing: Pairing, audit: FakeAudit
) -> None:
    audit.entries.clear()
    link = await pairing.make_link()
    for path in ("/pair/code", "/pair/renew"):
        await pairing.ask(token_of(link), path)
    await pairing.api.call("POST", f"{pairing.path}/{link['id']}/revoke")
    await pairing.ask(token_of(link), "/pair/renew")
    rows = list(audit.entries.values())
    assert [(row.entry.route, row.entry.principal, row.status) for row in rows] == [
        ("create_pairing_link", "user:admin", 201),
        ("pair_renew", f"pairing-link:{link['id']}", 200),
        ("revoke_pairing_link", "user:admin", 200),
    ]
    assert rows[-1].entry.target == {"pairing_link": link["id"]}
    assert token_of(link) not in str(rows)


async def test_a_worker_that_failed_is_told_as_trouble(pairing: Pairing) -> None:
    token = token_of(await pairing.make_link())
    await pairing.become(SessionState.DISCONNECTED, Reason.CRASH_LOOP, WorkerStatus.ERROR)
    assert (await pairing.ask(token, "/pair/renew")).body["state"] == "trouble"
    assert len(pairing.fleet.calls) == 1


async def test_a_revoked_or_expired_link_is_gone(pairing: Pairing) -> None:
    first, second = await pairing.make_link(), await pairing.make_link(minutes=1)
    await pairing.show("2@one")
    gone = await pairing.ask(token_of(first))
    assert (gone.status, gone.kind) == (410, "link-gone")
    assert "revoked" in gone.body["detail"]
    assert (await pairing.ask(token_of(second))).status == 200
    async with pairing.database.tenant(pairing.tenant_id) as tx:
        await tx.execute(
            "UPDATE pairing_links SET created_at = now() - interval '2 minutes',"
            " expires_at = now() - interval '1 minute'"
        )
    for path in ("/pair/code", "/pair/renew"):
        gone = await pairing.ask(token_of(second), path)
        assert (gone.status, gone.kind) == (410, "link-gone")
        assert "expired" in gone.body["detail"]
        assert b"2@" not in gone.raw
    third = await pairing.make_link()
    revoked = await pairing.api.call("POST", f"{pairing.path}/{third['id']}/revoke")
    assert (revoked.status, bool(revoked.body["revoked_at"])) == (200, True)
    assert (await pairing.ask(token_of(third))).status == 410


@pytest.mark.parametrize("token", ["not-a-token", "A" * 64, "*" * 64, "-_" * 32])
async def test_a_made_up_token_is_not_found(pairing: Pairing, token: str) -> None:
    await pairing.make_link()
    for path in ("/pair/code", "/pair/renew"):
        answer = await pairing.ask(token, path)
        assert (answer.status, answer.kind) == (404, "not-found")
        assert token.encode() not in answer.raw


async def test_a_token_in_the_address_is_refused(pairing: Pairing) -> None:
    token = token_of(await pairing.make_link())
    answer = await pairing.api.call("GET", f"/pair?token={token}")
    assert (answer.status, answer.kind) == (400, "secret-in-url")
    assert token.encode() not in answer.raw


async def test_a_link_is_not_made_where_nothing_is_to_be_paired(
    api: Api, pairing: Pairing, portal: PortalStore
) -> None:
    await pairing.become(SessionState.CONNECTED, Reason.CONNECTED)
    answer = await api.call("POST", pairing.path, json={})
    assert (answer.status, answer.kind) == (409, "wrong-state")
    key = await portal.create_key("web")
    headers = {"x-portal-key": key.secret, "x-user-email": "asha@example.com", "Authorization": ""}
    owner = (await api.call("POST", "/portal/sign-in", json={}, headers=headers)).body
    path = f"/admin/tenants/{owner['tenant']['id']}/pairing-links"
    answer = await api.call("POST", path, json={})
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert pairing.fleet.calls == []
    for minutes in (0, 1441, "30", 1.5):
        answer = await api.call("POST", pairing.path, json={"minutes": minutes})
        assert (answer.status, answer.fields) == (400, ["minutes"])
    answer = await api.call("POST", f"/admin/tenants/{uuid4()}/pairing-links", json={})
    assert answer.status == 404
    assert (await api.call("GET", f"/admin/tenants/{uuid4()}/pairing-links")).status == 404
    assert (await api.call("POST", f"{pairing.path}/{uuid4()}/revoke")).status == 404


async def ask_until_refused(pairing: Pairing, token: str, path: str = "/pair/code") -> int:
    """How many answers there were before the one that says: too often."""
    for number in range(2 * ADDRESS_RATE.burst):
        answer = await pairing.ask(token, path)
        if answer.status == 429:
            assert answer.kind == "too-many-requests"
            assert answer.headers["Retry-After"] == "1"
            return number
    raise AssertionError("nobody was refused")


async def test_one_link_is_answered_so_often_and_others_all_the_same(
    pairing: Pairing, clock: HandClock
) -> None:
    token = token_of(await pairing.make_link())
    assert await ask_until_refused(pairing, token) == LINK_RATE.burst
    assert (await pairing.ask(token, "/pair/renew")).status == 429
    clock.at_s += 1
    assert await ask_until_refused(pairing, token) == LINK_RATE.per_s
    other = await open_pairing(pairing.api, pairing.database, pairing.fleet, "+255700000002")
    assert (await other.ask(token_of(await other.make_link()))).status == 200


async def test_one_address_is_answered_so_often_whatever_it_sends(
    pairing: Pairing, clock: HandClock
) -> None:
    token = token_of(await pairing.make_link())
    assert await ask_until_refused(pairing, "A" * 64) == ADDRESS_RATE.burst
    for path in ("/pair/code", "/pair/renew"):
        assert (await pairing.ask(token, path)).status == 429
    clock.at_s += 1
    assert (await pairing.ask(token)).status == 200


async def test_another_site_cannot_ask_for_the_code(pairing: Pairing) -> None:
    token = token_of(await pairing.make_link())
    headers = {"Sec-Fetch-Site": "cross-site", "Authorization": ""}
    answer = await pairing.api.call("POST", "/pair/code", json={"token": token}, headers=headers)
    assert (answer.status, answer.kind) == (403, "cross-site")


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/pair", "text/html"),
        ("/pair/page.js", "text/javascript"),
        ("/pair/page.css", "text/css"),
        ("/portal/signed-in", "text/html"),
        ("/portal/signed-in/page.js", "text/javascript"),
    ],
)
async def test_the_page_is_served_under_a_strict_policy(api: Api, path: str, media: str) -> None:
    answer = await api.call("GET", path, headers={"Authorization": ""})
    assert (answer.status, answer.headers["Content-Type"]) == (200, f"{media}; charset=utf-8")
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert b"<script>" not in answer.raw
    assert b" style=" not in answer.raw
