"""What one run of a tenant leaves to the next, as a process begins."""

from flowhq.bot.dedup import Dedup
from flowhq.bot.memory import Memory
from flowhq.clock import Clock


def memory(clock: Clock) -> Memory:
    return Memory(dedup(clock))


def dedup(clock: Clock, entries: int = 1000) -> Dedup:
    return Dedup(clock, entries=entries, ttl_s=300.0)
