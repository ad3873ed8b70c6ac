"""Where the simulator of a test listens, and its control API."""

import urllib.parse
from typing import Any

import aiohttp
import orjson


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
