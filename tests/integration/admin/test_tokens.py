"""Tokens of programs: shown once, hashed, limited by scope, tenant and time, taken back at will."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from flowhq.admin.credentials import Credentials, PostgresCredentials
from flowhq.db.pool import Database
from tests.integration.admin.conftest import TOKEN, TOKEN_SECRET, Api
from tests.integration.admin.people import as_program, as_user, create_token, create_user
from tests.pg import execute, fetchval


@pytest.fixture
def credentials(database: Database) -> Credentials:
    return PostgresCredentials(database)


async def test_a_token_is_shown_once_and_stored_as_a_sum(api: Api, postgres_url: str) -> None:
    token_id, text = await create_token(api, "tenants:read", "status:read")
    assert text.startswith(f"fhq_{token_id.replace('-', '')}_")
    secret = text.split("_", 2)[2]
    (shown,) = (await api.call("GET", "/admin/tokens")).body["items"]
    assert shown["id"] == token_id
    assert shown["scopes"] == ["status:read", "tenants:read"]
    assert (shown["created_by"], shown["last_used_at"]) == ("user:admin", None)
    assert secret not in str(shown)
    stored = await fetchval(postgres_url, "SELECT secret_sha256 FROM api_tokens")
    assert stored == hashlib.sha256(secret.encode()).digest()


async def test_a_token_may_what_its_scopes_say_and_nothing_else(api: Api) -> None:
    tenant_id = await api.create()
    _, token = await create_token(api, "tenants:read")
    me = as_program(token)
    assert (await api.call("GET", "/admin/tenants", headers=me)).status == 200
    for method, path in (
        ("POST", f"/admin/tenants/{tenant_id}/pause"),
        ("GET", f"/admin/tenants/{tenant_id}/logs"),
        ("DELETE", f"/admin/tenants/{tenant_id}"),
        ("GET", "/admin/tokens"),
        ("GET", "/health/details"),
    ):
        answer = await api.call(method, path, headers=me)
        assert (answer.status, answer.kind) == (403, "forbidden"), path


async def test_another_tenant_is_told_like_one_that_does_not_exist(api: Api) -> None:
    mine, theirs = await api.create("+255700000001"), await api.create("+255700000002")
    _, token = await create_token(api, "tenants:read", "tenants:operate", tenants=[mine])
    me = as_program(token)
    assert (await api.call("GET", f"/admin/tenants/{mine}", headers=me)).status == 200
    unknown = str(uuid4())
    answers = [
        await api.call(method, f"/admin/tenants/{one}{below}", headers=me)
        for one in (theirs, unknown)
        for method, below in (("GET", ""), ("POST", "/pause"), ("GET", "/qr"))
    ]
    assert {answer.status for answer in answers} == {404}
    told = {answer.body["detail"].replace(theirs, "?").replace(unknown, "?") for answer in answers}
    assert told == {"There is no tenant ?."}
    listed = await api.call("GET", "/admin/tenants", headers=me)
    assert [tenant["id"] for tenant in listed.body["items"]] == [mine]


@pytest.mark.parametrize(
    "token",
    [
        "fhq_",
        "fhq_5d1f7c0e52a54d6e9f530d2f6c1f3f7a",
        f"fhq_5d1f7c0e52a54d6e9f530d2f6c1f3f7a_{TOKEN_SECRET}x",
        f"fhq_5d1f7c0e52a54d6e9f530d2f6c1f3f7z_{TOKEN_SECRET}",
        TOKEN,
        TOKEN.upper(),
        "x" * 5000,
        "ü",
        "a b",
    ],
)
async def test_a_malformed_or_unknown_token_is_refused(api: Api, token: str) -> None:
    answer = await api.call("GET", "/admin/tenants", headers=as_program(token))
    assert (answer.status, answer.kind) == (401, "unauthorized")


async def test_a_wrong_secret_is_refused(api: Api) -> None:
    _, token = await create_token(api, "tenants:read")
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    answer = await api.call("GET", "/admin/tenants", headers=as_program(wrong))
    assert (answer.status, answer.body["detail"]) == (401, "The token is not right.")


async def test_an_expired_token_is_refused_and_says_why(api: Api, postgres_url: str) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    _, token = await create_token(api, "tenants:read", expires_at=at)
    assert (await api.call("GET", "/admin/tenants", headers=as_program(token))).status == 200
    await execute(postgres_url, "UPDATE api_tokens SET expires_at = now()")
    answer = await api.call("GET", "/admin/tenants", headers=as_program(token))
    assert (answer.status, answer.body["detail"]) == (401, "The token has expired.")


async def test_a_revoked_token_is_refused_at_once_and_stays_in_the_list(api: Api) -> None:
    token_id, token = await create_token(api, "tenants:read")
    first = await api.call("DELETE", f"/admin/tokens/{token_id}")
    assert first.status == 200
    answer = await api.call("GET", "/admin/tenants", headers=as_program(token))
    assert (answer.status, answer.body["detail"]) == (401, "The token was revoked.")
    again = await api.call("DELETE", f"/admin/tokens/{token_id}")
    assert again.body == first.body
    assert (await api.call("GET", "/admin/tokens")).body["items"] == [first.body]
    assert (await api.call("DELETE", f"/admin/tokens/{uuid4()}")).kind == "not-found"


async def test_tokens_of_a_disabled_user_are_refused_until_he_is_enabled_again(api: Api) -> None:
    user_id = await create_user(api, role="admin")
    body = {"name": "his", "scopes": ["tenants:read", "admin"]}
    made = await api.call("POST", "/admin/tokens", json=body, headers=as_user())
    first = made.body["token"]
    made = await api.call("POST", "/admin/tokens", json=body, headers=as_program(first))
    second = made.body["token"]
    for disabled, status in ((False, 200), (True, 401), (False, 200)):
        change = {"disabled": disabled}
        assert (await api.call("PATCH", f"/admin/users/{user_id}", json=change)).status == 200
        for token in (first, second):
            answer = await api.call("GET", "/admin/tenants", headers=as_program(token))
            assert answer.status == status
            if disabled:
                assert answer.body["detail"] == "The user who made the token is disabled."


async def test_the_last_use_is_written_once_a_minute(api: Api, postgres_url: str) -> None:
    _, token = await create_token(api, "tenants:read")

    async def use() -> datetime:
        assert (await api.call("GET", "/admin/tenants", headers=as_program(token))).status == 200
        used = await fetchval(postgres_url, "SELECT last_used_at FROM api_tokens")
        assert isinstance(used, datetime)
        return used

    first = await use()
    assert await use() == first
    older = "UPDATE api_tokens SET last_used_at = last_used_at - interval '61 seconds'"
    await execute(postgres_url, older)
    assert await use() >= first


async def test_nobody_gives_a_token_more_than_he_has(api: Api) -> None:
    _, token = await create_token(api, "admin", "tenants:read")
    me = as_program(token)
    for scopes, expected in (
        (["tenants:read"], 201),
        (["admin", "tenants:read"], 201),
        (["tenants:write"], 403),
        (["tenants:read", "messages:read"], 403),
    ):
        body = {"name": "x", "scopes": scopes}
        answer = await api.call("POST", "/admin/tokens", json=body, headers=me)
        assert answer.status == expected, scopes


async def test_a_token_of_some_tenants_makes_no_tokens(api: Api) -> None:
    tenant_id = await api.create()
    _, token = await create_token(api, "admin", tenants=[tenant_id])
    body = {"name": "x", "scopes": ["admin"]}
    answer = await api.call("POST", "/admin/tokens", json=body, headers=as_program(token))
    assert (answer.status, answer.kind) == (403, "forbidden")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"scopes": ["portal"]}, "scopes"),
        ({"name": ""}, "name"),
        ({"tenants": []}, "tenants"),
        ({"tenants": ["x"]}, "tenants[0]"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 4102444800}, "expires_at"),
    ],
)
async def test_what_cannot_be_a_token_is_refused(
    api: Api, change: dict[str, Any], field: str
) -> None:
    body = {"name": "x", "scopes": ["status:read"]} | change
    answer = await api.call("POST", "/admin/tokens", json=body)
    assert (answer.status, answer.fields) == (400, [field])


async def test_a_token_for_an_unknown_tenant_is_refused(api: Api) -> None:
    body = {"name": "x", "scopes": ["tenants:read"], "tenants": [str(uuid4())]}
    assert (await api.call("POST", "/admin/tokens", json=body)).kind == "not-found"
