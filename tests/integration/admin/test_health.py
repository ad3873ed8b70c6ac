"""Health: a word for anybody, figures for the operator; the server's opening and closing."""

import aiohttp
import pytest

from flowhq.admin.server import AdminServer
from flowhq.errors import MisconfiguredError, StoreUnavailableError
from tests.fakes.admin import FakeStore
from tests.integration.admin.conftest import Api


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
async def test_anybody_is_told_one_word(api: Api, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(api.base + path) as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
        assert response.headers["Cache-Control"] == "no-store"


async def test_without_the_database_the_daemon_lives_but_is_not_ready(
    api: Api, store: FakeStore
) -> None:
    store.failure = StoreUnavailableError("gone")
    for path in ("/health", "/health/ready"):
        answer = await api.call("GET", path)
        assert (answer.status, answer.body) == (503, {"status": "unavailable"})
    assert (await api.call("GET", "/health/live")).status == 200
    details = (await api.call("GET", "/health/details")).body
    assert details["database"] == {"reachable": False, "answer_ms": None}


async def test_details_tell_version_uptime_database_and_tenants(api: Api) -> None:
    details = (await api.call("GET", "/health/details")).body
    assert (details["status"], details["version"]) == ("ok", "0.0.test")
    assert details["uptime_s"] >= 0
    assert details["database"]["reachable"] is True
    assert details["tenants"] == {"tenants": 0}
    assert set(details["loop"]) == {"p50_ms", "p99_ms", "max_ms"}


async def test_a_taken_port_is_a_sentence(server: AdminServer) -> None:
    second = AdminServer(aiohttp.web.Application(), "127.0.0.1", server.port)
    with pytest.raises(MisconfiguredError, match=f"Port {server.port} .* is taken"):
        await second.open()


async def test_an_address_of_another_machine_is_a_sentence() -> None:
    server = AdminServer(aiohttp.web.Application(), "192.0.2.1", 0)
    with pytest.raises(MisconfiguredError, match=r"cannot listen on 192\.0\.2\.1"):
        await server.open()


async def test_closing_twice_is_harmless(server: AdminServer) -> None:
    await server.close()
    await server.close()
