"""The admin API served on a free port, with a store and a fleet in memory."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from flowhq.admin.app import create_app
from flowhq.admin.cookies import digest
from flowhq.admin.credentials import Credentials
from flowhq.admin.identities import token_text
from flowhq.admin.outward import Outward
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.ports import AdminDeps, Store
from flowhq.admin.recording import AuditBook
from flowhq.admin.scopes import ROLE_SCOPES, Role
from flowhq.admin.server import AdminServer, tls_context
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings, EgressSettings, PortalSettings
from flowhq.db.tokens import NewToken
from flowhq.egress.client import EgressClient
from tests.fakes.admin import FakeAudit, FakeBackups, FakeFleet, FakeStore, absent_portal
from tests.fakes.credentials import FakeCredentials
from tests.fakes.outward import unused_outward
from tests.pg import database, pg_home, pg_server, postgres_url

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]

PASSWORD = "karibu-sana-2026"
TOKEN_ID = UUID("5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a")
TOKEN_SECRET = "kf83Jd0-a_Qz71mPw94LrTt5Yb2NcVx6Sg0HuEoIi1K"
TOKEN = token_text(TOKEN_ID, TOKEN_SECRET)


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
            is_json = response.content_type.endswith(("/json", "+json"))
            body = await response.json(content_type=None) if is_json and raw else None
            return Answer(response.status, response.headers, raw, body)

    async def anonymous(self, method: str, path: str, **options: Any) -> Answer:
        """Without the password; what else is sent stands in ``options``."""
        given = options.pop("headers", {})
        async with self.session.request(method, self.base + path, headers=given, **options) as got:
            raw = await got.read()
            body = await got.json(content_type=None) if raw else None
            return Answer(got.status, got.headers, raw, body)

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
def portal() -> PortalStore:
    return absent_portal()


@pytest.fixture
def portal_settings() -> PortalSettings:
    return PortalSettings()


@pytest.fixture
def egress() -> EgressClient:
    """Closed: it calls nobody."""
    return EgressClient(EgressSettings())


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def audit() -> AuditBook:
    return FakeAudit()


@pytest.fixture
async def credentials() -> Credentials:
    """Knows TOKEN, which may all that an admin may."""
    fake = FakeCredentials()
    scopes = [scope.value for scope in ROLE_SCOPES[Role.ADMIN]]
    await fake.create_token(NewToken(TOKEN_ID, "tests", digest(TOKEN_SECRET), scopes, None, "test"))
    return fake


@pytest.fixture
def backups() -> FakeBackups:
    return FakeBackups()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def deps_folders() -> dict[str, Path]:
    """Where the daemon writes; a test may add to it."""
    return {}


@pytest.fixture
def settings(password_hash: str) -> AdminSettings:
    return AdminSettings(port=0, password_hash=SecretStr(password_hash))


@pytest.fixture
def outward() -> Outward:
    return unused_outward()


@pytest.fixture
async def server(
    store: Store,
    fleet: FakeFleet,
    portal: PortalStore,
    portal_settings: PortalSettings,
    egress: EgressClient,
    audit: AuditBook,
    credentials: Credentials,
    backups: FakeBackups,
    clock: QuickClock,
    settings: AdminSettings,
    deps_folders: dict[str, Path],
    outward: Outward,
) -> AsyncIterator[AdminServer]:
    deps = AdminDeps(
        store=store,
        portal=portal,
        portal_settings=portal_settings,
        egress=egress,
        fleet=fleet,
        backups=backups,
        outward=outward,
        settings=settings,
        clock=clock,
        version="0.0.test",
        started_at=datetime.now(UTC),
        folders=deps_folders,
        audit=audit,
        credentials=credentials,
    )
    server = AdminServer(create_app(deps), settings.host, settings.port, tls_context(settings))
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def api(server: AdminServer) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, f"http://127.0.0.1:{server.port}")
