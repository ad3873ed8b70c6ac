"""HTTP to the outside, guarded: for URLs that other people wrote.

The check that counts is in the socket factory: it sees the address that is about to be connected
to, after every look-up and redirect. What does not belong here: what is sent, and when again.
"""

import asyncio
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from flowhq.config import EgressSettings
from flowhq.egress.addresses import Reach
from flowhq.egress.urls import check_url
from flowhq.errors import EgressFailedError, EgressRefusedError

# Somebody waits for the answer, and it is held in memory: a stranger's server decides neither how
# long nor how much.
TIMEOUT_S = 10.0
TIMEOUT_MAX_S = 30.0
REDIRECTS_MAX = 3
BODY_MAX_BYTES = 1_000_000
# Many servers close an idle connection after 5 s: one of ours is gone before, so that a request is
# not written into a closed one.
KEEP_ALIVE_S = 4.0
CONNECTIONS_MAX = 100
# Long enough for most name servers; a URL whose name cannot be looked up yet is no mistake.
LOOK_UP_S = 3.0
CHUNK_BYTES = 65_536
# No error number of the system: how the factory's refusal is told from the network's.
REFUSED_ERRNO = -1

AddrInfo = tuple[
    int | socket.AddressFamily,
    int | socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]

# What decides how a message is framed and whom it is for is ours to say.
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "te", "upgrade"})
# Another host gets none of what was meant for the first one.
_FOR_ANYBODY = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_ODD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REDIRECTS = (301, 302, 303, 307, 308)
_SEE_OTHER = 303
_KEEPS_METHOD = (307, 308)


@dataclass(frozen=True, slots=True)
class Request:
    """What to send where. ``timeout_s`` covers everything, redirects included, 30 s at most; a
    body beyond ``max_bytes`` is an error, or is cut there with ``cut``."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    timeout_s: float = TIMEOUT_S
    redirects: int = REDIRECTS_MAX
    max_bytes: int = BODY_MAX_BYTES
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status. ``headers`` by lower-case name, the last of a kind."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class EgressClient:
    """One for the daemon, from ``open`` to ``close``; many requests at a time."""

    def __init__(
        self, settings: EgressSettings, *, resolver: AbstractResolver | None = None
    ) -> None:
        self._reach = Reach.of(settings.allow_networks)
        self._allow_http = settings.allow_http
        self._given_resolver = resolver
        self._resolver: AbstractResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._resolver = self._given_resolver or ThreadedResolver()
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            socket_factory=self._socket,
            limit=CONNECTIONS_MAX,
            keepalive_timeout=KEEP_ALIVE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def close(self) -> None:
        """Ends what is under way; safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> "EgressClient":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check(self, url: str) -> None:
        """EgressRefusedError if this URL could never be called as things are: looked up once, and
        none of its addresses may be called. A name that is not found now passes."""
        target = check_url(url, self._reach, allow_http=self._allow_http)
        if self._resolver is None or target.raw_host is None or target.port is None:
            raise EgressFailedError("The client is not open.")
        try:
            async with asyncio.timeout(LOOK_UP_S):
                found = await self._resolver.resolve(target.raw_host, target.port, socket.AF_UNSPEC)
        except (OSError, TimeoutError):
            return
        refusal: EgressRefusedError | None = None
        for one in found:
            try:
                self._reach.check(one["host"])
            except EgressRefusedError as error:
                refusal = error
            else:
                return
        if refusal is not None:
            raise refusal

    async def send(self, request: Request) -> Answer:
        """The answer, after at most ``redirects`` redirects, each checked like the first URL.

        EgressRefusedError: it must not be called. EgressFailedError: nothing usable came in time.
        """
        _check_headers(request.headers)
        url = check_url(request.url, self._reach, allow_http=self._allow_http)
        try:
            async with asyncio.timeout(min(request.timeout_s, TIMEOUT_MAX_S)):
                return await self._follow(request, url)
        except TimeoutError as error:
            raise EgressFailedError("No answer in time.") from error

    async def _follow(self, request: Request, url: URL) -> Answer:
        method, body, headers = request.method.upper(), request.body, dict(request.headers)
        for left in range(request.redirects, -1, -1):
            answer = await self._exchange(method, url, headers, body, request)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None or not request.redirects:
                return answer
            if not left:
                break
            following = self._following(url, location)
            if following.origin() != url.origin():
                headers = {k: v for k, v in headers.items() if k.lower() in _FOR_ANYBODY}
            if answer.status == _SEE_OTHER or (
                answer.status not in _KEEPS_METHOD and method == "POST"
            ):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
            url = following
        raise EgressFailedError(f"More than {request.redirects} redirects.")

    def _following(self, url: URL, location: str) -> URL:
        try:
            target = str(url.join(URL(location)))
        except (ValueError, TypeError) as error:
            raise EgressFailedError("It redirects to what is not a URL.") from error
        return check_url(target, self._reach, allow_http=self._allow_http)

    async def _exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        request: Request,
    ) -> Answer:
        if self._session is None:
            raise EgressFailedError("The client is not open.")
        sent = {"User-Agent": "FlowHQ", "Accept-Encoding": "identity", **headers}
        try:
            async with self._session.request(
                method, url, headers=sent, data=body, allow_redirects=False
            ) as response:
                received = await _read(response, request.max_bytes, cut=request.cut)
                told = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, told, received)
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno == REFUSED_ERRNO:
                raise EgressRefusedError(
                    "The name leads to an address that is not on the public internet.",
                    next_step="An operator can list its network in [egress] allow_networks.",
                ) from error
            raise EgressFailedError(f"No connection ({_kind(error)}).") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EgressFailedError(f"No usable answer ({_kind(error)}).") from error

    def _socket(self, info: AddrInfo) -> socket.socket:
        """The last gate: asked for each connection, with the very address it is for."""
        family, kind, protocol, _, address = info
        try:
            self._reach.check(str(address[0]))
        except EgressRefusedError as error:
            raise OSError(REFUSED_ERRNO, "refused") from error
        return socket.socket(family, kind, protocol)


async def _read(response: aiohttp.ClientResponse, max_bytes: int, *, cut: bool) -> bytes:
    received = bytearray()
    while chunk := await response.content.read(CHUNK_BYTES):
        received += chunk
        if len(received) > max_bytes:
            response.close()
            if cut:
                break
            raise EgressFailedError(f"The answer is larger than {max_bytes} bytes.")
    return bytes(received[:max_bytes])


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or _ODD_VALUE.search(value):
            raise EgressRefusedError("A header has a name or a value that cannot be sent.")
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise EgressRefusedError(f"The header {name} is not for callers to set.")


def _kind(error: BaseException) -> str:
    """What went wrong, without an address: the system's word for it, or the error's class."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    return os.strerror(number) if number and number > 0 else type(cause).__name__
