"""The fixture that every test passes through really catches what is left behind."""

import re
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
ROOT = CONFTEST.parents[1]
SETTINGS = f"[pytest]\nasyncio_mode = auto\nmarkers = lingers(reason): x\npythonpath = {ROOT}\n"

TESTS = """
import asyncio, threading, pytest

kept = []

@pytest.fixture
async def tidy():
    task = asyncio.create_task(asyncio.sleep(60))
    yield
    task.cancel()

async def test_a_task_of_a_fixture_may_live_until_its_end(tidy):
    await asyncio.to_thread(int)

async def test_leaves_a_task():
    kept.append(asyncio.create_task(asyncio.sleep(60), name="left-task"))

def test_leaves_a_thread():
    stop = threading.Event()
    kept.append(stop)
    threading.Thread(target=stop.wait, args=(30,), name="left-thread", daemon=True).start()

@pytest.mark.lingers("on purpose")
async def test_leaves_a_task_on_purpose():
    kept.append(asyncio.create_task(asyncio.sleep(60)))
"""


def test_what_outlives_a_test_fails_it(pytester: pytest.Pytester) -> None:
    conftest, changed = re.subn(r"(?m)^GRACE_S = .*$", "GRACE_S = 1.0", CONFTEST.read_text())
    assert changed == 1
    pytester.makeconftest(conftest)
    pytester.makeini(SETTINGS)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*tasks outlive the test: *left-task*"])
    result.stdout.fnmatch_lines(["*threads outlive the test: *left-thread*"])
