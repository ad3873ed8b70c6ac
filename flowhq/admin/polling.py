"""Waiting for a change on behalf of a client, and stopping to wait when the daemon stops."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

CLOSING = web.AppKey("closing", asyncio.Event)


async def wait_or_close(closing: asyncio.Event, change: Coroutine[Any, Any, object]) -> bool:
    """Waits until the change has happened (True) or the server closes (False).

    The loser is cancelled and awaited before this returns. Errors of ``change`` are raised.
    """
    waiting = asyncio.ensure_future(change)
    stopping = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
        return waiting.done()
    finally:
        await _cancel(waiting, stopping)


async def _cancel(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
