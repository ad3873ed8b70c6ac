"""A slow and unreliable way to PostgreSQL, as a process between it and the daemon.

    python -m tests.faults.proxy LISTEN_SOCKET SERVER_SOCKET HABITS_FILE

The file has JSON, read whenever it changes: ``delay_s`` is added to each thing the daemon asks,
``lose_commits`` is the share of commits whose answer never comes: the connection ends instead.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

CHUNK_BYTES = 65_536
READ_EVERY_S = 0.05
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete of a COMMIT: type, length, tag (PostgreSQL's protocol 3.0)."""


class Proxy:
    def __init__(self, server: Path, habits: Path) -> None:
        self._server = server
        self._habits = habits
        self._dice = random.Random(1)
        self._read_at = 0
        self.delay_s = 0.0
        self.lose_commits = 0.0

    async def keep_reading(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                changed_at = self._habits.stat().st_mtime_ns
                if changed_at != self._read_at:
                    habits = orjson.loads(self._habits.read_bytes())
                    self.delay_s = habits.get("delay_s", 0.0)
                    self.lose_commits = habits.get("lose_commits", 0.0)
                    self._read_at = changed_at
            await asyncio.sleep(READ_EVERY_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_unix_connection(self._server)
        except OSError:
            writer.close()
            return
        asked = self._pump(reader, forth, delayed=True)
        answered = self._pump(back, writer, delayed=False)
        await _first_of(asked, answered)
        for end in (writer, forth):
            end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delayed: bool
    ) -> None:
        """What is read comes out after the delay of its moment, in order."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        await _first_of(self._take(reader, line, delayed=delayed), self._give(line, writer))

    async def _take(
        self,
        reader: asyncio.StreamReader,
        line: "asyncio.Queue[tuple[float, bytes]]",
        *,
        delayed: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK_BYTES):
            if not delayed and COMMITTED in data and self._dice.random() < self.lose_commits:
                return
            line.put_nowait((loop.time() + (self.delay_s if delayed else 0.0), data))

    async def _give(
        self, line: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(data)
            await writer.drain()


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Until one of them ends, however; then none of them runs any more."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(listen: Path, server: Path, habits: Path) -> None:
    proxy = Proxy(server, habits)
    serve: Callable[..., Coroutine[Any, Any, None]] = proxy.serve
    await asyncio.start_unix_server(serve, listen)
    await proxy.keep_reading()


if __name__ == "__main__":
    asyncio.run(run(*map(Path, sys.argv[1:])))
