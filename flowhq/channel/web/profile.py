"""One browser profile per tenant: where it lies, who holds it, how it is freed and forgotten.

The pairing lives in the profile (keys that cannot be exported), so nothing here deletes one
except ``forget``.
"""

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from flowhq.channel.web import process
from flowhq.errors import ChannelRestartError
from flowhq.model import Reason, TenantId

LOCK = "SingletonLock"
LOCK_FILES = (LOCK, "SingletonCookie", "SingletonSocket")
# What a driver's command line ends with: a browser whose parent is not one has lost its driver.
DRIVER_MARK = "run-driver"
# A process that waits for a busy disk dies when its write has ended.
KILL_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Holder:
    """What Chromium's lock says: a symbolic link to ``<host>-<pid>``."""

    host: str
    pid: int


def profile_dir(profiles: Path, tenant_id: TenantId) -> Path:
    return profiles / str(tenant_id)


def make(profile: Path) -> None:
    """The directory exists and only its owner can look inside."""
    profile.mkdir(mode=0o700, parents=True, exist_ok=True)
    profile.chmod(0o700)


def find_holder(profile: Path) -> Holder | None:
    """Who the lock names, dead or alive; None without a lock that can be read."""
    try:
        host, _, pid = os.readlink(profile / LOCK).rpartition("-")  # noqa: PTH115 - may dangle
        return Holder(host, int(pid))
    except (OSError, ValueError):
        return None


def browser_process(profile: Path) -> process.Process | None:
    """The running browser of this profile on this machine: named by the lock, and its command
    line names the profile, so that a pid used again by something else is never taken for it."""
    holder = find_holder(profile)
    if holder is None or holder.host != socket.gethostname():
        return None
    running = process.find_process(holder.pid)
    if running is None or running.is_zombie:
        return None
    named = f"--user-data-dir={profile}"
    return running if named in process.command_line(holder.pid) else None


async def make_free(profile: Path, *, own_driver: int | None) -> None:
    """After this, a browser can be started on the profile.

    A lock left by a dead process or by another host is removed. A browser that has lost its
    driver, or was left over by our own, is ended. One that another live driver holds is left
    alone: ChannelRestartError(PROFILE_IN_USE).
    """
    browser = browser_process(profile)
    if browser is not None:
        driven = DRIVER_MARK in process.command_line(browser.parent)
        if driven and browser.parent != own_driver:
            raise ChannelRestartError(
                f"The profile {profile.name} is in use by browser {browser.pid} of another daemon.",
                reason=Reason.PROFILE_IN_USE,
                next_step="Stop the other daemon, or give this one its own [web] profiles_dir.",
            )
        await end_browser(browser)
    remove_lock(profile)


async def end_browser(browser: process.Process) -> None:
    """Ends a browser with all its processes; ChannelRestartError if one will not die."""
    if left := await process.end_tree(browser, limit_s=KILL_LIMIT_S):
        raise ChannelRestartError(
            f"{len(left)} processes of browser {browser.pid} did not end within "
            f"{KILL_LIMIT_S:g} s.",
            reason=Reason.BROWSER_FAILED,
            next_step="Look for processes that wait for a disk (state D).",
        )


def remove_lock(profile: Path) -> None:
    for name in LOCK_FILES:
        (profile / name).unlink(missing_ok=True)


async def forget(profile: Path) -> None:
    """The profile and the pairing in it are gone; a browser that still runs on it is ended."""
    browser = browser_process(profile)
    if browser is not None:
        await end_browser(browser)
    await asyncio.to_thread(remove, profile)


def remove(profile: Path) -> None:
    if profile.exists():
        shutil.rmtree(profile)
