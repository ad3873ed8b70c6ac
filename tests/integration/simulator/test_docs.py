"""docs/simulator.md tells the truth: every call, setting and event is there, and its curl works."""

import asyncio
import re
from pathlib import Path

import orjson
import pytest

from flowhq.simulator import control
from flowhq.simulator.settings import Settings
from tests.fakes.clock import PATIENCE_S
from tests.integration.simulator.conftest import Bench

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) if "S=http" in block]
SOURCE = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "flowhq" / "simulator").glob("*.py")
)


@pytest.mark.parametrize("call", sorted(control.CALLS))
def test_every_call_is_described(call: str) -> None:
    assert f"\n| `{call}` |" in TEXT


@pytest.mark.parametrize(("name", "default"), sorted(Settings().as_json().items()))
def test_every_setting_is_described_with_its_default(name: str, default: object) -> None:
    found = re.search(rf"\n\| `{name}` \| (.*?) \|", TEXT)
    assert found, name
    assert orjson.loads(found.group(1).strip("`")) == default


def test_every_event_is_described() -> None:
    listed = TEXT.partition("**events.** `")[2].partition("`")[0]
    described = set(re.split(r",\s+", listed))
    recorded = set(re.findall(r'\.record\(\s*"(\w+)"', SOURCE))
    recorded |= set(re.findall(r'_record(?:_send)?\(\s*"(\w+)"', SOURCE))
    assert described == recorded


@pytest.mark.parametrize("block", range(len(BLOCKS)))
async def test_the_curl_examples_work_when_pasted(bench: Bench, block: int) -> None:
    page, other = bench.page(), await bench.linked("255700000009")
    script = BLOCKS[block].replace("http://127.0.0.1:8790", bench.url)
    if "scan_live" in script:
        await page.show_code()
    else:
        page = await bench.linked("255700000001")
    shell = await asyncio.create_subprocess_exec(
        "bash", "-eu", "-c", script, stdout=asyncio.subprocess.PIPE
    )
    if "scan_live" in script:
        await page.finish_pairing()
        await page.expect("offline_done")
        assert (await page.receive())["msg"]["body"] == "Habari"
        await page.send("255711111111@c.us", "Karibu")
    async with asyncio.timeout(PATIENCE_S * 2):
        out, _ = await shell.communicate()
    assert shell.returncode == 0
    answers = [orjson.loads(line) for line in out.splitlines()]
    assert len(answers) == script.count("curl ")
    assert all(answer.get("ok", True) for answer in answers), answers
    await other.close()
