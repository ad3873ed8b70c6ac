"""The simulator as a program: its arguments, what it says, how it ends."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

LIMIT_S = 60.0


@contextlib.asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flowhq.simulator",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def long_poll(url: str) -> AsyncIterator[None]:
    """A request for events that do not come is under way inside the block."""
    host, _, port = url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /control/events?after=9&wait=60 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await writer.drain()
    yield
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    async with asyncio.timeout(LIMIT_S):
        _, err = await process.communicate()
    return process.returncode, err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_ends_at_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    ready = tmp_path / "ready.json"
    free = "127.0.0.1:0"
    async with program("--http", free, "--tls", free, "--ready-file", str(ready)) as process:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            lines = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
        written = orjson.loads(ready.read_bytes())
        assert [written["http"], written["tls"], written["pid"]] == [*lines, process.pid]
        # An open long poll and an open socket must not hold the stop up.
        async with long_poll(lines[0]), aiohttp.ClientSession() as session:
            async with session.get(f"{lines[0]}/control/state") as response:
                assert (await response.json())["accounts"] == []
            async with session.ws_connect(f"{lines[0]}/ws"):
                process.send_signal(number)
                code, err = await ended(process)
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--http", "0.0.0.0:0"], "--allow-remote"),
        (["--tls", "192.0.2.1:0"], "--allow-remote"),
        (["--http", "[::]:0"], "--allow-remote"),
        (["--http", "localhost"], "HOST:PORT"),
        (["--http", "127.0.0.1:http"], "HOST:PORT"),
        (["--http", "127.0.0.1:70000"], "HOST:PORT"),
        (["--http", ":80"], "HOST:PORT"),
        (["--ready-file", "/nowhere/at/all.json"], "/nowhere/at"),
        (["--port", "1"], "--port"),
    ],
)
async def test_bad_arguments_are_said_in_a_sentence_with_exit_code_2(
    arguments: list[str], words: str
) -> None:
    async with program(*arguments) as process:
        code, err = await ended(process)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


async def test_a_taken_address_is_said_in_a_sentence() -> None:
    async def nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, program("--http", f"127.0.0.1:{port}", "--tls", "127.0.0.1:0") as process:
        code, err = await ended(process)
    assert code == 1
    assert "in use" in err
    assert "Traceback" not in err
