"""Turns in a tenant's limit of replies, for what can wait until there is room."""

import asyncio

from flowhq.bot.ratelimit import ReplyLimits
from flowhq.clock import Clock


class Turns:
    """One queue, served in the order of asking. Live replies are in none: they take their token
    when they are decided. Whoever waits in one queue does not wait for another.

    Live replies go first, but where they have reserved what is to come, the first of the queue
    lines up behind those: else a tenant with more to answer than it may would never come to it.
    """

    def __init__(self, limits: ReplyLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._first = asyncio.Lock()

    async def take(self) -> float:
        """Seconds until the limit had room for one more, whose token is taken then."""
        began = self._clock.monotonic()
        async with self._first:
            while (wait_s := self._limits.take()) > 0:
                if self._limits.in_debt:
                    await self._wait_in_line()
                    break
                await self._clock.sleep(wait_s)
        return self._clock.monotonic() - began

    async def _wait_in_line(self) -> None:
        wait_s = self._limits.line_up()
        try:
            await self._clock.sleep(wait_s)
        except asyncio.CancelledError:
            self._limits.give_back()
            raise
