"""Profiles: who holds one, when it is freed, when it is left alone."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from flowhq.channel.web import process, profile
from flowhq.errors import ChannelRestartError
from flowhq.model import Reason

HOST = socket.gethostname()
NOBODY = 2**22 - 1
# A parent that is called like a driver, and its child like a browser on a profile.
DRIVEN = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, *sys.argv[2:]])"
SLEEP = "import time; print('up', flush=True); time.sleep(60)"

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts Python programs with command lines of our choice; none outlives the test."""
    started: list[Process] = []

    async def begin(code: str, *arguments: str) -> Process:
        one = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, stdout=PIPE, start_new_session=True
        )
        assert one.stdout is not None
        await one.stdout.readline()
        started.append(one)
        return one

    yield begin
    for one in started:
        found = process.find_process(one.pid)
        if found is not None:
            process.end(process.tree_of(found))
        await one.communicate()


def lock(folder: Path, holder: str) -> None:
    for name in profile.LOCK_FILES:
        (folder / name).symlink_to(holder)


def is_locked(folder: Path) -> bool:
    return any((folder / name).is_symlink() for name in profile.LOCK_FILES)


def test_a_profile_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "profiles" / "one"
    profile.make(folder)
    profile.make(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "holder",
    [f"{HOST}-{NOBODY}", f"another-host-{os.getpid()}", "nonsense", f"{HOST}-x"],
    ids=["a dead process", "another host", "no holder", "no pid"],
)
async def test_a_stale_lock_is_removed(tmp_path: Path, holder: str) -> None:
    lock(tmp_path, holder)
    await profile.make_free(tmp_path, own_driver=None)
    assert not is_locked(tmp_path)


async def test_a_pid_that_is_something_else_by_now_is_not_harmed(
    tmp_path: Path, start: Start
) -> None:
    other = await start(SLEEP, "--user-data-dir=/somewhere/else")
    lock(tmp_path, f"{HOST}-{other.pid}")

    await profile.make_free(tmp_path, own_driver=None)

    assert not is_locked(tmp_path)
    assert other.returncode is None
    assert process.find_process(other.pid) is not None


async def test_a_browser_without_a_driver_is_ended(tmp_path: Path, start: Start) -> None:
    orphan = await start(SLEEP, f"--user-data-dir={tmp_path}")
    lock(tmp_path, f"{HOST}-{orphan.pid}")

    await profile.make_free(tmp_path, own_driver=None)

    assert not is_locked(tmp_path)
    found = process.find_process(orphan.pid)
    assert found is None or found.is_zombie


async def test_a_browser_that_is_driven_by_another_daemon_is_left_alone(
    tmp_path: Path, start: Start
) -> None:
    driver = await start(
        DRIVEN.format(child=SLEEP), profile.DRIVER_MARK, f"--user-data-dir={tmp_path}"
    )
    (browser,) = process.children_of(driver.pid)
    lock(tmp_path, f"{HOST}-{browser.pid}")

    with pytest.raises(ChannelRestartError) as in_use:
        await profile.make_free(tmp_path, own_driver=None)

    assert in_use.value.reason == Reason.PROFILE_IN_USE
    assert is_locked(tmp_path)
    assert process.is_alive(browser)


async def test_a_browser_left_over_by_our_own_driver_is_ended(tmp_path: Path, start: Start) -> None:
    driver = await start(
        DRIVEN.format(child=SLEEP), profile.DRIVER_MARK, f"--user-data-dir={tmp_path}"
    )
    (browser,) = process.children_of(driver.pid)
    lock(tmp_path, f"{HOST}-{browser.pid}")

    await profile.make_free(tmp_path, own_driver=driver.pid)

    assert not process.is_alive(browser)
    assert not is_locked(tmp_path)


async def test_forgetting_removes_the_folder_and_what_runs_on_it(
    tmp_path: Path, start: Start
) -> None:
    folder = tmp_path / "one"
    profile.make(folder)
    (folder / "keys").write_text("secret")
    orphan = await start(SLEEP, f"--user-data-dir={folder}")
    lock(folder, f"{HOST}-{orphan.pid}")

    await profile.forget(folder)
    await profile.forget(folder)

    assert not folder.exists()
    found = process.find_process(orphan.pid)
    assert found is None or found.is_zombie
