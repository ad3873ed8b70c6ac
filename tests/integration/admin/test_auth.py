"""Who gets in, and what is refused before anybody looks at a password."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from pydantic import SecretStr

from flowhq.admin import auth, passwords, throttle
from flowhq.admin.app import ROUTES, create_app
from flowhq.admin.auth import Authenticator, Sent
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.ports import AdminDeps
from flowhq.admin.problems import ProblemError
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings
from flowhq.db.users import NewUser, UserChanges
from flowhq.errors import MisconfiguredError
from flowhq.password import NOBODYS_HASH, verify_password
from tests.fakes.admin import FakeAudit, FakeBackups, FakeFleet, FakeStore
from tests.fakes.credentials import FakeCredentials
from tests.fakes.outward import unused_outward
from tests.integration.admin.conftest import PASSWORD, TOKEN, Api, QuickClock, basic

NOBODY = {"Authorization": ""}
# Open to all as well: no issuer is set up, and nobody asked for a sign-in.
UNREADY = {"portal_oidc_start": 404, "portal_oidc_callback": 403}
WRONG = [
    "",
    "Basic",
    "Basic !!!",
    "Basic " + "QQ==",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    "Digest username=admin",
    "Negotiate x",
    basic("wrong"),
    basic(""),
    basic(PASSWORD + "\0"),
    basic(PASSWORD.upper()),
    basic(PASSWORD, user="anybody"),
    basic(PASSWORD, user=""),
    basic(TOKEN),
    f"Bearer {PASSWORD}",
    "Basic " + "A" * 6000,
]


@pytest.mark.parametrize("header", WRONG)
async def test_wrong_credentials_are_refused(api: Api, store: FakeStore, header: str) -> None:
    answer = await api.call("GET", "/admin/tenants", headers={"Authorization": header})
    assert (answer.status, answer.kind) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header", [basic(PASSWORD), basic(PASSWORD, user="Admin"), f"Bearer {TOKEN}"]
)
async def test_the_password_and_the_token_are_let_in(api: Api, header: str) -> None:
    for _ in range(2):
        answer = await api.call("GET", "/admin/tenants", headers={"Authorization": header})
        assert answer.status == 200


async def test_a_page_is_refused_without_the_browser_asking_for_a_password(api: Api) -> None:
    for mode, asks in (("navigate", True), ("cors", False), ("same-origin", False)):
        for given in (NOBODY, {"Authorization": basic("wrong")}):
            headers = given | {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": "same-origin"}
            answer = await api.call("GET", "/admin/tenants", headers=headers)
            assert answer.status == 401
            assert ("Basic" in answer.headers["WWW-Authenticate"]) is asks, mode


async def test_no_route_but_health_answers_without_credentials(
    api: Api, store: FakeStore, fleet: FakeFleet
) -> None:
    tenant_id = await api.create()
    async with aiohttp.ClientSession() as session:
        for route in ROUTES:
            path = route.path.replace("{tenant_id}", tenant_id)
            async with session.request(route.method, api.base + path) as response:
                # Signing in and the page of a pairing link are open to all, and want a body.
                open_to_all = 415 if route.method == "POST" else 200
                open_to_all = UNREADY.get(route.name, open_to_all)
                expected = open_to_all if route.public else 401
                assert response.status == expected, route.path
        for path in ("/", "/admin/nothing"):
            async with session.get(api.base + path) as response:
                assert response.status == 401
    assert [route.path for route in ROUTES if route.public] == [
        "/health",
        "/health/live",
        "/health/ready",
        "/admin/session",
        "/portal/oidc/start",
        "/portal/oidc/callback",
        "/pair/code",
        "/pair/renew",
        "/pair",
        "/pair/page.js",
        "/pair/page.css",
        "/portal/signed-in",
        "/portal/signed-in/page.js",
    ]
    assert fleet.calls == []
    assert len(store.tenants) == 1


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hash that each verification was done with, in order."""
    hashes: list[str] = []

    def counting(stored: str, password: bytes) -> bool:
        hashes.append(stored)
        return verify_password(stored, password)

    monkeypatch.setattr("flowhq.admin.passwords.verify_password", counting)
    return hashes


async def test_a_right_password_is_verified_once(api: Api, verified: list[str]) -> None:
    answers = await asyncio.gather(*(api.call("GET", "/admin/tenants") for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    # Two may start before the first is done; nobody after them.
    assert len(verified) <= passwords.AT_ONCE


async def test_unknown_and_disabled_users_cost_one_verification_like_known_ones(
    api: Api, verified: list[str], credentials: FakeCredentials, password_hash: str
) -> None:
    for name in ("asha", "juma"):
        await credentials.create_user(NewUser(name, password_hash, "viewer", "test"))
    juma = next(user for user in credentials.users.values() if user.name == "juma")
    await credentials.update_user(juma.user_id, UserChanges(disabled=True))
    answers = []
    for name, password in (
        ("asha", "wrong"),
        ("admin", "wrong"),
        ("nobody", "wrong"),
        ("not a name\0", "wrong"),
        ("juma", PASSWORD),
    ):
        headers = {"Authorization": basic(password, user=name)}
        answer = await api.call("GET", "/admin/tenants", headers=headers)
        answers.append((answer.status, answer.body["detail"], answer.body["next_step"]))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    assert verified == [password_hash, password_hash, *[NOBODYS_HASH] * 3]


async def test_nobodys_password_is_never_right(clock: QuickClock) -> None:
    with closing(passwords.Passwords(clock)) as checked:
        assert not await checked.verify(None, b"")
        assert not checked.remembers(NOBODYS_HASH, b"")


async def test_guesses_are_slowed_by_the_name_too_wherever_they_come_from(
    clock: QuickClock, credentials: FakeCredentials, password_hash: str
) -> None:
    authenticator = Authenticator(password_hash, credentials, clock)
    with closing(authenticator.passwords):
        for number in range(4):
            with pytest.raises(ProblemError):
                await authenticator.log_in("asha", f"guess {number}", f"192.0.2.{number}")
        with pytest.raises(ProblemError):
            await authenticator.log_in("juma", "guess", "192.0.2.77")
        assert clock.waits == [0.25, 0.5, 1.0, 2.0, 0.25]
        await authenticator.log_in("admin", PASSWORD, "192.0.2.1")
        assert len(clock.waits) == 5


async def test_wrong_guesses_wait_longer_each_time_and_the_right_one_never(
    api: Api, clock: QuickClock
) -> None:
    for number in range(7):
        headers = {"Authorization": basic(f"guess {number}")}
        await api.call("GET", "/admin/tenants", headers=headers)
    assert clock.waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert (await api.call("GET", "/admin/tenants")).status == 200
    assert len(clock.waits) == 7


async def test_many_different_guesses_at_once_are_refused_unread(password_hash: str) -> None:
    gate = asyncio.Event()

    class HeldClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await gate.wait()

    authenticator = Authenticator(password_hash, FakeCredentials(), HeldClock())
    with closing(authenticator.passwords):
        guesses = [
            asyncio.create_task(authenticator.admit(_sent(f"guess {number}", "127.0.0.1")))
            for number in range(throttle.MAX_TRYING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as refused:
            await authenticator.admit(_sent("one more", "127.0.0.1"))
        assert refused.value.kind.status == 429
        assert int(refused.value.headers["Retry-After"]) > 0
        await authenticator.admit(_sent(PASSWORD, "127.0.0.2"))
        gate.set()
        results = await asyncio.gather(*guesses, return_exceptions=True)
        assert [r.kind.status for r in results if isinstance(r, ProblemError)] == [401] * 8
        await authenticator.admit(_sent(PASSWORD, "127.0.0.1"))


def _sent(password: str, address: str) -> Sent:
    return Sent(basic(password), None, address)


async def test_the_application_refuses_to_be_built_without_a_password(
    store: FakeStore,
    portal: PortalStore,
    fleet: FakeFleet,
    clock: QuickClock,
) -> None:
    settings = AdminSettings(password_hash=SecretStr(""))
    deps = AdminDeps(
        store=store,
        fleet=fleet,
        settings=settings,
        clock=clock,
        version="0",
        started_at=clock.now(),
        audit=FakeAudit(),
        credentials=FakeCredentials(),
        portal=portal,
        backups=FakeBackups(),
        outward=unused_outward(),
    )
    with pytest.raises(MisconfiguredError, match="hash-password"):
        create_app(deps)


SECRET_KEYS = [
    "password",
    "token",
    "admin_password",
    "access_token",
    "key",
    "api_key",
    "apiKey",
    "Password",
    "admin-password",
    "auth",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("path", ["/admin/tenants", "/health", "/nowhere"])
async def test_a_secret_in_the_address_is_refused_and_not_logged(
    api: Api, key: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logged:
        answer = await api.call("GET", f"{path}?{key}={PASSWORD}", headers=NOBODY)
    assert (answer.status, answer.kind, answer.fields) == (400, "secret-in-url", [key])
    assert "Authorization: Bearer" in answer.body["next_step"]
    assert PASSWORD.encode() not in answer.raw
    assert logged
    assert PASSWORD not in str(logged)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1", "[::2]"],
)
async def test_another_host_name_is_refused(api: Api, host: str) -> None:
    answer = await api.call("GET", "/health", headers={"Host": host})
    assert (answer.status, answer.kind) == (421, "wrong-host")


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "LOCALHOST:80", "[::1]:9", "127.9.9.9"]
)
async def test_every_name_of_loopback_is_taken(api: Api, host: str) -> None:
    assert (await api.call("GET", "/health", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    api: Api, fleet: FakeFleet, headers: dict[str, str]
) -> None:
    tenant_id = await api.create()
    for method, path in (("POST", "/worker/start"), ("DELETE", "")):
        answer = await api.call(method, f"/admin/tenants/{tenant_id}{path}", headers=headers)
        assert (answer.status, answer.kind) == (403, "cross-site")
    assert fleet.calls == []


async def test_an_own_page_may_change_things(api: Api) -> None:
    tenant_id = await api.create()
    path = f"/admin/tenants/{tenant_id}/worker/"
    same: dict[str, Any] = {"Sec-Fetch-Site": "same-origin", "Origin": api.base}
    assert (await api.call("POST", path + "start", headers=same)).status == 200
    assert (await api.call("POST", path + "stop", headers={"Origin": api.base})).status == 200


async def test_every_answer_has_the_security_headers_and_the_id(api: Api) -> None:
    for path in ("/health", "/nowhere", "/admin/tenants", "/admin/tenants?limit=-1"):
        headers = (await api.call("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Request-Id"]
        assert "aiohttp" not in headers["Server"]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-123._X", True), ("x" * 65, False), ("a b", False), ("", False)]
)
async def test_a_harmless_request_id_is_kept(api: Api, given: str, kept: bool) -> None:
    answer = await api.call("GET", "/health", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept


async def test_no_module_of_the_api_reads_a_secret_from_the_address() -> None:
    sources = Path(auth.__file__).parent.glob("*.py")
    readers = {path.name for path in sources if "request.query" in path.read_text("utf-8")}
    assert readers == {"guard.py", "inputs.py"}
