"""Pair, talk, back up, and be answered by another installation without another scan."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.errors import ExitCode
from tests.acceptance.parts import CODE_SHOWN, Daemon, Simulator
from tests.acceptance.shop import Shop

ROOT = Path(__file__).parents[2]
PASSPHRASE = "ndege wawili mtini mmoja"
COMMAND_LIMIT_S = 120
JUMA, REHEMA, SALIM = "255713800001", "255713800002", "255713800003"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def elsewhere(tmp_path: Path, simulator: Simulator) -> Iterator[Daemon]:
    """An installation that was never started."""
    daemon = Daemon(tmp_path, simulator.url)
    try:
        yield daemon
    finally:
        daemon.program.end()


@pytest.fixture(scope="module")
def shop(daemon: Daemon, simulator: Simulator) -> Shop:
    """Paired, and it has talked."""
    shop = Shop(daemon, simulator, "zuhura", "255754000801").open()
    shop.ask(JUMA, 1)
    assert shop.first_answer(JUMA) == [1]
    return shop


def command(daemon: Daemon, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command of the program with this daemon's settings."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWHQ_")}
    return subprocess.run(
        [sys.executable, "-m", "flowhq", *arguments],
        cwd=daemon.home,
        env=environ | daemon.program.settings,
        input=given,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def moved(shop: Shop, daemon: Daemon) -> Shop:
    """The same tenant, seen through another daemon."""
    other = Shop(daemon, shop.simulator, shop.word, shop.phone)
    other.id = shop.id
    return other


def procedure(number: int) -> str:
    """One of the shell blocks about files in the documentation."""
    text = (ROOT / "docs/backup.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(umask 077\n.*?)^```", text, re.S | re.M)
    assert len(blocks) == 2
    return str(blocks[number])


def carry_out(script: str, daemon: Daemon, backup: Path) -> None:
    places = {
        "DATA": str(daemon.home / "postgres"),
        "PROFILES": str(daemon.profiles),
        "KEY": str(daemon.home / "postgres/master.key"),
        "BACKUP": str(backup),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=os.environ | places,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_tenant_is_backed_up_by_the_daemon_and_answers_elsewhere_without_a_code(
    shop: Shop, simulator: Simulator, daemon: Daemon, elsewhere: Daemon
) -> None:
    at, history = simulator.last_event(), len(shop.changes())
    body = {"passphrase": PASSPHRASE}
    taken = daemon.api.call("POST", f"{shop.path}/backup", body)
    file = daemon.home / taken["file"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (file.stat().st_size, taken["rows"]["message_logs"]) == (taken["size_bytes"], 2)
    assert taken["profile_files"] > 10
    shop.wait_until_back(history)
    running = command(daemon, "backup-tenant", shop.id, "--to", "no", given=PASSPHRASE)
    assert running.returncode == ExitCode.FAILURE
    assert f"POST {shop.path}/backup" in running.stderr
    shop.verb("worker/stop")
    shop.ask(REHEMA, 2)

    elsewhere.start()
    wrong = command(elsewhere, "restore-tenant", str(file), given="ndege wawili mtini\n")
    assert (wrong.returncode, wrong.stdout) == (ExitCode.FAILURE, "")
    assert "another passphrase" in wrong.stderr
    done = command(elsewhere, "restore-tenant", str(file), given=f"{PASSPHRASE}\n")
    assert done.returncode == ExitCode.OK, done.stderr
    assert f"{shop.path}/worker/start" in done.stdout
    there = moved(shop, elsewhere)
    assert there.view()["desired_state"] == "STOPPED"
    assert there.view()["session"]["paired_at"]
    there.verb("worker/start")
    assert there.first_answer(REHEMA) == [2]
    there.ask(JUMA, 3)
    there.wait_for_replies(2, customer=JUMA)
    assert [there.answers(text) for text in there.replies()[JUMA]] == [[1], [3]]
    assert simulator.events(*CODE_SHOWN, after=at) == []
    assert [item["event"] for item in there.changes()].count("restored") == 1
    for secret in (PASSPHRASE, shop.phone):
        assert secret not in daemon.program.output + elsewhere.program.output
    there.verb("worker/stop")
    shop.verb("worker/start")
    shop.wait_for("CONNECTED")


def test_the_whole_installation_comes_back_from_its_files(
    shop: Shop, simulator: Simulator, daemon: Daemon, elsewhere: Daemon, tmp_path: Path
) -> None:
    at = simulator.last_event()
    assert daemon.stop(signal.SIGTERM) == ExitCode.OK
    shop.ask(SALIM, 4)
    backup = tmp_path / "backup"
    backup.mkdir()
    carry_out(procedure(0), daemon, backup)
    carry_out(procedure(1), elsewhere, backup)
    elsewhere.start()
    there = moved(shop, elsewhere)
    assert there.first_answer(SALIM) == [4]
    there.wait_for("CONNECTED")
    assert simulator.events(*CODE_SHOWN, after=at) == []
    rows = elsewhere.query("SELECT master_key_id FROM installation")
    assert rows == [{"master_key_id": rows[0]["master_key_id"]}]
