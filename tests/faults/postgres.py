"""A PostgreSQL server of the tests' own, and a slow way to it."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import orjson
import psutil

from flowhq.db.embedded import EmbeddedPostgres
from tests.acceptance.programs import LIMIT_S, START_LIMIT_S, Program, until
from tests.pg import run_apart

# Every program is made of the source that this file belongs to, installed or not.
SOURCE = {"PYTHONPATH": str(Path(__file__).parents[2])}


class Postgres:
    """A server of the test's own, which can be stopped, frozen and started again."""

    def __init__(self, home: Path, *, sync: bool = False) -> None:
        # What is killed here are processes: what they wrote stays, synced or not.
        self._server = EmbeddedPostgres(home / "pg", settings={"fsync": "on" if sync else "off"})

    def start(self) -> None:
        run_apart(self._start())

    async def _start(self) -> None:
        await self._server.close()
        await self._server.open()

    def end(self) -> None:
        run_apart(self._server.close())

    @property
    def url(self) -> str:
        return self._server.dsn()

    @property
    def socket_dir(self) -> Path:
        return self._server.socket_dir

    def stop_at_once(self) -> None:
        """Immediate shutdown: no checkpoint, every backend dead, recovery at the next start."""
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGQUIT)
        until(lambda: _gone(self._server.pid), bool, "PostgreSQL is gone", poll_s=0.01)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of it stands still: connections stay open and nothing answers."""
        assert self._server.pid is not None
        server = psutil.Process(self._server.pid)
        everything = [server, *server.children(recursive=True)]
        for process in everything:
            _signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(everything):
                _signal(process, signal.SIGCONT)

    def terminate_backends(self) -> int:
        rows = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(rows)

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of every tenant, as the superuser."""
        return asyncio.run(_query(self.url, sql, *values))


class SlowWay:
    """The way to PostgreSQL through a process that delays and loses."""

    def __init__(self, home: Path, postgres: Postgres) -> None:
        self._socket = home / "way" / ".s.PGSQL.5432"
        self._habits = home / "way" / "habits"
        self._postgres = postgres
        server = postgres.socket_dir / self._socket.name
        arguments = (str(self._socket), str(server), str(self._habits))
        self.program = Program("proxy", home, "tests.faults.proxy", *arguments, **SOURCE)

    @property
    def url(self) -> str:
        there, here = quote(str(self._postgres.socket_dir)), quote(str(self._socket.parent))
        return self._postgres.url.replace(there, here)

    def start(self) -> None:
        self._socket.parent.mkdir()
        self.program.launch()
        until(self._socket.exists, bool, "the proxy listens", limit_s=START_LIMIT_S)

    def habits(self, **habits: float) -> None:
        """From the next moment on; what is not named is as it should be."""
        part = self._habits.with_suffix(".part")
        part.write_bytes(orjson.dumps(habits))
        part.rename(self._habits)

    def lost(self) -> Counter[str]:
        """How many answers were lost so far, by what the proxy tells of them."""
        return Counter(
            line.removeprefix("lost").strip()
            for line in self.program.output.splitlines()
            if line.startswith("lost")
        )


async def _query(url: str, sql: str, *values: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url, timeout=LIMIT_S)
    try:
        return [dict(row) for row in await connection.fetch(sql, *values, timeout=LIMIT_S)]
    finally:
        await connection.close(timeout=LIMIT_S)


def _gone(pid: int | None) -> bool:
    if pid is None or not psutil.pid_exists(pid):
        return True
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
