"""Who gets in, and what is refused before anybody looks at a password."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from pydantic import SecretStr

from flowhq.admin import auth
from flowhq.admin.app import ROUTES, create_app
from flowhq.admin.auth import Authenticator
from flowhq.admin.ports import AdminDeps
from flowhq.admin.problems import ProblemError
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings
from flowhq.errors import MisconfiguredError
from tests.fakes.admin import FakeFleet, FakeStore
from tests.integration.admin.conftest import PASSWORD, TOKEN, Api, QuickClock, basic

NOBODY = {"Authorization": ""}
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
    "header", [basic(PASSWORD), basic(PASSWORD, user="anybody"), f"Bearer {TOKEN}"]
)
async def test_the_password_and_the_token_are_let_in(api: Api, header: str) -> None:
    for _ in range(2):
        answer = await api.call("GET", "/admin/tenants", headers={"Authorization": header})
        assert answer.status == 200


async def test_no_route_but_health_answers_without_credentials(
    api: Api, store: FakeStore, fleet: FakeFleet
) -> None:
    tenant_id = await api.create()
    async with aiohttp.ClientSession() as session:
        for route in ROUTES:
            path = route.path.replace("{tenant_id}", tenant_id)
            async with session.request(route.method, api.base + path) as response:
                expected = 200 if route.public else 401
                assert response.status == expected, route.path
        for path in ("/", "/admin/nothing"):
            async with session.get(api.base + path) as response:
                assert response.status == 401
    assert [route.path for route in ROUTES if route.public] == [
        "/health",
        "/health/live",
        "/health/ready",
    ]
    assert fleet.calls == []
    assert len(store.tenants) == 1


async def test_a_right_password_is_verified_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []
    original = auth.Authenticator._verify  # noqa: SLF001

    def counting(self: Authenticator, password: bytes) -> bool:
        verified.append(password)
        return original(self, password)

    monkeypatch.setattr(auth.Authenticator, "_verify", counting)
    answers = await asyncio.gather(*(api.call("GET", "/admin/tenants") for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    # Two may start before the first is done; nobody after them.
    assert len(verified) <= auth.VERIFICATIONS_AT_ONCE


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

    authenticator = Authenticator(password_hash, (), HeldClock())
    guesses = [
        asyncio.create_task(authenticator.admit(basic(f"guess {number}"), "127.0.0.1"))
        for number in range(auth.MAX_TRYING)
    ]
    await asyncio.sleep(0)
    with pytest.raises(ProblemError) as refused:
        await authenticator.admit(basic("one more"), "127.0.0.1")
    assert refused.value.kind.status == 429
    assert int(refused.value.headers["Retry-After"]) > 0
    await authenticator.admit(basic(PASSWORD), "127.0.0.2")
    gate.set()
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert [r.kind.status for r in results if isinstance(r, ProblemError)] == [401] * 8
    await authenticator.admit(basic(PASSWORD), "127.0.0.1")


async def test_the_application_refuses_to_be_built_without_a_password(
    store: FakeStore, fleet: FakeFleet, clock: QuickClock
) -> None:
    settings = AdminSettings(password_hash=SecretStr(""))
    deps = AdminDeps(store, fleet, settings, clock, "0", clock.now())
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
