"""Signals become events; systemd is told what it asks for."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowhq.signals import SystemdNotifier, catch_signals
from tests.fakes.clock import PATIENCE_S


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(str(tmp_path / "notify"))
        yield receiver


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_to_stop_and_the_second_to_hurry(
    number: signal.Signals,
) -> None:
    async with catch_signals() as signals, asyncio.timeout(PATIENCE_S):
        os.kill(os.getpid(), number)
        await signals.stop.wait()
        assert not signals.hurry.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await signals.hurry.wait()


async def test_hangup_asks_to_reload_and_stops_nothing() -> None:
    async with catch_signals() as signals, asyncio.timeout(PATIENCE_S):
        os.kill(os.getpid(), signal.SIGHUP)
        await signals.reload.wait()
        assert not signals.stop.is_set()


async def test_former_handlers_come_back() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    async with catch_signals():
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_states_reach_the_socket(listener: socket.socket) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": listener.getsockname()})
    notifier.ready()
    notifier.status("3 tenants\nrunning")
    notifier.alive()
    notifier.stopping()
    received = [listener.recv(100) for _ in range(4)]
    assert received == [b"READY=1", b"STATUS=3 tenants running", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    name = f"flowhq-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind(f"\0{name}")
        SystemdNotifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert receiver.recv(100) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nonexistent/notify"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    SystemdNotifier(environ).ready()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    environ: dict[str, str], expected: float | None
) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": "/run/notify"} | environ)
    assert notifier.watchdog_interval_s == expected
