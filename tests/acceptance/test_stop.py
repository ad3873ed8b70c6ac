"""How the daemon ends: when it is told to, when it is hurried, and when it cannot begin at all."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.errors import ExitCode
from tests.acceptance.parts import CODE_SHOWN, Daemon, Simulator
from tests.acceptance.programs import (
    ORPHAN_LIMIT_S,
    START_LIMIT_S,
    Program,
    left_after,
    naming,
    tree_of,
    until,
)
from tests.acceptance.shop import Shop
from tests.vaults import MASTER_TEXT

CUSTOMER = "255713500001"
# Longer than a drain could ever last in this test, so that only a hurry ends it.
SEND_TIMEOUT_S = 120
HURRIED_LIMIT_S = 90.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def daemon(home: Path, simulator: Simulator) -> Iterator[Daemon]:
    """Patient with sends, so that stopping has something to wait for."""
    patience = {
        "FLOWHQ_LIMITS__SEND_TIMEOUT_S": str(SEND_TIMEOUT_S),
        "FLOWHQ_SUPERVISOR__STOP_GRACE_S": str(SEND_TIMEOUT_S),
    }
    daemon = Daemon(home, simulator.url, **patience)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.program.end()


@pytest.fixture(scope="module")
def shop(daemon: Daemon, simulator: Simulator) -> Shop:
    return Shop(daemon, simulator, "zuhura", "255754000031").open()


@pytest.fixture
def at(simulator: Simulator, daemon: Daemon, shop: Shop) -> Iterator[int]:
    """The place in the simulator's events where the test begins, with everything well."""
    simulator.control("config", send="ok")
    if daemon.program.exit_code is not None:
        daemon.start()
    shop.wait_for("CONNECTED")
    yield simulator.last_event()
    simulator.control("config", send="ok")


# -- told to -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_cleanly_and_the_pairing_is_kept(
    shop: Shop, daemon: Daemon, simulator: Simulator, at: int, number: signal.Signals
) -> None:
    before = len(shop.sent())
    assert daemon.stop(number) == ExitCode.OK
    assert "Traceback" not in daemon.program.output
    daemon.start()
    shop.wait_for("CONNECTED")
    shop.ask(CUSTOMER, 1)
    texts = shop.wait_for_replies(before + 1)
    assert shop.answers(texts[-1]) == [1]
    assert simulator.events(*CODE_SHOWN, after=at) == []


def test_a_stop_waits_for_the_send_that_is_under_way(
    shop: Shop, daemon: Daemon, simulator: Simulator, at: int
) -> None:
    before = len(shop.sent())
    hold(shop, simulator)
    everything = daemon.processes()
    tell_to_stop(daemon)
    assert shop.try_verb("worker/restart").status == 409
    assert daemon.program.exit_code is None
    simulator.control("config", send="ok")
    assert daemon.program.wait() == ExitCode.OK
    assert left_after([*everything, *naming(daemon.home)], ORPHAN_LIMIT_S) == []
    assert len(shop.sent()) == before + 1
    daemon.start()
    shop.wait_for("CONNECTED")
    assert states_of_outbox(daemon) == {"accepted"}
    assert len(shop.sent()) == before + 1


def test_a_second_signal_hurries_and_the_send_under_way_goes_out_once_later(
    shop: Shop, daemon: Daemon, simulator: Simulator, at: int
) -> None:
    before = len(shop.sent())
    hold(shop, simulator)
    everything = daemon.processes()
    tell_to_stop(daemon)
    daemon.program.signal(signal.SIGTERM)
    assert daemon.program.wait(HURRIED_LIMIT_S) == ExitCode.OK
    assert left_after([*everything, *naming(daemon.home)], ORPHAN_LIMIT_S) == []
    daemon.start()
    shop.wait_for("CONNECTED")
    simulator.control("config", send="ok")
    until(
        lambda: states_of_outbox(daemon),
        lambda states: states == {"accepted"},
        "all is sent",
        limit_s=SEND_TIMEOUT_S,
    )
    assert len(shop.sent()) == before + 1
    assert simulator.events(*CODE_SHOWN, after=at) == []


def hold(shop: Shop, simulator: Simulator) -> None:
    """One reply is handed to the page and stays there."""
    simulator.control("config", send="hold")
    shop.ask(CUSTOMER, 2)
    until(
        lambda: simulator.control("state")["accounts"][0]["held"],
        lambda held: held == 1,
        "a send is under way",
    )


def tell_to_stop(daemon: Daemon) -> None:
    """Return when it is not ready any more; something keeps it from ending at once."""
    daemon.program.signal(signal.SIGTERM)
    health = until(
        lambda: daemon.api.ask("GET", "/health"),
        lambda answer: answer.json() == {"status": "stopping"},
        "it stops",
    )
    assert health.status == 503


def states_of_outbox(daemon: Daemon) -> set[str]:
    return {row["state"] for row in daemon.query("SELECT DISTINCT state::text FROM outbox")}


def test_a_signal_during_the_start_ends_it_too(daemon: Daemon, at: int) -> None:
    daemon.stop()
    daemon.program.launch()
    until(lambda: len(naming(daemon.home / "postgres")), bool, "the database starts", poll_s=0.01)
    everything = tree_of(daemon.program.pid)
    daemon.program.signal(signal.SIGTERM)
    assert daemon.program.wait() == ExitCode.OK
    assert left_after([*everything, *naming(daemon.home)], ORPHAN_LIMIT_S) == []


# -- cannot begin --------------------------------------------------------------------------------


def try_to_start(home: Path, **settings: str) -> Program:
    """A daemon that ends by itself, with a sentence instead of a traceback, and leaves nothing."""
    daemon = Daemon(home, "http://127.0.0.1:9/", **settings)
    daemon.program.launch()
    try:
        daemon.program.wait(START_LIMIT_S)
        assert "Traceback" not in daemon.program.output
        assert left_after(naming(home), ORPHAN_LIMIT_S) == []
    finally:
        daemon.program.end()
    return daemon.program


def test_without_chromium_it_says_how_to_install_it(tmp_path: Path) -> None:
    tried = try_to_start(tmp_path, FLOWHQ_WEB__CHROMIUM="/nowhere/chromium")
    assert tried.exit_code == ExitCode.CONFIG
    assert "[web] chromium = '/nowhere/chromium' is no file that can be executed." in tried.output
    assert "install --with-deps chromium" in tried.output


def test_with_no_chromium_on_the_path_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("setpriv", "sh"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
        (tools / name).symlink_to(found.stdout.strip())
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("HOME", str(tmp_path))
    tried = try_to_start(tmp_path)
    assert tried.exit_code == ExitCode.CONFIG
    assert "No Chromium was found." in tried.output
    assert "install --with-deps chromium" in tried.output


def test_without_its_database_it_names_no_password(tmp_path: Path) -> None:
    url = "postgresql://somebody:hunter2@127.0.0.1:1/none"
    key = tmp_path / "master.key"
    key.write_text(MASTER_TEXT)
    tried = try_to_start(
        tmp_path, FLOWHQ_DATABASE__URL=url, FLOWHQ_SECRETS__MASTER_KEY_FILE=str(key)
    )
    assert tried.exit_code == ExitCode.UNAVAILABLE
    assert re.search(r"PostgreSQL cannot be reached.*\n.+", tried.output)
    assert "hunter2" not in tried.output


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        tried = try_to_start(tmp_path, FLOWHQ_ADMIN__PORT=port)
    assert tried.exit_code == ExitCode.CONFIG
    assert port in tried.output
    assert "[admin] port" in tried.output


@pytest.mark.parametrize("by", ["directory", "url"])
def test_a_second_daemon_on_the_same_data_is_refused(
    daemon: Daemon, at: int, tmp_path: Path, by: str
) -> None:
    own = {"FLOWHQ_ADMIN__PORT": "0"}
    if by == "url":
        own["FLOWHQ_DATABASE__URL"] = daemon.database_url
        own["FLOWHQ_SECRETS__MASTER_KEY_FILE"] = str(daemon.home / "postgres/master.key")
    second = Program("second", tmp_path, "flowhq", "run", **(daemon.program.settings | own))
    second.launch()
    assert second.wait(START_LIMIT_S) == ExitCode.UNAVAILABLE
    used = {"directory": "uses the data directory", "url": "works on this database"}[by]
    assert f"Another daemon {used}" in second.output
    assert "Traceback" not in second.output
    assert daemon.api.ask("GET", "/health").status == 200


def test_without_an_admin_password_it_does_not_start(tmp_path: Path) -> None:
    tried = try_to_start(tmp_path, FLOWHQ_ADMIN__PASSWORD_HASH="")
    assert tried.exit_code == ExitCode.CONFIG
    assert "No admin password is set" in tried.output
    assert "flowhq-daemon hash-password" in tried.output


def test_every_mistake_of_the_settings_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[admin]\nprot = 8787\n[web]\nurl = "http://web.whatsapp.com/"\n[wobble]\n'
    )
    tried = try_to_start(tmp_path, FLOWHQ_LIMITS__PACE_MS="soon")
    assert tried.exit_code == ExitCode.CONFIG
    assert "did you mean port?" in tried.output
    assert "wobble" in tried.output
    assert "FLOWHQ_LIMITS__PACE_MS" in tried.output


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("FLOWHQ_DATABASE__DATA_DIR", "[database] data_dir"),
        ("FLOWHQ_WEB__PROFILES_DIR", "[web] profiles_dir"),
        ("FLOWHQ_LOGGING__DIRECTORY", "[logging] directory"),
    ],
)
def test_a_directory_that_cannot_be_written_is_named_with_its_setting(
    tmp_path: Path, setting: str, named: str
) -> None:
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "inside")
    tried = try_to_start(tmp_path, **{setting: place})
    assert tried.exit_code == ExitCode.CONFIG
    assert place in tried.output
    assert named in tried.output
