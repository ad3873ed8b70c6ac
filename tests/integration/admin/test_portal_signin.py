"""Sign-in by OpenID Connect against an issuer of the tests, and everything that is no sign-in."""

import base64
import time
from collections.abc import AsyncIterator, Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from flowhq.admin.portal_store import PortalStore
from flowhq.admin.store import PostgresStore
from flowhq.config import EgressSettings, PortalSettings
from flowhq.db.pool import Database
from flowhq.egress.client import EgressClient
from flowhq.model import TenantId
from tests.fakes.admin import FakeAudit
from tests.fakes.issuer import Claims, Issuer, new_key, signed_with_public_key, unsigned
from tests.integration.admin.conftest import Answer, Api
from tests.integration.admin.signin import egress, issuer, issuer_key, portal_settings

__all__ = ["egress", "issuer", "issuer_key", "portal_settings"]

SESSION = "__Host-flowhq-portal"
ATTEMPT = "__Host-flowhq-signin"


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


class Browser:
    """An owner's browser: follows nothing by itself, keeps the cookies it is given."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Authorization": "", "Cookie": cookie} | options.pop("headers", {})
        answer = await self.api.call(
            method, path, headers=headers, allow_redirects=False, **options
        )
        for line in answer.headers.getall("Set-Cookie", []):
            self.set_cookies.append(line)
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    async def start(self) -> str:
        """The way back that the issuer sends the browser on."""
        answer = await self.call("GET", "/portal/oidc/start")
        assert answer.status == 303, answer.body
        async with self.api.session.get(
            answer.headers["Location"], allow_redirects=False
        ) as response:
            assert response.status == 302
            return response.headers["Location"].removeprefix(self.api.base)

    async def sign_in(self) -> Answer:
        return await self.call("GET", await self.start())

    async def change(self, method: str, path: str, **options: Any) -> Answer:
        """With the session's token, as a page of the portal would."""
        token = (await self.call("GET", "/portal/session")).body["csrf_token"]
        return await self.call(method, path, headers={"X-CSRF-Token": token}, **options)


@pytest.fixture
def browser(api: Api) -> Browser:
    return Browser(api)


async def tenants(api: Api) -> list[Any]:
    return list((await api.call("GET", "/admin/tenants")).body["items"])


# -- what works ------------------------------------------------------------------------------------


async def test_an_owner_signs_in_and_gets_a_tenant(browser: Browser, issuer: Issuer) -> None:
    answer = await browser.sign_in()
    assert (answer.status, answer.headers["Location"]) == (303, "/portal/signed-in")
    page = await browser.call("GET", answer.headers["Location"])
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    me = (await browser.call("GET", "/portal/me")).body
    assert (me["user"]["email"], me["user"]["name"]) == ("asha@example.com", "Asha Juma")
    assert (me["tenant"]["name"], me["tenant"]["status"]) == ("Asha Juma", "NEW")
    assert [one["id"] for one in await tenants(browser.api)] == [me["tenant"]["id"]]
    again = Browser(browser.api)
    await again.sign_in()
    assert (await again.call("GET", "/portal/me")).body == me
    assert again.cookies[SESSION] != browser.cookies[SESSION]
    assert issuer.asked == ["configuration", "keys"]


async def test_the_cookies_are_for_this_host_alone_and_out_of_scripts_reach(
    browser: Browser,
) -> None:
    await browser.sign_in()
    assert set(browser.cookies) == {SESSION}
    assert len(browser.set_cookies) == 3
    for line in browser.set_cookies:
        parts = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"secure", "httponly", "path=/"} <= parts
        # Lax: the issuer's page sends the browser here, and it must come along.
        assert "samesite=lax" in parts or "max-age=0" in parts
        assert not any(part.startswith("domain") for part in parts)


async def test_what_goes_to_the_issuer_holds_no_secret(browser: Browser, issuer: Issuer) -> None:
    answer = await browser.call("GET", "/portal/oidc/start")
    address = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{issuer.url}/authorize"
    assert query["redirect_uri"] == f"{browser.api.base}/portal/oidc/callback"
    assert (query["code_challenge_method"], query["scope"]) == ("S256", "openid email profile")
    assert browser.cookies[ATTEMPT] not in answer.headers["Location"]
    assert issuer.client_secret not in answer.headers["Location"]
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3


async def test_a_session_is_for_changes_with_its_token_only(browser: Browser) -> None:
    await browser.sign_in()
    for headers in ({}, {"X-CSRF-Token": "x"}):
        answer = await browser.call(
            "PATCH", "/portal/profile", json={"name": "Asha B"}, headers=headers
        )
        assert (answer.status, answer.kind) == (403, "cross-site")
    changed = await browser.change("PATCH", "/portal/profile", json={"name": "Asha B"})
    assert (changed.status, changed.body["name"]) == (200, "Asha B")


async def test_signing_out_ends_the_session(browser: Browser) -> None:
    await browser.sign_in()
    kept = dict(browser.cookies)
    assert (await browser.change("DELETE", "/portal/session")).status == 204
    assert browser.cookies == {}
    browser.cookies = kept
    answer = await browser.call("GET", "/portal/me")
    assert (answer.status, answer.kind) == (401, "unauthorized")


async def test_a_session_ends_by_age_and_by_disuse(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    me = (await browser.call("GET", "/portal/me")).body
    for column, late in (("last_used_at", "31 minutes"), ("created_at", "13 hours")):
        await browser.sign_in()
        assert (await browser.call("GET", "/portal/me")).status == 200
        async with database.tenant(TenantId(UUID(me["tenant"]["id"]))) as tx:
            await tx.execute(
                f"UPDATE portal_sessions SET {column} = now() - interval '{late}'"  # noqa: S608
            )
        assert (await browser.call("GET", "/portal/me")).status == 401


async def test_a_new_key_of_the_issuer_is_looked_up_once(
    browser: Browser, issuer: Issuer, api: Api
) -> None:
    await browser.sign_in()
    issuer.key = new_key("second")
    issuer.published = [issuer.key]
    answer = await Browser(api).sign_in()
    # Read a moment ago: it is not read again for each unknown key.
    assert (answer.status, answer.kind) == (403, "sign-in-failed")
    assert issuer.asked.count("keys") == 1


# -- what is refused -------------------------------------------------------------------------------


def _claim(name: str, value: object) -> Callable[[Claims], None]:
    def bend(claims: Claims) -> None:
        claims[name] = value

    return bend


def _without(name: str) -> Callable[[Claims], None]:
    def bend(claims: Claims) -> None:
        del claims[name]

    return bend


BENT = [
    ("expired", lambda claims: claims.update(exp=int(time.time()) - 120)),
    ("no expiry", _without("exp")),
    ("an expiry that is no time", _claim("exp", "tomorrow")),
    ("old", lambda claims: claims.update(iat=int(time.time()) - 3600)),
    ("from the future", lambda claims: claims.update(iat=int(time.time()) + 3600)),
    ("not yet valid", lambda claims: claims.update(nbf=int(time.time()) + 3600)),
    ("no time of issue", _without("iat")),
    ("another audience", _claim("aud", "somebody-else")),
    ("an empty audience", _claim("aud", [])),
    ("no audience", _without("aud")),
    ("many audiences, made for another", _claim("aud", ["flowhq-test", "other"])),
    ("made for another party", _claim("azp", "other")),
    ("another issuer", _claim("iss", "https://accounts.example.com")),
    ("no issuer", _without("iss")),
    ("another nonce", _claim("nonce", "x" * 64)),
    ("no nonce", _without("nonce")),
    ("a nonce that is no text", _claim("nonce", ["x"])),
    ("no subject", _without("sub")),
    ("an address not verified", _claim("email_verified", False)),
    ("verified in words only", _claim("email_verified", "true")),
    ("nothing about verification", _without("email_verified")),
    ("no address", _without("email")),
    ("an address that is none", _claim("email", "asha")),
    ("an address that is a list", _claim("email", ["asha@example.com"])),
]


@pytest.mark.parametrize("bend", [pytest.param(bend, id=name) for name, bend in BENT])
async def test_a_token_that_is_not_for_this_sign_in_is_refused(
    browser: Browser, issuer: Issuer, bend: Callable[[Claims], None]
) -> None:
    issuer.bend = bend
    await _is_refused(browser)


def _forged(issuer: Issuer) -> Callable[[Claims], str]:
    stranger = Issuer(new_key(str(issuer.key.kid)))
    return stranger.signed


def _of_unknown_key(issuer: Issuer) -> Callable[[Claims], str]:
    return Issuer(new_key("unknown")).signed


def _altered(issuer: Issuer) -> Callable[[Claims], str]:
    def sign(claims: Claims) -> str:
        head, _, signature = issuer.signed(claims).split(".")
        body = issuer.signed(claims | {"email": "juma@example.com"}).split(".")[1]
        return f"{head}.{body}.{signature}"

    return sign


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_forged, id="another key under the same name"),
        pytest.param(_of_unknown_key, id="a key that the issuer does not have"),
        pytest.param(_altered, id="altered after it was signed"),
        pytest.param(lambda issuer: unsigned, id="alg none"),
        pytest.param(signed_with_public_key, id="the public key as a secret"),
        pytest.param(lambda issuer: lambda claims: "", id="empty"),
        pytest.param(lambda issuer: lambda claims: "a.b.c", id="no token"),
        pytest.param(lambda issuer: lambda claims: "é", id="no ascii"),
    ],
)
async def test_a_token_that_the_issuer_did_not_sign_is_refused(
    browser: Browser, issuer: Issuer, make: Callable[[Issuer], Callable[[Claims], str]]
) -> None:
    issuer.sign = make(issuer)
    await _is_refused(browser)


async def _is_refused(browser: Browser) -> None:
    answer = await browser.sign_in()
    assert (answer.status, answer.kind) == (403, "sign-in-failed")
    assert SESSION not in browser.cookies
    assert await tenants(browser.api) == []


async def test_an_answer_for_another_browser_is_refused(browser: Browser, api: Api) -> None:
    stolen = await browser.start()
    other = Browser(api)
    assert (await other.call("GET", stolen)).kind == "sign-in-failed"
    await other.start()
    assert (await other.call("GET", stolen)).kind == "sign-in-failed"
    for cookie in ("", "x", "\u00e9", "x" * 500):
        other.cookies = {ATTEMPT: cookie}
        assert (await other.call("GET", stolen)).kind == "sign-in-failed"
    assert await tenants(api) == []
    assert (await browser.call("GET", stolen)).status == 303


async def test_a_code_is_good_once_and_for_its_own_attempt(browser: Browser, api: Api) -> None:
    back = await browser.start()
    attempt = dict(browser.cookies)
    assert (await browser.call("GET", back)).status == 303
    browser.cookies = attempt
    assert (await browser.call("GET", back)).kind == "sign-in-failed"
    # Somebody else's code, put into one's own attempt.
    other = Browser(api)
    code = parse_qs(urlsplit(await other.start()).query)["code"][0]
    mine = urlsplit(await browser.start())
    state = parse_qs(mine.query)["state"][0]
    answer = await browser.call("GET", f"{mine.path}?code={code}&state={state}")
    assert (answer.status, answer.kind) == (403, "sign-in-failed")


async def test_a_refusal_of_the_issuer_is_told(browser: Browser, issuer: Issuer) -> None:
    issuer.refuses = True
    answer = await browser.sign_in()
    assert (answer.status, answer.kind) == (403, "sign-in-failed")
    issuer.refuses = False
    back = await browser.start()
    other = back.replace("iss=", "iss=https%3A%2F%2Fother")
    assert (await browser.call("GET", other)).kind == "sign-in-failed"
    assert (await browser.call("GET", "/portal/oidc/callback")).kind == "sign-in-failed"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://accounts.example.com"},
        {"token_endpoint": None},
        {"jwks_uri": "http://example.com/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_an_issuer_that_describes_itself_wrongly_is_not_used(
    browser: Browser, issuer: Issuer, discovery: dict[str, Any]
) -> None:
    issuer.discovery = discovery
    answer = await browser.call("GET", "/portal/oidc/start")
    assert (answer.status, answer.kind) == (502, "issuer-unavailable")
    issuer.discovery = {}
    assert (await browser.sign_in()).status == 303


async def test_a_session_made_up_is_none(browser: Browser) -> None:
    raw = base64.urlsafe_b64encode(bytes(48)).decode()
    for secret in ("x", raw, raw[:-1], "é" * 64):
        browser.cookies = {SESSION: secret}
        answer = await browser.call("GET", "/portal/me")
        assert (answer.status, answer.kind) == (401, "unauthorized")


async def test_a_portals_key_has_no_session(browser: Browser, portal: PortalStore) -> None:
    key = await portal.create_key("web")
    headers = {"x-portal-key": key.secret, "x-user-email": "asha@example.com"}
    for method in ("GET", "DELETE"):
        answer = await browser.call(method, "/portal/session", headers=headers)
        assert (answer.status, answer.kind) == (409, "wrong-state")


class TestWithoutAnIssuer:
    @pytest.fixture
    def portal_settings(self) -> PortalSettings:
        return PortalSettings()

    async def test_nobody_signs_in(self, browser: Browser) -> None:
        answer = await browser.call("GET", "/portal/oidc/start")
        assert (answer.status, answer.kind) == (404, "not-found")
        assert browser.cookies == {}


class TestWithAnIssuerThatIsAway:
    @pytest.fixture
    def portal_settings(self) -> PortalSettings:
        return PortalSettings(issuer="http://127.0.0.1:1", client_id="x")

    async def test_it_is_told(self, browser: Browser) -> None:
        answer = await browser.call("GET", "/portal/oidc/start")
        assert (answer.status, answer.kind) == (502, "issuer-unavailable")


class TestWithAnIssuerOutOfReach:
    @pytest.fixture
    async def egress(self) -> AsyncIterator[EgressClient]:
        async with EgressClient(EgressSettings()) as client:
            yield client

    async def test_the_guard_of_the_way_out_holds(self, browser: Browser, issuer: Issuer) -> None:
        answer = await browser.call("GET", "/portal/oidc/start")
        assert (answer.status, answer.kind) == (502, "issuer-unavailable")
        assert issuer.asked == []


async def test_a_session_that_was_there_before_the_sign_in_is_worth_nothing_after(
    browser: Browser,
) -> None:
    await browser.sign_in()
    before = Browser(browser.api)
    before.cookies = dict(browser.cookies)
    await browser.sign_in()
    assert (await before.call("GET", "/portal/me")).status == 401
    assert (await browser.call("GET", "/portal/me")).status == 200


async def test_a_sign_in_stands_in_the_audit(browser: Browser, audit: FakeAudit) -> None:
    await browser.sign_in()
    me = (await browser.call("GET", "/portal/me")).body
    await browser.call("GET", "/portal/oidc/callback")
    (row,) = audit.entries.values()
    assert (row.entry.route, row.entry.principal) == (
        "portal_oidc_callback",
        f"portal:{me['user']['id']}",
    )
    changed = {change.field: change.after for change in row.changes}
    assert changed == {"tenant": me["tenant"]["id"], "user": me["user"]["id"]}
