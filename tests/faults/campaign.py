"""Blow after blow against a daemon under load, and a verdict after each batch of them.

What is struck is an ``Arena``: the daemon with the peer in place of browsers (`PeerArena`), or the
whole product with real ones (tests/faults/browsers.py). The blows come from dice with a seed.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from flowhq.killpoints import KillPoint
from tests.faults.traffic import OWNER_SHARE
from tests.faults.verdict import Verdict
from tests.faults.world import World, wait

NTH_MAX = 20


class Kind(StrEnum):
    """``kill``: SIGKILL at any time, during the start too. ``point``: the daemon dies at a named
    point. ``stop``: PostgreSQL is stopped at once (SIGQUIT) and comes back. ``browser``: a browser,
    a renderer or the driver is killed while the daemon runs."""

    KILL = "kill"
    POINT = "point"
    STOP = "stop"
    BROWSER = "browser"


@dataclass(frozen=True, slots=True)
class Blow:
    """``after_s``: how long things go on before it, or how long PostgreSQL stays away. ``name``:
    the kill point and the how manieth time it is reached, or what is killed."""

    kind: Kind
    after_s: float
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name or f'{self.after_s:.2f} s'}"


class Arena(Protocol):
    """What is struck. It keeps its own record of what was said and of what arrived."""

    def load(self) -> None:
        """Customers write from now on."""
        ...

    def strike(self, blow: Blow) -> None: ...

    def conclude(self) -> Verdict:
        """Everything runs, nobody writes any more, nothing waits: the verdict on all so far.
        AssertionError if something waits for ever."""
        ...

    def said(self) -> int:
        """Messages that customers wrote so far."""
        ...


@dataclass
class Outcome:
    """What a campaign found; ``broken`` says after which blow something was wrong."""

    blows: Counter[Kind] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    broken: str = ""
    seconds: float = 0.0
    gone_s: list[float] = field(default_factory=list)
    """How long browsers and drivers outlived each kill -9 of the daemon; none without browsers."""


def throw(
    dice: random.Random,
    *,
    kills: int,
    stops: int = 0,
    browsers: int = 0,
    longest_s: float = 4.0,
    nth_max: int = NTH_MAX,
    first: KillPoint = KillPoint.AFTER_INBOX,
) -> list[Blow]:
    """So many blows: every second kill at a point, the points in turns from the ``first`` on; the
    others in between."""
    points = list(KillPoint)
    points = points[points.index(first) :] + points[: points.index(first)]
    blows = [
        Blow(Kind.POINT, 0.0, f"{points[number // 2 % len(points)]}:{dice.randint(1, nth_max)}")
        if number % 2
        else Blow(Kind.KILL, dice.uniform(0.0, longest_s))
        for number in range(kills)
    ]
    between = [Blow(Kind.STOP, dice.uniform(0.2, 2.0)) for _ in range(stops)]
    killable = ("browser", "renderer", "driver")
    between += [Blow(Kind.BROWSER, 0.5, killable[number % 3]) for number in range(browsers)]
    for number, blow in enumerate(between, 1):
        blows.insert(number * len(blows) // (len(between) + 1), blow)
    return blows


def wage(
    arena: Arena,
    blows: Sequence[Blow],
    *,
    batch: int,
    tell: Callable[[int, Blow, int], None] = lambda number, blow, said: None,
) -> Outcome:
    """All blows, or those up to the first batch after which something is wrong."""
    outcome, began = Outcome(), time.monotonic()
    for first in range(0, len(blows), batch):
        arena.load()
        for number, blow in enumerate(blows[first : first + batch], first + 1):
            arena.strike(blow)
            outcome.blows[blow.kind] += 1
            tell(number, blow, arena.said())
        done = first + len(blows[first : first + batch])
        try:
            outcome.verdict = arena.conclude()
        except AssertionError as error:
            outcome.broken = f"by blow {done}: {error}"
        else:
            if not outcome.verdict.clean:
                outcome.broken = f"by blow {done}: {outcome.verdict}"
        if outcome.broken:
            break
    outcome.seconds = time.monotonic() - began
    return outcome


# In turns: few chats in which much happens while the store is being read, whose messages of the
# time away are in the store alone; many chats, whose messages come again by themselves.
HABITS: tuple[tuple[int, dict[str, object]], ...] = (
    (8, {"redeliver": False, "history_ms": 60}),
    (40, {"redeliver": True, "history_ms": 20}),
)


# Customers go on writing for a moment while nobody is there, as long as a service manager takes: so
# every start has something to catch up with.
AWAY_S = 0.5
# And after the last start of a batch, while the past is read: live messages must not overtake it.
AWAKE_S = 2.0
# A daemon starts, catches up and comes so far for the twentieth time.
REACHED_LIMIT_S = 150.0


class PeerArena:
    """A world of tests/faults/world.py, which runs."""

    def __init__(self, world: World, *, rate: float = 80.0) -> None:
        self._world = world
        self._rate = rate
        self._loads = 0

    def load(self) -> None:
        chats, habits = HABITS[self._loads % len(HABITS)]
        self._loads += 1
        self._world.load(self._rate, chats=chats, owners=OWNER_SHARE, **habits)

    def strike(self, blow: Blow) -> None:
        daemon = self._world.daemon
        match blow.kind:
            case Kind.KILL:
                if self._dead:
                    wait(AWAY_S)
                    daemon.launch()
                wait(blow.after_s)
                daemon.kill()
            case Kind.POINT:
                if not self._dead:
                    daemon.kill()
                daemon.launch(kill_point=blow.name)
                daemon.wait_until_dead(limit_s=REACHED_LIMIT_S)
            case Kind.STOP:
                self._revive()
                self._world.postgres.stop_at_once()
                wait(blow.after_s)
                self._world.postgres.start()
            case Kind.BROWSER:
                raise AssertionError("there are no browsers here")

    def conclude(self) -> Verdict:
        if self._dead:
            wait(AWAY_S)
            self._world.daemon.start()
            wait(AWAKE_S)
        self._world.quiet()
        self._world.wait_until_connected()
        self._world.wait_until_settled()
        return self._world.verdict()

    def said(self) -> int:
        return int(self._world.peer.command("state")["said"])

    @property
    def _dead(self) -> bool:
        return self._world.daemon.program.exit_code is not None

    def _revive(self) -> None:
        if self._dead:
            self._world.daemon.start()
