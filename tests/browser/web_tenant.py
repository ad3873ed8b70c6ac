"""A tenant on the simulator: its real channel, everything its events told, and its phone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from playwright.async_api import Page

from flowhq.channel.web import process, profile
from flowhq.channel.web.host import BrowserHost
from flowhq.channel.web.page import WebChannel
from flowhq.channel.web.settings import WebSettings
from flowhq.clock import SystemClock
from flowhq.errors import ChannelError
from flowhq.events import AckSeen, ChannelEvent, MessageSeen, QrShown, Ready
from flowhq.model import (
    Ack,
    ChatKey,
    InboundMessage,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxId,
    OutboxState,
    Rung,
    TenantId,
)
from tests.browser.simulator import Simulator
from tests.fakes.clock import until

Event = TypeVar("Event", bound=ChannelEvent)

LIMIT_S = 60.0
PHONE = "255712345678"
CUSTOMER = "255711111111"
CHAT = Jid(f"{CUSTOMER}@c.us")
LID_CHAT = Jid("100000000000077@lid")
# For tests in which a page never answers.
HASTY = {"send_timeout_s": 3, "probe_timeout_s": 3}


def settings_for(url: str, profiles: Path, **changes: Any) -> WebSettings:
    """Limits long enough for two busy cores; with HASTY, short enough to wait for them in vain."""
    usual = WebSettings(
        url=f"{url}/",
        profiles_dir=profiles,
        launch_timeout_s=60,
        send_timeout_s=20,
        probe_timeout_s=20,
    )
    return replace(usual, **changes)


def outbound(client_id: str, text: str = "Karibu", to: Jid = CHAT) -> OutboundMessage:
    now = datetime.now(UTC)
    return OutboundMessage(
        outbox_id=OutboxId(1),
        chat_key=ChatKey(to),
        to=to,
        client_id=MessageId(client_id),
        text=text,
        state=OutboxState.SENDING,
        attempts=1,
        due_at_monotonic=0.0,
        planned_at=now,
    )


class WebTenant:
    """One tenant with one phone. ``events`` grows while the channel is open; ``fault`` is what
    the event reader ended with."""

    def __init__(self, host: BrowserHost, simulator: Simulator, phone: str = PHONE) -> None:
        self.host = host
        self.simulator = simulator
        self.phone = phone
        self.tenant_id = TenantId(uuid4())
        self.channel: WebChannel = host.channel(self.tenant_id)
        self.events: list[ChannelEvent] = []
        self.fault: ChannelError | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        self.fault = None
        await self.channel.open(rung)
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        await self.channel.close()
        await self._stop_reading()

    async def _read(self) -> None:
        try:
            async for event in self.channel.events():
                self.events.append(event)
        except ChannelError as error:
            self.fault = error

    async def _stop_reading(self) -> None:
        if self._reader is not None:
            async with asyncio.timeout(LIMIT_S):
                await self._reader
            self._reader = None

    # -- what the channel tells ----------------------------------------------------------------

    def all_of(self, kind: type[Event], since: int = 0) -> list[Event]:
        return [event for event in self.events[since:] if isinstance(event, kind)]

    async def told(self, kind: type[Event], *, since: int = 0, limit_s: float = LIMIT_S) -> Event:
        """The first event of the kind from ``since`` on, waited for."""
        await until(lambda: self.all_of(kind, since), kind.__name__, within_s=limit_s)
        return self.all_of(kind, since)[0]

    async def messages(self, count: int, *, since: int = 0) -> list[InboundMessage]:
        """The first ``count`` messages from ``since`` on."""
        await until(
            lambda: len(self.all_of(MessageSeen, since)) >= count,
            f"{count} messages",
            within_s=LIMIT_S,
        )
        return [event.message for event in self.all_of(MessageSeen, since)[:count]]

    async def ack_of(self, client_id: str, level: Ack) -> None:
        def seen() -> bool:
            return any(
                MessageId(client_id) in event.ids and event.ack == level
                for event in self.all_of(AckSeen)
            )

        await until(seen, f"ack {level} of {client_id}", within_s=LIMIT_S)

    async def lost(self, limit_s: float = LIMIT_S) -> ChannelError:
        """What ended the event reader."""
        await until(lambda: self.fault is not None, "a fault", within_s=limit_s)
        assert self.fault is not None
        await self._stop_reading()
        return self.fault

    # -- the phone -----------------------------------------------------------------------------

    async def pair(self, **phone_book: Any) -> Ready:
        """Scans the newest code."""
        await self.told(QrShown)
        code, since = self.all_of(QrShown)[-1], len(self.events)
        scanned = await self.simulator.control(
            "scan", qr=code.text, phone=self.phone, name="Duka", **phone_book
        )
        assert scanned["ok"], scanned
        return await self.told(Ready, since=since)

    async def receive(self, text: str = "", **more: Any) -> str:
        """A customer writes; the message's id."""
        message = {"from": CUSTOMER, "name": "Amina", **more}
        given = {**message, "text": text} if text else message
        answer = await self.simulator.control("message", phone=self.phone, **given)
        return str(answer["id"])

    async def outbox(self, count: int = 0) -> list[dict[str, Any]]:
        """What reached the phone, waiting for the ``count``-th message."""
        after = {"after": count - 1, "wait": LIMIT_S} if count else {}
        await self.simulator.control("outbox", phone=self.phone, **after)
        found: list[dict[str, Any]] = (await self.simulator.control("outbox", phone=self.phone))[
            "messages"
        ]
        return found

    # -- behind the channel's back -------------------------------------------------------------

    def page(self) -> Page:
        """Playwright's page, for doing to it what a fault would do."""
        page = self.channel._tab._page  # noqa: SLF001
        assert page is not None
        return page

    def browser(self) -> process.Process:
        found = profile.browser_process(self.host.profile_dir(self.tenant_id))
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def open_host(settings: WebSettings) -> AsyncIterator[BrowserHost]:
    host = BrowserHost(settings, SystemClock())
    await host.open()
    try:
        yield host
    finally:
        await host.close()


@contextlib.asynccontextmanager
async def open_tenant(
    host: BrowserHost, simulator: Simulator, phone: str = PHONE
) -> AsyncIterator[WebTenant]:
    """Opened, not yet paired; closed at the end whatever happened to it."""
    tenant = WebTenant(host, simulator, phone)
    await tenant.open()
    try:
        yield tenant
    finally:
        await tenant.close()
