"""The real web channel on the simulator keeps the contract that the bot's tests rely on."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest

from flowhq.channel.web import profile
from flowhq.channel.web.host import BrowserHost
from flowhq.model import Ack, Jid, MessageId, TenantId
from tests.browser.simulator import Simulator
from tests.browser.web_tenant import LIMIT_S, PHONE, open_host, settings_for
from tests.contract.channel_contract import CUSTOMER, ChannelContract
from tests.fakes.clock import until


class WebStage:
    def __init__(self, host: BrowserHost, simulator: Simulator) -> None:
        self._host = host
        self._simulator = simulator
        self._tenant_id = TenantId(uuid4())
        self.channel = host.channel(self._tenant_id)

    async def pair(self) -> None:
        await self._until(self._scan)
        await self._until(self._is_connected)

    async def _scan(self) -> bool:
        return bool((await self._simulator.control("scan_live", phone=PHONE))["ok"])

    async def _is_connected(self) -> bool:
        return (await self.channel.probe()).connected

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        await until(holds, within_s=LIMIT_S)

    async def receive(self, text: str, *, chat: Jid = CUSTOMER, from_me: bool = False) -> str:
        given = {"from": chat.partition("@")[0], "name": "Amina", "from_me": from_me}
        answer = await self._simulator.control("message", phone=PHONE, text=text, **given)
        return str(answer["id"])

    async def answer_sends(self, how: Literal["ok", "refuse", "hold"]) -> None:
        # Only what is held is waited for in vain.
        limit_s = 5 if how == "hold" else 20
        self.channel._settings = replace(self._host.settings, send_timeout_s=limit_s)  # noqa: SLF001
        send = "ERROR_UNKNOWN" if how == "refuse" else how
        await self._simulator.control("config", send=send)

    async def acknowledge(self, message_id: MessageId, ack: Ack) -> None:
        await self._simulator.control("receipt", phone=PHONE, id=message_id, ack=int(ack))

    async def sent(self) -> list[tuple[str, str]]:
        outbox = await self._simulator.control("outbox", phone=PHONE)
        return [(message["id"], message["text"]) for message in outbox["messages"]]

    async def break_page(self) -> None:
        browser = profile.browser_process(self._host.profile_dir(self._tenant_id))
        assert browser is not None
        os.kill(browser.pid, signal.SIGKILL)


class TestWebChannel(ChannelContract):
    @pytest.fixture
    async def stage(self, simulator: Simulator, tmp_path: Path) -> AsyncIterator[WebStage]:
        await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
        settings = settings_for(simulator.url, tmp_path / "profiles")
        async with open_host(settings) as host:
            stage = WebStage(host, simulator)
            await stage.channel.open()
            yield stage
