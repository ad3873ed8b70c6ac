"""Ports of this machine for programs that are told where to listen."""

import secrets
import socket
from pathlib import Path

# The kernel gives the ports from the first of these on to whoever connects somewhere.
GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000


def free_port() -> int:
    """One on which nobody listens, and that no connection is given before it is used; also not
    while the program that listened there is started again."""
    first = max(int(GIVEN_AWAY.read_text().split()[0]), LOWEST + 1)
    while True:
        port = LOWEST + secrets.randbelow(first - LOWEST)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
