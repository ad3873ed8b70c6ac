"""Browser sessions: the cookie, its limits, and that no other page, or person, can use it."""

import hashlib
from http.cookies import SimpleCookie
from typing import Any

import pytest

from flowhq.admin.credentials import Credentials, PostgresCredentials
from flowhq.db.pool import Database
from flowhq.errors import StoreUnavailableError
from tests.fakes.admin import FakeAudit
from tests.integration.admin.conftest import PASSWORD, Api, QuickClock
from tests.integration.admin.people import (
    ASHA,
    ASHAS_PASSWORD,
    Browser,
    as_program,
    as_user,
    create_token,
    create_user,
)
from tests.pg import execute, fetchval

WHO = "/admin/session"


@pytest.fixture
def credentials(database: Database) -> Credentials:
    return PostgresCredentials(database)


@pytest.fixture
async def browser(api: Api) -> Browser:
    """Asha, an admin, signed in."""
    await create_user(api)
    browser = Browser(api)
    assert (await browser.log_in()).status == 201
    return browser


async def test_signing_in_sets_a_cookie_that_only_we_can_read(
    api: Api, browser: Browser, postgres_url: str
) -> None:
    answer = await browser.log_in()
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["__Host-flowhq"]
    assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "Strict", "")
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["max-age"] == str(12 * 3600)
    assert len(cookie.value) == 43
    assert cookie.value not in answer.raw.decode()
    stored = await fetchval(postgres_url, "SELECT secret_sha256 FROM admin_sessions")
    assert stored == hashlib.sha256(cookie.value.encode()).digest()
    assert answer.body["principal"] == f"user:{ASHA}"


async def test_the_cookie_says_who_it_is(browser: Browser) -> None:
    answer = await browser.call("GET", WHO)
    assert (answer.status, answer.body["principal"]) == (200, f"user:{ASHA}")
    assert answer.body["session"]["id"] == browser.session_id
    assert answer.body["csrf_token"] == browser.csrf
    assert (await browser.call("GET", "/admin/users")).status == 200


async def test_the_user_of_the_settings_signs_in_too(api: Api) -> None:
    browser = Browser(api)
    assert (await browser.log_in("Admin", PASSWORD)).status == 201
    assert (await browser.call("GET", WHO)).body["principal"] == "user:admin"


@pytest.mark.parametrize(
    ("user", "password"),
    [(ASHA, "wrong"), ("nobody", ASHAS_PASSWORD), ("admin", "wrong"), ("a b", "x")],
)
async def test_a_wrong_sign_in_is_refused_slowly_and_without_a_cookie(
    api: Api, browser: Browser, clock: QuickClock, user: str, password: str
) -> None:
    for number in range(2):
        answer = await Browser(api).log_in(user, password)
        assert (answer.status, answer.kind) == (401, "unauthorized")
        assert "Set-Cookie" not in answer.headers
        assert not answer.headers["WWW-Authenticate"].startswith("Basic")
        assert len(clock.waits) == number + 1
    assert clock.waits == [0.25, 0.5]


async def test_a_session_that_was_there_before_the_sign_in_is_worth_nothing_after(
    api: Api, browser: Browser
) -> None:
    victim, planted = Browser(api), browser.cookie
    victim.cookie = planted
    assert (await victim.log_in("admin", PASSWORD)).status == 201
    assert victim.cookie != planted
    assert (await victim.call("GET", WHO)).body["principal"] == "user:admin"
    attacker = Browser(api)
    attacker.cookie = planted
    assert (await attacker.call("GET", WHO)).status == 401


async def test_a_made_up_cookie_is_never_taken_over(api: Api) -> None:
    browser = Browser(api)
    browser.cookie = "A" * 43
    assert (await browser.call("GET", WHO)).status == 401
    await browser.log_in("admin", PASSWORD)
    assert browser.cookie != "A" * 43
    for odd in ("A" * 43, "x" * 5000, "\u00fc", "a b"):
        other = Browser(api)
        other.cookie = odd
        assert (await other.call("GET", WHO)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "\u00fc"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    ],
)
async def test_another_page_changes_nothing_with_our_cookie(
    api: Api, browser: Browser, headers: dict[str, str]
) -> None:
    tenant_id = await api.create()
    for method, path in (
        ("POST", f"/admin/tenants/{tenant_id}/pause"),
        ("DELETE", f"/admin/tenants/{tenant_id}"),
        ("DELETE", WHO),
    ):
        answer = await browser.call(method, path, headers=headers)
        assert (answer.status, answer.kind) == (403, "cross-site"), (method, path)
    assert (await browser.call("GET", WHO)).status == 200
    assert (await browser.call("POST", f"/admin/tenants/{tenant_id}/pause")).status == 200


async def test_the_token_of_another_session_does_not_fit(api: Api, browser: Browser) -> None:
    other = Browser(api)
    await other.log_in()
    answer = await browser.call("DELETE", WHO, headers={"X-CSRF-Token": other.csrf})
    assert (answer.status, answer.kind) == (403, "cross-site")


async def test_another_page_cannot_sign_anybody_in(api: Api) -> None:
    body = {"user": "admin", "password": PASSWORD}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await api.anonymous("POST", WHO, json=body, headers=headers)
        assert (answer.status, answer.kind) == (403, "cross-site")


async def test_signing_out_ends_the_session_and_takes_the_cookie(
    api: Api, browser: Browser
) -> None:
    cookie = browser.cookie
    answer = await browser.call("DELETE", WHO)
    assert answer.status == 204
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    browser.cookie = cookie
    assert (await browser.call("GET", WHO)).status == 401
    answer = await api.call("DELETE", WHO)
    assert (answer.status, answer.kind) == (409, "wrong-state")


@pytest.mark.parametrize(
    "ages",
    [
        "created_at = now() - interval '12 hours 1 second', last_used_at = now()",
        "last_used_at = now() - interval '30 minutes 1 second'",
    ],
)
async def test_a_session_ends_after_twelve_hours_or_thirty_idle_minutes(
    browser: Browser, postgres_url: str, ages: str
) -> None:
    await execute(postgres_url, f"UPDATE admin_sessions SET {ages}")  # noqa: S608
    answer = await browser.call("GET", WHO)
    assert (answer.status, answer.body["detail"]) == (401, "The session is over: sign in again.")


async def test_a_session_in_use_stays(browser: Browser, postgres_url: str) -> None:
    for _ in range(3):
        await execute(
            postgres_url,
            "UPDATE admin_sessions SET last_used_at = last_used_at - interval '20 minutes'",
        )
        assert (await browser.call("GET", WHO)).status == 200
    idle = "SELECT now() - last_used_at < interval '1 minute' FROM admin_sessions"
    assert await fetchval(postgres_url, idle)


async def test_what_lets_a_user_in_changes_and_his_sessions_are_over(
    api: Api, browser: Browser
) -> None:
    (user,) = (await api.call("GET", "/admin/users")).body["items"]
    changes: list[dict[str, Any]] = [
        {"role": "operator"},
        {"role": "admin"},
        {"password": "nywila-nyingine-1"},
        {"disabled": True},
    ]
    password = ASHAS_PASSWORD
    for change in changes:
        await api.call("PATCH", f"/admin/users/{user['id']}", json=change)
        assert (await browser.call("GET", WHO)).status == 401, change
        password = str(change.get("password", password))
        expected = 401 if "disabled" in change else 201
        assert (await browser.log_in(ASHA, password)).status == expected


@pytest.mark.parametrize(
    "change",
    [
        "password_hash = '$argon2id$another'",
        "role = 'viewer'",
        "disabled_at = now()",
    ],
)
async def test_a_change_past_the_api_ends_the_session_as_well(
    browser: Browser, postgres_url: str, change: str
) -> None:
    await execute(postgres_url, f"UPDATE admin_users SET {change}")  # noqa: S608
    assert (await browser.call("GET", WHO)).status == 401


async def test_ones_own_new_password_ends_ones_other_sessions(api: Api, browser: Browser) -> None:
    other = Browser(api)
    await other.log_in()
    body = {"current_password": ASHAS_PASSWORD, "new_password": "nywila-nyingine-1"}
    assert (await browser.call("POST", "/admin/password", json=body)).status == 204
    assert (await other.call("GET", WHO)).status == 401


async def test_sessions_of_others_are_an_admins_to_see_and_end(api: Api, browser: Browser) -> None:
    await create_user(api, "juma", "viewer", "jumas-password-1")
    juma = Browser(api)
    await juma.log_in("juma", "jumas-password-1")
    seen = (await juma.call("GET", "/admin/sessions")).body["items"]
    assert [(one["user"], one["current"]) for one in seen] == [("juma", True)]
    answer = await juma.call("DELETE", f"/admin/sessions/{browser.session_id}")
    assert (answer.status, answer.kind) == (404, "not-found")
    page = (await browser.call("GET", "/admin/sessions?limit=1")).body
    rest = (await browser.call("GET", f"/admin/sessions?after={page['next']}")).body
    assert [one["user"] for one in page["items"] + rest["items"]] == ["juma", ASHA]
    assert (await browser.call("DELETE", f"/admin/sessions/{juma.session_id}")).status == 204
    assert (await juma.call("GET", WHO)).status == 401
    assert (await browser.call("GET", WHO)).status == 200


async def test_a_program_without_the_scope_sees_no_sessions(api: Api, browser: Browser) -> None:
    _, token = await create_token(api, "status:read")
    answer = await api.call("GET", "/admin/sessions", headers=as_program(token))
    assert (answer.status, answer.body["items"]) == (200, [])


async def test_a_header_counts_more_than_a_cookie(browser: Browser) -> None:
    answer = await browser.call("GET", WHO, headers=as_user("admin", PASSWORD))
    assert (answer.body["principal"], answer.body["session"]) == ("user:admin", None)
    answer = await browser.call("GET", WHO, headers=as_user("admin", "wrong"))
    assert answer.status == 401


async def test_signing_in_is_entered_in_the_audit_failures_are_not(
    api: Api, browser: Browser, audit: FakeAudit
) -> None:
    audit.entries.clear()
    await browser.log_in(ASHA, "wrong")
    await browser.log_in()
    (row,) = audit.entries.values()
    assert (row.entry.principal, row.entry.route, row.status) == (f"user:{ASHA}", "log_in", 201)
    assert ASHAS_PASSWORD not in str(row)
    assert browser.cookie not in str(row)


async def test_nobody_is_signed_in_without_an_entry(
    api: Api, browser: Browser, audit: FakeAudit
) -> None:
    audit.failure = StoreUnavailableError("The database is away.")
    fresh = Browser(api)
    answer = await fresh.log_in()
    assert (answer.status, fresh.cookie) == (503, "")
