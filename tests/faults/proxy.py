"""A slow and unreliable way to PostgreSQL, as a process between it and the daemon.

    python -m tests.faults.proxy LISTEN_SOCKET SERVER_SOCKET HABITS_FILE

The file has JSON, read whenever it changes: ``delay_s`` is added to each thing the daemon asks,
``lose_answers`` is the share of answers to what was a transaction, by its COMMIT or by itself, that
never come: the connection ends instead. Preparing a statement and the first moment of a connection
end in the same way, and are lost as often. Each answer lost is a line of output: "lost", then the
tag of its command ("COMMIT"), "row" for what gave one row and may have more (a call of a function),
or nothing; and "of a chat" if the address of one is in it.
"""

import asyncio
import contextlib
import random
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

CHUNK_BYTES = 65_536
READ_EVERY_S = 0.05
IDLE = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery outside of a transaction: one has just ended (PostgreSQL's protocol 3.0)."""
TAG = re.compile(rb"C\x00\x00\x00.([A-Z]+[ 0-9]*)\x00" + IDLE, re.DOTALL)
"""CommandComplete before it: type, length, tag."""
ROW = b"s\x00\x00\x00\x04" + IDLE
"""PortalSuspended before it: only the first row was wanted."""
ADDRESS = b"@c.us"


class Proxy:
    def __init__(self, server: Path, habits: Path) -> None:
        self._server = server
        self._habits = habits
        self._dice = random.Random(1)
        self._read_at = 0
        self.delay_s = 0.0
        self.lose_answers = 0.0

    async def keep_reading(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                changed_at = self._habits.stat().st_mtime_ns
                if changed_at != self._read_at:
                    habits = orjson.loads(self._habits.read_bytes())
                    self.delay_s = habits.get("delay_s", 0.0)
                    self.lose_answers = habits.get("lose_answers", 0.0)
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
            if not delayed and self._is_lost(data):
                return
            line.put_nowait((loop.time() + (self.delay_s if delayed else 0.0), data))

    def _is_lost(self, data: bytes) -> bool:
        if IDLE not in data or self._dice.random() >= self.lose_answers:
            return False
        tag = TAG.search(data)
        told = ["lost"]
        if tag is not None:
            told.append(tag[1].decode())
        elif ROW in data:
            told.append("row")
        if ADDRESS in data:
            told.append("of a chat")
        sys.stdout.write(" ".join(told) + "\n")
        sys.stdout.flush()
        return True

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
