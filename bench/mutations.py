"""Take one safeguard away after the other and see that the tests notice: a table, red or green.

    .venv/bin/python -m bench.mutations [--only NAME] [--kills 24]

Each mutation (tests/faults/mutations.py) runs in a copy of the source: once under the kills of
bench/faults.py and once in the test suite's own tests of what is taken away. The unchanged source
runs first and must be green. The exit code is 1 if it is not, or if a mutation is not found out.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.mutations import MUTATIONS, ROOT, mutate

LIMIT_S = 1200
TAIL_LINES = 12
# Where the suite itself speaks of what a mutation takes away.
SUITE = {
    "look-up": ("tests/unit/bot/outbound",),
    "inbox-key": ("tests/integration/db/test_ledger_incoming.py",),
    "outbox-key": ("tests/integration/db/test_ledger_outgoing.py",),
    "hold": ("tests/unit/bot/pump",),
    "commit-before-send": ("tests/unit/bot/outbound",),
}
# What the kills cannot show, since another safeguard stands in for it: the inbox row is settled in
# the transaction that plans, so that nothing but two daemons at once would plan twice.
NOT_BY_KILLS = frozenset({"outbox-key"})


@dataclass(frozen=True, slots=True)
class Run:
    """One command's end. ``result``: green, red, or error for one that could not judge at all."""

    name: str
    what: str
    result: str
    seconds: float
    tail: str


def main() -> int:
    options = read_options()
    names = [options.only] if options.only else list(MUTATIONS)
    few = ("--browser-kills", "0", "--pg-stops", "0", "--batch", "4")
    kills = ("bench.faults", *few, "--kills", str(options.kills))
    suites = sorted({path for name in names for path in SUITE[name]})
    unchanged = [
        run("unchanged", "kills", ROOT, *kills),
        run("unchanged", "suite", ROOT, "pytest", "-q", *suites),
    ]
    mutants = [one for name in names for one in try_out(name, kills)]
    print(f"\n{'without':<20} {'under':<8} {'result':<8} seconds")
    for one in (*unchanged, *mutants):
        print(f"{one.name:<20} {one.what:<8} {one.result:<8} {one.seconds:7.0f}")
    wrong = [one for one in unchanged if one.result != "green"]
    wrong += [one for one in mutants if one.result != "red"]
    for one in wrong:
        print(f"\n{one.name}, {one.what}: {one.result}\n{one.tail}")
    return 1 if wrong else 0


def try_out(name: str, kills: tuple[str, ...]) -> list[Run]:
    with tempfile.TemporaryDirectory(prefix=f"flowhq-without-{name}-") as folder:
        root = mutate(name, Path(folder))
        root.chmod(0o755)
        runs = [
            run(name, "suite", root, "pytest", "-q", "-x", "-p", "no:cacheprovider", *SUITE[name])
        ]
        if name not in NOT_BY_KILLS:
            runs.append(run(name, "kills", root, *kills))
        return runs


def run(name: str, what: str, root: Path, *arguments: str) -> Run:
    """``python -m`` with these arguments, on the source in ``root``."""
    print(f"==> {name}: {' '.join(arguments)}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    tail = "\n".join((done.stdout + done.stderr).splitlines()[-TAIL_LINES:])
    print(tail, flush=True)
    return Run(name, what, result_of(done.returncode, tail), time.monotonic() - began, tail)


def result_of(code: int, tail: str) -> str:
    """Both programs end with 1 for what they found wrong, and say so in their last lines."""
    if code == 0:
        return "green"
    return "red" if code == 1 and ("broken by blow" in tail or " failed" in tail) else "error"


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Are the safeguards missed when they are gone?")
    parser.add_argument("--only", choices=MUTATIONS, default="")
    parser.add_argument("--kills", type=int, default=24, help="for each mutation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
