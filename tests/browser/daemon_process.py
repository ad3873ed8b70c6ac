"""A process that holds tenants' browsers and nothing else, to be killed by a test.

``python -m tests.browser.daemon_process URL PROFILES TENANT_ID...`` says ``started`` when the
first browser may be starting and ``open`` when all channels are.
"""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from flowhq.channel.web.host import BrowserHost
from flowhq.clock import SystemClock
from flowhq.model import TenantId
from tests.browser.web_tenant import settings_for


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(url: str, profiles: str, *tenants: str) -> None:
    host = BrowserHost(settings_for(url, Path(profiles)), SystemClock())
    await host.open()
    channels = [host.channel(TenantId(UUID(tenant))) for tenant in tenants]
    say("started")
    await asyncio.gather(*(channel.open() for channel in channels))
    say("open")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
