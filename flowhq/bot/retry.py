"""The one policy for waiting while the store is away: full jitter from 0.1 to 5 s, for ever.

For ever, because what waits here is durable neither in memory nor by a guess: the callers are
bounded themselves (a pump that stops reading, a lane of 50), and stopping cancels them.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from flowhq.clock import Clock
from flowhq.errors import StoreUnavailableError

log = structlog.get_logger(__name__)
T = TypeVar("T")

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0


async def until_stored(clock: Clock, call: Callable[[], Awaitable[T]]) -> T:
    """The call's result once the store answers; other errors pass at once."""
    policy = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailableError),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        sleep=clock.sleep,
        before_sleep=_tell,
        reraise=True,
    )

    async def attempt() -> T:  # a lambda would not be known as something to await
        return await call()

    return await policy(attempt)


def _tell(state: RetryCallState) -> None:
    if state.attempt_number == 1:
        log.warning("store unavailable, waiting for it")
