"""A browser with one page in it that has our script inside: started, asked, watched, ended.

Knows Playwright and documents, and nothing of messages: page.py makes a channel of it.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import orjson
import structlog
from playwright.async_api import BrowserContext, Error, Frame, Page

from flowhq.channel.web import faults, process, profile, script
from flowhq.channel.web.buffer import EventBuffer, Room
from flowhq.channel.web.feed import Feed
from flowhq.channel.web.fence import foreign, refuse
from flowhq.channel.web.settings import WebSettings
from flowhq.clock import Clock
from flowhq.errors import ChannelError, ChannelRestartError
from flowhq.model import Reason, Rung

log = structlog.get_logger(__name__)

CALL = "([handle, name, given]) => window[handle] ? window[handle](name, given) : null"
# A clean closing takes 0.2 s; the databases of a busy page some seconds.
CLOSE_LIMIT_S = 15.0
# After a kill there is nothing to close but Playwright's own books.
FORGET_LIMIT_S = 2.0
GONE_LIMIT_S = 5.0
# A document that is there but has no script yet: only an error page stays so.
RETRY_S = 0.05


class Browsers(Protocol):
    """Where a tab gets its browser from."""

    settings: WebSettings
    clock: Clock
    room: Room

    @property
    def bundle(self) -> str: ...

    @property
    def versions(self) -> str:
        """Of Chromium and wa-js, for people."""
        ...

    def starting(self) -> AbstractAsyncContextManager[None]:
        """Held while a browser starts: no more than the settings allow at once."""
        ...

    async def start(self, profile_dir: Path) -> BrowserContext: ...

    def claim(self, tab: "Tab") -> None:
        """From here to ``release`` the profile is this tab's; ChannelRestartError if it is
        another's."""
        ...

    def release(self, tab: "Tab") -> None: ...


class Tab:
    """Open or closed; open, it has a fault as soon as it is no use any more.

    The first fault stays: the event reader and every call get it.
    """

    def __init__(self, browsers: Browsers, profile_dir: Path) -> None:
        self._browsers = browsers
        self.profile_dir = profile_dir
        self._context: BrowserContext | None = None
        self._leader: process.Process | None = None
        self._page: Page | None = None
        self._making_page = False
        self._names: script.PageScript | None = None
        self._loaded = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.fault: ChannelError | None = None
        self.buffer, self.feed = self._new_line()

    @property
    def is_open(self) -> bool:
        return self._context is not None

    @property
    def leader(self) -> process.Process | None:
        """The browser's first process, while it is open."""
        return self._leader

    @property
    def is_loaded(self) -> bool:
        """wa-js found its way in the present document."""
        return self._loaded.is_set()

    # -- life -----------------------------------------------------------------------------------

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        """A page with a working script in it, when it returns: a new document, page or browser, as
        ``rung`` says, or more where less is of no use. On a failure nothing is left running, but
        for a browser whose page could not be reached: the next opening tries with it again."""
        rung = self._rung_that_helps(rung)
        if self.is_open and rung is Rung.BROWSER:
            await self._end(FORGET_LIMIT_S if self._is_lost else CLOSE_LIMIT_S)
        self._browsers.claim(self)
        self.fault = None
        self.buffer.discard()
        self.buffer, self.feed = self._new_line()
        self._loaded.clear()
        try:
            async with self._browsers.starting():
                await self._start(rung)
        except ChannelRestartError as error:
            self.fail(error)
            if error.reason != Reason.CONNECTION_LOST:
                await self.kill()
            raise
        except BaseException:
            await self.kill()
            raise

    @property
    def _is_lost(self) -> bool:
        """The browser itself is gone, or as good as that."""
        return isinstance(self.fault, ChannelRestartError) and (
            self.fault.reason == Reason.BROWSER_GONE
        )

    def _rung_that_helps(self, rung: Rung) -> Rung:
        if not self.is_open or self._page is None or self._is_lost:
            return Rung.BROWSER
        crashed = isinstance(self.fault, ChannelRestartError) and (
            self.fault.reason == Reason.PAGE_CRASHED
        )
        return max(rung, Rung.PAGE) if crashed else rung

    async def _start(self, rung: Rung) -> None:
        # Browser and page have a limit each; this one is for a driver that does not answer.
        limit_s = 2 * self._browsers.settings.launch_timeout_s + CLOSE_LIMIT_S
        try:
            async with asyncio.timeout(limit_s):
                if self._context is None:
                    await self._start_browser()
                if rung is Rung.RELOAD and self._page is not None:
                    await self._load(self._page)
                else:
                    await self._show_page()
        except Error as error:
            self.check()
            raise faults.while_starting(error) from error
        except TimeoutError:
            raise ChannelRestartError(
                f"Nothing came of the start within {limit_s:g} s.", reason=Reason.BROWSER_FAILED
            ) from None

    async def close(self) -> None:
        """Closes cleanly, so that the page's databases reach the disk; kills what will not."""
        await self._end(CLOSE_LIMIT_S)

    async def kill(self) -> None:
        """Ends every process of the browser now."""
        self.buffer.close()
        if self._leader is not None:
            process.end(process.tree_of(self._leader))
        await self._end(FORGET_LIMIT_S)

    def fail(self, error: ChannelError) -> None:
        """The tab is no use any more."""
        if self.fault is None and self.is_open:
            self.fault = error
            log.warning("page lost", tenant_id=self.profile_dir.name, error=str(error))
            self._stop_deadline()
            self.buffer.fail(error)
            self._loaded.set()

    def check(self) -> None:
        if self.fault is not None:
            raise self.fault
        if self._context is None:
            raise ChannelRestartError("The channel is closed.", reason=Reason.BROWSER_GONE)

    async def _end(self, limit_s: float) -> None:
        """Closes within the limit, then ends what is left; also when it is cancelled meanwhile."""
        context, leader = self._context, self._leader
        self._context = self._leader = self._page = None
        self._stop_deadline()
        self.buffer.discard()
        self._loaded.set()
        tree = [] if leader is None else process.tree_of(leader)
        try:
            if context is not None:
                await self._close_context(context, limit_s)
                await process.wait_gone(tree, limit_s=GONE_LIMIT_S)
            if leader is not None:
                await profile.end_browser(leader)
        finally:
            process.end(tree)
            process.reap(tree)
            self._browsers.release(self)

    async def _close_context(self, context: BrowserContext, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await context.close()
        except (Error, TimeoutError) as error:
            log.debug("browser not closed", tenant_id=self.profile_dir.name, error=str(error))

    # -- asking -----------------------------------------------------------------------------------

    async def ask(
        self, name: str, given: dict[str, Any], *, limit_s: float, needs_link: bool = False
    ) -> dict[str, Any]:
        """What the page answers; asked again in the new document if one comes meanwhile.
        ``needs_link``: a page without a link never answers; UnlinkedError if it lost it."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    answer = await self.ask_once(name, given)
                    if answer is not None:
                        return answer
                    if needs_link and self.feed.is_unlinked:
                        raise faults.unlinked(name)
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise faults.page_hung(name, limit_s) from None

    async def ask_once(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """One answer of the present document; None if it went away meanwhile or is not ready.
        No limit here."""
        await self._loaded.wait()
        self.check()
        page, names = self._page, self._names
        if page is None or names is None:
            raise ChannelRestartError("The channel is closed.", reason=Reason.BROWSER_GONE)
        try:
            answer = await page.evaluate(CALL, [names.handle, name, given])
        except Error as error:
            if faults.is_navigation(error):
                return None
            self.fail(faults.while_running(error))
            self.check()
            raise faults.while_running(error) from error
        return None if answer is None else self._parse(name, answer)

    def _parse(self, name: str, answer: Any) -> dict[str, Any]:
        try:
            found = orjson.loads(answer)
        except (ValueError, TypeError) as error:
            raise faults.page_unusable(f"The page's answer to {name!r} is no JSON.") from error
        if not isinstance(found, dict):
            raise faults.page_unusable(f"The page's answer to {name!r} is no object.")
        return found

    # -- starting ---------------------------------------------------------------------------------

    async def _start_browser(self) -> None:
        settings = self._browsers.settings
        self._names = script.build(settings, self._browsers.bundle)
        context = await self._launched()
        context.on("close", lambda _: self._browser_closed(context))
        context.on("page", lambda _: self._close_strangers())
        await context.expose_binding(self._names.binding, self._take)
        await context.add_init_script(self._names.source)
        await context.route(foreign(settings.host), refuse)

    async def _launched(self) -> BrowserContext:
        """The new browser. A launch cannot be called back: when this is cancelled, it waits for
        the browser so that it can be ended."""
        launch = asyncio.ensure_future(self._browsers.start(self.profile_dir))
        try:
            return self._own(await asyncio.shield(launch))
        except asyncio.CancelledError:
            await asyncio.wait({launch}, timeout=CLOSE_LIMIT_S)
            if launch.done() and not launch.cancelled() and launch.exception() is None:
                self._own(launch.result())
            launch.cancel()
            raise

    def _own(self, context: BrowserContext) -> BrowserContext:
        self._context = context
        self._leader = profile.browser_process(self.profile_dir)
        return context

    async def _show_page(self) -> None:
        """Our page, and no other, on WhatsApp's address, with wa-js at work in it."""
        context = self._context
        if context is None:
            raise faults.browser_gone("The browser")
        self._page = page = await self._fresh_page(context)
        self._close_strangers()
        page.on("crash", self._page_crashed)
        page.on("close", self._page_closed)
        page.on("framenavigated", self._navigated)
        await self._load(page)

    async def _fresh_page(self, context: BrowserContext) -> Page:
        """The empty page a new browser comes with; else a new one. The old one is dead by then,
        also if it hung: two of them would fight for the link."""
        replaced, self._page = self._page, None
        if replaced is None and context.pages:
            return context.pages[0]
        if self._leader is not None:
            process.end(process.renderers_of(self._leader))
        self._making_page = True
        try:
            return await context.new_page()
        finally:
            self._making_page = False

    async def _load(self, page: Page) -> None:
        settings = self._browsers.settings
        self._start_deadline()
        try:
            response = await page.goto(
                settings.url, wait_until="commit", timeout=settings.launch_timeout_s * 1000
            )
        except Error as error:
            self.check()
            raise faults.while_loading(error, settings.url) from error
        if response is not None and response.status >= 400:
            raise faults.unreachable(settings.url, f"status {response.status}")
        await self._loaded.wait()
        self.check()

    # -- watching ---------------------------------------------------------------------------------

    def _new_line(self) -> tuple[EventBuffer, Feed]:
        buffer = EventBuffer(self._browsers.settings.event_buffer, self._browsers.room)
        feed = Feed(
            self._browsers.clock,
            buffer,
            tenant_id=self.profile_dir.name,
            on_loaded=self._document,
            on_fault=self.fail,
        )
        return buffer, feed

    def _take(self, source: dict[str, Any], payload: str) -> None:
        if source["page"] is self._page:
            self.feed.take(payload)

    def _document(self, loaded: bool) -> None:
        if loaded:
            self._stop_deadline()
            self._loaded.set()
        elif self.fault is None:
            self._loaded.clear()
            self._start_deadline()

    def _start_deadline(self) -> None:
        self._stop_deadline()
        limit_s = self._browsers.settings.launch_timeout_s
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(limit_s, self._not_loaded, limit_s)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _not_loaded(self, limit_s: float) -> None:
        self.fail(faults.page_not_known(limit_s, self._browsers.versions, self.feed.page_version))

    def _navigated(self, frame: Frame) -> None:
        if self._page is None or frame != self._page.main_frame:
            return
        settings, found = self._browsers.settings, urlsplit(frame.url)
        if found.scheme == "chrome-error":
            self.fail(faults.unreachable(settings.url))
        elif found.hostname != settings.host and frame.url != "about:blank":
            self.fail(faults.page_unusable(f"The page went to another host: {found.hostname}."))
        elif "post_logout" in parse_qs(found.query):
            self.feed.left(parse_qs(found.query).get("logout_reason", [""])[0])

    def _browser_closed(self, context: BrowserContext) -> None:
        if context is self._context:
            self.fail(faults.browser_gone("The browser"))

    def _page_crashed(self, page: Page) -> None:
        if page is self._page:
            self.fail(faults.page_crashed())

    def _page_closed(self, page: Page) -> None:
        if page is self._page:
            self.fail(faults.browser_gone("The page"))

    def _close_strangers(self) -> None:
        """Pages that the page opened, and the one that crashed: nothing of ours is in them."""
        if self._context is None or self._making_page:
            return
        for page in self._context.pages:
            if page is not self._page and not page.is_closed():
                task = asyncio.create_task(close_page(page))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


async def close_page(page: Page) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await page.close()
    except (Error, TimeoutError) as error:
        log.debug("page not closed", error=str(error))
