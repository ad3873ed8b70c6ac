"""The simulator and the daemon, each as a process on free ports and directories of its own."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import psutil

from flowhq.db.embedded import EmbeddedPostgres
from flowhq.password import hash_password
from tests.acceptance.programs import (
    LIMIT_S,
    ORPHAN_LIMIT_S,
    START_LIMIT_S,
    Http,
    Program,
    left_after,
    naming,
    tree_of,
    until,
)
from tests.ports import free_port

PASSWORD = "ndege-wawili-mtini"
HASH = hash_password(PASSWORD)

# What the simulator tells when a pairing was lost, or made anew.
CODE_SHOWN = ("ref", "paired", "device_removed")

# Between a page's login and its readiness.
SYNC_DELAY_MS = 100
# Nothing is held back, and what supervision waits for takes seconds instead of minutes. A probe
# still has time to answer on a busy machine.
SETTINGS = {
    "FLOWHQ_LOGGING__FORMAT": "json",
    "FLOWHQ_LOGGING__LEVEL": "debug",
    "FLOWHQ_LIMITS__REPLIES_PER_MINUTE": "6000",
    "FLOWHQ_LIMITS__LOOP_REPLIES_PER_MINUTE": "0",
    "FLOWHQ_LIMITS__CONTACT_REPLIES": "6000",
    "FLOWHQ_LIMITS__PACE_MS": "0",
    "FLOWHQ_SUPERVISOR__HEARTBEAT_S": "1",
    "FLOWHQ_SUPERVISOR__PROBE_S": "1",
    "FLOWHQ_SUPERVISOR__PROBE_MISSES": "2",
    "FLOWHQ_SUPERVISOR__PROBE_TIMEOUT_S": "10",
    "FLOWHQ_SUPERVISOR__BACKOFF_MIN_S": "0.2",
    "FLOWHQ_SUPERVISOR__BACKOFF_MAX_S": "2",
    "FLOWHQ_SUPERVISOR__STAGGER_S": "0.1",
}


class Simulator:
    """The simulated WhatsApp and its phones."""

    def __init__(self, home: Path) -> None:
        self._ready = home / "simulator.json"
        free = "127.0.0.1:0"
        arguments = ("--http", free, "--tls", free, "--ready-file", str(self._ready))
        self.program = Program("simulator", home, "flowhq.simulator", *arguments)
        self.url = ""

    def start(self) -> None:
        self.program.launch()
        until(self._ready.exists, bool, "the simulator listens", limit_s=START_LIMIT_S)
        self.url = orjson.loads(self._ready.read_bytes())["http"]
        # The first synchronisation takes as long as it must, and no longer.
        self.control("config", sync_delay_ms=SYNC_DELAY_MS)

    def control(self, call: str, **body: object) -> dict[str, Any]:
        """The answer of `/control/<call>`, which must be a success."""
        answer: dict[str, Any] = Http(self.url).call("POST", f"/control/{call}", body)
        return answer

    def last_event(self) -> int:
        """The place in the log of events to look on from."""
        last: int = self.control("events", limit=1)["last"]
        return last

    def events(self, *names: str, after: int = 0) -> list[dict[str, Any]]:
        found = self.control("events", after=after)["events"]
        return [event for event in found if event["event"] in names]


class Daemon:
    """The daemon with its embedded PostgreSQL, data in ``home``; it can be started again."""

    def __init__(self, home: Path, simulator_url: str, **settings: str) -> None:
        port = free_port()
        self.home = home
        self.profiles = home / "profiles"
        self.logs = home / "logs"
        places = {
            "FLOWHQ_ADMIN__PORT": str(port),
            "FLOWHQ_ADMIN__PASSWORD_HASH": HASH,
            "FLOWHQ_DATABASE__DATA_DIR": str(home / "postgres"),
            "FLOWHQ_WEB__URL": simulator_url,
            "FLOWHQ_WEB__PROFILES_DIR": str(self.profiles),
            "FLOWHQ_LOGGING__DIRECTORY": str(self.logs),
        }
        self.program = Program("daemon", home, "flowhq", "run", **(places | SETTINGS | settings))
        self.api = Http(f"http://127.0.0.1:{port}", PASSWORD)

    def start(self) -> None:
        """Return when the API answers."""
        self.program.launch()
        until(self._answers, bool, "the API answers", limit_s=START_LIMIT_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal; nothing of it may be left."""
        everything = self.processes()
        self.program.signal(number)
        code = self.program.wait()
        left = left_after([*everything, *naming(self.home)], ORPHAN_LIMIT_S)
        assert not left, f"left after exit code {code}: {left}"
        return code

    def kill(self) -> None:
        """kill -9, as the kernel does when memory is short; what stays must be gone soon."""
        everything = self.processes()
        self.program.signal(signal.SIGKILL)
        self.program.wait()
        left = left_after([*everything, *naming(self.home)], ORPHAN_LIMIT_S)
        assert not left, f"left after kill -9: {left}"

    def processes(self) -> list[psutil.Process]:
        """The daemon, its driver, every browser and the database server."""
        return tree_of(self.program.pid)

    def query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the embedded database, as its superuser: every tenant's."""
        return asyncio.run(self._query(sql, *values))

    @property
    def database_url(self) -> str:
        """Of the embedded server, as its superuser."""
        return EmbeddedPostgres(self.home / "postgres").dsn()

    async def _query(self, sql: str, *values: object) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.database_url, timeout=LIMIT_S)
        try:
            return [dict(row) for row in await connection.fetch(sql, *values, timeout=LIMIT_S)]
        finally:
            await connection.close(timeout=LIMIT_S)

    def _answers(self) -> bool:
        self.program.still_runs()
        try:
            return self.api.ask("GET", "/health").status == 200
        except OSError:
            return False
