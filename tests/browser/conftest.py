"""A simulator as a process of its own, and a tenant on it, for tests that drive real browsers."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from playwright.async_api import expect

import flowhq
from flowhq.channel.web.host import BrowserHost
from tests.browser.simulator import Simulator
from tests.browser.web_tenant import WebTenant, open_host, open_tenant, settings_for

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
# What a page shows is waited for so long, not the five seconds that are usual.
expect.set_options(timeout=60_000)


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


@pytest.fixture
async def host(
    simulator: Simulator, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[BrowserHost]:
    """Browsers for the module's simulator; an indirect parameter changes their settings."""
    await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
    changes = getattr(request, "param", {})
    async with open_host(settings_for(simulator.url, tmp_path / "profiles", **changes)) as host:
        yield host


@pytest.fixture
async def tenant(host: BrowserHost, simulator: Simulator) -> AsyncIterator[WebTenant]:
    """One tenant that shows its code."""
    async with open_tenant(host, simulator) as tenant:
        yield tenant


@pytest.fixture(scope="session")
def wa_js_path() -> Path:
    """The unmodified wa-js bundle, where the build put it."""
    path = Path(flowhq.__path__[0]) / "channel/web/vendor/wppconnect-wa.js"
    assert path.is_file(), "wa-js is missing: the editable install places it (pip install -e .)"
    return path
