"""What searches all logs of the tests finds what was planted, wherever it was."""

import base64
import json
from pathlib import Path
from uuid import UUID

import pytest

from flowhq.admin.identities import token_text
from tests.logsearch import Search, find_words

ROOT = Path(__file__).parents[2]
ID = UUID("5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a")
BYTES = bytes(range(100, 132))
BASE64 = base64.b64encode(BYTES).decode()
URLSAFE = base64.urlsafe_b64encode(BYTES).decode().rstrip("=")
SETTINGS = f"[pytest]\nasyncio_mode = auto\npythonpath = {ROOT}\n"
PLUGINS = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "tests.logsearch")

CLEAN = """
import logging, structlog

def test_says_nothing_private(tmp_path):
    structlog.get_logger().info("message recorded", chat="255754000001@c.us", text="Habari yako")
    logging.getLogger("library").warning("no answer from %s", "+255754000001")
    (tmp_path / "daemon.log").write_text('{"event":"ready"}')
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "000003.log").write_text("255754000001")
"""
LEAKY = """
import logging, structlog
from flowhq.model import Reply

def test_logs_a_reply():
    structlog.get_logger().info("sent", what="Samahani, sijakuelewa vizuri. Andika *menyu*")

def test_logs_a_text_that_it_made_up():
    structlog.get_logger().info("sent", what=Reply("mbili na tatu", "x").text)

def test_logs_a_secret():
    raise_it = "the key fhp_0123456789abcdefghijKLMNOP was refused"
    logging.getLogger("library").warning(raise_it)

def test_has_a_program_that_logs_a_number(tmp_path):
    (tmp_path / "daemon.log.1").write_text("ready\\nfrom 255754000001@c.us\\n")
"""


def test_a_run_that_logs_nothing_private_is_good(pytester: pytest.Pytester) -> None:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(CLEAN)
    result = pytester.runpytest_subprocess(*PLUGINS)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["logs: 2 lines and 1 files searched for *: 0 hits"])


def test_each_planted_hit_fails_the_run(pytester: pytest.Pytester) -> None:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(LEAKY)
    result = pytester.runpytest_subprocess(*PLUGINS, "-n", "2")
    # What searches this run would find it as well.
    for planted in pytester.path.rglob("daemon.log.1"):
        planted.unlink()
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "LOGGED *test_logs_a_reply: Samahani, sijakuelewa vizuri. Andika in: *",
            "LOGGED *test_logs_a_text_that_it_made_up: mbili na tatu in: *",
            "LOGGED *test_logs_a_secret: a portal key in: *",
            "LOGGED daemon.log.1: 255754000001, a phone number in: from 255754000001@c.us",
            "logs: 3 lines and 1 files searched for *: 4 hits",
        ]
    )


@pytest.mark.parametrize(
    ("secret", "name"),
    [
        ("+255712345678", "a phone number"),
        ("255712345678@c.us", "a phone number"),
        ("false_255712345678@c.us_3A00", "a phone number"),
        ("bakari07", "a customer's text"),
        (token_text(ID, URLSAFE), "an API token"),
        (f"fhp_{URLSAFE}", "a portal key"),
        (f"whsec_{BASE64}", "a webhook's secret"),
        ("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", "a password's hash"),
        (f"Basic {base64.b64encode(b'admin:karibu').decode()}", "credentials"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "a signed token"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        (f"2@{BASE64}", "a pairing code"),
        (URLSAFE, "a session's secret"),
        (base64.urlsafe_b64encode(ID.bytes + BYTES).decode(), "a session's secret"),
        ("karibu-sana-2026", "karibu-sana-2026"),
    ],
)
def test_what_must_never_be_logged_is_known_by_its_looks(secret: str, name: str) -> None:
    search = Search(find_words())
    search.line(json.dumps({"event": f"it was {secret}"}).encode(), "here")
    assert [hit for hit in search.hits if name in hit]


@pytest.mark.parametrize(
    "line",
    [
        {"tenant_id": str(ID), "at": "2026-11-21T10:14:19.123456Z", "ms": 255712345},
        {"event": "Use Basic authentication (curl -u admin)", "sha256": "0a" * 32},
        {"event": "tenant closed", "number": "+255…678", "bytes": 1700000000000},
        {"path": "web/2557123456789", "id": ID.hex},
    ],
)
def test_what_may_be_logged_is_no_hit(line: dict[str, object]) -> None:
    search = Search(find_words())
    search.line(json.dumps(line, ensure_ascii=False).encode(), "here")
    assert search.hits == []
