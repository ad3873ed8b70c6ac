"""The product's programs as processes, watched from outside: started, told, killed, counted.

Nothing here looks into a program: it is spoken to by signals and HTTP. What belongs to a daemon
is found by descent and by the directories that its processes name.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil

T = TypeVar("T")

# Generous: these say that something never comes, not how fast it is.
LIMIT_S = 60.0
START_LIMIT_S = 90.0
STOP_LIMIT_S = 60.0
# After the daemon's death nothing of it runs long: the kernel and its own watchers end it at once,
# and a busy machine gets to it.
ORPHAN_LIMIT_S = 30.0
POLL_S = 0.05
TAIL_CHARS = 6000


def until(
    look: Callable[[], T],
    holds: Callable[[T], bool],
    what: str,
    *,
    limit_s: float = LIMIT_S,
    poll_s: float = POLL_S,
) -> T:
    """What was seen once it held; an AssertionError names what did not come and the last look."""
    deadline = time.monotonic() + limit_s
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}; last: {seen!r}"
        time.sleep(poll_s)


# -- HTTP ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return orjson.loads(self.content)


class Http:
    """A client of one server; a connection for each request, so that restarts do not matter."""

    def __init__(self, url: str, password: str = "") -> None:
        self.url = url.rstrip("/")
        self._netloc = urllib.parse.urlsplit(url).netloc
        credentials = b64encode(f"admin:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"} if password else {}

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Whatever the server answers; OSError when it does not."""
        content = None if body is None else orjson.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self._netloc, timeout=LIMIT_S * 2)
        try:
            connection.request(method, path, content, {**self._headers, **kind, **headers})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer that must be a success."""
        answer = self.ask(method, path, body)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.content!r}"
        return answer.json() if answer.content else None


# -- processes -------------------------------------------------------------------------------------


def tree_of(pid: int) -> list[psutil.Process]:
    """The process and everything that descends from it, now."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def naming(directory: Path) -> list[psutil.Process]:
    """Every process whose command line names something in the directory."""
    return [process for process in psutil.process_iter() if str(directory) in command_of(process)]


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie's name in the table does not."""
    return [process for process in processes if _runs(process)]


def left_after(processes: Iterable[psutil.Process], limit_s: float) -> list[str]:
    """The command lines of those that run longer than the limit."""
    watched = list(processes)
    deadline = time.monotonic() + limit_s
    while (left := running(watched)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return [f"{process.pid} {command_of(process)[:200]}" for process in left]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> str:
    """Its command line; "" if it is gone, or about to go."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


class Program:
    """One program of ours: its output goes to ``<name>.log`` in ``home``, runs one after the other.

    It is ended by the kernel should this process die.
    """

    def __init__(self, name: str, home: Path, *arguments: str, **settings: str) -> None:
        self.name = name
        self.home = home
        self.settings = settings
        self._arguments = arguments
        self._log = home / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def output(self) -> str:
        """All that it ever wrote, of all its runs."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def tail(self) -> str:
        return self.output[-TAIL_CHARS:]

    def launch(self) -> None:
        """Start it; nothing says that it is ready."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("FLOWHQ_")}
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", *self._arguments],
                cwd=self.home,
                env=environ | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, limit_s: float = STOP_LIMIT_S) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(limit_s)

    def still_runs(self) -> bool:
        code = self.exit_code
        assert code is None, f"{self.name} ended with {code}:\n{self.tail}"
        return True

    def end(self) -> None:
        """Whatever state it is in: told, then killed with all that descends from it."""
        if self._process is None or self._process.poll() is not None:
            return
        tree = tree_of(self.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            for process in running(tree):
                process.kill()
            self._process.wait()
