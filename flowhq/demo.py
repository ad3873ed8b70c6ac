"""The demo: the simulated WhatsApp, the daemon on a database of its own, and one salon.

Everything it starts is a process of its own that ends with it, also when it is killed. Its files
are in ``var/demo`` and are made anew each time.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson

from flowhq import qr
from flowhq.errors import ExitCode, FlowHQError, MisconfiguredError
from flowhq.password import hash_password
from flowhq.signals import catch_signals

HOME = Path("var/demo")
ADMIN_PORT, SIMULATOR_PORT, TLS_PORT = 8787, 8790, 8443
START_LIMIT_S = 90.0
STOP_LIMIT_S = 45.0
POLL_S = 0.2

NUMBER = "+255712345678"
SALON = {
    "name": "Salon Asha",
    "phone_number": NUMBER,
    "template_type": "BOOKING",
    "business_name": "Salon Asha",
    "language": "SW",
    "timezone": "Africa/Dar_es_Salaam",
    "details": {
        "services": [
            {"name": "Kusuka nywele", "price": 15000, "duration_minutes": 120},
            {"name": "Kuosha na kukausha", "price": 8000, "duration_minutes": 45},
            {"name": "Kucha", "price": 10000, "duration_minutes": 60},
        ],
        "contact": {"phone": NUMBER, "address": "Mtaa wa Samora 12, Dar es Salaam"},
        "payment": {"methods": ["M-Pesa", "Taslimu"]},
    },
}

Say = Callable[[str], None]


async def run(say: Say) -> int:
    """The whole demo until Ctrl-C; the process's exit code."""
    async with AsyncExitStack() as stack:
        signals = await stack.enter_async_context(catch_signals())
        show = asyncio.create_task(_show(say, stack), name="demo")
        stop = asyncio.create_task(signals.stop.wait(), name="stop")
        # A closed terminal says SIGHUP; nobody is left to press Ctrl-C then.
        hangup = asyncio.create_task(signals.reload.wait(), name="hangup")
        await asyncio.wait({show, stop, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if hangup.done():
            say = _unheard
        stop.cancel()
        hangup.cancel()
        if not show.done():
            say("\nStopping ...")
            show.cancel()
            await asyncio.wait({show})
        elif error := show.exception():
            raise error
    say("Nothing is left running.")
    return ExitCode.OK


def _unheard(text: str) -> None:
    """Where nobody reads any more."""


async def _show(say: Say, stack: AsyncExitStack) -> None:
    home = _fresh_home()
    say("[1/4] Starting the simulated WhatsApp ...")
    simulator = await stack.enter_async_context(_simulator(home))
    say("[2/4] Starting the daemon: PostgreSQL, schema, browser driver, API ...")
    admin, password = await stack.enter_async_context(_daemon(home, simulator))
    api = await stack.enter_async_context(
        aiohttp.ClientSession(
            admin,
            headers={"Authorization": aiohttp.encode_basic_auth("admin", password)},
            timeout=aiohttp.ClientTimeout(total=90),
        )
    )
    say("[3/4] Creating a tenant, Salon Asha, and starting its worker (a real Chromium) ...")
    tenant = await _call(api, "POST", "/admin/tenants", json=SALON)
    path = f"/admin/tenants/{tenant['id']}"
    _write_env(home, admin, password, simulator, tenant["id"])
    await _call(api, "POST", f"{path}/worker/start")
    say("[4/4] Waiting for WhatsApp Web to show its code ...")
    text = _help(admin, password, simulator, path)
    await _follow(api, path, say, text, f"Scan it at {simulator}phone as {NUMBER}; Ctrl-C ends.")


async def _follow(
    api: aiohttp.ClientSession, path: str, say: Say, text: str, reminder: str
) -> None:
    """Draw each new code and tell each change of the tenant's state, for ever.

    Codes that ran out are renewed by restarting the worker: a newcomer reads before scanning.
    """
    told: object = None
    code: str | None = None
    helped = False
    while True:
        pairing = await _call(api, "GET", f"{path}/qr")
        if pairing["state"] == "QR_READY" and pairing["qr"] != code:
            code = pairing["qr"]
            # Scanned meanwhile: there is no code any more.
            with suppress(FlowHQError):
                raw = await _fetch(api, "GET", f"{path}/qr?format=raw")
                say(f"\n{qr.terminal(raw.decode())}\n")
                say(reminder if helped else text)
                helped = True
        tenant = await _call(api, "GET", path)
        state = (tenant["status"], tenant["reason"], tenant["next_action"])
        if state != told:
            told = state
            say(f"Salon Asha is {state[0]} ({state[1]}). {state[2]}".rstrip())
            if tenant["reason"] == "PAIRING_EXPIRED":
                say("Restarting its worker for a new code ...")
                # Refused: somebody else's verb was faster, and does the same.
                with suppress(FlowHQError):
                    await _call(api, "POST", f"{path}/worker/restart")
        await asyncio.sleep(1.0)


def _help(admin: str, password: str, simulator: str, path: str) -> str:
    return f"""\
This is the code of a simulated WhatsApp: no real phone can scan it.

  Scan it as {NUMBER}, then write as a customer:   {simulator}phone
  Admin API:      {admin.rstrip("/")}{path}
                  user admin, password {password}
  For curl:       . {HOME}/env        (then follow the walk in README.md)

Ctrl-C ends everything.
"""


@asynccontextmanager
async def _simulator(home: Path) -> AsyncIterator[str]:
    ready = home / "simulator.json"
    http, tls = _free_port(SIMULATOR_PORT), _free_port(TLS_PORT)
    arguments = ["-m", "flowhq.simulator", "--http", f"127.0.0.1:{http}"]
    arguments += ["--tls", f"127.0.0.1:{tls}", "--ready-file", str(ready)]
    async with _process("simulator", arguments, home, {}) as alive:
        await _wait_for(ready.exists, alive, "The simulator")
        yield f"http://127.0.0.1:{http}/"


@asynccontextmanager
async def _daemon(home: Path, simulator: str) -> AsyncIterator[tuple[str, str]]:
    password = secrets.token_urlsafe(12)
    port = _free_port(ADMIN_PORT)
    settings = {
        "FLOWHQ_ADMIN__PORT": str(port),
        "FLOWHQ_ADMIN__PASSWORD_HASH": hash_password(password),
        "FLOWHQ_DATABASE__DATA_DIR": str(home / "postgres"),
        "FLOWHQ_WEB__URL": simulator,
        "FLOWHQ_WEB__PROFILES_DIR": str(home / "profiles"),
        "FLOWHQ_LOGGING__DIRECTORY": str(home / "logs"),
        "FLOWHQ_LOGGING__FORMAT": "json",
    }
    # The one setting of the machine that counts here: scripts/demo looks for a browser by it.
    if chromium := os.environ.get("FLOWHQ_WEB__CHROMIUM"):
        settings["FLOWHQ_WEB__CHROMIUM"] = chromium
    url = f"http://127.0.0.1:{port}"
    async with _process("daemon", ["-m", "flowhq", "run"], home, settings) as alive:
        await _wait_for(lambda: _answers(port), alive, "The daemon")
        yield url, password


@asynccontextmanager
async def _process(
    name: str, arguments: Sequence[str], home: Path, settings: dict[str, str]
) -> AsyncIterator[Callable[[], bool]]:
    """A program of ours in its own session; told to end, and gone, when the block is left.

    setpriv makes the kernel end it should this process be killed.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FLOWHQ_")}
    with (home / f"{name}.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", sys.executable),
            *arguments,
            env=environ | settings,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield lambda: process.returncode is None
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _wait_for(done: Callable[[], bool], alive: Callable[[], bool], name: str) -> None:
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while not done():
                if not alive():
                    raise MisconfiguredError(
                        f"{name} did not start.", next_step=f"Its own words are in {HOME}/*.log."
                    )
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise MisconfiguredError(
            f"{name} did not start within {START_LIMIT_S:g} s.",
            next_step=f"Its own words are in {HOME}/*.log.",
        ) from None


async def _call(
    api: aiohttp.ClientSession, method: str, path: str, json: object = None
) -> dict[str, Any]:
    return cast("dict[str, Any]", orjson.loads(await _fetch(api, method, path, json)))


async def _fetch(api: aiohttp.ClientSession, method: str, path: str, json: object = None) -> bytes:
    """The answer's body; a refusal and a daemon that is gone are FlowHQErrors."""
    try:
        async with api.request(method, path, json=json) as answer:
            body = await answer.read()
            if answer.status >= 400:
                raise FlowHQError(f"{method} {path}: {orjson.loads(body)['detail']}")
            return body
    except (aiohttp.ClientError, TimeoutError):
        raise FlowHQError(
            "The daemon does not answer any more.", next_step=f"Its own words are in {HOME}/*.log."
        ) from None


def _fresh_home() -> Path:
    if HOME.exists():
        shutil.rmtree(HOME)
    HOME.mkdir(parents=True, mode=0o700)
    return HOME.absolute()


def _write_env(home: Path, admin: str, password: str, simulator: str, tenant_id: str) -> None:
    """What the README's walk reads; for this user alone."""
    file = home / "env"
    file.touch(mode=0o600)
    file.write_text(
        f"API={admin}\nPASSWORD={password}\nSIMULATOR={simulator.rstrip('/')}\nTENANT={tenant_id}\n"
    )


def _free_port(wanted: int) -> int:
    """The wanted port, or one that the system has free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise MisconfiguredError("No free port on 127.0.0.1.")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
