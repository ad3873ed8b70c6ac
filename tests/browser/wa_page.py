"""A browser on the simulated page with the real wa-js in it, for tests of the page itself.

Deliberately not the channel's driver: a mistake in one must not hide a mistake in the other.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from playwright.async_api import (
    BrowserContext,
    Page,
    Playwright,
    async_playwright,
)
from playwright.async_api import (
    Error as PlaywrightError,
)

from tests.browser.simulator import Simulator

LIMIT_S = 60.0
POLL_S = 0.05
USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/150.0.0.0 Safari/537.36"
)
PHONE = "255700000001"
CUSTOMER = "255711111111"
CHAT = f"{CUSTOMER}@c.us"

_SETTINGS = """window.WPPConfig = {disableGoogleAnalytics: true, googleAnalyticsId: null,
  linkPreviewApiServers: [], poweredBy: null, syncAllStatus: false};"""
_RECORDER = """
const plain = (value) => JSON.parse(JSON.stringify(value ?? null));
const shape = {
  'chat.new_message': (m) => ({id: m.id.toString(), type: m.type, body: m.body ?? null,
    caption: m.caption ?? null, from: String(m.from), to: String(m.to), chat: String(m.id.remote),
    fromMe: m.id.fromMe, notifyName: m.notifyName, author: m.author ? String(m.author) : null,
    lat: m.lat ?? null, quoted: m.quotedStanzaID ?? null, subtype: m.subtype ?? null}),
  'chat.msg_ack_change': (a) => ({ack: a.ack, chat: String(a.chat), ids: a.ids.map(String)}),
  'chat.unread_count_changed': (c) => ({chat: String(c.chat.id), count: c.unreadCount}),
  'chat.msg_revoke': (r) => ({refId: String(r.refId), type: r.type}),
  'chat.new_reaction': (r) => ({msgId: String(r.msgId), text: r.reactionText}),
  'chat.new_chat': (c) => ({id: String(c.id)}),
};
for (const name of ['conn.auth_code_change', 'conn.qrcode_idle', 'conn.stream_mode_changed',
  'conn.stream_info_changed', 'conn.online', 'conn.logout', 'conn.logout_reason',
  'conn.main_ready', 'conn.main_loaded', 'loader.full_ready', ...Object.keys(shape)]) {
  WPP.on(name, (value) => window.recordEvent(name, (shape[name] ?? plain)(value)));
}"""

# wa-js says that it is ready before it gives the chats the getters that newer pages lack.
READY = (
    "WPP.isFullReady && 'hasUnread' in WPP.whatsapp.ChatModel.prototype"
    " && WPP.conn.getStreamData().mode === 'MAIN'"
    " && WPP.conn.getStreamData().info === 'NORMAL' && WPP.conn.isAuthenticated()"
)
CODE = "WPP.isFullReady && WPP.conn.getAuthCode().then((code) => code?.fullCode)"
SEND = """([to, text, id, options]) => WPP.chat.sendTextMessage(to, text, {
  messageId: id || undefined, linkPreview: false, markIsRead: false, detectMentioned: false,
  waitForAck: true, ...options})"""


class WaPage:
    """One browser profile and the page that is open in it, if one is."""

    def __init__(
        self, playwright: Playwright, simulator: Simulator, profile: Path, wa_js: str
    ) -> None:
        self._playwright = playwright
        self._script = f"(() => {{ {_SETTINGS}\n{wa_js}\n;{_RECORDER} }})();"
        self._context: BrowserContext | None = None
        self._page: Page | None = None
        self.simulator = simulator
        self.profile = profile
        self.events: list[tuple[str, Any]] = []
        self.problems: list[str] = []

    @property
    def page(self) -> Page:
        assert self._page is not None, "the browser is closed"
        return self._page

    @property
    def context(self) -> BrowserContext:
        assert self._context is not None, "the browser is closed"
        return self._context

    async def open(self, *, user_agent: str | None = USER_AGENT, goto: bool = True) -> None:
        self._context = await self._playwright.chromium.launch_persistent_context(
            self.profile,
            headless=True,
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-background-networking", "--no-first-run"],
            user_agent=user_agent,
            service_workers="block",
        )
        await self._context.expose_binding("recordEvent", self._record)
        await self._context.add_init_script(self._script)
        self._page = self._context.pages[0]
        self._page.on("pageerror", lambda error: self.problems.append(str(error)))
        self._page.on("console", self._hear)
        if goto:
            await self._page.goto(self.simulator.url)

    def _record(self, _source: object, name: str, value: Any) -> None:
        self.events.append((name, value))

    def _hear(self, message: Any) -> None:
        # The browser itself complains about each socket that a drop refuses.
        if message.type == "error" and "WebSocket" not in message.text:
            self.problems.append(message.text)

    async def close(self) -> None:
        context, self._context, self._page = self._context, None, None
        if context is not None:
            await context.close()

    async def kill(self) -> None:
        """The browser's process dies at once, as by the kernel's hand."""
        lock = (self.profile / "SingletonLock").readlink()
        os.kill(int(str(lock).rpartition("-")[2]), signal.SIGKILL)
        context, self._context, self._page = self._context, None, None
        assert context is not None
        with contextlib.suppress(PlaywrightError):
            await context.close()
        (self.profile / "SingletonLock").unlink(missing_ok=True)

    async def run(self, expression: str, argument: Any = None) -> Any:
        async with asyncio.timeout(LIMIT_S):
            return await self.page.evaluate(expression, argument)

    async def until(self, expression: str, limit_s: float = LIMIT_S) -> Any:
        """The first true value of the expression; navigations in between do not matter."""
        deadline = time.monotonic() + limit_s
        value: Any = None
        while time.monotonic() < deadline:
            with contextlib.suppress(PlaywrightError):
                value = await self.run(expression)
                if value:
                    return value
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"not true within {limit_s} s: {expression} (last: {value!r})")

    def values(self, name: str) -> list[Any]:
        return [value for event, value in self.events if event == name]

    async def event(
        self, name: str, accept: Callable[[Any], bool] = lambda _value: True, since: int = 0
    ) -> Any:
        """The first event of that name from position `since` on that is accepted."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            for event, value in self.events[since:]:
                if event == name and accept(value):
                    return value
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"no such {name} among {self.events[since:]}")

    # What a phone and a person do.

    async def control(self, call: str, **body: Any) -> dict[str, Any]:
        return await self.simulator.control(call, **body)

    async def pair(self, **owner: Any) -> None:
        """Shows the code, scans it, and waits until the page can be used."""
        code = await self.until(CODE)
        answer = await self.control("scan", qr=code, **{"phone": PHONE, "name": "Duka", **owner})
        assert answer["ok"], answer
        await self.until(READY)

    async def receive(self, text: str, **more: Any) -> dict[str, Any]:
        return await self.control(
            "message", **{"phone": PHONE, "from": CUSTOMER, "text": text, **more}
        )

    async def send(self, to: str, text: str, message_id: str = "", **options: Any) -> Any:
        return await self.run(SEND, [to, text, message_id, options])

    async def new_id(self, chat: str = CHAT) -> str:
        made: str = await self.run(
            "async (chat) => (await WPP.chat.generateMessageID(chat)).toString()", chat
        )
        return made

    async def outbox(self, count: int) -> list[dict[str, Any]]:
        """What the phone's side got, once there are that many."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            answer = await self.control("outbox", phone=PHONE)
            found: list[dict[str, Any]] = answer["messages"]
            if len(found) >= count:
                return found
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"fewer than {count} messages: {found}")


@contextlib.asynccontextmanager
async def wa_page(simulator: Simulator, profile: Path, wa_js: str) -> AsyncIterator[WaPage]:
    """Not opened yet; closed at the end whatever happened."""
    async with async_playwright() as playwright:
        made = WaPage(playwright, simulator, profile, wa_js)
        try:
            yield made
        finally:
            await made.close()
