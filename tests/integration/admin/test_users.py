"""Admin users: what each role may, who may change whom, and that nobody locks himself out."""

import json
from uuid import uuid4

import pytest

from flowhq.admin.credentials import Credentials, PostgresCredentials
from flowhq.db.pool import Database
from tests.fakes.admin import FakeAudit
from tests.integration.admin.conftest import PASSWORD, Api
from tests.integration.admin.people import (
    ASHA,
    ASHAS_PASSWORD,
    Browser,
    as_program,
    as_user,
    create_token,
    create_user,
)
from tests.pg import fetchval


@pytest.fixture
def credentials(database: Database) -> Credentials:
    return PostgresCredentials(database)


async def test_a_user_signs_in_with_his_own_password(api: Api) -> None:
    await create_user(api, role="operator")
    answer = await api.call("GET", "/admin/session", headers=as_user())
    assert (answer.status, answer.body["principal"]) == (200, f"user:{ASHA}")
    assert "tenants:write" in answer.body["scopes"]
    assert "admin" not in answer.body["scopes"]
    assert (answer.body["tenants"], answer.body["csrf_token"]) == (None, None)
    for headers in (as_user(password=PASSWORD), as_user(name="admin")):
        assert (await api.call("GET", "/admin/session", headers=headers)).status == 401


async def test_names_are_one_whatever_their_case(api: Api) -> None:
    await create_user(api, name="Asha@Duka.Example")
    assert (await api.call("GET", "/admin/session", headers=as_user(ASHA.upper()))).status == 200
    body = {"name": ASHA.upper(), "role": "viewer", "password": ASHAS_PASSWORD}
    answer = await api.call("POST", "/admin/users", json=body)
    assert (answer.status, answer.kind, answer.fields) == (409, "already-exists", ["name"])
    answer = await api.call("POST", "/admin/users", json=body | {"name": "ADMIN"})
    assert (answer.status, answer.fields) == (409, ["name"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "ä"}, "name"),
        ({"password": "short"}, "password"),
        ({"password": " " * 12}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"role": "owner"}, "role"),
        ({"rolle": "admin"}, "rolle"),
    ],
)
async def test_what_cannot_be_a_user_is_refused(
    api: Api, change: dict[str, str], field: str
) -> None:
    body = {"name": "juma", "password": "nywila-ndefu-sana", "role": "viewer"} | change
    answer = await api.call("POST", "/admin/users", json=body)
    assert (answer.status, answer.fields) == (400, [field])
    assert "nywila" not in answer.raw.decode()
    assert (await api.call("GET", "/admin/users")).body["items"] == []


@pytest.mark.parametrize(
    ("role", "reads", "operates", "administers"),
    [
        ("viewer", 200, 403, 403),
        ("operator", 200, 200, 403),
        ("admin", 200, 200, 200),
    ],
)
async def test_a_role_reaches_this_far(
    api: Api, role: str, reads: int, operates: int, administers: int
) -> None:
    tenant_id = await api.create()
    await create_user(api, role=role)
    me = as_user()
    assert (await api.call("GET", "/admin/tenants", headers=me)).status == reads
    path = f"/admin/tenants/{tenant_id}/pause"
    assert (await api.call("POST", path, headers=me)).status == operates
    assert (await api.call("GET", "/admin/users", headers=me)).status == administers
    assert (await api.call("GET", "/admin/audit", headers=me)).status == administers


async def test_a_new_role_holds_from_the_next_request_on(api: Api) -> None:
    user_id = await create_user(api, role="viewer")
    assert (await api.call("GET", "/admin/users", headers=as_user())).status == 403
    answer = await api.call("PATCH", f"/admin/users/{user_id}", json={"role": "admin"})
    assert (answer.status, answer.body["role"]) == (200, "admin")
    assert (await api.call("GET", "/admin/users", headers=as_user())).status == 200


async def test_a_disabled_user_is_out_at_once_and_comes_back(api: Api) -> None:
    user_id = await create_user(api)
    assert (await api.call("GET", "/admin/session", headers=as_user())).status == 200
    answer = await api.call("PATCH", f"/admin/users/{user_id}", json={"disabled": True})
    assert answer.body["disabled_at"] is not None
    assert (await api.call("GET", "/admin/session", headers=as_user())).status == 401
    assert (await Browser(api).log_in()).status == 401
    await api.call("PATCH", f"/admin/users/{user_id}", json={"disabled": False})
    assert (await api.call("GET", "/admin/session", headers=as_user())).status == 200


@pytest.mark.parametrize(
    "change", [{"disabled": True}, {"role": "viewer"}, {"password": "another-password-x"}]
)
async def test_the_last_admin_cannot_lock_himself_out(api: Api, change: dict[str, object]) -> None:
    user_id = await create_user(api)
    answer = await api.call("PATCH", f"/admin/users/{user_id}", json=change, headers=as_user())
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert answer.body["next_step"]
    assert (await api.call("GET", "/admin/users", headers=as_user())).status == 200


async def test_nobody_makes_more_of_a_user_than_he_is_himself(api: Api) -> None:
    viewer = await create_user(api, "viewer", "viewer", "viewer-password-1")
    boss = await create_user(api, "boss", "admin", "boss-password-12")
    _, token = await create_token(api, "admin", "status:read", "tenants:read")
    me = as_program(token)
    for method, path, body in (
        ("POST", "/admin/users", {"name": "x", "role": "admin", "password": "password-of-x"}),
        ("POST", "/admin/users", {"name": "x", "role": "viewer", "password": "password-of-x"}),
        ("PATCH", f"/admin/users/{boss}", {"password": "taken-over-now"}),
        ("PATCH", f"/admin/users/{viewer}", {"role": "admin"}),
    ):
        answer = await api.call(method, path, json=body, headers=me)
        assert (answer.status, answer.kind) == (403, "forbidden"), (method, body)
    assert (
        await api.call("GET", "/admin/session", headers=as_user("boss", "boss-password-12"))
    ).status == 200


async def test_one_changes_ones_own_password_with_the_present_one(api: Api) -> None:
    await create_user(api, role="viewer")
    new = "mpya-kabisa-2026"
    body = {"current_password": "wrong", "new_password": new}
    answer = await api.call("POST", "/admin/password", json=body, headers=as_user())
    assert (answer.status, answer.fields) == (400, ["current_password"])
    body["current_password"] = ASHAS_PASSWORD
    answer = await api.call("POST", "/admin/password", json=body, headers=as_user())
    assert answer.status == 204
    assert (await api.call("GET", "/admin/session", headers=as_user())).status == 401
    assert (await api.call("GET", "/admin/session", headers=as_user(password=new))).status == 200


async def test_who_has_no_password_of_his_own_cannot_change_it(api: Api) -> None:
    body = {"current_password": PASSWORD, "new_password": "mpya-kabisa-2026"}
    _, token = await create_token(api, "status:read")
    for headers in ({}, as_program(token)):
        answer = await api.call("POST", "/admin/password", json=body, headers=headers)
        assert (answer.status, answer.kind) == (409, "wrong-state")


async def test_users_are_listed_by_page_without_their_hashes(api: Api) -> None:
    for number in range(3):
        await create_user(api, f"user{number}", "viewer")
    first = (await api.call("GET", "/admin/users?limit=2")).body
    rest = (await api.call("GET", f"/admin/users?limit=2&after={first['next']}")).body
    assert [user["name"] for user in first["items"] + rest["items"]] == ["user2", "user1", "user0"]
    assert rest["next"] is None
    assert "argon2" not in json.dumps(first)
    assert first["items"][0]["created_by"] == "user:admin"


async def test_an_unknown_user_is_not_found(api: Api) -> None:
    for user in (uuid4(), "asha"):
        assert (await api.call("GET", f"/admin/users/{user}")).kind == "not-found"
        answer = await api.call("PATCH", f"/admin/users/{user}", json={"disabled": True})
        assert answer.kind == "not-found"


async def test_the_audit_tells_of_users_and_never_of_passwords(
    api: Api, audit: FakeAudit, postgres_url: str
) -> None:
    user_id = await create_user(api, role="viewer")
    body = {"role": "operator", "password": "siri-siri-siri"}
    await api.call("PATCH", f"/admin/users/{user_id}", json=body)
    changed = [change for row in audit.entries.values() for change in row.changes]
    told = str(changed)
    assert {change.field for change in changed} == {"id", "name", "role", "disabled", "password"}
    assert "'viewer', after='operator'" in told
    assert ASHAS_PASSWORD not in told
    assert "siri-siri" not in told
    stored = await fetchval(postgres_url, "SELECT password_hash FROM admin_users")
    assert stored.startswith("$argon2id$")


async def test_a_change_to_what_is_no_more_is_refused(api: Api) -> None:
    path = f"/admin/users/{await create_user(api, role='viewer')}"
    shown = await api.call("GET", path)
    seen = {"If-Match": shown.headers["ETag"]}
    known = await api.call("GET", path, headers={"If-None-Match": shown.headers["ETag"]})
    assert (known.status, known.raw) == (304, b"")
    first = await api.call("PATCH", path, json={"role": "operator"}, headers=seen)
    assert (first.status, first.body["role"]) == (200, "operator")
    for body in ({"role": "admin"}, {"disabled": True}, {}):
        lost = await api.call("PATCH", path, json=body, headers=seen)
        assert (lost.status, lost.kind) == (409, "changed-meanwhile")
    now = await api.call("GET", path)
    assert (now.body["role"], now.body["disabled_at"]) == ("operator", None)
    assert now.headers["ETag"] == first.headers["ETag"]
