"""A real server that counts who connects, and look-ups that lie."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.fakes.clock import until

Respond = Callable[[str, bytes], bytes]


def plain(_: str, __: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Trap:
    """A listening socket on this machine. ``connections`` counts every one that is accepted,
    ``heads`` holds each request's first bytes."""

    port: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    respond: Respond = plain

    async def unvisited(self) -> bool:
        """Whether nobody connected up to now: whoever did is accepted before this very call."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /own HTTP/1.1\r\n\r\n")
        await until(lambda: any(head.startswith("GET /own ") for head in self.heads))
        writer.close()
        return self.connections == 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                (
                    int(line.partition(":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            body = await reader.readexactly(length)
            self.heads.append(head)
            writer.write(self.respond(head, body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    """Listens on every address of the machine, IPv4 and IPv6."""
    trap = Trap()
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(trap.serve, sock=listener)
    trap.port = listener.getsockname()[1]
    yield trap
    server.close()
    await server.wait_closed()


class Liar(AbstractResolver):
    """Gives these answers, one after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        hosts = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for one in hosts
        ]

    async def close(self) -> None:
        pass
