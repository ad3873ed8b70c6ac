"""The doctor: tries what the daemon needs on this machine and says what to do where it fails.

Each check does the real thing with the product's own means (starts the browser, asks the
database) and leaves nothing behind.
"""

import asyncio
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from playwright.async_api import BrowserContext, Error

from flowhq import masterkey
from flowhq.channel.web import browser, faults
from flowhq.channel.web.driver import Driver
from flowhq.config import Config, master_key_file
from flowhq.daemon import web_settings
from flowhq.db import datakeys
from flowhq.db.embedded import find_binaries
from flowhq.db.owner import owner_connection
from flowhq.db.pool import refuse_old_server
from flowhq.errors import (
    FlowHQError,
    MisconfiguredError,
    StoreError,
)
from flowhq.folders import require_folders

PYTHON_OLDEST = (3, 11)
# Far above every limit of the things that are tried: only a check that hangs meets it.
CHECK_LIMIT_S = 120.0
PAGE_LIMIT_S = 10.0

Check = Callable[[Config], Awaitable[str]]


async def examine(config: Config, say: Callable[[str], None]) -> bool:
    """Says one line per check, with the next step under a failed one; True if all went well."""
    healthy = True
    for name, check in CHECKS:
        try:
            async with asyncio.timeout(CHECK_LIMIT_S):
                say(f"ok    {name}: {await check(config)}")
        except (FlowHQError, TimeoutError) as error:
            healthy = False
            failure = _as_failure(error)
            say(f"FAIL  {name}: {failure.message}")
            if failure.next_step:
                say(f"      {failure.next_step}")
    return healthy


def _as_failure(error: FlowHQError | TimeoutError) -> FlowHQError:
    if isinstance(error, FlowHQError):
        return error
    return MisconfiguredError(f"no answer within {CHECK_LIMIT_S:g} s.")


async def check_python(_: Config) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_OLDEST:
        raise MisconfiguredError(
            f"{version} is too old.",
            next_step="Use Python {}.{} or newer.".format(*PYTHON_OLDEST),
        )
    return f"{version} ({sys.executable})"


async def check_page_script(_: Config) -> str:
    """Compares WhatsApp Web's script with the manifest that was made when it was built in."""
    vendor = resources.files("flowhq.channel.web") / "vendor"
    try:
        manifest = json.loads((vendor / "manifest.json").read_text())
        files = {name: (vendor / name).read_bytes() for name in manifest["files"]}
    except (OSError, ValueError, KeyError) as error:
        raise MisconfiguredError(
            "the files are not complete.", next_step="Install flowhq again: pip install ."
        ) from error
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != manifest["files"][name]:
            raise MisconfiguredError(
                f"{name} is not the file that was built in.",
                next_step="Find out who changed it, then install flowhq again: pip install .",
            )
    return f"{manifest['package']} {manifest['version']}, {len(files)} files as built in"


async def check_chromium(config: Config) -> str:
    """Starts the browser as a tenant's would be, on a profile thrown away afterwards."""
    chromium = browser.find_chromium(config.web.chromium)
    major = await browser.find_major_version(chromium)
    settings = web_settings(config)
    driver = Driver(on_gone=lambda: None)
    try:
        with tempfile.TemporaryDirectory(prefix="flowhq-", ignore_cleanup_errors=True) as profile:
            context = await browser.launch(
                await driver.playwright(),
                settings,
                chromium,
                Path(profile),
                browser.browser_environment(chromium),
                browser.user_agent(settings, major),
            )
            agent = await _ask_page(context)
    finally:
        await driver.stop()
    return f"{chromium} {major} started, says {agent}"


async def _ask_page(context: BrowserContext) -> str:
    """What a page of this browser calls itself; the browser is closed afterwards."""
    try:
        async with asyncio.timeout(PAGE_LIMIT_S):
            page = context.pages[0] if context.pages else await context.new_page()
            return str(await page.evaluate("navigator.userAgent"))
    except Error as error:
        raise faults.while_starting(error) from error
    finally:
        await context.close()


async def check_sandbox(_: Config) -> str:
    """Whether Chromium's sandbox can be had; the check before has started a browser in it."""
    if os.geteuid() == 0:
        return "off, because this runs as root; as a user of its own pages are locked in better"
    for path, wanted, command in SANDBOX_SWITCHES:
        if path.exists() and path.read_text().strip() != wanted:
            raise MisconfiguredError(
                f"the kernel gives it to root alone ({path}).", next_step=f"As root: {command}"
            )
    return "usable"


# Debian's and Ubuntu's switches for what the sandbox is made of.
SANDBOX_SWITCHES = (
    (
        Path("/proc/sys/kernel/unprivileged_userns_clone"),
        "1",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        "0",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


async def check_database(config: Config) -> str:
    if config.database.embedded:
        newest = find_binaries()[0]
        return f"embedded, PostgreSQL {newest.major} in {newest.directory}"
    async with owner_connection(config.database.url.get_secret_value()) as connection:
        version = connection.get_server_version()
    refuse_old_server(version.major * 10_000)
    return f"PostgreSQL {version.major}.{version.minor} answers"


async def check_folders(config: Config) -> str:
    return f"{', '.join(map(str, require_folders(config)))} can be written"


async def check_master_key(config: Config) -> str:
    """The file is there, holds a key, is not for everybody, and fits the database if that can be
    asked: an embedded one is opened by the daemon alone."""
    path = master_key_file(config)
    if not path.exists() and config.secrets.master_key_file is None:
        return f"{path} is made at the first start"
    key = masterkey.read(path)
    if masterkey.readable_by_all(path):
        raise MisconfiguredError(
            f"every user of this machine can read {path}.", next_step=f"chmod 600 {path}"
        )
    if not config.database.embedded:
        written_with = await _ask_master_key(config.database.url.get_secret_value())
        if written_with not in (None, key.key_id):
            raise MisconfiguredError(
                f"{path} is not the one that the database is written with.",
                next_step=f"Set {masterkey.SETTING} to the file with the right one.",
            )
    return f"{path} can be used"


async def _ask_master_key(url: str) -> str | None:
    """None also for a database that is away or not migrated: the check of it has told that."""
    try:
        return await datakeys.find_master_key_id(url)
    except StoreError:
        return None


CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", check_python),
    ("WhatsApp Web's script", check_page_script),
    ("Chromium", check_chromium),
    ("sandbox", check_sandbox),
    ("database", check_database),
    ("master key", check_master_key),
    ("folders", check_folders),
)
