"""The portal over HTTP: who is let in, what an owner gets, what an operator decides."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowhq.admin.portal_store import PortalStore
from flowhq.admin.store import PostgresStore
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.qr import png_data_url
from tests.fakes.admin import FakeAudit, FakeFleet
from tests.integration.admin.conftest import TOKEN, Answer, Api, QuickClock
from tests.integration.admin.people import as_program, create_token
from tests.pg import fetchval

ASHA = "asha@example.com"
SETUP = {"template_type": "ECOMMERCE", "whatsapp_number": "+255 700 000 005", "notes": " Naomba "}


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


@dataclass(frozen=True)
class Portal:
    """A portal with a key, speaking for one user."""

    api: Api
    headers: dict[str, str]

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        # Not the admin's password: a portal has none.
        headers = {"Authorization": ""} | self.headers | options.pop("headers", {})
        return await self.api.call(method, f"/portal{path}", headers=headers, **options)

    def speaking_for(self, email: str) -> "Portal":
        return Portal(self.api, self.headers | {"x-user-email": email})

    async def sign_in(self, **body: str) -> Any:
        answer = await self.call("POST", "/sign-in", json=body)
        assert answer.status in (200, 201), answer.body
        return answer.body

    async def ask(self) -> str:
        """Signed in, with a setup request; its id."""
        await self.sign_in()
        answer = await self.call("POST", "/setup-request", json=SETUP)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])


async def new_key(api: Api, name: str = "web") -> Any:
    answer = await api.call("POST", "/admin/portal-keys", json={"name": name})
    assert answer.status == 201, answer.body
    return answer.body


@pytest.fixture
async def web(api: Api) -> Portal:
    key = (await new_key(api))["key"]
    return Portal(api, {"x-portal-key": key, "x-user-email": ASHA})


async def decide(api: Api, request: str, verb: str, **body: str) -> Answer:
    options = {"json": body} if body else {}
    return await api.call("POST", f"/admin/setup-requests/{request}/{verb}", **options)


async def logged(database: Database, tenant_id: str) -> list[str]:
    async with database.tenant(TenantId(UUID(tenant_id))) as tx:
        rows = await tx.fetch("SELECT event_type FROM portal_event_logs ORDER BY id")
    return [row["event_type"] for row in rows]


def connected(tenant_id: str, session: SessionState = SessionState.CONNECTED) -> TenantSnapshot:
    return TenantSnapshot(
        tenant_id=TenantId(UUID(tenant_id)),
        status=TenantStatus.ACTIVE,
        session=session,
        worker=WorkerStatus.RUNNING,
        desired=DesiredState.RUNNING,
        reason=Reason.CONNECTED,
        next_action="",
    )


# -- who is let in ---------------------------------------------------------------------------------

ROUTES = [
    ("POST", "/sign-in"),
    ("GET", "/me"),
    ("POST", "/setup-request"),
    ("GET", "/tenant/current/status"),
    ("GET", "/tenant/current/logs"),
    ("GET", "/tenant/current/qr"),
    ("PATCH", "/profile"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_living_key_nobody_is_let_in(api: Api, method: str, path: str) -> None:
    made = await new_key(api)
    await api.call("POST", f"/admin/portal-keys/{made['id']}/retire")
    for key in (None, "", "fhp_x", made["key"], made["key"] * 10, "fhp_\u00e9"):
        headers = {"x-user-email": ASHA} | ({} if key is None else {"x-portal-key": key})
        answer = await Portal(api, headers).call(method, path, json={})
        assert (answer.status, answer.kind) == (401, "unauthorized")
        assert "Portal" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_without_a_user_is_refused(web: Portal, method: str, path: str) -> None:
    for email in ("", " ", "asha", "asha@", "@example.com", "a@b", "a b@example.com", "a" * 250):
        answer = await web.speaking_for(email).call(method, path, json={})
        assert (answer.status, answer.fields) == (400, ["x-user-email"]), email


@pytest.mark.parametrize(("method", "path"), ROUTES[1:])
async def test_an_address_that_never_signed_in_is_told_so(
    web: Portal, method: str, path: str
) -> None:
    body = {"/setup-request": SETUP, "/profile": {"name": "x"}}.get(path)
    options = {} if body is None else {"json": body}
    answer = await web.call(method, path, **options)
    assert (answer.status, answer.kind) == (404, "unknown-user")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_an_admins_credential_is_none_of_a_portal(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, f"/portal{path}", json={})
    assert answer.status == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await api.call(method, f"/portal{path}", json={}, headers=bearer)).status == 401


async def test_wrong_keys_are_answered_more_and_more_slowly(
    api: Api, web: Portal, clock: QuickClock
) -> None:
    guesser = Portal(api, {"x-portal-key": "fhp_guess", "x-user-email": ASHA})
    for _ in range(4):
        assert (await guesser.call("GET", "/me")).status == 401
    assert clock.waits == [0.25, 0.5, 1.0, 2.0]
    await web.sign_in()
    assert len(clock.waits) == 4


async def test_a_portals_key_opens_nothing_else(api: Api, web: Portal) -> None:
    me = await web.sign_in()
    for path in ("/admin/tenants", f"/admin/tenants/{me['tenant']['id']}", "/admin/portal-keys"):
        headers = {"Authorization": ""} | web.headers
        assert (await api.call("GET", path, headers=headers)).status == 401
        bearer = {"Authorization": f"Bearer {web.headers['x-portal-key']}"}
        assert (await api.call("GET", path, headers=bearer)).status == 401


# -- owners ----------------------------------------------------------------------------------------


async def test_the_first_sign_in_makes_a_tenant_and_later_ones_find_it(
    api: Api, web: Portal, database: Database
) -> None:
    body = {"name": "Asha", "business_name": "Duka la Asha", "language": "EN"}
    first = await web.call("POST", "/sign-in", json=body)
    assert first.status == 201
    again = await web.speaking_for(" Asha@Example.COM ").call("POST", "/sign-in", json={})
    assert again.status == 200
    assert first.body == again.body | {"created": True}
    user, tenant = first.body["user"], first.body["tenant"]
    assert (user["email"], user["name"], user["role"]) == (ASHA, "Asha", "OWNER")
    assert (tenant["name"], tenant["status"], tenant["phone_number"]) == (
        "Duka la Asha",
        "NEW",
        None,
    )
    assert tenant["next_action"] == "Send a setup request."
    assert first.body["setup_request"] is None
    (listed,) = (await api.call("GET", "/admin/tenants")).body["items"]
    assert (listed["id"], listed["phone_number"]) == (tenant["id"], None)
    assert listed["config"]["language"] == "EN"
    assert (await web.call("GET", "/me")).body == {
        key: value for key, value in first.body.items() if key != "created"
    }
    assert await logged(database, tenant["id"]) == ["SIGNED_UP", "SIGNED_IN", "ME_READ"]


async def test_each_owner_sees_their_own_tenant_only(web: Portal, database: Database) -> None:
    juma = web.speaking_for("juma@example.com")
    mine, theirs = await web.sign_in(), await juma.sign_in()
    assert mine["tenant"]["id"] != theirs["tenant"]["id"]
    await web.call("POST", "/setup-request", json=SETUP)
    for path in ("/me", "/tenant/current/status", "/tenant/current/logs", "/tenant/current/qr"):
        answer = await juma.call("GET", path)
        assert answer.status == 200
        assert mine["tenant"]["id"].encode() not in answer.raw
        assert ASHA.encode() not in answer.raw
        assert b"Naomba" not in answer.raw
    assert await logged(database, theirs["tenant"]["id"]) == [
        "SIGNED_UP",
        "ME_READ",
        "STATUS_READ",
        "LOGS_READ",
        "QR_READ",
    ]


async def test_a_profile_is_changed_by_what_is_given(web: Portal, database: Database) -> None:
    me = await web.sign_in(name="Asha")
    changed = await web.call("PATCH", "/profile", json={"phone": "00255700000009"})
    assert (changed.status, changed.body["name"], changed.body["phone"]) == (
        200,
        "Asha",
        "+255700000009",
    )
    assert (await web.call("PATCH", "/profile", json={"name": "Asha B"})).body["name"] == "Asha B"
    assert (await web.call("GET", "/me")).body["user"]["phone"] == "+255700000009"
    assert (await logged(database, me["tenant"]["id"])).count("PROFILE_CHANGED") == 2
    for body, field in (
        ({}, "body"),
        ({"email": "x@example.com"}, "email"),
        ({"phone": "12"}, "phone"),
        ({"name": ""}, "name"),
        ({"role": "OWNER"}, "role"),
    ):
        answer = await web.call("PATCH", "/profile", json=body)
        assert (answer.status, answer.fields) == (400, [field])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"template_type": "PIZZA"}, "template_type"),
        ({"whatsapp_number": "0700000005"}, "whatsapp_number"),
        ({"notes": "x" * 2001}, "notes"),
        ({"status": "APPROVED"}, "status"),
        ({"tenant_id": "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"}, "tenant_id"),
    ],
)
async def test_a_setup_request_that_does_not_fit_is_refused(
    web: Portal, change: dict[str, str], field: str
) -> None:
    await web.sign_in()
    answer = await web.call("POST", "/setup-request", json=SETUP | change)
    assert (answer.status, answer.fields) == (400, [field])
    assert (await web.call("GET", "/me")).body["setup_request"] is None


# -- from a request to a bot -----------------------------------------------------------------------


async def test_from_request_to_active(
    api: Api, web: Portal, fleet: FakeFleet, database: Database, postgres_url: str
) -> None:
    request = await web.ask()
    status = (await web.call("GET", "/tenant/current/status")).body
    tenant_id = status["tenant"]["id"]
    assert status["setup_request"]["whatsapp_number"] == "+255700000005"
    assert (status["setup_request"]["status"], status["setup_request"]["notes"]) == (
        "SUBMITTED",
        "Naomba",
    )
    assert "Wait" in status["tenant"]["next_action"]

    (listed,) = (await api.call("GET", "/admin/setup-requests?status=SUBMITTED")).body["items"]
    assert listed == (await api.call("GET", f"/admin/setup-requests/{request}")).body
    assert (listed["id"], listed["tenant_id"], listed["user_email"]) == (request, tenant_id, ASHA)
    reviewing = (await decide(api, request, "review")).body
    assert (reviewing["status"], reviewing["decided_by"]) == ("REVIEWING", "user:admin")

    approved = await decide(api, request, "approve")
    assert approved.status == 200
    assert approved.body["setup_request"]["status"] == "APPROVED"
    assert approved.body["worker"]["worker_status"] == "RUNNING"
    assert fleet.calls == [("restart", TenantId(UUID(tenant_id)))]
    tenant = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body
    assert (tenant["phone_number"], tenant["config"]["template_type"]) == (
        "+255700000005",
        "ECOMMERCE",
    )

    book = PostgresStatusBook(database)
    scanning = connected(tenant_id, SessionState.QR_READY)
    await book.save(scanning, event="qr_shown", actor="channel")
    fleet.observe(scanning)
    key = (await load_installation(postgres_url)).tenant_key(scanning.tenant_id)
    ledger = PostgresLedger(database, scanning.tenant_id, key)
    soon = datetime.now(UTC) + timedelta(minutes=10)
    await ledger.save_qr(text="2@abc", data_url=png_data_url("2@abc"), expires_at=soon)
    code = await web.call("GET", "/tenant/current/qr?wait=5")
    assert (code.body["state"], code.body["qr"]) == ("QR_READY", png_data_url("2@abc"))
    picture = await web.call("GET", "/tenant/current/qr?format=png")
    assert (picture.status, picture.headers["Content-Type"]) == (200, "image/png")

    await book.save(connected(tenant_id), event="ready", actor="channel")
    fleet.observe(connected(tenant_id))
    status = (await web.call("GET", "/tenant/current/status")).body
    assert (status["setup_request"]["status"], status["tenant"]["next_action"]) == ("ACTIVE", "")
    assert status["tenant"]["session_state"] == "CONNECTED"
    assert (await web.call("GET", "/tenant/current/logs?limit=5")).body["items"] == []


async def test_a_second_request_is_refused_until_the_first_is_decided(
    api: Api, web: Portal
) -> None:
    request = await web.ask()
    second = await web.call("POST", "/setup-request", json=SETUP)
    assert (second.status, second.kind, second.fields) == (
        409,
        "already-exists",
        ["setup_request"],
    )
    rejected = await decide(api, request, "reject", reason=" Namba si sahihi ")
    assert (rejected.body["status"], rejected.body["reason"]) == ("REJECTED", "Namba si sahihi")
    status = (await web.call("GET", "/tenant/current/status")).body
    assert status["setup_request"]["reason"] == "Namba si sahihi"
    assert "new setup request" in status["tenant"]["next_action"]
    assert (await web.call("POST", "/setup-request", json=SETUP)).status == 201


@pytest.mark.parametrize("first", ["approve", "reject"])
async def test_a_decided_request_cannot_be_decided_again(
    api: Api, web: Portal, fleet: FakeFleet, first: str
) -> None:
    request = await web.ask()
    bodies = {"reject": {"reason": "x"}}
    assert (await decide(api, request, first, **bodies.get(first, {}))).status == 200
    calls = list(fleet.calls)
    for then in ("approve", "reject", "review"):
        answer = await decide(api, request, then, **bodies.get(then, {}))
        assert (answer.status, answer.kind) == (409, "wrong-state")
    assert fleet.calls == calls


async def test_a_number_that_is_taken_is_not_approved(
    api: Api, web: Portal, fleet: FakeFleet
) -> None:
    request = await web.ask()
    await api.create("+255700000005")
    answer = await decide(api, request, "approve")
    assert (answer.status, answer.fields) == (409, ["phone_number"])
    assert fleet.calls == []
    assert (await api.call("GET", f"/admin/setup-requests/{request}")).body["status"] == "SUBMITTED"


@pytest.mark.parametrize("request_id", ["5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a", "x"])
async def test_an_unknown_request_is_not_found(api: Api, request_id: str) -> None:
    assert (await api.call("GET", f"/admin/setup-requests/{request_id}")).status == 404
    for verb, body in (("approve", {}), ("review", {}), ("reject", {"reason": "x"})):
        assert (await decide(api, request_id, verb, **body)).status == 404


async def test_a_rejection_needs_a_reason(api: Api, web: Portal) -> None:
    request = await web.ask()
    for body in ({}, {"reason": " "}, {"reason": "x" * 501}):
        answer = await api.call("POST", f"/admin/setup-requests/{request}/reject", json=body)
        assert (answer.status, answer.fields) == (400, ["reason"])


async def test_pages_of_requests_join(api: Api, web: Portal) -> None:
    asked = [await web.speaking_for(f"u{number}@example.com").ask() for number in range(5)]
    found: list[str] = []
    place = ""
    while True:
        page = (await api.call("GET", f"/admin/setup-requests?limit=2{place}")).body
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        place = f"&after={page['next']}"
    assert found == asked[::-1]
    answer = await api.call("GET", "/admin/setup-requests?status=NEW")
    assert (answer.status, answer.fields) == (400, ["status"])


# -- keys ------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_two_live(api: Api) -> None:
    old, new = await new_key(api, "old"), await new_key(api, "new")
    third = await api.call("POST", "/admin/portal-keys", json={"name": "third"})
    assert (third.status, third.kind) == (409, "wrong-state")
    listed = await api.call("GET", "/admin/portal-keys")
    assert [item["name"] for item in listed.body["items"]] == ["new", "old"]
    for made in (old, new):
        assert made["key"].encode() not in listed.raw
        portal = Portal(api, {"x-portal-key": made["key"], "x-user-email": ASHA})
        await portal.sign_in()
    used = (await api.call("GET", "/admin/portal-keys")).body["items"]
    assert all(item["last_used_at"] for item in used)
    retired = await api.call("POST", f"/admin/portal-keys/{old['id']}/retire")
    assert retired.body["retired_at"]
    old_portal = Portal(api, {"x-portal-key": old["key"], "x-user-email": ASHA})
    assert (await old_portal.call("GET", "/me")).status == 401
    await new_key(api, "third")
    unknown = await api.call("POST", f"/admin/portal-keys/{uuid4()}/retire")
    assert unknown.status == 404


async def test_the_audit_tells_what_was_decided_and_no_key(
    api: Api, web: Portal, audit: FakeAudit
) -> None:
    request = await web.ask()
    await decide(api, request, "approve")
    entered = {row.entry.route: row for row in audit.entries.values()}
    user = (await web.call("GET", "/me")).body["user"]["id"]
    assert entered["request_setup"].entry.principal == f"portal:{user}"
    approval = entered["approve_setup_request"]
    assert (approval.entry.principal, approval.entry.target) == (
        "user:admin",
        {"setup_request": request},
    )
    assert {change.field: (change.before, change.after) for change in approval.changes} == {
        "status": ("SUBMITTED", "APPROVED"),
        "phone_number": (None, "+255…005"),
        "template_type": (None, "ECOMMERCE"),
    }
    told = str(list(audit.entries.values()))
    for secret in (web.headers["x-portal-key"], ASHA, "+255700000005", "Naomba"):
        assert secret not in told


async def test_a_token_for_some_tenants_sees_their_requests_alone(
    api: Api, web: Portal, fleet: FakeFleet
) -> None:
    mine, juma = await web.ask(), web.speaking_for("juma@example.com")
    theirs = await juma.ask()
    tenant = (await web.call("GET", "/me")).body["tenant"]["id"]
    scopes = ("requests:read", "requests:write")
    _, token = await create_token(api, *scopes, tenants=[tenant])
    program = as_program(token)
    listed = await api.call("GET", "/admin/setup-requests", headers=program)
    assert [item["id"] for item in listed.body["items"]] == [mine]
    path = "/admin/setup-requests"
    assert (await api.call("GET", f"{path}/{mine}", headers=program)).status == 200
    unknown = await api.call("GET", f"{path}/{uuid4()}", headers=program)
    out_of_reach = await api.call("GET", f"{path}/{theirs}", headers=program)
    for body in (unknown.body, out_of_reach.body):
        del body["request_id"]
    assert out_of_reach.body == unknown.body
    for verb in ("review", "approve"):
        answer = await api.call("POST", f"{path}/{theirs}/{verb}", headers=program)
        assert (answer.status, answer.kind) == (404, "not-found")
    assert fleet.calls == []
    _, reader = await create_token(api, "requests:read")
    answer = await api.call("POST", f"{path}/{mine}/approve", headers=as_program(reader))
    assert (answer.status, answer.kind) == (403, "forbidden")


async def test_keys_and_requests_are_for_admins(api: Api) -> None:
    for path in ("/admin/portal-keys", "/admin/setup-requests"):
        answer = await api.call("GET", path, headers={"Authorization": "Bearer x"})
        assert answer.status == 401


async def test_what_an_owner_wrote_is_kept_for_no_repeat(
    api: Api, web: Portal, postgres_url: str
) -> None:
    """It would outlive the owner's erasure there."""
    request = await web.ask()
    for verb in ("review", "approve"):
        path = f"/admin/setup-requests/{request}/{verb}"
        done = await api.call("POST", path, headers={"Idempotency-Key": verb})
        assert done.status == 200, done.body
        again = await api.call("POST", path, headers={"Idempotency-Key": verb})
        assert (again.status, again.kind) == (409, "idempotency-outcome-unknown")
    kept = "SELECT count(*) FROM idempotency_keys WHERE answer IS NOT NULL"
    assert await fetchval(postgres_url, kept) == 0
