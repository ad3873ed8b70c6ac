"""Processes as Linux shows them in /proc: who belongs to a browser, and how to end all of it.

Chromium is started as the leader of a session of its own, so that every process of its tree
carries the leader's pid as session id, also after the leader died and the rest were adopted.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat; ``started`` (clock ticks since boot) tells apart two processes
    that had the same pid one after the other. ``cpu_ticks``: used by itself, user and system."""

    pid: int
    parent: int
    session: int
    state: str = field(compare=False)
    started: int
    cpu_ticks: int = field(compare=False, default=0)

    @property
    def is_zombie(self) -> bool:
        return self.state in {"Z", "X"}


def find_process(pid: int) -> Process | None:
    """The process as it is now; None when there is none, or nothing but a zombie's name."""
    try:
        # The name stands in parentheses and may itself hold spaces and parentheses.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return Process(
        pid,
        int(fields[1]),
        int(fields[3]),
        fields[0],
        int(fields[19]),
        int(fields[11]) + int(fields[12]),
    )


def all_processes() -> list[Process]:
    found = (find_process(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for process in found if process is not None]


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process; () for one that is gone, a zombie, or not ours to see."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    # A process may rewrite its arguments as one string: Chromium's children do, with spaces.
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0") if part)


def is_alive(process: Process) -> bool:
    """True while this very process runs; a zombie, or another one with its pid, is not it."""
    now = find_process(process.pid)
    return now is not None and now.started == process.started and not now.is_zombie


def children_of(pid: int) -> list[Process]:
    return [process for process in all_processes() if process.parent == pid]


def tree_of(leader: Process) -> list[Process]:
    """The leader, its descendants and the rest of its session, zombies included; none when its pid
    is another process's by now."""
    now = find_process(leader.pid)
    if now is not None and now.started != leader.started:
        return []
    everything = all_processes()
    members = {leader.pid}
    size = 0
    while size != len(members):
        size = len(members)
        members |= {
            process.pid
            for process in everything
            if process.parent in members or process.session == leader.pid
        }
    return [process for process in everything if process.pid in members]


def renderers_of(leader: Process) -> list[Process]:
    """Those of a browser's processes that run its pages."""
    return [one for one in tree_of(leader) if "--type=renderer" in " ".join(command_line(one.pid))]


def end(processes: Iterable[Process]) -> None:
    """SIGKILL to each that is still the process it was."""
    for process in processes:
        if is_alive(process):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def reap(processes: Iterable[Process]) -> None:
    """Takes the exit status of those that were adopted by us (as pid 1 or a subreaper) and died,
    so that no zombie stays. Asks for no other child: those belong to asyncio."""
    for process in processes:
        try:
            os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            continue


async def wait_gone(processes: Iterable[Process], *, limit_s: float) -> list[Process]:
    """Waits until none of them runs; the ones that still do at the limit are returned."""
    deadline = time.monotonic() + limit_s
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        left = [process for process in left if is_alive(process)]
    return left


async def end_tree(leader: Process, *, limit_s: float) -> list[Process]:
    """Ends a browser's whole tree now; returns what could not be ended within the limit.

    Twice, because a process may have been forked between the look and the kill.
    """
    seen: dict[int, Process] = {}
    left: list[Process] = []
    for _ in range(2):
        tree = tree_of(leader)
        seen.update((process.pid, process) for process in tree)
        end(tree)
        left = await wait_gone(tree, limit_s=limit_s)
    reap(seen.values())
    return left
