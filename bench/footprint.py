"""What a tenant costs: memory (PSS) of each part, seconds to ready, CPU when nothing happens.

    .venv/bin/python -m bench.footprint [--tenants 1 3 6] [--idle-s 30]

Starts the simulator, the daemon and, one stage after the other, so many tenants in real Chromium.
PSS shares out pages used by several processes, so that the parts add up. Needs root, or the same
user for all processes, to read smaps_rollup.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.programs import running
from tests.acceptance.shop import Shop

SETTLE_S = 10.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stage:
    """One number of tenants. Bytes of PSS by part, seconds, CPU seconds per second."""

    tenants: int
    pss: dict[str, int]
    ready_s: float
    idle_cpu: dict[str, float]


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="flowhq-footprint-") as folder:
        stages = measure(Path(folder), sorted(options.tenants), options.idle_s)
    report(stages)
    return 0


def measure(home: Path, sizes: list[int], idle_s: float) -> list[Stage]:
    simulator = Simulator(home)
    daemon: Daemon | None = None
    shops: list[Shop] = []
    stages = []
    try:
        simulator.start()
        daemon = Daemon(home, simulator.url, **DEFAULT_BEATS)
        daemon.start()
        for size in sizes:
            ready = [open_one(daemon, simulator, shops) for _ in range(size - len(shops))]
            sys.stderr.write(f"  {size} tenants are connected, settling\n")
            time.sleep(SETTLE_S)
            parts = parts_of(daemon, shops)
            pss = {name: sum(map(pss_of, part)) for name, part in parts.items()}
            stages.append(Stage(size, pss, sum(ready) / len(ready), idle(parts, idle_s)))
        return stages
    finally:
        if daemon is not None:
            daemon.program.end()
        simulator.program.end()


# The daemon's own pace of probes and heartbeats: what is measured is the product as it runs.
DEFAULT_BEATS = {
    "FLOWHQ_SUPERVISOR__HEARTBEAT_S": "30",
    "FLOWHQ_SUPERVISOR__PROBE_S": "15",
    "FLOWHQ_LOGGING__LEVEL": "info",
}


def open_one(daemon: Daemon, simulator: Simulator, shops: list[Shop]) -> float:
    """Seconds from the start verb to a code, and from a scan to connected: a start to ready."""
    number = len(shops)
    shop = Shop(daemon, simulator, f"duka{number}", f"2557540001{number:02}").create()
    began = time.monotonic()
    shop.verb("worker/start")
    shop.scan()
    shop.wait_for("CONNECTED")
    shops.append(shop)
    return time.monotonic() - began


def parts_of(daemon: Daemon, shops: list[Shop]) -> dict[str, list[psutil.Process]]:
    """Every process of the daemon under the name of its part."""
    browsers = [process for shop in shops for process in shop.browser()]
    parts: dict[str, list[psutil.Process]] = {"daemon": [], "driver": [], "postgres": []}
    taken = {process.pid for process in browsers}
    for process in daemon.processes():
        if process.pid in taken:
            continue
        part = part_of(process, daemon)
        if part == "browsers":
            browsers.append(process)
        else:
            parts[part].append(process)
    return {**parts, "browsers": running(browsers)}


def part_of(process: psutil.Process, daemon: Daemon) -> str:
    if process.pid == daemon.program.pid:
        return "daemon"
    if process.name() == "postgres":
        return "postgres"
    # Node calls its process by its main thread's name.
    return "driver" if "playwright/driver/" in " ".join(process.cmdline()) else "browsers"


def pss_of(process: psutil.Process) -> int:
    """Bytes; 0 for a process that has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def idle(parts: dict[str, list[psutil.Process]], seconds: float) -> dict[str, float]:
    before = {name: sum(map(cpu_of, part)) for name, part in parts.items()}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    return {name: (sum(map(cpu_of, part)) - before[name]) / elapsed for name, part in parts.items()}


def cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def report(stages: list[Stage]) -> None:
    print("PSS in MiB, CPU in % of one core while nothing happens")
    print(
        f"{'tenants':>7} {'daemon':>7} {'driver':>7} {'postgres':>8} {'browsers':>8}"
        f" {'a tenant':>8} {'all':>7} {'ready s':>8} {'CPU all':>8} {'CPU a tenant':>12}"
    )
    for stage in stages:
        mib = {name: size / MIB for name, size in stage.pss.items()}
        cpu = {name: share * 100 for name, share in stage.idle_cpu.items()}
        print(
            f"{stage.tenants:7} {mib['daemon']:7.0f} {mib['driver']:7.0f} {mib['postgres']:8.0f}"
            f" {mib['browsers']:8.0f} {mib['browsers'] / stage.tenants:8.0f}"
            f" {sum(mib.values()):7.0f} {stage.ready_s:8.1f} {sum(cpu.values()):8.2f}"
            f" {cpu['browsers'] / stage.tenants:12.2f}"
        )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Memory, start and idle CPU by tenants.")
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--idle-s", type=float, default=30.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
