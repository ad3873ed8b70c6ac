"""PostgreSQL for tests: one server a worker process, one migrated database a test.

A conftest gets the fixtures by importing them from here. ``postgres_url`` is a fresh, migrated
database on an embedded server; ``plain_url`` one on an ordinary server over TCP with a password,
owned by an ordinary user with CREATEROLE; ``database`` is an opened Database on ``postgres_url``.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from flowhq.db.binaries import Binaries, find_binaries
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.migrate import migrate
from flowhq.db.pool import Database
from flowhq.db.serveruser import choose_user, drop_options
from flowhq.vault import Vault
from tests.logsearch import search_folder
from tests.ports import free_port
from tests.vaults import open_vault

START_LIMIT_S = 30.0
TEMPLATE = "flowhq_template"
OWNER = "shop_owner"

T = TypeVar("T")


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, on a loop of its own that no test sees."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def execute(url: str, *statements: str) -> None:
    """Run statements as the url's user, each in a transaction of its own."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close(timeout=10)


async def fetchval(url: str, sql: str, *args: object) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close(timeout=10)


@contextmanager
def fresh_database(url_of: Callable[[str], str], admin_url: str, template: str) -> Iterator[str]:
    """A copy of the template database, dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    run_apart(execute(admin_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield url_of(name)
    finally:
        run_apart(execute(admin_url, f"DROP DATABASE {name} WITH (FORCE)"))


# -- the embedded server ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pg_home(pytestconfig: pytest.Config) -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most. Its logs are searched at the end."""
    home = Path(tempfile.mkdtemp(prefix="flowhq-pg-"))
    home.chmod(0o755)
    yield home
    search_folder(pytestconfig, home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_server(pg_home: Path) -> Iterator[EmbeddedPostgres]:
    """The embedded server, with a migrated template database."""
    server = EmbeddedPostgres(pg_home / "embedded", settings={"fsync": "off"})
    run_apart(server.open())
    try:
        run_apart(execute(server.dsn("postgres"), f"CREATE DATABASE {TEMPLATE}"))
        run_apart(migrate(server.dsn(TEMPLATE)))
        yield server
    finally:
        run_apart(server.close())


@pytest.fixture
def postgres_url(pg_server: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(pg_server.dsn, pg_server.dsn("postgres"), TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_url(pg_server: EmbeddedPostgres) -> Iterator[str]:
    """A database without a table."""
    with fresh_database(pg_server.dsn, pg_server.dsn("postgres"), "template0") as url:
        yield url


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with patient(postgres_url, await open_vault(postgres_url)) as opened:
        yield opened


def patient(url: str, vault: Vault) -> Database:
    """A database for tests that are not about its limits: a machine that is frozen for some seconds
    does not fail them."""
    return Database(url, vault=vault, command_timeout_s=60.0, connect_timeout_s=30.0)


# -- an ordinary server ----------------------------------------------------------------------------


class PlainServer:
    """PostgreSQL as an operator has it: TCP, SCRAM passwords, the oldest version at hand."""

    def __init__(self, home: Path, binaries: Binaries) -> None:
        self.version = binaries.major
        self._home = home
        self._binaries = binaries
        self._user = choose_user(home)
        self._password = secrets.token_hex(8)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        self._home.mkdir()
        if self._user is not None:
            os.chown(self._home, self._user.uid, self._user.gid)
        secret = self._home.with_suffix(".password")
        secret.write_text(self._password)
        secret.chmod(0o644)
        initdb = [self._binaries.initdb, "-D", self._home, "-U", "postgres", "-E", "UTF8"]
        initdb += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        subprocess.run(
            [*self._setpriv(), *map(str, initdb)], check=True, capture_output=True, cwd="/"
        )
        settings = ["-k", "", "-h", "127.0.0.1", "-p", str(self._port), "-c", "fsync=off"]
        # An owner who is no superuser cannot drop a database while a vacuum is at it.
        settings += ["-c", "autovacuum=off"]
        with self._home.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._setpriv(), str(self._binaries.postgres), "-D", str(self._home), *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self._wait()

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)

    def url(self, user: str, database: str) -> str:
        return f"postgresql://{user}:{self._password}@127.0.0.1:{self._port}/{database}"

    def owners_url(self, database: str) -> str:
        return self.url(OWNER, database)

    @property
    def password(self) -> str:
        return self._password

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _wait(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                run_apart(execute(self.url("postgres", "postgres"), "SELECT 1"))
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                assert time.monotonic() < deadline, "the plain server does not come up"
                time.sleep(0.05)
            else:
                return

    def _setpriv(self) -> list[str]:
        options = ["setpriv", "--pdeathsig=INT"]
        if self._user is not None:
            options += drop_options(self._user, [self._binaries.postgres, self._home])
        return [*options, "--"]


@pytest.fixture(scope="session")
def plain_server(pg_home: Path) -> Iterator[PlainServer]:
    """An ordinary server with an ordinary owner and a template database that it migrated."""
    server = PlainServer(pg_home / "plain", find_binaries()[-1])
    server.open()
    try:
        run_apart(
            execute(
                server.url("postgres", "postgres"),
                f"CREATE ROLE {OWNER} LOGIN CREATEROLE CREATEDB PASSWORD '{server.password}'",
            )
        )
        run_apart(execute(server.owners_url("postgres"), f"CREATE DATABASE {TEMPLATE}"))
        run_apart(migrate(server.owners_url(TEMPLATE)))
        yield server
    finally:
        server.close()


@pytest.fixture
def plain_url(plain_server: PlainServer) -> Iterator[str]:
    with fresh_database(
        plain_server.owners_url, plain_server.owners_url("postgres"), TEMPLATE
    ) as url:
        yield url
