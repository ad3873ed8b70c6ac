"""What the daemon does when its world breaks for a while: one figure a line, and what is wrong.

    .venv/bin/python -m bench.scenarios [--only NAME] [--scale 1.0]

Each scenario runs the daemon, its peer and a PostgreSQL of its own as processes
(tests/faults/world.py). ``--scale 0.1`` shortens what lasts minutes. The exit code is 1 if any
scenario found something wrong.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from tests.acceptance.programs import until
from tests.faults.browsers import BrowserArena
from tests.faults.journal import entries, latencies
from tests.faults.verdict import Ledger
from tests.faults.world import World, running, wait
from tests.pg import run_apart

RESUMED_WITHIN_S = 5.0
STOPPED_WITHIN_S = 30.0
GROWTH_MAX_BYTES = 100_000_000
SLOWER_MAX = 1.5
AWAY_S = 36_000
CHATS = 40


@dataclass
class Report:
    """One scenario's figures, and each promise that it found broken."""

    name: str
    figures: dict[str, object] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def claim(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken.append(promise)

    def conclude(self, world: World, *, limit_s: float = 300.0) -> None:
        """After a quiet while nothing may be lost, twice or out of order."""
        world.quiet()
        world.wait_until_settled(limit_s=limit_s)
        verdict = world.verdict()
        self.figures |= {
            "asked": verdict.asked,
            "replies": verdict.replies,
            "a later reply stands for": verdict.covered,
            "lost": verdict.lost,
            "twice": len(verdict.twice),
            "out of order": len(verdict.disordered),
        }
        self.claim(verdict.clean, str(verdict))


def postgres_away(home: Path, *, seconds: float = 120.0, rate: float = 50.0) -> Report:
    """PostgreSQL stops at once under load and comes back."""
    report = Report(f"PostgreSQL away for {seconds:g} s")
    with running(World(home)) as world:
        daemon = psutil.Process(world.daemon.program.pid)
        world.load(rate)
        wait(min(5.0, seconds))
        before, pid = daemon.memory_info().rss, daemon.pid
        world.postgres.stop_at_once()
        most = before
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            most = max(most, daemon.memory_info().rss)
            wait(0.5)
        arrived = world.arrived()
        world.postgres.start()
        began = time.monotonic()
        until(world.arrived, lambda count: count > arrived, "sending resumes", poll_s=0.01)
        resumed_s = time.monotonic() - began
        report.conclude(world)
        report.figures |= {
            "memory grew by MB": round((most - before) / 1e6, 1),
            "sending resumed after s": round(resumed_s, 2),
            "restarts": len(world.failures()),
        }
        report.claim(most - before < GROWTH_MAX_BYTES, "the memory is bounded")
        report.claim(resumed_s < RESUMED_WITHIN_S, "sending resumes within 5 s")
        report.claim(world.daemon.program.pid == pid and not world.failures(), "nothing restarts")
    return report


def postgres_frozen(home: Path, *, seconds: float = 30.0, rate: float = 50.0) -> Report:
    """PostgreSQL stands still under load: connections stay open, and nothing answers."""
    report = Report(f"PostgreSQL frozen for {seconds:g} s")
    with running(World(home)) as world:
        pid = world.daemon.program.pid
        world.load(rate)
        wait(min(5.0, seconds))
        with world.postgres.frozen():
            wait(seconds)
            arrived = world.arrived()
        began = time.monotonic()
        until(world.arrived, lambda count: count > arrived, "sending resumes", poll_s=0.01)
        resumed_s = time.monotonic() - began
        report.conclude(world)
        report.figures |= {
            "sending resumed after s": round(resumed_s, 2),
            "restarts": len(world.failures()),
        }
        report.claim(resumed_s < RESUMED_WITHIN_S, "sending resumes within 5 s")
        report.claim(world.daemon.program.pid == pid and not world.failures(), "nothing restarts")
    return report


def slow_queries(
    home: Path, *, delay_s: float = 0.5, seconds: float = 60.0, rate: float = 3.0
) -> Report:
    """Each query takes longer by ``delay_s``."""
    report = Report(f"{delay_s * 1000:g} ms added to each query")
    with running(World(home, slow_way=True)) as world:
        assert world.way is not None
        world.way.habits(delay_s=delay_s)
        world.load(rate, chats=3)
        wait(seconds)
        report.conclude(world)
        report.figures["restarts"] = len(world.failures())
        report.claim(not world.failures(), "nothing restarts")
    return report


def ill_neighbours(home: Path, *, seconds: float = 60.0, rate: float = 30.0) -> Report:
    """Of six tenants one crashes in a loop, one hangs, one is logged out; the rest go on."""
    report = Report("three of six tenants ill")
    with running(World(home, shops=6, settings=ORDINARY_POLICY)) as world:
        crashing, hung, logged_out, *well = world.ids
        # No event is told late: that wait would hide what the ill tenants cost.
        world.load(rate, swaps=0)
        wait(seconds / 4)
        seen = _count(world, well)
        wait(seconds / 4)
        quiet = _p99_ms(world, well, skip=seen)
        seen = _count(world, well)
        world.peer.command("change", tenant=crashing, crash_after_s=0.2)
        world.peer.command("crash", tenant=crashing)
        world.peer.command("change", tenant=hung, hung=True)
        world.peer.command("log_out", tenant=logged_out)
        wait(seconds / 2)
        loud = _p99_ms(world, well, skip=seen)
        for name, tenant, reasons in (
            ("crashing", crashing, ("PAGE_CRASHED", "CRASH_LOOP")),
            ("hung", hung, ("PAGE_HUNG", "CRASH_LOOP")),
            ("logged out", logged_out, ("LOGGED_OUT", "SCAN_QR")),
        ):
            view = _view_with(world, tenant, reasons)
            report.figures[name] = f"{view['status']} {view['reason']}: {view['next_action']}"
            report.claim(bool(view["next_action"]), f"{name} says what to do")
        world.quiet()
        until(lambda: world.verdict(well).lost, lambda lost: not lost, "the others go on")
        verdict = world.verdict(well)
        failed = {row["tenant_id"] for row in world.failures()}
        report.figures |= {
            "asked of the others": verdict.asked,
            "lost": verdict.lost,
            "twice": len(verdict.twice),
            "p99 quiet ms": round(quiet, 1),
            "p99 beside the ill ms": round(loud, 1),
        }
        report.claim(verdict.clean, str(verdict))
        report.claim(not failed & set(well), "the others are not restarted")
        report.claim(loud <= quiet * SLOWER_MAX, "their p99 stays within 1.5 times of quiet")
    return report


def long_absence(home: Path, *, messages: int = 300, taken_over: int = 10) -> Report:
    """Away for ten hours; messages wait, the owner answered some chats himself."""
    report = Report("away for 10 hours")
    with running(World(home, shops=1)) as world:
        (tenant,) = world.ids
        chats = [f"2557190000{number:02}@c.us" for number in range(CHATS)]
        _go_back(world, AWAY_S + 600)
        for chat in chats:
            world.ask(tenant, chat, 0)
        world.settle()
        world.daemon.stop()
        before = {chat: len(world.arrivals([chat])) for chat in chats}
        world.peer.command("say_all", tenant=tenant, said=_absence(world, chats, messages))
        for chat in chats[:taken_over]:
            world.ask(tenant, chat, 19, from_me=True, t=time.time() - 120)
        world.peer.command("clock", offset_s=0)
        read = world.peer.account(tenant)["readings"]
        world.daemon.start()
        until(
            lambda: world.peer.account(tenant)["readings"] - read,
            lambda count: count >= CHATS / 2,
            "half of the chats are read",
            poll_s=0.001,
        )
        live = chats[taken_over - 2 : taken_over + 20]
        for chat in live:
            world.ask(tenant, chat, 18)
        report.conclude(world)
        replies = {chat: len(world.arrivals([chat])) - before[chat] for chat in chats}
        theirs = sum(replies[chat] for chat in chats[:taken_over])
        report.figures |= {
            "waiting": messages,
            "chats": CHATS,
            "replies in chats of the owner": theirs,
            "replies in the others": sum(replies.values()) - theirs,
            "live messages meanwhile": len(live),
        }
        report.claim(theirs == 0, "none where a person answered")
        for chat in chats[taken_over:]:
            most = 2 if chat in live else 1
            report.claim(1 <= replies[chat] <= most, f"one reply for the backlog of {chat}")
    return report


def network_away(home: Path, *, seconds: float = 90.0, taken_over: int = 3) -> Report:
    """WhatsApp cannot be reached while a real browser stays open; the owner answered some."""
    report = Report(f"WhatsApp away for {seconds:g} s, the page stays")
    arena = BrowserArena(home, random.Random(1), shops=1)
    try:
        arena.start()
        (shop,) = arena.shops
        customers = [f"2557190000{number:02}" for number in range(3 * taken_over)]
        arena.simulator.control("drop", seconds=seconds)
        shop.wait_for_reason("CONNECTION_LOST")
        for customer in customers * 3:
            shop.ask(customer, 1)
        for customer in customers[:taken_over]:
            shop.say(customer, "Nimekujibu.", from_me=True)
        report.claim(not shop.sent(), "nothing is sent meanwhile")
        shop.wait_for("CONNECTED", limit_s=2 * seconds)
        began = time.monotonic()
        due = len(customers) - taken_over
        shop.wait_for_replies(due)
        answered_s = time.monotonic() - began
        for customer in customers[taken_over:]:
            shop.ask(customer, 2)
        shop.wait_for_replies(2 * due)
        wait(10.0)
        replies = shop.replies()
    finally:
        arena.end()
    theirs = sum(len(replies.get(customer, ())) for customer in customers[:taken_over])
    report.figures |= {
        "waiting": 3 * len(customers),
        "chats": len(customers),
        "replies in chats of the owner": theirs,
        "replies in the others": sum(map(len, replies.values())) - theirs,
        "answered within s": round(answered_s, 1),
    }
    for customer in customers[:taken_over]:
        report.claim(customer not in replies, "none where a person answered")
    for customer in customers[taken_over:]:
        found = [shop.answers(text) for text in replies[customer]]
        report.claim(found == [[1], [2]], "one reply for the backlog, then one to what is new")
    return report


# Restarts as an operator has them, only sooner; the other scenarios never park anybody.
ORDINARY_POLICY = {
    "FLOWHQ_SUPERVISOR__RESTARTS_MAX": "10",
    "FLOWHQ_SUPERVISOR__HEALTHY_RESET_S": "600",
    "FLOWHQ_SUPERVISOR__PROBE_TIMEOUT_S": "5",
}


def stopped(home: Path, *, rate: float = 80.0) -> Report:
    """SIGTERM under load, with the settings that a daemon has by itself."""
    report = Report("SIGTERM under load")
    with running(World(home)) as world:
        world.load(rate, delay_ms=300)
        wait(5.0)
        began = time.monotonic()
        world.daemon.program.signal(signal.SIGTERM)
        code = world.daemon.program.wait()
        took_s = time.monotonic() - began
        in_doubt = world.postgres.query(
            "SELECT 1 FROM outbox WHERE state IN ('sending', 'unknown')"
        )
        world.daemon.start()
        world.wait_until_connected()
        report.conclude(world)
        report.figures |= {"stopped after s": round(took_s, 2), "left in doubt": len(in_doubt)}
        report.claim(code == 0, "it ends well")
        report.claim(took_s < STOPPED_WITHIN_S, f"it stops within {STOPPED_WITHIN_S:g} s")
        report.claim(not in_doubt, "what was handed over is settled")
    return report


SCENARIOS: dict[str, Callable[[Path, float], Report]] = {
    "postgres-away": lambda home, scale: postgres_away(home, seconds=120 * scale),
    "postgres-frozen": lambda home, scale: postgres_frozen(home, seconds=30 * scale),
    "slow-queries": lambda home, scale: slow_queries(home, seconds=60 * scale),
    "ill-neighbours": lambda home, scale: ill_neighbours(home, seconds=120 * scale),
    "long-absence": lambda home, _: long_absence(home),
    # Shorter than a minute it is no long absence.
    "network-away": lambda home, _: network_away(home),
    "stop": lambda home, _: stopped(home),
}


def _go_back(world: World, seconds: float) -> None:
    """The tenants were paired so long ago, and what customers write from now on is as old."""
    world.postgres.query(
        "UPDATE whatsapp_sessions SET paired_at = now() - $1::float8 * interval '1 second'",
        seconds + 60,
    )
    world.peer.command("clock", offset_s=-seconds)


def _absence(world: World, chats: list[str], messages: int) -> list[dict[str, Any]]:
    """So many messages over all chats, spread over the ten hours."""
    (word,) = world.tenants.values()
    began = time.time() - AWAY_S
    step = (AWAY_S - 600) / messages
    return [
        {
            "chat": chats[number % len(chats)],
            "text": f"{word}{number % 20:02}",
            "t": began + number * step,
        }
        for number in range(messages)
    ]


def _view_with(world: World, tenant: str, reasons: tuple[str, ...]) -> dict[str, Any]:
    """The tenant's view at a moment when it shows one of these reasons, as it does in turns with
    its new starts."""
    return until(
        lambda: world.view(tenant),
        lambda view: view["reason"] in reasons,
        f"one of {reasons} is shown",
        poll_s=0.02,
    )


def _took(world: World, tenants: list[str]) -> list[float]:
    ledger = run_apart(Ledger.read(world.postgres.url))
    return latencies(entries(world.peer.journal), ledger.causes, tenants)


def _count(world: World, tenants: list[str]) -> int:
    return len(_took(world, tenants))


def _p99_ms(world: World, tenants: list[str], *, skip: int) -> float:
    """Of the replies after the first ``skip``."""
    return quantiles(_took(world, tenants)[skip:], n=100)[98] * 1000


def main() -> int:
    options = read_options()
    broken = False
    for name, scenario in SCENARIOS.items():
        if options.only and name != options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="flowhq-scenario-") as folder:
            Path(folder).chmod(0o755)
            report = scenario(Path(folder), options.scale)
        show(report)
        broken = broken or bool(report.broken)
    return 1 if broken else 0


def show(report: Report) -> None:
    print(f"\n{report.name}: {'BROKEN' if report.broken else 'as promised'}")
    for name, value in report.figures.items():
        print(f"  {name:<32} {value}")
    for promise in report.broken:
        print(f"  broken: {promise}")
    sys.stdout.flush()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The daemon when its world breaks for a while.")
    parser.add_argument("--only", choices=SCENARIOS, default="")
    parser.add_argument("--scale", type=float, default=1.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
