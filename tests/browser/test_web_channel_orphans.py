"""kill -9 of the process that holds the browsers: soon nothing of it runs."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from flowhq.channel.web import browser, process, profile
from flowhq.events import QrShown, Ready
from flowhq.model import TenantId
from tests.browser.simulator import Simulator
from tests.browser.web_tenant import (
    WebTenant,
    open_host,
    open_tenant,
    settings_for,
)
from tests.fakes.clock import until

# Much shorter than anything of it would run by itself.
LIMIT_S = 20.0


class Daemon:
    """The process that is killed, and what belongs to it."""

    def __init__(self, running: Process, profiles: Path) -> None:
        self._running = running
        self._mark = f"FLOWHQ_PROFILE={profiles}/".encode()

    async def says(self, word: str) -> None:
        """Waits for the word, among the log's lines."""
        assert self._running.stdout is not None
        async with asyncio.timeout(60):
            async for line in self._running.stdout:
                if line.decode().strip() == word:
                    return
        raise AssertionError(f"the daemon ended without saying {word!r}")

    def browsers(self) -> list[process.Process]:
        """The trees of all its browsers, and those processes that leave them (Chromium's crash
        handlers): they still have the profile in their environment, which others overwrite."""
        marked = [one for one in process.all_processes() if self._mark in environment(one.pid)]
        trees = [member for one in marked for member in process.tree_of(one)]
        return list({one.pid: one for one in [*marked, *trees]}.values())

    def drivers(self) -> list[process.Process]:
        return [
            child
            for child in process.children_of(self._running.pid)
            if profile.DRIVER_MARK in process.command_line(child.pid)
        ]

    async def kill(self) -> list[process.Process]:
        """kill -9; what of it runs still after the limit."""
        known = [*self.drivers(), *self.browsers()]
        assert len(self.drivers()) == 1
        started = time.monotonic()
        await self.end()
        left = known
        while left and time.monotonic() < started + LIMIT_S:
            await asyncio.sleep(0.02)
            left = [one for one in [*known, *self.browsers()] if process.is_alive(one)]
        return left

    async def end(self) -> None:
        if self._running.returncode is None:
            self._running.kill()
        await self._running.communicate()


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@contextlib.asynccontextmanager
async def running_daemon(
    simulator: Simulator, profiles: Path, *tenants: TenantId
) -> AsyncIterator[Daemon]:
    command = [sys.executable, "-m", "tests.browser.daemon_process", simulator.url, str(profiles)]
    running = await asyncio.create_subprocess_exec(*command, *map(str, tenants), stdout=PIPE)
    daemon = Daemon(running, profiles)
    try:
        await daemon.says("started")
        yield daemon
    finally:
        await daemon.end()
        process.end(daemon.browsers())


async def test_two_idle_browsers_are_gone(simulator: Simulator, tmp_path: Path) -> None:
    tenants = TenantId(uuid4()), TenantId(uuid4())
    async with running_daemon(simulator, tmp_path, *tenants) as daemon:
        await daemon.says("open")
        await until(lambda: len(daemon.browsers()) > 10, "two whole browsers")

        assert await daemon.kill() == []


async def test_a_browser_that_does_not_listen_is_gone(simulator: Simulator, tmp_path: Path) -> None:
    tenant = TenantId(uuid4())
    async with running_daemon(simulator, tmp_path, tenant) as daemon:
        await daemon.says("open")
        browser = profile.browser_process(profile.profile_dir(tmp_path, tenant))
        assert browser is not None
        # Its driver asks it in vain to close, and would wait for half a minute.
        os.kill(browser.pid, signal.SIGSTOP)

        assert await daemon.kill() == []


async def test_a_browser_that_is_just_starting_is_gone(
    simulator: Simulator, tmp_path: Path
) -> None:
    tenant = TenantId(uuid4())
    async with running_daemon(simulator, tmp_path, tenant) as daemon:
        await until(lambda: daemon.browsers() != [], "a browser")

        assert await daemon.kill() == []


async def test_a_daemon_that_was_killed_finds_its_tenants_paired(
    simulator: Simulator, tmp_path: Path
) -> None:
    await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
    async with open_host(settings_for(simulator.url, tmp_path)) as host:
        async with open_tenant(host, simulator) as tenant:
            await tenant.pair()
        async with running_daemon(simulator, tmp_path, tenant.tenant_id) as daemon:
            await daemon.says("open")
            assert await daemon.kill() == []
        since = len(tenant.events)

        await tenant.open()

        await tenant.told(Ready, since=since)
        assert tenant.all_of(QrShown, since) == []
        await tenant.close()


async def test_a_browser_that_lost_its_driver_is_ended_by_the_next_start(
    simulator: Simulator, tmp_path: Path
) -> None:
    """As after a kill of the driver on a machine without setpriv: a browser holds the profile
    and nobody drives it."""
    async with open_host(settings_for(simulator.url, tmp_path)) as host:
        tenant = WebTenant(host, simulator)
        folder = host.profile_dir(tenant.tenant_id)
        profile.make(folder)
        await start_orphan(folder)
        await until(lambda: profile.browser_process(folder) is not None, "the orphan's lock")
        orphan = profile.browser_process(folder)
        assert orphan is not None
        tree = process.tree_of(orphan)
        try:
            await tenant.open()

            assert [one for one in tree if process.is_alive(one)] == []
            await tenant.told(QrShown)
        finally:
            process.end(tree)
            await tenant.close()


async def start_orphan(folder: Path) -> None:
    """A browser whose parent has ended already."""
    arguments = ["--headless", "--no-sandbox", f"--user-data-dir={folder}", "about:blank"]
    parent = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        'setsid "$@" &',
        "sh",
        browser.find_chromium(""),
        *arguments,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    assert await parent.wait() == 0
