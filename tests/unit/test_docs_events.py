"""What docs/events.md and the cookbook say fits the code."""

import base64
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowhq.admin.app import ROUTES
from flowhq.model import EventType
from flowhq.webhooks.schedule import WAITS_S
from flowhq.webhooks.signing import SECRET_BYTES, new_secret, sign

DOCS = Path(__file__).parents[2] / "docs"
EVENTS = (DOCS / "events.md").read_text(encoding="utf-8")
COOKBOOK = (DOCS / "cookbook.md").read_text(encoding="utf-8")
BODY = b'{"id":"evt_1","type":"message.in"}'


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_every_type_has_its_row_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \|", EVENTS, re.MULTILINE)
    assert rows == [one.value for one in EventType]


def test_the_waits_are_those_of_the_schedule() -> None:
    said = "5 s, 30 s, 2, 5, 15, 30 minutes, 1 and 2 hours, then every 4 hours"
    assert said in EVENTS
    assert WAITS_S == (5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400)


def test_a_secret_is_as_long_as_it_should_be_and_new_each_time() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == SECRET_BYTES
    assert secret != new_secret()


@pytest.mark.parametrize("wrong", [b"", b"x"])
def test_the_python_of_the_docs_tells_ours_from_others(wrong: bytes) -> None:
    secret, older = new_secret(), new_secret()
    headers = sign("evt_1", datetime.now(UTC), BODY, [secret, older])
    names: dict[str, object] = {}
    [code] = [block for block in blocks(EVENTS, "python") if "def verify" in block]
    exec(code, names)  # noqa: S102 - the docs' own code is what is tested
    verify = names["verify"]
    assert callable(verify)
    assert verify(secret, headers, BODY)
    assert verify(older, headers, BODY)
    assert not verify(secret, headers, BODY + wrong + b" ")
    assert not verify(new_secret(), headers, BODY)
    late = sign("evt_1", datetime(2026, 1, 1, tzinfo=UTC), BODY, [secret])
    assert not verify(secret, late, BODY)


def test_the_node_of_the_docs_tells_ours_from_others(tmp_path: Path) -> None:
    secret = new_secret()
    headers = sign("evt_1", datetime.now(UTC), BODY, [new_secret(), secret])
    [code] = blocks(EVENTS, "js")
    asked = [[secret, headers, BODY.decode()], [secret, headers, "{}"]]
    script = tmp_path / "verify.cjs"
    script.write_text(
        f"{code}\nconst asked = {json.dumps(asked)};\n"
        "console.log(asked.map(([s, h, b]) => verify(s, h, Buffer.from(b))).join());"
    )
    ran = subprocess.run(["node", script], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("true,false\n", "")


def test_the_cookbook_is_shell_and_uses_real_routes() -> None:
    script = "\n".join(blocks(COOKBOOK, "sh"))
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    used = set(re.findall(r'(?:\bapi|\bjson) "?(/[^\s"?]+)', script))
    names = {"{tenant_id}": "$TENANT", "{webhook}": "$WEBHOOK", "{message}": "$MESSAGE"}
    known = set()
    for route in ROUTES:
        path = route.path
        for placeholder, variable in names.items():
            path = path.replace(placeholder, variable)
        known.add(path)
    assert len(used) >= 7
    assert used <= known
