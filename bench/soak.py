"""Hundreds of tenants for half an hour, with a fault every minute: what is lost, and what grows.

    .venv/bin/python -m bench.soak [--tenants 200] [--rate 330] [--warm-up 12] [--minutes 30]

For five minutes the caches fill; from then on a fault strikes each minute, in the rest of the
warm-up too. First PostgreSQL goes away for longer than ever after, so that the largest backlog has
left its traces, then each kind strikes once, then any. Memory, descriptors and lag are judged by
the minutes behind the warm-up, messages by all of them. No owner takes part here: the chats in
which one does would grow in number with the time, and the memory with them.

The daemon runs with the simulated channel (tests/faults/peer.py), on a PostgreSQL of its own; peer,
daemon and server are processes on this machine, so all of them share its cores. At the end nobody
writes any more, and the peer's journal is judged against the database. The exit code is 1 if a
promise is broken.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations, count
from pathlib import Path
from statistics import median

import psutil

from tests.faults.verdict import Verdict
from tests.faults.world import LOADED, World, running, wait

SEED = 20261121
CHATS = 40
SAMPLE_S = 10.0
# Dedup remembers five minutes.
CACHES_FILL_S = 300.0
SLOPE_MAX = 0.01
LAG_MAX_MS = 50.0
FDS_MORE_MAX = 5
SETTLED_LIMIT_S = 900.0
SETTINGS = {"FLOWHQ_LOGGING__LEVEL": "warning"}


@dataclass(frozen=True, slots=True)
class Sample:
    """How the daemon was at one moment; ``at`` is seconds from the beginning of the load."""

    at: float
    rss: int
    fds: int
    lag_p99_ms: float
    said: int
    arrived: int
    cpu_s: float


@dataclass
class Soak:
    """All that was seen."""

    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    unsettled: str = ""


class Faults:
    """What goes wrong: first the longest absence, then each kind once in an order of the dice, then
    whatever they choose."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world = world
        self._dice = dice
        self._kinds: tuple[Callable[[], str], ...] = (
            self.pages_crash,
            self.pages_hang,
            self.acks_are_lost,
            self.platform_is_slow,
            self.events_come_twice_and_late,
            self.backends_are_terminated,
            self.postgres_freezes,
            self.postgres_stops,
            self.logs_are_moved,
        )
        self._first = [*dice.sample(self._kinds, len(self._kinds)), self.postgres_is_long_away]

    def strike(self) -> str:
        """One fault, from its beginning to its end; what it was."""
        return (self._first.pop() if self._first else self._dice.choice(self._kinds))()

    def pages_crash(self) -> str:
        chosen = self._some(10)
        for tenant in chosen:
            self._world.peer.command("crash", tenant=tenant)
        return f"{len(chosen)} pages crash"

    def pages_hang(self) -> str:
        chosen = self._some(5)
        for tenant in chosen:
            self._world.peer.command("change", tenant=tenant, hung=True)
        wait(20.0)
        for tenant in chosen:
            self._world.peer.command("change", tenant=tenant, hung=False)
        return f"{len(chosen)} pages hang for 20 s"

    def acks_are_lost(self) -> str:
        with self._habits(send="lose_ack"):
            wait(3.0)
        return "no ack arrives for 3 s"

    def platform_is_slow(self) -> str:
        with self._habits(delay_ms=300):
            wait(15.0)
        return "a send takes 0.3 s for 15 s"

    def events_come_twice_and_late(self) -> str:
        with self._habits(duplicates=0.5, swaps=0.5):
            wait(15.0)
        return "half of the events come twice or late for 15 s"

    def backends_are_terminated(self) -> str:
        return f"{self._world.postgres.terminate_backends()} backends are terminated"

    def postgres_freezes(self) -> str:
        with self._world.postgres.frozen():
            wait(3.0)
        return "PostgreSQL freezes for 3 s"

    def postgres_is_long_away(self) -> str:
        with self._world.postgres.frozen():
            wait(10.0)
        return "PostgreSQL freezes for 10 s"

    def postgres_stops(self) -> str:
        self._world.postgres.stop_at_once()
        wait(2.0)
        self._world.postgres.start()
        return "PostgreSQL stops at once and is away for 2 s"

    def logs_are_moved(self) -> str:
        self._world.daemon.program.signal(signal.SIGHUP)
        return "the daemon opens its log files anew"

    def _some(self, most: int) -> list[str]:
        return self._dice.sample(self._world.ids, min(most, len(self._world.ids)))

    @contextmanager
    def _habits(self, **changes: object) -> Iterator[None]:
        self._world.peer.habits(**(LOADED | changes))
        try:
            yield
        finally:
            self._world.peer.habits(**LOADED)


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="flowhq-soak-") as folder:
        Path(folder).chmod(0o755)
        world = World(Path(folder), shops=options.tenants, settings=SETTINGS, sync=True)
        print(f"starting {options.tenants} tenants", flush=True)
        with running(world):
            soak = endure(world, options)
    return report(soak, options)


def endure(world: World, options: argparse.Namespace) -> Soak:
    soak, faults = Soak(), Faults(world, random.Random(options.seed))
    daemon = psutil.Process(world.daemon.program.pid)
    world.load(options.rate, chats=CHATS, owners=0.0)
    began = time.monotonic()
    ends = began + (options.warm_up + options.minutes) * 60
    # With a short warm-up the caches have half of it.
    moments = count(min(CACHES_FILL_S, options.warm_up * 30), options.faults_every)
    next_fault = began + next(moments)
    while (now := time.monotonic()) < ends:
        if now >= next_fault:
            soak.faults.append(faults.strike())
            print(f"{now - began:6.0f} s  fault: {soak.faults[-1]}", flush=True)
            next_fault = began + next(moments)
        soak.samples.append(look(world, daemon, began))
        tell(soak.samples[-2:])
        wait(max(0.0, SAMPLE_S - (time.monotonic() - now)))
    print("nobody writes any more; waiting until nothing waits", flush=True)
    world.quiet()
    try:
        world.wait_until_settled(limit_s=SETTLED_LIMIT_S, poll_s=5.0)
    except AssertionError as error:
        soak.unsettled = str(error)
    soak.verdict = world.verdict()
    return soak


def look(world: World, daemon: psutil.Process, began: float) -> Sample:
    counts = world.peer.command("counts")
    loop = world.daemon.health()["loop"]
    used = daemon.cpu_times()
    return Sample(
        at=time.monotonic() - began,
        rss=daemon.memory_info().rss,
        fds=daemon.num_fds(),
        lag_p99_ms=loop["p99_ms"],
        said=counts["said"],
        arrived=counts["arrived"],
        cpu_s=used.user + used.system,
    )


def tell(last: Sequence[Sample]) -> None:
    sample, before = last[-1], last[0]
    seconds = max(sample.at - before.at, 0.001)
    said = (sample.said - before.said) / seconds
    arrived = (sample.arrived - before.arrived) / seconds
    print(
        f"{sample.at:6.0f} s  {sample.said:>7} messages ({said:4.0f}/s)  "
        f"{sample.arrived:>7} replies ({arrived:4.0f}/s)  "
        f"{sample.rss / 1e6:6.1f} MB  {sample.fds:>4} fds  lag p99 {sample.lag_p99_ms:5.1f} ms  "
        f"daemon {(sample.cpu_s - before.cpu_s) / seconds * 100:3.0f} % of a core",
        flush=True,
    )


def report(soak: Soak, options: argparse.Namespace) -> int:
    verdict = soak.verdict
    warm = [one for one in soak.samples if one.at >= options.warm_up * 60]
    slope = slope_per_hour(warm)
    more_fds = median(one.fds for one in warm[-6:]) - median(one.fds for one in warm[:6])
    # Each tells of the minute before it; how many there are depends on how long the faults took.
    lags = [one.lag_p99_ms for one in warm[6:]] or [soak.samples[-1].lag_p99_ms]
    seconds = soak.samples[-1].at
    rows = {
        "tenants": options.tenants,
        "messages a second": f"{soak.samples[-1].said / seconds:.0f}",
        "minutes": f"{seconds / 60:.1f}",
        "seed": options.seed,
        "faults": len(soak.faults),
        "messages": verdict.asked,
        "replies": verdict.replies,
        "skipped": dict(verdict.skipped),
        "a later reply stands for": verdict.covered,
        "lost": verdict.lost,
        "answered twice": len(verdict.twice),
        "out of order": len(verdict.disordered),
        "memory at the end, MB": f"{soak.samples[-1].rss / 1e6:.1f}",
        "memory slope, % an hour": "-" if slope is None else f"{slope * 100:+.2f}",
        "file descriptors, more": more_fds,
        "loop lag p99 of a minute, median": f"{median(lags):.1f}",
        "loop lag p99, worst minute": f"{max(lags):.1f}",
    }
    print()
    for name, value in rows.items():
        print(f"{name:<34} {value}")
    broken = broken_promises(soak, slope, more_fds, max(lags))
    for promise in broken:
        print(f"broken: {promise}")
    return 1 if broken else 0


def broken_promises(soak: Soak, slope: float | None, more_fds: float, lag_ms: float) -> list[str]:
    verdict = soak.verdict
    broken = {
        f"nothing lost, twice or out of order: {verdict}": not verdict.clean,
        f"everything settles: {soak.unsettled}": bool(soak.unsettled),
        "the memory was watched for long enough to be judged": slope is None,
        "the memory's slope is under 1 % an hour": slope is not None and slope >= SLOPE_MAX,
        "file descriptors stay": more_fds > FDS_MORE_MAX,
        "the loop's lag p99 is under 50 ms in every minute": lag_ms >= LAG_MAX_MS,
    }
    return [promise for promise, is_broken in broken.items() if is_broken]


def slope_per_hour(samples: Sequence[Sample]) -> float | None:
    """The median of the slopes between any two minutes' smallest sizes (Theil and Sen), as a share
    of the median size: a fault's spike does not count, a leak does. None: of less than two
    minutes there is none."""
    smallest: dict[int, int] = {}
    for one in samples:
        minute = int(one.at // 60)
        smallest[minute] = min(one.rss, smallest.get(minute, one.rss))
    if len(smallest) < 2:
        return None
    pairs = combinations(smallest.items(), 2)
    slopes = [(later - sooner) / (to - at) for (at, sooner), (to, later) in pairs]
    return median(slopes) * 60 / median(smallest.values())


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Half an hour with hundreds of tenants.")
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--rate", type=float, default=330.0, help="messages a second over all")
    parser.add_argument("--warm-up", type=float, default=12.0, help="minutes before what is judged")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--faults-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
