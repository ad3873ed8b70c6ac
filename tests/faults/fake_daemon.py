"""The daemon as it is, with the peer's process in place of browsers.

    python -m tests.faults.fake_daemon

Settings as ever, and ``FLOWHQ_TEST_PEER``: the peer's socket. ``FLOWHQ_TEST_CLOCK``: a file with
how far the wall clock is ahead of the machine's, looked at each time.
"""

import asyncio
import os
import sys
from pathlib import Path

from flowhq import configfile, daemon
from flowhq.clock import Clock, SystemClock
from flowhq.config import Config
from flowhq.desk import ChannelHost
from tests.faults.channel import PeerHost
from tests.faults.movedclock import MovedClock


def make_host(settings: Config, clock: Clock) -> ChannelHost:
    return PeerHost(
        Path(os.environ["FLOWHQ_TEST_PEER"]),
        send_timeout_s=settings.limits.send_timeout_s,
        probe_timeout_s=settings.supervisor.probe_timeout_s,
        event_buffer=settings.limits.memory_events_per_tenant,
    )


def main() -> int:
    offset = os.environ.get("FLOWHQ_TEST_CLOCK", "")
    clock = MovedClock(Path(offset)) if offset else SystemClock()
    around = daemon.Surroundings(clock=clock, make_host=make_host)
    return asyncio.run(daemon.run(configfile.load(None, os.environ), around))


if __name__ == "__main__":
    sys.exit(main())
