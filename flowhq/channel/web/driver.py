"""The one Playwright driver of a daemon: started, watched, started again, and never left behind.

The driver is a Node process that starts every browser. Its life hangs on our end of its standard
input, and each browser's life on it (see launch/), so that nothing outlives a killed daemon.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from pathlib import Path

import structlog
from playwright.async_api import Error, Playwright, async_playwright

from flowhq.channel.web import process
from flowhq.channel.web.profile import DRIVER_MARK
from flowhq.errors import ChannelRestartError
from flowhq.model import Reason

log = structlog.get_logger(__name__)

GUARD = Path(__file__).parent / "launch" / "driver_guard.cjs"
# The driver answers in 0.3 s on an idle machine; ten browsers starting make it some seconds.
START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0


class Driver:
    """Starts on demand and again after its death; ``on_gone`` is called once for each death."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._playwright: Playwright | None = None
        self._process: process.Process | None = None
        self._pidfd = -1
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the running driver; None when there is none."""
        return None if self._process is None else self._process.pid

    async def playwright(self) -> Playwright:
        """The driver's handle, of a driver that runs."""
        async with self._starting:
            if self._playwright is None:
                await self._start()
            if self._playwright is None:
                raise faulty("it ended while it started")
            return self._playwright

    async def stop(self) -> None:
        """Ends the driver, and with it every browser that is still open; safe to call twice."""
        async with self._starting:
            playwright, running = self._forget()
            if playwright is not None:
                with suppress(Error, TimeoutError):
                    async with asyncio.timeout(STOP_LIMIT_S):
                        await playwright.stop()
            if running is not None:
                process.end([running])
                await process.wait_gone([running], limit_s=STOP_LIMIT_S)

    async def _start(self) -> None:
        before = {child.pid for child in process.children_of(os.getpid())}
        try:
            async with asyncio.timeout(START_LIMIT_S):
                with guarded_environment():
                    # In no tenant's context: whoever starts it first is not whom it is about later.
                    starting = asyncio.create_task(async_playwright().start(), context=Context())
                    playwright = await starting
        except (Error, OSError, TimeoutError) as error:
            process.end(new_drivers(before))
            raise faulty(str(error) or "no answer in time") from error
        except asyncio.CancelledError:
            process.end(new_drivers(before))
            raise
        started = new_drivers(before)
        if len(started) != 1:
            await playwright.stop()
            raise faulty(f"{len(started)} processes of it were found")
        self._playwright, self._process = playwright, started[0]
        Context().run(self._watch, started[0].pid)

    def _watch(self, pid: int) -> None:
        """Playwright tells nothing when its driver dies; the kernel does."""
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    def _died(self) -> None:
        log.error("driver gone", pid=self.pid)
        self._forget()
        self._on_gone()

    def _forget(self) -> tuple[Playwright | None, process.Process | None]:
        known = self._playwright, self._process
        self._playwright = self._process = None
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        return known


def new_drivers(before: set[int]) -> list[process.Process]:
    """Drivers among our children that were not there before."""
    return [
        child
        for child in process.children_of(os.getpid())
        if child.pid not in before and DRIVER_MARK in process.command_line(child.pid)
    ]


def faulty(why: str) -> ChannelRestartError:
    return ChannelRestartError(
        f"The Playwright driver did not start: {why}.", reason=Reason.BROWSER_FAILED
    )


@contextmanager
def guarded_environment() -> Iterator[None]:
    """While the driver is started, Node loads our guard: Playwright passes on this process's
    environment and offers no other way to give its driver an argument."""
    name = "NODE_OPTIONS"
    before = os.environ.get(name)
    os.environ[name] = f'{before or ""} --require="{GUARD}"'.strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
