"""The browsers of one daemon: one driver, one Chromium per tenant, and the care for them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import structlog
from playwright.async_api import BrowserContext

from flowhq.channel.web import browser, faults, profile
from flowhq.channel.web.buffer import Room
from flowhq.channel.web.driver import Driver
from flowhq.channel.web.page import WebChannel
from flowhq.channel.web.script import MANIFEST, VENDOR, load_bundle
from flowhq.channel.web.settings import WebSettings
from flowhq.channel.web.tab import Tab
from flowhq.channel.web.usage import UsageMeter
from flowhq.clock import Clock
from flowhq.errors import ChannelRestartError, MisconfiguredError
from flowhq.figures import Usage
from flowhq.model import Reason, TenantId

log = structlog.get_logger(__name__)


class BrowserHost:
    """Opened once by the daemon, before its channels, and closed after them.

    ``open`` finds out whether browsers can be started at all: MisconfiguredError says what to
    do. The driver is started by the first channel, and again by the next one after its death;
    then every open channel gets ChannelRestartError(BROWSER_GONE).
    """

    def __init__(self, settings: WebSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.bundle = ""
        self.versions = ""
        self._profiles = settings.profiles_dir.absolute()
        self._chromium: Path | None = None
        self._agent = ""
        self._driver = Driver(self._driver_gone)
        self._slots = asyncio.Semaphore(settings.concurrent_starts)
        self.room = Room(settings.event_buffer_total)
        self._tabs: dict[Path, Tab] = {}
        self._usage = UsageMeter()

    async def open(self) -> None:
        self.bundle = load_bundle()
        self._chromium = browser.find_chromium(self.settings.chromium)
        major = await browser.find_major_version(self._chromium)
        self._agent = browser.user_agent(self.settings, major)
        wajs = json.loads((VENDOR / MANIFEST).read_bytes()).get("version", "unknown")
        self.versions = f"Chromium {major}, wa-js {wajs}"
        self._make_profiles_dir()
        if not os.access(browser.LAUNCHER, os.X_OK):
            log.warning("browser starter not executable", path=str(browser.LAUNCHER))
        if browser.is_root():
            log.warning("browsers without sandbox", why="running as root")

    def _make_profiles_dir(self) -> None:
        try:
            profile.make(self._profiles)
        except OSError as error:
            raise MisconfiguredError(
                f"The profiles' folder {self._profiles} cannot be written ({error.strerror}).",
                next_step="Give it to the user that runs the daemon, or set [web] profiles_dir.",
            ) from None

    async def close(self) -> None:
        """Closes what is still open, then the driver; nothing of it runs afterwards."""
        closing = [tab.close() for tab in self._tabs.values()]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("browser not ended", error=str(outcome))
        await self._driver.stop()

    def channel(self, tenant_id: TenantId) -> WebChannel:
        """A closed channel; two of one tenant may exist, but only one of them be open."""
        return WebChannel(tenant_id, self.settings, Tab(self, self.profile_dir(tenant_id)))

    def profile_dir(self, tenant_id: TenantId) -> Path:
        return self._profiles / str(tenant_id)

    async def forget_profile(self, tenant_id: TenantId) -> None:
        """The tenant's pairing is gone from the disk. Its channel must be closed."""
        folder = self.profile_dir(tenant_id)
        if folder in self._tabs:
            raise in_use(folder)
        await profile.forget(folder)

    async def measure(self) -> Mapping[TenantId, Usage]:
        """What each open browser takes; read in a thread, one call at a time."""
        leaders = {
            TenantId(UUID(folder.name)): tab.leader
            for folder, tab in self._tabs.items()
            if tab.leader is not None
        }
        return await asyncio.to_thread(self._usage.measure, leaders)

    # -- what a tab needs (Browsers) ----------------------------------------------------------

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        async with self._slots:
            yield

    async def start(self, profile_dir: Path) -> BrowserContext:
        if self._chromium is None:
            raise MisconfiguredError("The browser host is not open.")
        profile.make(profile_dir)
        await profile.make_free(profile_dir, own_driver=self._driver.pid)
        playwright = await self._driver.playwright()
        return await browser.launch(
            playwright,
            self.settings,
            self._chromium,
            profile_dir,
            browser.browser_environment(self._chromium),
            self._agent,
        )

    def claim(self, tab: Tab) -> None:
        if self._tabs.setdefault(tab.profile_dir, tab) is not tab:
            raise in_use(tab.profile_dir)

    def release(self, tab: Tab) -> None:
        if self._tabs.get(tab.profile_dir) is tab:
            del self._tabs[tab.profile_dir]

    def _driver_gone(self) -> None:
        for tab in list(self._tabs.values()):
            tab.fail(faults.browser_gone("The Playwright driver"))


def in_use(folder: Path) -> ChannelRestartError:
    return ChannelRestartError(
        f"The profile {folder.name} is open in another channel of this daemon.",
        reason=Reason.PROFILE_IN_USE,
    )
