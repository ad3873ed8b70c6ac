"""Kill the daemon hundreds of times under load and count what was lost, doubled or out of order.

    .venv/bin/python -m bench.faults [--kills 300] [--browser-kills 20] [--pg-stops 10] [--seed N]

Of the kills, ``--browser-kills`` go to the whole product with real browsers and the simulator, in
which browsers, renderers and drivers are killed besides; the rest go to the daemon with a simulated
channel (tests/faults/peer.py). Half of the kills come at a random time, half at the named points.
The exit code is 1 if anything was lost, answered twice, out of order or against the owner, or if a
killed daemon's browsers ran on for more than 2 s.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.faults.browsers import BrowserArena
from tests.faults.campaign import Arena, Blow, Kind, Outcome, PeerArena, throw, wage
from tests.faults.world import World, running

SEED = 20261121
GONE_MAX_S = 2.0
# The words by which a row of the table is read.
GONE = "browsers gone after, s"
PEER, BROWSERS = "simulated channel", "real browsers"


def main() -> int:
    options = read_options()
    phases: dict[str, Callable[[Path], Outcome]] = {}
    if options.browser_kills:
        phases[BROWSERS] = lambda home: strike_browsers(home, options)
    if options.kills > options.browser_kills:
        phases[PEER] = lambda home: strike_peer(home, options)
    outcomes = {}
    for name, phase in phases.items():
        with tempfile.TemporaryDirectory(prefix="flowhq-faults-") as folder:
            Path(folder).chmod(0o755)
            outcomes[name] = phase(Path(folder))
    report(outcomes, options.seed)
    return 1 if any(outcome.broken for outcome in outcomes.values()) else 0


def strike_peer(home: Path, options: argparse.Namespace) -> Outcome:
    dice = random.Random(options.seed)
    kills = options.kills - options.browser_kills
    blows = throw(dice, kills=kills, stops=options.pg_stops)
    with running(World(home)) as world:
        return campaign(PEER, PeerArena(world), blows, options.batch)


def strike_browsers(home: Path, options: argparse.Namespace) -> Outcome:
    dice = random.Random(options.seed)
    arena = BrowserArena(home, random.Random(options.seed))
    kills = options.browser_kills
    blows = throw(dice, kills=kills, browsers=kills // 2, longest_s=6.0, nth_max=5)
    try:
        arena.start()
        outcome = campaign(BROWSERS, arena, blows, options.batch)
        outcome.gone_s = arena.leaving.seconds()
        if (worst := max(outcome.gone_s, default=0.0)) > GONE_MAX_S:
            late = f"a killed daemon's browsers ran on for {worst:.1f} s"
            outcome.broken = f"{outcome.broken}; {late}".removeprefix("; ")
        return outcome
    finally:
        arena.end()


def campaign(name: str, arena: Arena, blows: list[Blow], batch: int) -> Outcome:
    began = time.monotonic()

    def tell(number: int, blow: Blow, said: int) -> None:
        took = time.monotonic() - began
        left = took / number * (len(blows) - number)
        print(
            f"{name}: blow {number:>3} of {len(blows)}, {blow!s:<32} "
            f"{said:>6} messages, {took:5.0f} s, about {left / 60:.0f} min to go",
            flush=True,
        )

    return wage(arena, blows, batch=batch, tell=tell)


def report(outcomes: dict[str, Outcome], seed: int) -> None:
    heads = ("kills", "PostgreSQL stops", "browsers killed", "messages", "replies")
    skipped = ("a later reply stands for", "the owner answered")
    wrong = ("lost", "answered twice", "out of order", "strange", "after the owner")
    rows = (*heads, *skipped, *wrong, GONE, "minutes")
    figures = {name: figures_of(outcome) for name, outcome in outcomes.items()}
    print(f"\nseed {seed}\n{'':<26}" + "".join(f"{name:>20}" for name in figures))
    for place, row in enumerate(rows):
        print(f"{row:<26}" + "".join(f"{of[place]:>20}" for of in figures.values()))
    for name, outcome in outcomes.items():
        if outcome.broken:
            print(f"{name}: broken {outcome.broken}")


def figures_of(outcome: Outcome) -> tuple[object, ...]:
    verdict = outcome.verdict
    return (
        outcome.blows[Kind.KILL] + outcome.blows[Kind.POINT],
        outcome.blows[Kind.STOP],
        outcome.blows[Kind.BROWSER],
        verdict.asked,
        verdict.replies,
        verdict.covered,
        verdict.skipped["person"] + verdict.skipped["answered"],
        verdict.lost,
        len(verdict.twice),
        len(verdict.disordered),
        len(verdict.strange),
        len(verdict.intruding),
        _middle_and_worst(outcome.gone_s),
        f"{outcome.seconds / 60:.1f}",
    )


def _middle_and_worst(seconds: list[float]) -> str:
    return f"{median(seconds):.1f}, at most {max(seconds):.1f}" if seconds else "-"


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill the daemon under load, and count.")
    parser.add_argument("--kills", type=int, default=300, help="in all")
    parser.add_argument("--browser-kills", type=int, default=20, help="of these, real browsers")
    parser.add_argument("--pg-stops", type=int, default=10, help="immediate stops of PostgreSQL")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--batch", type=int, default=20, help="blows between two verdicts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
