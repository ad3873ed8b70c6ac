"""The admin API served on a free port, with a store and a fleet in memory."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from flowhq.admin.app import create_app
from flowhq.admin.ports import AdminDeps, Store
from flowhq.admin.server import AdminServer
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings
from tests.fakes.admin import FakeFleet, FakeStore
from tests.pg import database, pg_home, pg_server, postgres_url

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]

PASSWORD = "karibu-sana-2026"
TOKEN = "fhq_a_token_of_the_tests"
# sha256 of TOKEN: the API's settings know tokens by it.
TOKEN_HASH = "21fb9eb00a75b5c43ce4476b9520a6167b6d1b5562f17c4484cbbe3a86aaa0ab"


class QuickClock(SystemClock):
    """Real time, but nobody is made to wait for a wrong password; the waits are written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    raw: bytes
    body: Any

    @property
    def kind(self) -> str:
        """The problem's name."""
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.body["status"] == self.status
        assert self.body["request_id"] == self.headers["X-Request-Id"]
        assert self.body["title"]
        prefix, _, name = self.body["type"].rpartition(":")
        assert prefix == "urn:flowhq:problem"
        return str(name)

    @property
    def fields(self) -> list[str]:
        return [error["field"] for error in self.body["errors"]]


def basic(password: str, user: str = "admin") -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Api:
    """A client with the admin's password; what it is given goes over a real socket."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        options["headers"] = {"Authorization": basic(PASSWORD)} | options.get("headers", {})
        async with self.session.request(method, self.base + path, **options) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            body = await response.json(content_type=None) if is_json and raw else None
            return Answer(response.status, response.headers, raw, body)

    async def create(self, phone: str = "+255712345678", **fields: Any) -> str:
        body = {"name": "Mama Asha", "phone_number": phone} | fields
        answer = await self.call("POST", "/admin/tenants", json=body)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])


@pytest.fixture(scope="session")
def password_hash() -> str:
    """Of PASSWORD, with the cheapest settings: what it costs is not what is tested."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def deps_folders() -> dict[str, Path]:
    """Where the daemon writes; a test may add to it."""
    return {}


@pytest.fixture
async def server(
    store: Store,
    fleet: FakeFleet,
    clock: QuickClock,
    password_hash: str,
    deps_folders: dict[str, Path],
) -> AsyncIterator[AdminServer]:
    settings = AdminSettings(
        port=0, password_hash=SecretStr(password_hash), token_hashes=(TOKEN_HASH,)
    )
    deps = AdminDeps(
        store=store,
        fleet=fleet,
        settings=settings,
        clock=clock,
        version="0.0.test",
        started_at=datetime.now(UTC),
        folders=deps_folders,
    )
    server = AdminServer(create_app(deps), settings.host, settings.port)
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def api(server: AdminServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, f"http://127.0.0.1:{server.port}")
