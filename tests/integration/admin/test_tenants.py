"""Tenants over HTTP: created whole, shown with what is observed, changed in part, deleted.

The same tests hold the store in memory and the one on PostgreSQL.
"""

from typing import Any

import pytest

from flowhq.admin.ports import Store
from flowhq.admin.store import PostgresStore
from tests.fakes.admin import FakeFleet, FakeStore
from tests.integration.admin.conftest import Api


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return FakeStore()
    return PostgresStore(request.getfixturevalue("database"))


async def test_a_tenant_is_created_with_the_defaults(api: Api) -> None:
    answer = await api.call(
        "POST", "/admin/tenants", json={"name": "  Mama Asha ", "phone_number": "+255 712 345 678"}
    )
    assert answer.status == 201
    tenant = answer.body
    assert answer.headers["Location"] == f"/admin/tenants/{tenant['id']}"
    assert tenant["name"] == "Mama Asha"
    assert tenant["phone_number"] == "+255712345678"
    assert tenant["status"] == "NEW"
    assert tenant["desired_state"] == "STOPPED"
    assert tenant["reason"] == "NOT_STARTED"
    assert tenant["next_action"]
    assert tenant["config"] == {
        "template_type": "BOOKING",
        "business_name": "Mama Asha",
        "language": "SW",
        "timezone": "Africa/Dar_es_Salaam",
        "hours_json": None,
        "details": {},
        "retention": {"text_days": None, "metadata_days": None, "payload_days": None},
    }
    assert tenant["session"]["state"] == "DISCONNECTED"
    assert tenant["worker"]["status"] == "STOPPED"


async def test_everything_given_is_kept(api: Api) -> None:
    given: dict[str, Any] = {
        "name": "Duka",
        "phone_number": "00255712345678",
        "template_type": "ECOMMERCE",
        "business_name": "Duka la Asha",
        "language": "EN",
        "timezone": "Africa/Nairobi",
        "hours_json": {"0": None, "1": {"open": "08:00", "close": "18:00"}},
        "details": {"products": [{"name": "Kanga", "price": 15000}]},
        "retention": {"text_days": 30, "metadata_days": None, "payload_days": 3},
    }
    tenant_id = await api.create(**given, phone=given.pop("phone_number"))
    tenant = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body
    assert tenant["phone_number"] == "+255712345678"
    assert tenant["name"] == given.pop("name")
    assert tenant["config"] == given


async def test_the_observed_state_is_shown_over_the_stored_one(api: Api) -> None:
    tenant_id = await api.create()
    await api.call("POST", f"/admin/tenants/{tenant_id}/worker/start")
    tenant = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body
    assert (tenant["status"], tenant["desired_state"]) == ("QR_PENDING", "RUNNING")
    assert (tenant["worker"]["status"], tenant["reason"]) == ("RUNNING", "STARTING")
    listed = (await api.call("GET", "/admin/tenants")).body["items"]
    assert listed == [tenant]


async def test_pages_of_tenants_join_without_gap(api: Api) -> None:
    created = [await api.create(f"+25571234560{n}") for n in range(5)]
    seen, path = [], "/admin/tenants?limit=2"
    for _ in range(3):
        page = (await api.call("GET", path)).body
        seen += [tenant["id"] for tenant in page["items"]]
        path = f"/admin/tenants?limit=2&after={page['next']}"
    assert page["next"] is None
    assert seen == created[::-1]


async def test_a_change_touches_only_what_is_given(api: Api, fleet: FakeFleet) -> None:
    tenant_id = await api.create(business_name="Duka", details={"currency": "KES"})
    before = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body
    answer = await api.call("PATCH", f"/admin/tenants/{tenant_id}", json={"language": "EN"})
    assert answer.status == 200
    assert answer.body["config"] == before["config"] | {"language": "EN"}
    assert answer.body["name"] == before["name"]
    assert [name for name, _ in fleet.calls] == ["reload"]


async def test_hours_can_be_taken_back_and_an_empty_change_changes_nothing(
    api: Api, fleet: FakeFleet
) -> None:
    tenant_id = await api.create(hours_json={"weekly": {"mon": [["08:00", "12:00"]]}})
    path = f"/admin/tenants/{tenant_id}"
    assert (await api.call("PATCH", path, json={})).body["config"]["hours_json"] is not None
    assert fleet.calls == []
    changed = await api.call("PATCH", path, json={"hours_json": None})
    assert changed.body["config"]["hours_json"] is None


async def test_a_number_in_use_is_refused_by_name(api: Api) -> None:
    await api.create("+255712345678")
    body = {"name": "Another", "phone_number": "00 255 712 345 678"}
    answer = await api.call("POST", "/admin/tenants", json=body)
    assert (answer.status, answer.kind, answer.fields) == (
        409,
        "already-exists",
        ["phone_number"],
    )
    other = await api.create("+255712345679")
    change = {"phone_number": "+255712345678"}
    answer = await api.call("PATCH", f"/admin/tenants/{other}", json=change)
    assert (answer.status, answer.fields) == (409, ["phone_number"])
    assert len((await api.call("GET", "/admin/tenants")).body["items"]) == 2


async def test_deleting_forgets_the_profile_then_the_rows(api: Api, fleet: FakeFleet) -> None:
    tenant_id = await api.create()
    answer = await api.call("DELETE", f"/admin/tenants/{tenant_id}")
    assert (answer.status, answer.raw) == (204, b"")
    assert [name for name, _ in fleet.calls] == ["forget"]
    assert (await api.call("GET", f"/admin/tenants/{tenant_id}")).status == 404
    assert (await api.call("DELETE", f"/admin/tenants/{tenant_id}")).kind == "not-found"
    assert len(fleet.calls) == 1
