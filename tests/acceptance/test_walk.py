"""The documentation's walk with curl, pasted into a shell beside a running demo."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.acceptance.programs import (
    ORPHAN_LIMIT_S,
    START_LIMIT_S,
    Program,
    left_after,
    naming,
    tree_of,
    until,
)

ROOT = Path(__file__).parents[2]
WALK_LIMIT_S = 120
CUT = "-- 8< --"
ADDRESSES = ". var/demo/env"

pytestmark = pytest.mark.timeout(240)


def blocks() -> list[str]:
    """The commands to paste: those of the readme's section that fetches the demo's addresses."""
    sections = re.split(r"^(?=## )", (ROOT / "README.md").read_text("utf-8"), flags=re.M)
    (walk,) = [section for section in sections if ADDRESSES in section]
    return re.findall(r"^```sh\n(.*?)^```", walk, re.S | re.M)


@pytest.fixture(scope="module")
def demo(home: Path) -> Iterator[Program]:
    """The demo, with its code on the terminal."""
    demo = Program("demo", home, "flowhq", "demo")
    demo.launch()
    try:
        until(
            lambda: demo.still_runs() and "For curl:" in demo.output,
            bool,
            "the demo shows its code",
            limit_s=START_LIMIT_S,
        )
        yield demo
    finally:
        demo.end()


@pytest.fixture(scope="module")
def steps(demo: Program) -> list[str]:
    """What each pasted block printed."""
    pasted = blocks()
    # A code that lasts: a reader scans another one if the first has run out meanwhile.
    pasted[1] += "phone config '{\"qr_ttl\": 300}' > /dev/null\n"
    script = f"echo '{CUT}'\n".join(pasted)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=demo.home,
        capture_output=True,
        text=True,
        timeout=WALK_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split(f"{CUT}\n")


def test_the_demo_draws_a_code_and_says_where_everything_is(demo: Program) -> None:
    assert "█" in demo.output
    assert "/phone" in demo.output
    assert "Ctrl-C" in demo.output


def test_the_walk_leads_from_a_new_tenant_to_both_messages_in_its_log(steps: list[str]) -> None:
    _, _, health, created, started, code, scanned, state, sent, outbox, logs, deleted = steps
    assert orjson.loads(health) == {"status": "ok"}
    tenant = created.strip()
    assert orjson.loads(started)["tenant_id"] == tenant
    assert code.startswith("2@")
    assert orjson.loads(scanned)["ok"] is True
    assert state.strip() == "CONNECTED"
    assert orjson.loads(sent)["ok"] is True
    (reply,) = orjson.loads(outbox)["messages"]
    assert reply["to"] == "255711111111"
    assert "Duka la Asha" in reply["text"]
    messages, events = _documents(logs)
    newest, oldest = messages["items"]
    assert (newest["direction"], newest["message_text"]) == ("OUT", reply["text"])
    assert (oldest["direction"], oldest["message_text"]) == ("IN", "Habari")
    assert events["items"][0]["reason"] == "CONNECTED"
    assert deleted.strip() == "204"


def _documents(printed: str) -> list[dict[str, list[dict[str, str]]]]:
    """The JSON documents that were printed one after the other, each with its brackets alone."""
    return [orjson.loads(text) for text in re.findall(r"^\{$.*?^\}$", printed, re.S | re.M)]


def test_ctrl_c_ends_the_demo_and_leaves_nothing_running(demo: Program, steps: list[str]) -> None:
    everything = [*tree_of(demo.pid), *naming(demo.home)]
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0
    assert demo.output.endswith("Nothing is left running.\n")
    assert left_after([*everything, *naming(demo.home)], ORPHAN_LIMIT_S) == []


def test_a_closed_terminal_ends_the_demo_as_ctrl_c_does(home: Path) -> None:
    demo = Program("hangup", home, "flowhq", "demo")
    demo.launch()
    try:
        until(
            lambda: demo.still_runs() and "[3/4]" in demo.output,
            bool,
            "the demo's daemon runs",
            limit_s=START_LIMIT_S,
        )
        everything = [*tree_of(demo.pid), *naming(demo.home)]
        demo.signal(signal.SIGHUP)
        assert demo.wait() == 0
        assert left_after([*everything, *naming(demo.home)], ORPHAN_LIMIT_S) == []
    finally:
        demo.end()
