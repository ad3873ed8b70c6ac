"""Signals and systemd: what the outside tells the process, and what it tells back."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# systemd answers nothing and its socket is local: a longer wait would only hold the loop.
NOTIFY_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True)
class Signals:
    """Events that are set by signals: ``stop`` by the first SIGTERM or SIGINT, ``hurry`` by the
    second, ``reload`` by SIGHUP (whoever handles it clears it)."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)

    def ask_to_stop(self) -> None:
        """What a SIGTERM does: stop at the first call, hurry at the second."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


@asynccontextmanager
async def catch_signals() -> AsyncIterator[Signals]:
    """Turns signals into events for as long as it is open; the former handlers come back."""
    loop = asyncio.get_running_loop()
    signals = Signals()
    handlers = {
        signal.SIGTERM: signals.ask_to_stop,
        signal.SIGINT: signals.ask_to_stop,
        signal.SIGHUP: signals.reload.set,
    }
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield signals
    finally:
        for number, former in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if former is None else former)


class SystemdNotifier:
    """Tells systemd how the daemon is; does nothing when it was not started by systemd."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ means Linux' abstract namespace, whose names start with a NUL.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._watchdog_usec = environ.get("WATCHDOG_USEC", "")
        self._watchdog_pid = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_interval_s(self) -> float | None:
        """Seconds between two ``alive`` calls, half of what systemd waits; None: not wanted."""
        for_another = self._watchdog_pid not in ("", str(os.getpid()))
        if not self._address or for_another or not self._watchdog_usec.isdigit():
            return None
        return int(self._watchdog_usec) / 2_000_000 or None

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Shows one line in `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(NOTIFY_TIMEOUT_S)
                sender.sendto(message.encode(), self._address)
        except OSError:
            # A supervisor that is gone is no reason for the daemon to stop.
            return
