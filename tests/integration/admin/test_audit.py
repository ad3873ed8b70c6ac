"""Every change leaves its entry: who, from where, what, before and after; and nothing secret."""

from typing import Any

import pytest

from flowhq.admin.app import ROUTES
from flowhq.admin.routes import PLACEHOLDER, TENANT_PATH
from flowhq.admin.store import PostgresAudit, PostgresStore
from flowhq.db.pool import Database
from flowhq.errors import StoreUnavailableError, WrongStateError
from tests.fakes.admin import FakeAudit, FakeFleet, FakeStore
from tests.integration.admin.conftest import Api, basic

NOBODY = "00000000-0000-4000-8000-000000000000"
OUTAGE = StoreUnavailableError("The database is away.")


async def test_a_change_tells_who_where_what_before_and_after(api: Api, audit: FakeAudit) -> None:
    tenant_id = await api.create("+255712345678", details={"services": [{"name": "A", "price": 1}]})
    audit.entries.clear()
    body = {"name": "Mama Neema", "phone_number": "+255712345679", "details": {"services": []}}
    headers = {"X-Request-Id": "req-7"}
    path = f"/admin/tenants/{tenant_id}"
    assert (await api.call("PATCH", path, json=body, headers=headers)).status == 200
    (row,) = audit.entries.values()
    assert (row.entry.principal, row.entry.address) == ("user:admin", "127.0.0.1")
    assert (row.entry.method, row.entry.route) == ("PATCH", "change_tenant")
    assert (str(row.entry.tenant_id), row.entry.request_id) == (tenant_id, "req-7")
    assert (row.status, row.done_at is None) == (200, False)
    changed = {change.field: (change.before, change.after) for change in row.changes}
    assert changed["name"] == ("Mama Asha", "Mama Neema")
    assert changed["phone_number"] == ("+255…678", "+255…679")
    assert changed["details.services[0].price"] == (1, None)
    assert "language" not in changed


async def test_every_route_that_changes_something_is_entered(api: Api, audit: FakeAudit) -> None:
    tenant_id = await api.create()
    changing = [route for route in ROUTES if route.method not in ("GET", "HEAD") and route.audited]
    for route in changing:
        if route.public or TENANT_PATH not in route.path:
            continue
        audit.entries.clear()
        path = PLACEHOLDER.sub(NOBODY, route.path.replace(TENANT_PATH, tenant_id))
        answer = await api.call(route.method, path, **_body(route.body.model_fields))
        entered = [(row.entry.route, row.status) for row in audit.entries.values()]
        # An empty body is refused before the handler where it does not fit.
        refused = [] if answer.status in (400, 415) else [(route.name, answer.status)]
        assert entered in ([(route.name, answer.status)], refused), route.name
        if route.name == "delete_tenant":
            tenant_id = await api.create()


def _body(fields: Any) -> dict[str, Any]:
    return {"json": {}} if fields else {}


async def test_a_refusal_of_the_handler_is_entered_with_its_status(
    api: Api, audit: FakeAudit, fleet: FakeFleet
) -> None:
    tenant_id = await api.create()
    audit.entries.clear()
    fleet.refusal = WrongStateError("It does not fit.")
    assert (await api.call("POST", f"/admin/tenants/{tenant_id}/pause")).status == 409
    fleet.refusal = None
    assert [row.status for row in audit.entries.values()] == [409]


async def test_what_never_reached_a_handler_is_not_entered(api: Api, audit: FakeAudit) -> None:
    wrong = {"Authorization": basic("wrong")}
    assert (await api.call("POST", "/admin/tenants", json={}, headers=wrong)).status == 401
    assert (await api.call("POST", "/admin/tenants", json={})).status == 400
    assert (await api.call("GET", "/admin/tenants")).status == 200
    assert audit.entries == {}


async def test_nothing_is_changed_while_it_cannot_be_entered(
    api: Api, audit: FakeAudit, store: FakeStore, fleet: FakeFleet
) -> None:
    tenant_id = await api.create()
    audit.failure = OUTAGE
    path = f"/admin/tenants/{tenant_id}"
    for method, below in (("DELETE", ""), ("POST", "/pause"), ("POST", "/worker/start")):
        answer = await api.call(method, path + below)
        assert (answer.status, answer.kind) == (503, "unavailable")
    assert fleet.calls == []
    assert len(store.tenants) == 1


async def test_an_entry_whose_end_cannot_be_stored_stays_open(
    api: Api, audit: FakeAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise OUTAGE

    monkeypatch.setattr(audit, "end", away)
    tenant_id = await api.create()
    assert (await api.call("POST", f"/admin/tenants/{tenant_id}/pause")).status == 200
    assert [row.status for row in audit.entries.values()] == [None, None]


class TestOnPostgres:
    @pytest.fixture
    def store(self, database: Database) -> PostgresStore:
        return PostgresStore(database)

    @pytest.fixture
    def audit(self, database: Database) -> PostgresAudit:
        return PostgresAudit(database)

    async def test_the_audit_is_read_by_page_and_filter(self, api: Api) -> None:
        first = await api.create("+255700000001")
        second = await api.create("+255700000002")
        for tenant_id in (first, second, first):
            await api.call("PATCH", f"/admin/tenants/{tenant_id}", json={"name": "Jina"})
        items = await _all(api, "", 2)
        assert [item["route"] for item in items] == ["change_tenant"] * 3 + ["create_tenant"] * 2
        assert {item["principal"] for item in items} == {"user:admin"}
        of_first = await _all(api, f"&tenant={first}", 1)
        assert [item["tenant_id"] for item in of_first] == [first, first]
        assert [item["changes"] for item in of_first][1] == [
            {"field": "name", "before": "Mama Asha", "after": "Jina"}
        ]
        assert len(await _all(api, "&route=create_tenant", 5)) == 2
        assert len(await _all(api, "&principal=user:admin&route=change_tenant", 5)) == 3
        assert await _all(api, "&principal=nobody", 5) == []

    async def test_the_audit_outlives_the_tenant(self, api: Api) -> None:
        tenant_id = await api.create()
        assert (await api.call("DELETE", f"/admin/tenants/{tenant_id}")).status == 204
        items = await _all(api, f"&tenant={tenant_id}", 5)
        assert [(item["route"], item["status"]) for item in items] == [("delete_tenant", 204)]


async def _all(api: Api, filters: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    place = ""
    for _ in range(20):
        answer = await api.call("GET", f"/admin/audit?limit={limit}{filters}{place}")
        assert answer.status == 200, answer.body
        items += answer.body["items"]
        if answer.body["next"] is None:
            return items
        place = f"&before={answer.body['next']}"
    raise AssertionError("the pages do not end")
