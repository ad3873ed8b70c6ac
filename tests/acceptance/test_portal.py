"""An owner's way to a bot: signed in, asked, approved, scanned; and by a pairing link."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.acceptance.parts import PASSWORD, Daemon, Simulator
from tests.acceptance.programs import (
    LIMIT_S,
    START_LIMIT_S,
    Http,
    Program,
    until,
)
from tests.acceptance.shop import Shop
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
WALK_LIMIT_S = 120
CUT = "-- 8< --"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def issuer(home: Path) -> Iterator[str]:
    """The address of an issuer that lets everybody in."""
    port = free_port()
    program = Program(
        "issuer", home, "tests.fakes.issuer", "--port", str(port), PYTHONPATH=str(ROOT)
    )
    program.launch()
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: program.still_runs() and _answers(url), bool, "the issuer answers")
        yield url
    finally:
        program.end()


def _answers(url: str) -> bool:
    try:
        return Http(url).ask("GET", "/keys").status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def daemon(home: Path, simulator: Simulator, issuer: str) -> Iterator[Daemon]:
    """A daemon at which owners sign in."""
    settings = {
        "FLOWHQ_PORTAL__ISSUER": issuer,
        "FLOWHQ_PORTAL__CLIENT_ID": "flowhq-test",
        "FLOWHQ_PORTAL__CLIENT_SECRET": "siri-ya-mteja",
        "FLOWHQ_EGRESS__ALLOW_NETWORKS": "127.0.0.0/8",
        "FLOWHQ_EGRESS__ALLOW_HTTP": "true",
    }
    daemon = Daemon(home, simulator.url, **settings)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.program.end()


@pytest.fixture(scope="module")
def steps(daemon: Daemon, simulator: Simulator) -> list[str]:
    """What each block of the document's walk printed."""
    text = (ROOT / "docs/portal.md").read_text("utf-8")
    (walk,) = re.findall(r"^## From the first.*?(?=^## )", text, re.S | re.M)
    blocks = re.findall(r"^```sh\n(.*?)^```", walk, re.S | re.M)
    environ = os.environ | {
        "API": daemon.api.url,
        "PASSWORD": PASSWORD,
        "SIMULATOR": simulator.url,
    }
    simulator.control("config", qr_ttl=300)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"echo '{CUT}'\n".join(blocks)],
        cwd=daemon.home,
        env=environ,
        capture_output=True,
        text=True,
        timeout=WALK_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split(f"{CUT}\n")


def test_the_walk_leads_from_the_first_sign_in_to_a_bot(daemon: Daemon, steps: list[str]) -> None:
    _, signed_in, request, decided, scanned, active = steps
    me = orjson.loads(signed_in)
    assert (me["user"]["email"], me["user"]["role"]) == ("asha@example.com", "OWNER")
    assert (me["tenant"]["status"], me["tenant"]["phone_number"]) == ("NEW", None)
    assert me["setup_request"] is None
    listed, approved = _documents(decided)
    assert [item["id"] for item in listed["items"]] == [request.strip()]
    assert approved["setup_request"]["status"] == "APPROVED"
    assert approved["worker"]["desired_state"] == "RUNNING"
    assert orjson.loads(scanned)["ok"] is True
    status = orjson.loads(active)
    assert status["setup_request"]["status"] == "ACTIVE"
    assert status["setup_request"]["active_at"]
    assert (status["tenant"]["session_state"], status["tenant"]["status"]) == (
        "CONNECTED",
        "ACTIVE",
    )
    assert (status["tenant"]["phone_number"], status["tenant"]["next_action"]) == (
        "+255700000022",
        "",
    )
    rows = daemon.query("SELECT event_type FROM portal_event_logs ORDER BY id")
    events = list(dict.fromkeys(row["event_type"] for row in rows))
    assert events[:3] == ["SIGNED_UP", "ME_READ", "SETUP_REQUESTED"]
    assert {"SETUP_APPROVED", "QR_READ", "SETUP_ACTIVE", "STATUS_READ"} <= set(events)


def test_nothing_of_the_owner_is_in_the_daemons_log(daemon: Daemon, steps: list[str]) -> None:
    output = daemon.program.output
    assert "portal_me" in output or "/portal/me" in output
    for secret in ("asha@example.com", "255700000022", "siri-ya-mteja", "Naomba"):
        assert secret not in output, secret


def test_a_link_pairs_a_phone_in_a_real_browser(daemon: Daemon, simulator: Simulator) -> None:
    shop = Shop(daemon, simulator, "kiungo", "255700000033").create()
    link = daemon.api.call("POST", f"{shop.path}/pairing-links", {"minutes": 10})
    token = link["url"].partition("#")[2]
    limit_ms = LIMIT_S * 1000
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            chromium_sandbox=os.geteuid() != 0,
        )
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(link["url"])
        code = page.locator("#code")
        picture = re.compile("^data:image/png;base64,")
        expect(code).to_have_attribute("src", picture, timeout=START_LIMIT_S * 1000)
        expect(code).to_be_visible(timeout=START_LIMIT_S * 1000)
        shop.scan()
        expect(page.get_by_text("Connected. You can close this page.")).to_be_visible(
            timeout=limit_ms
        )
        expect(code).to_be_hidden(timeout=limit_ms)
        browser.close()
    assert problems == []
    shop.wait_for("CONNECTED")
    until(
        lambda: daemon.api.call("GET", f"{shop.path}/pairing-links")["items"],
        lambda links: [bool(link["used_at"]) for link in links] == [True],
        "the link is used up",
    )
    again = Http(daemon.api.url).call("POST", "/pair/code", {"token": token})
    assert (again["state"], again["qr"]) == ("connected", None)
    assert token not in daemon.program.output


def _documents(printed: str) -> list[dict[str, Any]]:
    """The JSON documents that were printed one after the other, each with its brackets alone."""
    return [orjson.loads(text) for text in re.findall(r"^\{$.*?^\}$", printed, re.S | re.M)]
