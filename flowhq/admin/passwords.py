"""Argon2 without standing in the way: in threads, two at a time, and once for a right password.

A password found right is remembered for a few minutes as an HMAC under a key that lives only in
this process, together with the hash it fits: another hash, and it is verified anew.
"""

import asyncio
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from cachetools import TTLCache

from flowhq.clock import Clock
from flowhq.password import NOBODYS_HASH, hash_password, verify_password

# Each takes 19 MB and a core for about 32 ms.
AT_ONCE = 2
# Only bounds how long the HMAC stays in memory: it is worth nothing without the same hash.
REMEMBERED_S = 300
REMEMBERED_MAX = 256


class Passwords:
    """Makes and checks hashes; holds no password."""

    def __init__(self, clock: Clock) -> None:
        self._key = secrets.token_bytes(32)
        self._right: TTLCache[bytes, bool] = TTLCache(
            REMEMBERED_MAX, REMEMBERED_S, timer=clock.monotonic
        )
        self._running = asyncio.Semaphore(AT_ONCE)
        # Threads of their own: what one thread's allocator keeps of those 19 MB, no other gets.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")

    def close(self) -> None:
        """Ends its threads; nothing more is checked."""
        self._threads.shutdown(wait=False)

    def remembers(self, stored: str, password: bytes) -> bool:
        """Whether it was found right lately; costs nothing."""
        return self._mark(stored, password) in self._right

    async def verify(self, stored: str | None, password: bytes) -> bool:
        """Whether it is the password of this hash. None, nobody's hash, is never right and costs
        the same."""
        mark = self._mark(stored or NOBODYS_HASH, password)
        async with self._running:
            # Others with the same password may have waited here together.
            if mark in self._right:
                return True
            right = await asyncio.get_running_loop().run_in_executor(
                self._threads, verify_password, stored or NOBODYS_HASH, password
            )
            if right and stored is not None:
                self._right[mark] = True
                return True
            return False

    async def make(self, password: str) -> str:
        """The hash to keep; InvalidInputError for a password that will not do."""
        async with self._running:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, hash_password, password)

    def _mark(self, stored: str, password: bytes) -> bytes:
        return hmac.digest(self._key, stored.encode() + b"\0" + password, "sha256")
