"""A running simulator, in the test's own event loop."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from flowhq.simulator.server import Address, listening
from flowhq.simulator.world import World
from tests.integration.simulator.fake_page import FakePage

FREE = Address("127.0.0.1", 0)


@dataclasses.dataclass
class Bench:
    """The simulator and what a test needs to talk to it."""

    world: World
    session: aiohttp.ClientSession
    url: str
    tls_url: str
    pages: list[FakePage] = dataclasses.field(default_factory=list)

    async def ask(self, call: str, **body: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.post(f"{self.url}/control/{call}", json=body) as response:
            return response.status, await response.json()

    async def control(self, call: str, **body: Any) -> dict[str, Any]:
        status, answer = await self.ask(call, **body)
        assert status == 200, answer
        return answer

    async def get(self, call: str, **query: str) -> tuple[int, dict[str, Any]]:
        async with self.session.get(f"{self.url}/control/{call}", params=query) as response:
            return response.status, await response.json()

    def page(self, *, tls: bool = False) -> FakePage:
        url = self.tls_url if tls else self.url
        page = FakePage(self.session, url, ssl=not tls)
        self.pages.append(page)
        return page

    async def linked(self, phone: str = "255700000001", **scan: Any) -> FakePage:
        """A page that is paired with the account and logged in, nothing waiting."""
        page = self.page()
        answer = await self.control("scan", qr=await page.show_code(), phone=phone, **scan)
        assert answer["ok"], answer
        await page.finish_pairing()
        await page.expect("offline_done")
        return page


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    world = World()
    async with (
        listening(world, FREE, FREE) as addresses,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
    ):
        bench = Bench(world, session, f"http://{addresses.http}", f"https://{addresses.tls}")
        yield bench
        for page in bench.pages:
            await page.close()
