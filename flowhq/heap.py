"""The memory of a process that runs for months: rarely searched, and given back after a burst."""

import ctypes
import gc

import structlog

from flowhq.clock import Clock

log = structlog.get_logger(__name__)

# Objects made and not freed until the young, the middle and all are looked through: 2,000,000 for
# all, which is some hundred MB at the very most.
GC_THRESHOLDS = (5_000, 10, 40)
GIVE_BACK_EVERY_S = 60.0


def calm_collector() -> None:
    """Full garbage collections become rare: one stops the loop for 0.1 s and more, since caches of
    hundreds of tenants are a million objects. What was made before is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def keep(clock: Clock) -> None:
    """Once a minute gives back to the system what is free; a few milliseconds each time. Ends at
    once where the C library cannot do it."""
    while give_back():
        await clock.sleep(GIVE_BACK_EVERY_S)
    log.info("this C library keeps what is free; only glibc gives it back")


def give_back() -> bool:
    """Free pages in the middle of the C heap go back to the system; False if it is not glibc's.

    A burst leaves holes between what lives on, which only malloc_trim(3) returns; without it a
    process stays as large as its worst minute.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(ctypes.c_size_t(0))
    return True
