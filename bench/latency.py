"""How long a reply takes, from the customer's phone and back to it, and where the time goes.

    .venv/bin/python -m bench.latency [--messages 500] [--gap-ms 40]

Starts the simulator, the daemon on an embedded PostgreSQL and one tenant in a real Chromium, and
sends the messages one after the other, a gap after each reply. The stages are the daemon's own
marks (bot/trace.py) and the simulator's clock; both are on this machine.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import quantiles

import orjson

from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.shop import QUESTIONS, Shop

CUSTOMERS = 20
WARM_UP = 30
AIM_MS = 15.0

STAGES = {
    "page_event": "phone sends until the event is in Python",
    "admit": "kind, echo, dedup cache",
    "record": "inbox and ledger rows, commit",
    "queue": "waiting in the chat's lane",
    "respond": "responder, state and outbox rows, commit",
    "line": "waiting to be sent",
    "commit": "sending, commit",
    "page_send": "handed to the page until it is at the phone",
    "ack": "at the phone until the server's ack is in Python",
    "own": "event in Python until handed to the page",
    "total": "phone sends until phone receives",
}


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="flowhq-latency-") as folder:
        samples = measure(Path(folder), options.messages, options.gap_ms / 1000)
    report(samples)
    return 0


def measure(home: Path, messages: int, gap_s: float) -> list[dict[str, float]]:
    """Milliseconds per stage for each message after the warm-up."""
    simulator = Simulator(home)
    daemon: Daemon | None = None
    try:
        simulator.start()
        daemon = Daemon(home, simulator.url, FLOWHQ_LOGGING__LEVEL="info")
        daemon.start()
        shop = Shop(daemon, simulator, "kasi", "255754000001").open()
        sent = [ask(shop, number, gap_s) for number in range(WARM_UP + messages)]
        marks = read_marks(daemon, shop)
        return [stages_of(*one, marks) for one in sent[WARM_UP:]]
    finally:
        if daemon is not None:
            daemon.program.end()
        simulator.program.end()


def ask(shop: Shop, number: int, gap_s: float) -> tuple[float, float, str]:
    """When the phone sent, when it received, and the reply's id; the clock is the simulator's."""
    customer = f"2557{number % CUSTOMERS:08}"
    sent = shop.simulator.control(
        "message",
        phone=shop.phone,
        text=f"{shop.word}{number % QUESTIONS:02}",
        **{"from": customer},
    )
    got = shop.simulator.control("outbox", phone=shop.phone, after=number, wait=30)["messages"]
    if len(got) != 1 or got[0]["to"] != customer:
        raise SystemExit(f"message {number}: {len(got)} replies instead of the one expected")
    if number % 100 == 0:
        sys.stderr.write(f"  {number} messages\n")
    time.sleep(gap_s)
    return sent["sent_at"], got[0]["received_at"], got[0]["id"]


def read_marks(daemon: Daemon, shop: Shop) -> dict[str, dict[str, float]]:
    """The daemon's stages by the reply's id, with the wall time of the ack."""
    marks = {}
    for line in (daemon.logs / "tenants" / f"{shop.id}.log").read_bytes().splitlines():
        entry = orjson.loads(line)
        if entry["event"] == "reply sent" and entry["stages"]:
            acked_at = datetime.fromisoformat(entry["at"]).timestamp()
            marks[entry["message_id"]] = {**entry["stages"], "acked_at": acked_at}
    return marks


def stages_of(
    sent_at: float, received_at: float, reply: str, marks: dict[str, dict[str, float]]
) -> dict[str, float]:
    mark = dict(marks[reply])
    acked_at = mark.pop("acked_at")
    handed_at = acked_at - mark.pop("send") / 1000
    seen_at = handed_at - mark["own"] / 1000
    return {
        **mark,
        "page_event": (seen_at - sent_at) * 1000,
        "page_send": (received_at - handed_at) * 1000,
        "ack": (acked_at - received_at) * 1000,
        "total": (received_at - sent_at) * 1000,
    }


def report(samples: list[dict[str, float]]) -> None:
    whole = sum(sample["total"] for sample in samples)
    print(f"{len(samples)} messages, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; ms")
    print(f"{'stage':<11} {'p50':>7} {'p95':>7} {'p99':>7} {'max':>7}  share")
    for stage, about in STAGES.items():
        values = sorted(sample[stage] for sample in samples)
        cuts = quantiles(values, n=100)
        share = sum(values) / whole
        print(
            f"{stage:<11} {cuts[49]:7.2f} {cuts[94]:7.2f} {cuts[98]:7.2f} {values[-1]:7.2f}"
            f"  {share:5.0%}  {about}"
        )
    own = quantiles((sample["own"] for sample in samples), n=100)[98]
    verdict = "met" if own < AIM_MS else "missed"
    print(f"aim: own share p99 under {AIM_MS:g} ms: {own:.2f} ms, {verdict}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Latency of a reply, stage by stage.")
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--gap-ms", type=float, default=40.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
