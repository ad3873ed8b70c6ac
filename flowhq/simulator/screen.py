"""What an unlinked page shows: one code after the other, then none until it asks."""

import asyncio

from flowhq.simulator.pairing import PageKeys, UnlinkedPage
from flowhq.simulator.world import World


class Screen:
    """Issues the refs of one page while it is lit."""

    def __init__(self, world: World, page: UnlinkedPage) -> None:
        self._world = world
        self._page = page
        self._keys: PageKeys | None = None
        self._user_agent = ""
        self._asked = asyncio.Event()

    def light(self, keys: PageKeys, user_agent: str) -> None:
        """The page has no pairing and shows codes with these keys."""
        self._keys, self._user_agent = keys, user_agent
        self.refresh()

    def refresh(self) -> None:
        """The present code dies, the count starts anew."""
        self._asked.set()

    def go_dark(self) -> None:
        """The page was scanned: no more codes."""
        self._keys = None
        self._asked.set()

    async def run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._show_round()

    async def _show_round(self) -> None:
        """Codes until the round is over, the page is scanned, or it asks for new ones."""
        world, index = self._world, 0
        while self._keys is not None and not self._asked.is_set():
            settings = world.settings
            if index >= settings.qr_max:
                world.refs.withdraw(self._page)
                self._page.push({"k": "refs_idle"})
                return
            live = world.refs.issue(
                self._page, self._keys, settings.qr_ttl, index, self._user_agent
            )
            ttl_ms = round(settings.qr_ttl * 1000)
            self._page.push({"k": "ref", "ref": live.ref, "ttl_ms": ttl_ms, "index": index})
            world.events.record("ref", ref=live.ref, page=self._page.number)
            await self._until(live.expires_at)
            index += 1

    async def _until(self, expires_at: float) -> None:
        """Waits for the end of a code, or until something was asked."""
        waits = {
            asyncio.create_task(self._world.clock.sleep_until(expires_at)),
            asyncio.create_task(self._asked.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
