"""An independent, unmodified client on the simulated page: whatsapp-web.js, from code to removal.

One run of wwebjs/oracle.cjs goes through everything; each test looks at one of its steps.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser.simulator import Simulator

HERE = Path(__file__).parent / "wwebjs"
ROOT = Path(__file__).parents[2]
INSTALL_LIMIT_S = 240
RUN_LIMIT_S = 300
ASHA = "255711111111@c.us"
STEPS = [
    "qr", "ready", "inbound", "reply", "acks", "read", "drop", "reconnect", "conflict",
    "ciphertext", "revoked", "reaction", "from_phone", "group", "lid", "restart", "logout",
    "logout_in_page", "end",
]  # fmt: skip

pytestmark = [
    pytest.mark.timeout(INSTALL_LIMIT_S + RUN_LIMIT_S + 30),
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]

Steps = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def modules() -> Path:
    """The project's root, whose node_modules holds the locked client; filled if it is not yet."""
    if not (ROOT / "node_modules" / "whatsapp-web.js").is_dir():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=INSTALL_LIMIT_S)
    return ROOT


@pytest.fixture(scope="module")
def steps(
    simulator_process: Simulator, modules: Path, tmp_path_factory: pytest.TempPathFactory
) -> Steps:
    """What the client saw, by step; the browsers of a run that hangs die with it."""
    folder = tmp_path_factory.mktemp("wwebjs")
    options = {
        "modules": str(modules),
        "control": simulator_process.url,
        "tls": f"{simulator_process.tls_host}:{simulator_process.tls_port}",
        "chromium": shutil.which("chromium") or shutil.which("google-chrome"),
        "auth": str(folder / "auth"),
    }
    process = subprocess.Popen(
        ["node", str(HERE / "oracle.cjs"), json.dumps(options)],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=RUN_LIMIT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    told = [json.loads(line) for line in output.splitlines()]
    return {facts.pop("step"): facts for facts in told}


def test_every_step_was_reached(steps: Steps) -> None:
    assert steps.get("failed") is None
    assert list(steps) == STEPS


def test_the_code_has_five_parts(steps: Steps) -> None:
    assert steps["qr"] == {"parts": 5, "broken": False}


def test_the_scan_makes_it_ready(steps: Steps) -> None:
    assert steps["ready"] == {"scanned": True, "wid": "255700000001@c.us", "name": "Duka"}


def test_a_message_arrives_with_its_contact_and_chat(steps: Steps) -> None:
    heard = steps["inbound"]
    assert (heard["body"], heard["from"], heard["type"]) == ("Habari", ASHA, "chat")
    assert (heard["contact"], heard["chat"], heard["unread"]) == ("Asha Juma", "Asha Juma", 1)


def test_the_reply_reaches_the_customer_as_an_answer(steps: Steps) -> None:
    [arrived] = steps["reply"]["outbox"]
    asked = steps["inbound"]["id"].split("_")[2]
    assert arrived == {"text": "Karibu", "to": "255711111111", "quoted": asked}


def test_acks_rise_with_the_receipts(steps: Steps) -> None:
    assert steps["acks"]["acks"] == [1, 2, 3]


def test_a_read_mark_reaches_the_phone(steps: Steps) -> None:
    read = steps["read"]
    assert (read["marked"], read["unread"]) == (True, 0)
    assert read["ids"] == [[read["heard"]]]


def test_a_lost_connection_is_no_end(steps: Steps) -> None:
    assert steps["drop"]["states"][0] == "OPENING"
    assert steps["drop"]["ack"] == 0
    assert steps["reconnect"] == {"texts": ["Karibu", "Bila mtandao"], "disconnected": 0}


def test_a_conflict_is_taken_over(steps: Steps) -> None:
    assert steps["conflict"]["body"] == "Baada ya mgongano"


def test_a_ciphertext_becomes_a_message(steps: Steps) -> None:
    secret = steps["ciphertext"]
    assert (secret["type"], secret["before"]) == ("chat", [secret["id"]])


def test_a_message_is_taken_back(steps: Steps) -> None:
    gone = steps["revoked"]
    assert (gone["id"], gone["type"]) == (gone["mistake"], "revoked")


def test_a_reaction_names_its_message(steps: Steps) -> None:
    reaction = steps["reaction"]
    assert (reaction["text"], reaction["of"]) == ("👍", reaction["secret"])


def test_what_is_typed_on_the_phone_is_an_own_message(steps: Steps) -> None:
    own = steps["from_phone"]
    assert (own["fromMe"], own["to"]) == (True, ASHA)


def test_a_group_message_has_group_and_author(steps: Steps) -> None:
    shared = steps["group"]
    assert (shared["author"], shared["isGroup"]) == (ASHA, True)
    assert shared["back"] == shared["from"]


def test_a_chat_under_a_lid_is_answered_there(steps: Steps) -> None:
    hidden = steps["lid"]
    assert hidden["from"] == hidden["answered"] == "100200300400500@lid"
    assert hidden["to"] == "255711111111"


def test_a_restart_keeps_link_chats_and_history(steps: Steps) -> None:
    again = steps["restart"]
    assert again["codes"] == 0
    assert again["bodies"][0] == again["found"] == "Habari"
    assert again["bodies"][-1] == "Uko wapi?"
    assert again["unread"] > 0
    assert again["chats"] == ["100200300400500@lid", "120363000000000001@g.us", ASHA]


def test_a_removal_on_the_phone_brings_a_new_code(steps: Steps) -> None:
    assert steps["logout"] == {"reason": "LOGOUT", "parts": 5}


def test_a_logout_in_the_page_unlinks_the_device(steps: Steps) -> None:
    assert steps["logout_in_page"] == {"devices": 0}
