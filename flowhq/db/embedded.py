"""A PostgreSQL of our own: made at the first start, a child of this process, gone with it.

No TCP, no password: a socket in a directory of mode 0700, and peer authentication that lets in
the operating system's user that runs the daemon. As root the server runs as another user, since
PostgreSQL refuses root; see ``ServerUser``.
"""

import asyncio
import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import asyncpg
import structlog

from flowhq.db.binaries import Binaries, binaries_for, find_binaries
from flowhq.db.serveruser import ServerUser, choose_user, drop_options
from flowhq.errors import InUseError, MisconfiguredError, StoreUnavailableError

__all__ = ["EmbeddedPostgres", "find_binaries"]

log = structlog.get_logger(__name__)

SUPERUSER = "flowhq"
DATABASE = "flowhq"
# sun_path holds 108 bytes with the final zero (unix(7)).
SOCKET_PATH_MAX_BYTES = 107
SOCKET_NAME = ".s.PGSQL.5432"
# Recovery after a crash replays at most max_wal_size; a slow disk takes a while.
START_LIMIT_S = 120.0
INITDB_LIMIT_S = 120.0
CONNECT_LIMIT_S = 3.0
POLL_S = 0.02
# Fast shutdown writes a checkpoint; then immediate, then the kernel.
FAST_STOP_S = 20.0
IMMEDIATE_STOP_S = 5.0
# How soon a server that ended by itself is started again; after failures, ever later up to this.
WATCH_S = 0.5
RESTART_MAX_S = 30.0
LOG_MAX_BYTES = 10_000_000
LOG_TAIL_BYTES = 4_000
# What stands in a line of its log that says why it ended.
COMPLAINTS = ("FATAL", "PANIC", "rror", "could not")

# Terse, and no statement with an error: PostgreSQL's DETAIL and STATEMENT lines quote rows.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",
    "cluster_name": "flowhq",
}


class EmbeddedPostgres:
    """The server on one data directory, from ``open`` to ``close``; one per directory.

    Must be opened in the main thread: the kernel ties the server's life to the thread that
    started it. If this process is killed, the server shuts down by itself.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Sequence[Binaries] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._home = data_dir.absolute()
        self._settings = {**SETTINGS, **(settings or {})}
        self._data = self._home / "data"
        self._available = None if binaries is None else list(binaries)
        self._lock: IO[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._user: ServerUser | None = None
        self._binaries: Binaries | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._server.pid if self._server is not None else None

    @property
    def log_path(self) -> Path:
        return self._home / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """``run`` in the data directory, or a short stand-in where that path is too long."""
        return _socket_dir(self._home)

    def dsn(self, database: str = DATABASE) -> str:
        """The superuser's url; no secret in it, the socket's directory is the lock."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.socket_dir))}"

    async def open(self) -> None:
        """Make the cluster if there is none, start it, wait until it answers.

        MisconfiguredError: no binaries, no rights, another daemon on the directory, or a server
        that dies at its start. StoreUnavailableError: it does not come up in time.
        """
        if self._server is not None:
            return
        available = self._available or find_binaries()
        try:
            self._prepare_home()
            binaries = binaries_for(self._data, available)
            self._user = choose_user(self._data)
            await self._end_orphan()
            if not (self._data / "PG_VERSION").exists():
                await self._make_cluster(binaries)
            self._write_rules()
            self._binaries = binaries
            self._start(binaries)
            await self._wait_until_ready()
        except BaseException:
            await self.close()
            raise

    async def keep(self) -> None:
        """Start the server again whenever it ended by itself; until cancelled. What was committed
        is there again: PostgreSQL recovers it from its log."""
        pause_s = WATCH_S
        while True:
            await asyncio.sleep(pause_s)
            if self._server is None or self._binaries is None or self._server.poll() is None:
                pause_s = WATCH_S
                continue
            log.error("database server ended", code=self._server.returncode, why=self._last_words())
            try:
                await self._end_orphan()
                self._start(self._binaries)
                await self._wait_until_ready()
            except (MisconfiguredError, StoreUnavailableError, OSError) as error:
                pause_s = min(pause_s * 2, RESTART_MAX_S)
                log.error("database server not started", why=str(error), again_in_s=pause_s)
            else:
                pause_s = WATCH_S
                log.warning("database server started again", pid=self.pid)

    async def close(self) -> None:
        """Fast shutdown, then harder; the directory is free afterwards. Safe to call twice."""
        server, self._server = self._server, None
        try:
            if server is not None:
                await _stop(server)
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    async def __aenter__(self) -> "EmbeddedPostgres":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _prepare_home(self) -> None:
        """The directory is there and ours alone: the lock outlives no process."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock = (self._home / "lock").open("ab")
        except OSError as error:
            raise MisconfiguredError(
                f"The data directory {self._home} cannot be written ({error.strerror}).",
                next_step="Set [database] data_dir to a writable directory.",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(
                f"Another daemon uses the data directory {self._home}.",
                next_step="Stop it, or set another [database] data_dir.",
            ) from error

    async def _end_orphan(self) -> None:
        """Holding the lock, a server still on this directory has lost its daemon: it is ending,
        or is told to. A pid file left by a crash may name a process of somebody else by now."""
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        for sign, limit_s in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, IMMEDIATE_STOP_S)):
            if not _is_postgres_on(pid, self._data):
                break
            os.kill(pid, sign)
            await _poll(lambda: not _is_postgres_on(pid, self._data), limit_s)
        if _is_postgres_on(pid, self._data):
            raise MisconfiguredError(
                f"PostgreSQL process {pid} of an earlier run does not stop.",
                next_step=f"End process {pid}, then start again.",
            )
        pid_file.unlink(missing_ok=True)

    async def _make_cluster(self, binaries: Binaries) -> None:
        """initdb beside the final place, then one rename: a kill leaves nothing half made."""
        for leftover in self._home.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self._home))
        self._hand_over(fresh)
        command: list[str | Path] = [
            *(binaries.initdb, "-D", fresh, "-U", SUPERUSER, "-E", "UTF8", "--locale=C"),
            *("--auth-local=peer", "--auth-host=reject"),
        ]
        with self._log() as log:
            process = self._spawn(binaries, command, log, death_signal="KILL")
        if not await _poll(lambda: process.poll() is not None, INITDB_LIMIT_S):
            process.kill()
        if process.wait() != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise MisconfiguredError(
                f"initdb could not make the cluster: {self._last_words()}",
                next_step=f"See {self.log_path}.",
            )
        _keep(fresh, self._data)

    def _write_rules(self) -> None:
        """Only this operating system user, only as our superuser, only by the socket."""
        try:
            me = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError as error:
            raise MisconfiguredError(
                f"The user id {os.geteuid()} has no name on this machine.",
                next_step="Run the daemon as a user that /etc/passwd knows, or set [database] url.",
            ) from error
        rules = f"local all {SUPERUSER} peer map=daemon\n"
        names = f'daemon "{me}" {SUPERUSER}\n'
        for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", names)):
            path = self._data / name
            path.write_text(text, encoding="utf-8")
            self._hand_over(path)
        try:
            self.socket_dir.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:
            self._hand_over(self.socket_dir)
        _refuse_strange(self.socket_dir, self._user)

    def _start(self, binaries: Binaries) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        command: list[str | Path] = [
            *(binaries.postgres, "-D", self._data, "-k", self.socket_dir),
            *settings,
        ]
        with self._log() as log:
            self._server = self._spawn(binaries, command, log, death_signal="INT")

    async def _wait_until_ready(self) -> None:
        """The server answers and our database exists."""
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if self._server is None or self._server.poll() is not None:
                raise MisconfiguredError(
                    f"PostgreSQL ended at its start: {self._last_words()}",
                    next_step=f"See {self.log_path}.",
                )
            try:
                await _create_database(self.dsn("postgres"))
            except (asyncpg.CannotConnectNowError, OSError, TimeoutError) as error:
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(
                        "The embedded PostgreSQL did not come up in time.",
                        next_step=f"See {self.log_path}.",
                    ) from error
                await asyncio.sleep(POLL_S)
            else:
                return

    def _spawn(
        self,
        binaries: Binaries,
        command: Sequence[str | Path],
        log: IO[bytes],
        *,
        death_signal: str,
    ) -> "subprocess.Popen[bytes]":
        """A child that gets ``death_signal`` when we die, in a session of its own so that Ctrl-C
        at the terminal reaches only us."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise MisconfiguredError(
                "setpriv is missing; the embedded PostgreSQL could outlive the daemon.",
                next_step="Install util-linux, or set [database] url.",
            )
        options = [f"--pdeathsig={death_signal}"]
        if self._user is not None:
            options += drop_options(self._user, [binaries.postgres, self._data])
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        return subprocess.Popen(  # noqa: S603 - our own command line
            [setpriv, *options, "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )

    def _hand_over(self, path: Path) -> None:
        """The server must own what is its: PostgreSQL checks it."""
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)

    def _log(self) -> IO[bytes]:
        """The server's own log; the last one is kept beside it when it has grown."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        log = self.log_path.open("ab")
        self.log_path.chmod(0o600)
        return log

    def _last_words(self) -> str:
        try:
            tail = self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return "no log"
        lines = [line for line in tail.splitlines() if any(word in line for word in COMPLAINTS)]
        return lines[-1] if lines else "no reason in its log"


async def _create_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_LIMIT_S)
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close(timeout=CONNECT_LIMIT_S)


async def _stop(server: "subprocess.Popen[bytes]") -> None:
    for sign, limit_s in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, IMMEDIATE_STOP_S)):
        if server.poll() is None:
            server.send_signal(sign)
            await _poll(lambda: server.poll() is not None, limit_s)
    if server.poll() is None:
        server.kill()
    server.wait()


def _keep(fresh: Path, final: Path) -> None:
    fresh.rename(final)


async def _poll(done: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _is_postgres_on(pid: int, data: Path) -> bool:
    """Whether this process is alive and the postmaster of this directory."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"/postgres") and os.fsencode(data) in words


def _socket_dir(home: Path) -> Path:
    inside = home / "run"
    if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES:
        return inside
    short = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"flowhq-{short}"


def _refuse_strange(directory: Path, user: ServerUser | None) -> None:
    """Below /tmp the name can be guessed: it must be a directory, ours, and closed to others."""
    found = directory.lstat()
    owner = os.geteuid() if user is None else user.uid
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise MisconfiguredError(
            f"{directory} is not a directory of our own with mode 0700.",
            next_step="Remove it, then start again.",
        )
