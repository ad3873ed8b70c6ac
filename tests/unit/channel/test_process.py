"""Whole trees are ended, other processes are not, and no zombie stays."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from flowhq.channel.web import process
from tests.fakes.clock import PATIENCE_S

# A leader, a child in its session, and a grandchild that left it: as Chromium's zygotes may.
TREE = "sleep 600 & setsid sleep 600 & sleep 600 & echo up; wait"


@pytest.fixture
async def leader() -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        "sh", "-c", TREE, stdout=PIPE, start_new_session=True
    )
    assert started.stdout is not None
    await started.stdout.readline()
    # The one that leaves the session does so after it was started.
    async with asyncio.timeout(PATIENCE_S):
        while len([one for one in seen(started.pid) if one.session == started.pid]) != 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    tree = seen(started.pid)
    yield started
    process.end(tree)
    await started.communicate()


def seen(pid: int) -> list[process.Process]:
    found = process.find_process(pid)
    assert found is not None
    return process.tree_of(found)


def alive(tree: list[process.Process]) -> list[process.Process]:
    return [one for one in tree if process.is_alive(one)]


async def test_a_tree_has_children_and_those_that_left_the_session(leader: Process) -> None:
    assert len(seen(leader.pid)) == 4
    assert os.getpid() not in {one.pid for one in seen(leader.pid)}


async def test_a_tree_is_ended_whole(leader: Process) -> None:
    tree = seen(leader.pid)
    assert await process.end_tree(tree[0], limit_s=2) == []
    assert alive(tree) == []


async def test_a_session_is_ended_after_its_leader_died(leader: Process) -> None:
    found = process.find_process(leader.pid)
    assert found is not None
    session = [one for one in seen(leader.pid) if one.session == leader.pid]
    os.kill(leader.pid, signal.SIGKILL)
    await process.wait_gone([found], limit_s=2)

    assert await process.end_tree(found, limit_s=2) == []

    assert len(session) == 3
    assert alive(session) == []


async def test_a_pid_that_is_another_process_by_now_is_left_alone(leader: Process) -> None:
    found = process.find_process(leader.pid)
    assert found is not None
    earlier = replace(found, started=found.started - 1)

    assert not process.is_alive(earlier)
    assert process.tree_of(earlier) == []
    await process.end_tree(earlier, limit_s=1)

    assert process.is_alive(found)


async def test_waiting_ends_at_its_limit_with_those_that_still_run(leader: Process) -> None:
    tree = seen(leader.pid)
    assert await process.wait_gone(tree, limit_s=0.05) == tree


def test_a_zombie_does_not_count_as_running_and_is_reaped() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    zombie = process.find_process(pid)
    assert zombie is not None
    assert zombie.is_zombie
    assert not process.is_alive(zombie)

    process.reap([zombie])

    assert process.find_process(pid) is None


def test_a_process_that_is_none_has_no_name_and_no_place() -> None:
    assert process.find_process(2**22) is None
    assert process.command_line(2**22) == ()


def test_this_very_process_is_found() -> None:
    found = process.find_process(os.getpid())
    assert found is not None
    assert (found.parent, found.is_zombie) == (os.getppid(), False)
    assert process.is_alive(found)
