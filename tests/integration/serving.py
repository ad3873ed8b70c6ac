"""A process that tells systemd how it is, and gets into trouble when it is told to.

    python -m tests.integration.serving

SIGUSR1: its event loop stands still for good. SIGUSR2: nobody looks after its tenants.
"""

import asyncio
import signal
import time
from collections.abc import Mapping

from flowhq.pulse import Pulse
from flowhq.signals import SystemdNotifier
from flowhq.watchdog import watch


class Fleet:
    overdue_s = 0.0

    def be_neglected(self) -> None:
        self.overdue_s = 1.0

    async def health(self) -> Mapping[str, object]:
        return {"tenants": 2, "workers": {"RUNNING": 2}}


def stand_still() -> None:
    while True:
        time.sleep(1)


async def serve() -> None:
    loop, pulse, fleet = asyncio.get_running_loop(), Pulse(), Fleet()
    loop.add_signal_handler(signal.SIGUSR1, stand_still)
    loop.add_signal_handler(signal.SIGUSR2, fleet.be_neglected)
    beating = asyncio.create_task(pulse.run())
    await watch(SystemdNotifier(), pulse, fleet)
    await beating


if __name__ == "__main__":
    asyncio.run(serve())
