"""What was begun and must end: work that a cancellation waits for instead of breaking it off."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

# Time for work that was told to stop after all.
LAST_WORDS_S = 1.0


async def finish(work: Coroutine[Any, Any, T], *, within_s: float) -> T:
    """The work's result. A cancellation first waits for its end, ``within_s`` at most, however
    often it comes, and then goes on; nothing is left running behind it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _wait(task, within_s)
        if not task.done():
            task.cancel()
            await _wait(task, LAST_WORDS_S)
        if task.done() and not task.cancelled():
            task.exception()  # looked at: the cancellation is what is told
        raise


async def _wait(task: asyncio.Future[T], limit_s: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while not task.done() and loop.time() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=end - loop.time())
