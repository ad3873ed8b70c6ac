"""The one policy for waiting while the store is away, or lacks what every call needs: full jitter
from 0.1 to 5 s, for ever.

For ever, because what waits here is durable neither in memory nor by a guess: the callers are
bounded themselves (a pump that stops reading, a lane of 50), and stopping cancels them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from flowhq.clock import Clock
from flowhq.errors import StoreTimeoutError, StoreUnavailableError, StoreUnusableError

log = structlog.get_logger(__name__)
T = TypeVar("T")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
WAIT = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
# A store that is well writes a mark in milliseconds. Longer, and an absence that ends meanwhile is
# taken for the fault of what did not end in time.
PROOF_S = 2.0
AWAY = (StoreUnavailableError, StoreUnusableError)
STORE_IS_AWAY = retry_if_exception_type(AWAY)


async def until_stored(clock: Clock, call: Callable[[], Awaitable[T]]) -> T:
    """The call's result once the store answers; other errors pass at once."""
    try:
        return await call()
    except AWAY as error:
        log.warning("store unavailable, waiting for it", why=error.message)
    await clock.sleep(random.uniform(0.0, FIRST_WAIT_S))  # noqa: S311 - jitter, not a secret
    return await _ask_again(clock, call)


async def _ask_again(clock: Clock, call: Callable[[], Awaitable[T]]) -> T:
    policy = AsyncRetrying(retry=STORE_IS_AWAY, wait=WAIT, sleep=clock.sleep, reraise=True)

    async def attempt() -> T:  # a lambda would not be known as something to await
        return await call()

    try:
        return await policy(attempt)
    finally:
        # A policy and its steps hold each other: thousands of them, left by an outage to the rare
        # full garbage collection, would leave holes all over the heap.
        policy.iter_state.reset()


async def proved(proof: Callable[[], Awaitable[T]], late: StoreTimeoutError) -> T:
    """What ``proof`` gives, if the store writes it at once: then the store is well, and what was
    ``late`` is at fault itself. Else ``late``, or what the proof raises: the store is away."""
    try:
        async with asyncio.timeout(PROOF_S):
            return await proof()
    except TimeoutError:
        raise late from None
