"""A simulator as a process of its own, for tests that drive real browsers."""

import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from playwright.async_api import expect

import flowhq

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
# What a page shows is waited for so long, not the five seconds that are usual.
expect.set_options(timeout=60_000)


class Simulator:
    """Where the simulator listens, and its control API."""

    def __init__(self, url: str, tls_url: str) -> None:
        tls = urllib.parse.urlsplit(tls_url)
        assert tls.hostname is not None
        assert tls.port is not None
        self.url = url
        self.tls_host = tls.hostname
        self.tls_port = tls.port

    async def control(self, call: str, **body: Any) -> dict[str, Any]:
        """The answer of `/control/<call>`; an AssertionError unless it is 200."""
        limit = aiohttp.ClientTimeout(total=90)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(f"{self.url}/control/{call}", json=body) as response,
        ):
            answer: dict[str, Any] = orjson.loads(await response.read())
            assert response.status == 200, answer
            return answer


@pytest.fixture(scope="module")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One process per module, on free ports."""
    ready = tmp_path_factory.mktemp("simulator") / "ready.json"
    free = "127.0.0.1:0"
    command = [sys.executable, "-m", "flowhq.simulator", "--http", free, "--tls", free]
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=subprocess.DEVNULL)
    try:
        _wait_for(ready, process)
        addresses = orjson.loads(ready.read_bytes())
        yield Simulator(addresses["http"], addresses["tls"])
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(ready: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready.exists():
        assert process.poll() is None, f"the simulator ended with {process.returncode}"
        assert time.monotonic() < deadline, "the simulator did not start"
        time.sleep(0.05)


@pytest.fixture
async def simulator(simulator_process: Simulator) -> Simulator:
    """The module's simulator, as new for each test."""
    await simulator_process.control("reset")
    return simulator_process


@pytest.fixture(scope="session")
def wa_js_path() -> Path:
    """The unmodified wa-js bundle, where the build put it."""
    path = Path(flowhq.__path__[0]) / "channel/web/vendor/wppconnect-wa.js"
    assert path.is_file(), "wa-js is missing: the editable install places it (pip install -e .)"
    return path
