"""The guarded client: nothing inside is ever connected to, and what is allowed has its limits."""

import asyncio
import time
from collections.abc import Callable

import pytest

from flowhq.config import EgressSettings
from flowhq.egress.client import BODY_MAX_BYTES, EgressClient, Request
from flowhq.errors import EgressError, EgressFailedError, EgressRefusedError
from tests.integration.egress.conftest import Liar, Trap
from tests.unit.egress.corpus import INSIDE_LITERALS, ODD_LITERALS

SHUT = EgressSettings(allow_http=True)
OPEN = EgressSettings(allow_http=True, allow_networks=("127.0.0.0/8",))
# What a look-up may give back for a name: addresses, and what some systems take for one.
LOOKED_UP = [one for one in (*INSIDE_LITERALS, *ODD_LITERALS) if "%" not in one]
WRITTEN = ["localhost", "localhost.", "LOCALHOST", "127。0。0。1", "①②⑦.⓪.⓪.①", "ip6-localhost"]


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def redirect(location: str, status: int = 302) -> Callable[[str, bytes], bytes]:
    def respond(_: str, __: bytes) -> bytes:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        return head.encode()

    return respond


def get(url: str, **changes: object) -> Request:
    return Request("GET", url, {}, **changes)  # type: ignore[arg-type]


async def test_no_way_of_writing_an_inside_address_connects(trap: Trap) -> None:
    async with EgressClient(SHUT) as client:
        for host in (*INSIDE_LITERALS, *ODD_LITERALS, *WRITTEN):
            for scheme in ("http", "https"):
                url = f"{scheme}://{bracketed(host)}:{trap.port}/"
                with pytest.raises(EgressError):
                    await client.send(get(url, timeout_s=2))
    assert await trap.unvisited()


@pytest.mark.parametrize("host", LOOKED_UP)
async def test_no_look_up_leads_inside(trap: Trap, host: str) -> None:
    async with EgressClient(SHUT, resolver=Liar([host])) as client:
        url = f"http://shop.example:{trap.port}/"
        with pytest.raises(EgressRefusedError, match="public internet"):
            await client.send(get(url))
        with pytest.raises(EgressRefusedError):
            await client.check(url)
    assert await trap.unvisited()


async def test_a_name_that_leads_elsewhere_the_second_time_is_caught(trap: Trap) -> None:
    resolver = Liar(["8.8.8.8"], ["127.0.0.1"])
    async with EgressClient(SHUT, resolver=resolver) as client:
        url = f"http://shop.example:{trap.port}/"
        await client.check(url)
        with pytest.raises(EgressRefusedError):
            await client.send(get(url))
    assert resolver.asked == 2
    assert await trap.unvisited()


async def test_of_several_addresses_only_those_outside_are_tried(trap: Trap) -> None:
    settings = EgressSettings(allow_http=True, allow_networks=("127.0.0.2/32",))
    resolver = Liar(["127.0.0.1", "::1", "127.0.0.2"])
    async with EgressClient(settings, resolver=resolver) as client:
        answer = await client.send(get(f"http://shop.example:{trap.port}/"))
    assert answer.status == 200
    assert trap.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_inside_is_not_followed(trap: Trap, status: int) -> None:
    settings = EgressSettings(allow_http=True, allow_networks=("127.0.0.2/32",))
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "localhost"):
        before = trap.connections
        trap.respond = redirect(f"http://{host}:{trap.port}/", status)
        async with EgressClient(settings) as client:
            with pytest.raises(EgressRefusedError):
                await client.send(get(f"http://127.0.0.2:{trap.port}/"))
        assert trap.connections == before + 1


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://a:b@example.org/", "//\\x"])
async def test_a_redirect_to_another_scheme_or_with_a_password_is_refused(
    trap: Trap, location: str
) -> None:
    trap.respond = redirect(location)
    async with EgressClient(OPEN) as client:
        with pytest.raises(EgressError):
            await client.send(get(f"http://127.0.0.1:{trap.port}/"))
    assert trap.connections == 1


async def test_three_redirects_are_followed_and_a_fourth_is_not(trap: Trap) -> None:
    count = 0

    def respond(_: str, __: bytes) -> bytes:
        nonlocal count
        count += 1
        if count > hops:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhome"
        return redirect(f"/hop{count}")("", b"")

    trap.respond = respond
    async with EgressClient(OPEN) as client:
        hops = 3
        assert (await client.send(get(f"http://127.0.0.1:{trap.port}/"))).body == b"home"
        count, hops = 0, 4
        with pytest.raises(EgressFailedError, match="3 redirects"):
            await client.send(get(f"http://127.0.0.1:{trap.port}/"))
        assert count == 4
        count = 0
        once = await client.send(get(f"http://127.0.0.1:{trap.port}/", redirects=0))
    assert once.status == 302
    assert count == 1


async def test_another_host_gets_no_header_that_was_for_the_first(trap: Trap) -> None:
    trap.respond = lambda head, _: (
        redirect(f"http://127.0.0.2:{trap.port}/")("", b"")
        if "127.0.0.1" in head
        else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    headers = {"Authorization": "Bearer of-the-first", "X-Key": "too", "Accept": "text/plain"}
    async with EgressClient(OPEN) as client:
        await client.send(Request("POST", f"http://127.0.0.1:{trap.port}/", headers, b"{}"))
    first, second = trap.heads
    assert first.startswith("POST")
    assert "of-the-first" in first
    assert second.startswith("GET")
    assert "of-the-first" not in second
    assert "X-Key" not in second
    assert "text/plain" in second


async def test_proxies_and_cookies_are_not_used(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    trap.respond = lambda _, __: b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with EgressClient(OPEN) as client:
        for _ in range(2):
            assert (await client.send(get(f"http://127.0.0.1:{trap.port}/"))).status == 200
    assert all("cookie" not in head.lower() for head in trap.heads)


async def test_an_answer_that_is_too_large_is_refused_or_cut(trap: Trap) -> None:
    sent = b"x" * (BODY_MAX_BYTES + 1)
    trap.respond = lambda _, __: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + sent
    url = f"http://127.0.0.1:{trap.port}/"
    async with EgressClient(OPEN) as client:
        with pytest.raises(EgressFailedError, match="larger"):
            await client.send(get(url))
        cut = await client.send(get(url, max_bytes=100, cut=True))
    assert cut.body == b"x" * 100


async def test_a_packed_answer_is_not_unpacked(trap: Trap) -> None:
    trap.respond = lambda _, __: (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    )
    async with EgressClient(OPEN) as client:
        answer = await client.send(get(f"http://127.0.0.1:{trap.port}/"))
    assert answer.body == b"\x1f\x8b\x08\x00"
    assert "identity" in trap.heads[0]


async def test_who_never_answers_costs_no_more_than_the_limit(trap: Trap) -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)

    opened: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    async with EgressClient(OPEN) as client:
        with pytest.raises(EgressFailedError, match="in time"):
            await client.send(get(f"http://127.0.0.1:{port}/", timeout_s=0.2))
    assert 0.2 <= time.monotonic() - began < 25
    for writer in opened:
        writer.close()
    server.close()


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nB: c"}, {"X\r\nB": "c"}, {"Host": "inside"}, {"Transfer-Encoding": "chunked"}],
)
async def test_a_header_that_reframes_the_request_is_refused(
    trap: Trap, headers: dict[str, str]
) -> None:
    async with EgressClient(OPEN) as client:
        with pytest.raises(EgressRefusedError, match="header"):
            await client.send(Request("GET", f"http://127.0.0.1:{trap.port}/", headers))
    assert await trap.unvisited()


async def test_nobody_listening_is_a_failure_and_names_no_address() -> None:
    async with EgressClient(OPEN) as client:
        with pytest.raises(EgressFailedError) as failure:
            await client.send(get("http://127.0.0.1:1/"))
    assert "127.0.0.1" not in str(failure.value)


async def test_plain_http_is_refused_unless_it_is_allowed(trap: Trap) -> None:
    async with EgressClient(EgressSettings(allow_networks=("127.0.0.0/8",))) as client:
        with pytest.raises(EgressRefusedError, match="https"):
            await client.send(get(f"http://127.0.0.1:{trap.port}/"))
    assert await trap.unvisited()
