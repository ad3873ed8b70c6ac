"""Chromium: where it is, and how one is started for a tenant's profile."""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from playwright.async_api import BrowserContext, Error, Playwright

from flowhq.channel.web import faults
from flowhq.channel.web.settings import DEFAULT_USER_AGENT, WebSettings
from flowhq.errors import MisconfiguredError

LAUNCHER = Path(__file__).parent / "launch" / "chromium"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VERSION_LIMIT_S = 20.0
# A snap's start script is short; Debian's own launcher is about 5 kB.
SCRIPT_LIMIT_BYTES = 65536

# Chromium obeys only the last --disable-features. Playwright 1.65 gives the first block (a test
# compares it with the driver's source); the second saves 40 MB a browser: a renderer kept spare
# for other sites, and the two pages behind an address bar that nobody sees.
DISABLED_FEATURES = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "TcpPortRandomizationWin",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "msForceBrowserSignIn",
    "msEdgeUpdateLaunchServicesPreferredVersion",
)
SAVING_FEATURES = ("SpareRendererForSitePerProcess", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup")

DISABLE = "--disable-features="

ARGUMENTS = (
    "--disable-blink-features=AutomationControlled",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

# What a browser needs of our environment; the rest may hold secrets and is not passed on.
KEPT_VARIABLES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH"}
)
KEPT_PREFIXES = ("LC_", "XDG_", "FONTCONFIG_")


def find_chromium(configured: str) -> Path:
    """The browser to start: the configured one, else Playwright's own, else one on PATH.

    MisconfiguredError names the command that installs one. A snap is passed over: it can use no
    profile outside its own home.
    """
    if configured:
        path = Path(configured).expanduser()
        if path.is_file() and os.access(path, os.X_OK):
            return path
        raise MisconfiguredError(
            f"[web] chromium = {configured!r} is no file that can be executed.",
            next_step=f'Correct it, or leave it "" and run: {faults.INSTALL_CHROMIUM}',
        )
    candidates = [*installed_by_playwright(), *on_path()]
    if not candidates:
        raise MisconfiguredError(
            "No Chromium was found.", next_step=f"Run: {faults.INSTALL_CHROMIUM}"
        )
    return candidates[0]


def installed_by_playwright() -> list[Path]:
    """Playwright's browsers, the newest first."""
    root = os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    cache = Path(root) if root not in {"", "0"} else Path.home() / ".cache" / "ms-playwright"
    found = {
        int(path.parent.parent.name.removeprefix("chromium-")): path
        for path in cache.glob("chromium-*/chrome-linux*/chrome")
        if path.parent.parent.name.removeprefix("chromium-").isdigit() and os.access(path, os.X_OK)
    }
    return [found[revision] for revision in sorted(found, reverse=True)]


def on_path() -> list[Path]:
    found = (shutil.which(name) for name in NAMES)
    return [Path(path) for path in found if path is not None and not is_snap(Path(path))]


def is_snap(path: Path) -> bool:
    """True for a snap's program, and for Ubuntu's script that only starts (or installs) one."""
    target = path.resolve()
    if target.is_relative_to("/snap") or target == Path("/usr/bin/snap"):
        return True
    with target.open("rb") as program:
        start = program.read(SCRIPT_LIMIT_BYTES)
    return start.startswith(b"#!") and b"/snap/" in start


async def find_major_version(chromium: Path) -> int:
    """Asks the program itself; MisconfiguredError when it cannot even say that."""
    try:
        async with asyncio.timeout(VERSION_LIMIT_S):
            asked = await asyncio.create_subprocess_exec(
                chromium,
                "--version",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=browser_environment(chromium),
            )
            answer, _ = await asked.communicate()
    except (OSError, TimeoutError) as error:
        raise cannot_run(chromium) from error
    version = re.search(rb"(\d+)\.\d+\.\d+\.\d+", answer)
    if asked.returncode != 0 or version is None:
        raise cannot_run(chromium)
    return int(version[1])


def cannot_run(chromium: Path) -> MisconfiguredError:
    return MisconfiguredError(
        f"{chromium} does not start.", next_step=f"Run: {faults.INSTALL_CHROMIUM}"
    )


def browser_environment(chromium: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    return {**kept, "FLOWHQ_CHROMIUM": str(chromium)}


def user_agent(settings: WebSettings, major: int) -> str:
    return (settings.user_agent or DEFAULT_USER_AGENT).replace("{major}", str(major))


def arguments(extra: Sequence[str]) -> list[str]:
    """Ours and the configured ones; features switched off in either stay off."""
    asked = [one.removeprefix(DISABLE).split(",") for one in extra if one.startswith(DISABLE)]
    features = [*DISABLED_FEATURES, *SAVING_FEATURES, *(name for names in asked for name in names)]
    others = [one for one in extra if not one.startswith(DISABLE)]
    return [*ARGUMENTS, *others, DISABLE + ",".join(features)]


def is_root() -> bool:
    """Chromium's sandbox does not work for root, so that it is started without."""
    return os.geteuid() == 0


async def launch(
    playwright: Playwright,
    settings: WebSettings,
    chromium: Path,
    profile: Path,
    environment: Mapping[str, str],
    agent: str,
) -> BrowserContext:
    """A browser of its own for the profile, with nothing loaded yet. Every process of it names
    the profile in its environment.

    ChannelRestartError or MisconfiguredError when it does not start.
    """
    try:
        return await playwright.chromium.launch_persistent_context(
            profile,
            executable_path=LAUNCHER if os.access(LAUNCHER, os.X_OK) else chromium,
            headless=True,
            args=arguments(settings.extra_args),
            env={**environment, "FLOWHQ_PROFILE": str(profile)},
            user_agent=agent,
            chromium_sandbox=not is_root(),
            service_workers="block",
            ignore_https_errors=settings.is_loopback,
            accept_downloads=False,
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
            timeout=settings.launch_timeout_s * 1000,
        )
    except Error as error:
        raise faults.while_starting(error) from error
