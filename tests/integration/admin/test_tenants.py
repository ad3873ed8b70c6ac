"""Tenants over HTTP: created whole, shown with what is observed, changed in part, deleted.

The same tests hold the store in memory and the one on PostgreSQL.
"""

import asyncio
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


async def test_a_change_to_what_was_seen_is_made(api: Api) -> None:
    path = f"/admin/tenants/{await api.create()}"
    seen = (await api.call("GET", path)).headers["ETag"]
    changed = await api.call("PATCH", path, json={"name": "A"}, headers={"If-Match": seen})
    assert (changed.status, changed.body["name"]) == (200, "A")
    assert changed.headers["ETag"] == (await api.call("GET", path)).headers["ETag"] != seen


async def test_a_change_to_what_is_no_more_is_refused(api: Api, fleet: FakeFleet) -> None:
    path = f"/admin/tenants/{await api.create()}"
    seen = (await api.call("GET", path)).headers["ETag"]
    await api.call("PATCH", path, json={"language": "EN"})
    calls = len(fleet.calls)
    for method, options in (("PATCH", {"json": {"name": "B"}}), ("PATCH", {"json": {}})):
        lost = await api.call(method, path, headers={"If-Match": seen}, **options)
        assert (lost.status, lost.kind) == (409, "changed-meanwhile")
        assert lost.body["next_step"]
    lost = await api.call("DELETE", path, headers={"If-Match": seen})
    assert (lost.status, lost.kind) == (409, "changed-meanwhile")
    present = await api.call("GET", path)
    assert (present.body["name"], present.body["config"]["language"]) == ("Mama Asha", "EN")
    assert len(fleet.calls) == calls


async def test_of_two_changes_to_the_same_version_one_is_made(api: Api) -> None:
    path = f"/admin/tenants/{await api.create()}"
    seen = {"If-Match": (await api.call("GET", path)).headers["ETag"]}
    both = await asyncio.gather(
        api.call("PATCH", path, json={"name": "A"}, headers=seen),
        api.call("PATCH", path, json={"name": "B"}, headers=seen),
    )
    assert sorted(answer.status for answer in both) == [200, 409]


async def test_what_the_tenant_does_by_itself_refuses_no_change(api: Api) -> None:
    path = f"/admin/tenants/{await api.create()}"
    seen = (await api.call("GET", path)).headers["ETag"]
    await api.call("POST", f"{path}/worker/start")
    assert (await api.call("GET", path)).headers["ETag"] != seen
    changed = await api.call("PATCH", path, json={"name": "A"}, headers={"If-Match": seen})
    assert changed.status == 200


@pytest.mark.parametrize("tags", ["*", '"no.thing", {}', "W/{}", "{}"])
async def test_any_of_the_tags_will_do(api: Api, tags: str) -> None:
    path = f"/admin/tenants/{await api.create()}"
    tag = (await api.call("GET", path)).headers["ETag"]
    headers = {"If-Match": tags.format(tag)}
    assert (await api.call("DELETE", path, headers=headers)).status == 204


@pytest.mark.parametrize("tags", ["", "abc", '"a" "b"', '"a",', ",".join(['"a"'] * 20)])
async def test_what_is_no_tag_is_refused(api: Api, tags: str) -> None:
    path = f"/admin/tenants/{await api.create()}"
    for method, header in (("DELETE", "If-Match"), ("GET", "If-None-Match")):
        answer = await api.call(method, path, headers={header: tags})
        assert (answer.status, answer.fields) == (400, [header])
    assert (await api.call("GET", path)).status == 200


async def test_what_is_known_is_not_sent_again(api: Api) -> None:
    path = f"/admin/tenants/{await api.create()}"
    tag = (await api.call("GET", path)).headers["ETag"]
    for known in (tag, f'"x.y", {tag}', f"W/{tag}", "*"):
        for method in ("GET", "HEAD"):
            answer = await api.call(method, path, headers={"If-None-Match": known})
            assert (answer.status, answer.raw) == (304, b"")
            assert answer.headers["ETag"] == tag
    await api.call("POST", f"{path}/worker/start")
    answer = await api.call("GET", path, headers={"If-None-Match": tag})
    assert (answer.status, answer.body["worker"]["status"]) == (200, "RUNNING")


async def test_the_list_is_of_those_asked_for(api: Api) -> None:
    asha = await api.create("+255712345601", name="Mama Asha", template_type="BOOKING")
    duka = await api.create("+255712345602", name="Duka 50%", template_type="ECOMMERCE")
    zoo = await api.create("+255712345603", name="Zoo_la", template_type="SUPPORT")
    for query, wanted in (
        ("template_type=ECOMMERCE", [duka]),
        ("status=NEW&desired_state=STOPPED&reason=NOT_STARTED", [zoo, duka, asha]),
        ("status=ACTIVE", []),
        ("q=asha", [asha]),
        ("q=%20MAMA%20", [asha]),
        ("q=a&limit=2", [zoo, duka]),
        ("q=nothing", []),
    ):
        page = (await api.call("GET", f"/admin/tenants?{query}")).body
        assert [tenant["id"] for tenant in page["items"]] == wanted, query
    page = (await api.call("GET", "/admin/tenants?q=a&limit=2")).body
    rest = (await api.call("GET", f"/admin/tenants?q=a&limit=2&after={page['next']}")).body
    assert ([tenant["id"] for tenant in rest["items"]], rest["next"]) == ([asha], None)


async def test_a_choice_that_is_none_is_refused(api: Api) -> None:
    for query in ("status=active", "reason=BORED", "desired_state=UP", "template_type=X"):
        answer = await api.call("GET", f"/admin/tenants?{query}")
        assert (answer.status, answer.fields) == (400, [query.partition("=")[0]])
