"""A server of our own: made once, found again, never left behind, closed to everybody else."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from flowhq.db.binaries import Binaries, binaries_for, find_binaries
from flowhq.db.embedded import SOCKET_PATH_MAX_BYTES, EmbeddedPostgres
from flowhq.errors import InUseError, MisconfiguredError
from tests.fakes.clock import until
from tests.pg import execute, fetchval

GONE_LIMIT_S = 30.0

HOLDER = """
import asyncio, sys, time
from pathlib import Path
from flowhq.db.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
asyncio.run(server.open())
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(pg_home: Path, request: pytest.FixtureRequest) -> Path:
    """A data directory of a test's own, below a short path."""
    return pg_home / f"own-{abs(hash(request.node.name)) % 10**8}"


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def family(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def wait_for(done: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ordinary() -> list[str]:
    """What starts a program as an ordinary user; nothing if we are one."""
    if os.geteuid() != 0:
        return []
    reach = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reach, "--"]


@pytest.fixture
def holder(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the server open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


async def test_data_outlives_a_stop(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        await execute(server.dsn(), "CREATE TABLE kept (id int)", "INSERT INTO kept VALUES (7)")
        pid = server.pid
        assert pid is not None
        members = family(pid)
        assert len(members) > 3
    assert not any(alive(member) for member in members)
    assert server.pid is None
    async with EmbeddedPostgres(home) as server:
        assert await fetchval(server.dsn(), "SELECT id FROM kept") == 7
    await server.close()


async def test_nothing_listens_on_a_port_and_the_directory_is_closed(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        assert await fetchval(server.dsn(), "SHOW listen_addresses") == ""
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert (home / "data").stat().st_mode & 0o777 == 0o700
        assert server.log_path.stat().st_mode & 0o777 == 0o600
        rules = (home / "data" / "pg_hba.conf").read_text()
        assert rules == "local all flowhq peer map=daemon\n"


async def test_another_user_of_the_machine_is_shut_out(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can try it as somebody else")
    path = str(home / "run" / ".s.PGSQL.5432")
    reach = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    async with EmbeddedPostgres(home) as server:
        assert server.socket_dir == home / "run"
        stranger = await asyncio.create_subprocess_exec(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
            "/usr/bin/python3", "-c", reach, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, complaint = await stranger.communicate()
    assert b"PermissionError" in complaint


async def test_a_second_daemon_on_the_directory_is_refused(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        with pytest.raises(InUseError, match="Another daemon uses"):
            await EmbeddedPostgres(home).open()
        assert await fetchval(server.dsn(), "SELECT 1") == 1


def test_killing_the_daemon_leaves_no_server(home: Path, holder: "subprocess.Popen[str]") -> None:
    assert holder.stdout is not None
    pid = int(holder.stdout.readline())
    members = family(pid)
    assert len(members) > 3
    holder.kill()
    holder.wait()
    assert wait_for(lambda: not any(map(alive, members)), GONE_LIMIT_S)
    asyncio.run(_opens(home))


def test_a_daemon_started_at_once_after_a_kill_gets_the_directory(
    home: Path, holder: "subprocess.Popen[str]"
) -> None:
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    asyncio.run(_opens(home))


async def _opens(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        assert await fetchval(server.dsn(), "SELECT 1") == 1


async def test_the_killed_server_recovers(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.open()
    await execute(server.dsn(), "CREATE TABLE kept (id int)")
    assert server.pid is not None
    members = family(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    assert await asyncio.to_thread(wait_for, lambda: not any(map(alive, members[1:])), GONE_LIMIT_S)
    await server.close()
    assert (home / "data" / "postmaster.pid").exists()
    async with EmbeddedPostgres(home) as server:
        assert await fetchval(server.dsn(), "SELECT count(*) FROM kept") == 0


async def test_a_pid_file_that_names_somebody_else_is_no_obstacle(home: Path) -> None:
    async with EmbeddedPostgres(home):
        left = (home / "data" / "postmaster.pid").read_text()
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    rest = left.partition("\n")[2]
    (home / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
    try:
        await _opens(home)
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_server_without_its_daemon_is_ended_first(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.open()
    lost = server.pid
    assert lost is not None
    assert server._lock is not None  # noqa: SLF001 - as the kernel does when a daemon dies
    server._lock.close()  # noqa: SLF001
    await _opens(home)
    await server.close()
    assert not alive(lost)


async def test_a_half_made_cluster_is_made_anew(home: Path) -> None:
    (home / "new-left").mkdir(parents=True)
    (home / "new-left" / "PG_VERSION").write_text("18")
    await _opens(home)
    assert list(home.glob("new-*")) == []


async def test_a_long_path_gets_a_short_socket(home: Path) -> None:
    long = home / ("d" * 60) / ("e" * 60)
    async with EmbeddedPostgres(long) as server:
        path = os.fsencode(server.socket_dir / ".s.PGSQL.5432")
        assert len(path) <= SOCKET_PATH_MAX_BYTES
        assert await fetchval(server.dsn(), "SELECT 1") == 1
        stand_in = server.socket_dir
    await _opens(long)
    stand_in.rmdir()


async def test_a_squatted_socket_directory_is_refused(home: Path) -> None:
    long = home / ("d" * 60) / ("e" * 60)
    stand_in = EmbeddedPostgres(long).socket_dir
    stand_in.symlink_to("/tmp")  # noqa: S108 - what an attacker would do
    try:
        with pytest.raises(MisconfiguredError, match="not a directory of our own"):
            await EmbeddedPostgres(long).open()
    finally:
        stand_in.unlink()


async def test_a_closed_parent_stays_closed(home: Path) -> None:
    """As root below a directory that only root may pass, as a checkout in /root."""
    home.mkdir(mode=0o700)
    await _opens(home / "var" / "postgres")
    assert home.stat().st_mode & 0o777 == 0o700


def test_an_ordinary_user_needs_nothing_else(home: Path) -> None:
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
    check = HOLDER.replace("time.sleep(600)", "asyncio.run(server.close())")
    done = subprocess.run(
        [*ordinary(), sys.executable, "-c", check, str(home / "pg")],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert done.stderr == ""
    assert not alive(int(done.stdout))


async def test_a_directory_that_cannot_be_made_is_named(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(MisconfiguredError, match="cannot be written"):
        await EmbeddedPostgres(home).open()


async def test_a_foreign_major_version_is_refused(home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(MisconfiguredError, match="PostgreSQL 9"):
        await EmbeddedPostgres(home).open()


async def test_a_server_that_dies_at_its_start_says_why(home: Path) -> None:
    async with EmbeddedPostgres(home):
        pass
    (home / "data" / "global" / "pg_control").unlink()
    with pytest.raises(MisconfiguredError, match=r"ended at its start: .*pg_control"):
        await EmbeddedPostgres(home).open()


async def test_its_log_quotes_no_row(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        await execute(server.dsn(), "CREATE TABLE u (t text UNIQUE)")
        for _ in range(2):
            with suppress(asyncpg.UniqueViolationError):
                await execute(server.dsn(), "INSERT INTO u VALUES ('private words')")
    log = server.log_path.read_text()
    assert "duplicate key" in log
    assert "private words" not in log


def test_each_version_is_found_once_the_newest_first(tmp_path: Path) -> None:
    majors = [binaries.major for binaries in find_binaries()]
    assert majors == sorted(set(majors), reverse=True)
    assert majors[0] >= 16
    available = [Binaries(18, Path("/a")), Binaries(16, Path("/b"))]
    assert binaries_for(tmp_path, available).major == 18
    (tmp_path / "PG_VERSION").write_text("16\n")
    assert binaries_for(tmp_path, available).major == 16
    (tmp_path / "PG_VERSION").write_text("garbage\n")
    with pytest.raises(MisconfiguredError, match="PG_VERSION"):
        binaries_for(tmp_path, available)


def test_no_binaries_at_all_is_said_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowhq.db.binaries.PACKAGE", "no_such_package_here")
    monkeypatch.setattr("flowhq.db.binaries.DISTRIBUTION", Path("/nonexistent"))
    with pytest.raises(MisconfiguredError, match="no PostgreSQL to embed") as refused:
        find_binaries()
    assert "flowhq[embedded]" in refused.value.next_step


@pytest.mark.parametrize("binaries", find_binaries(), ids=lambda found: str(found.major))
async def test_every_version_at_hand_can_be_embedded(home: Path, binaries: Binaries) -> None:
    async with EmbeddedPostgres(home, binaries=[binaries]) as server:
        version = await fetchval(server.dsn(), "SHOW server_version")
    assert str(version).startswith(str(binaries.major))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGQUIT])
async def test_a_server_that_ends_by_itself_is_started_again_with_all_that_was_committed(
    home: Path, sign: signal.Signals
) -> None:
    async with EmbeddedPostgres(home) as server:
        await execute(server.dsn(), "CREATE TABLE kept AS SELECT 7 AS number")
        keeping = asyncio.create_task(server.keep())
        first = server.pid
        assert first is not None
        os.kill(first, sign)
        await until(lambda: server.pid not in (None, first))
        await until(lambda: answers(server))
        assert await fetchval(server.dsn(), "SELECT number FROM kept") == 7
        keeping.cancel()
        await asyncio.wait({keeping})
        second = server.pid
    assert second is not None
    assert not alive(second)


async def answers(server: EmbeddedPostgres) -> bool:
    try:
        return bool(await fetchval(server.dsn(), "SELECT true"))
    except (asyncpg.PostgresError, OSError):
        return False
