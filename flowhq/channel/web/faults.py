"""Playwright's errors as ours: the only place that reads their words.

The words are those of Playwright 1.65 and Chromium 156; tests/browser holds each of them.
"""

import sys

from playwright.async_api import Error
from playwright.async_api import TimeoutError as LimitError

from flowhq.errors import (
    ChannelRestartError,
    FlowHQError,
    MisconfiguredError,
    PageReadError,
    UnlinkedError,
)
from flowhq.model import Reason

INSTALL_CHROMIUM = f"{sys.executable} -m playwright install --with-deps chromium"

LOOK_AT_IT = (
    "Look at the page with a normal browser; if it changed, a newer version of Flow HQ is needed."
)

NAVIGATED = (
    "Execution context was destroyed",
    "Cannot find context with specified id",
    "Unable to adopt element handle from a different document",
)
CRASHED = ("Target crashed", "Page crashed")
PROFILE_IN_USE = ("ProcessSingleton", "profile is already in use", "Opening in existing browser")
NO_SANDBOX = ("No usable sandbox", "without --no-sandbox", "sandboxing failed", "setuid sandbox")
NOT_STARTABLE = ("ENOENT", "EACCES", "ENOEXEC", "Executable doesn't exist")
MISSING_PARTS = ("error while loading shared libraries", "missing dependencies")


def is_navigation(error: Error) -> bool:
    """The document went away under the call; a new one comes by itself."""
    return any(words in error.message for words in NAVIGATED)


def while_running(error: Error) -> ChannelRestartError:
    """What a failed call on a page means."""
    if any(words in error.message for words in CRASHED):
        return page_crashed()
    return ChannelRestartError(
        f"The browser is gone: {first_line(error)}", reason=Reason.BROWSER_GONE
    )


def page_crashed() -> ChannelRestartError:
    return ChannelRestartError("The page's renderer crashed.", reason=Reason.PAGE_CRASHED)


def browser_gone(what: str) -> ChannelRestartError:
    return ChannelRestartError(f"{what} ended unexpectedly.", reason=Reason.BROWSER_GONE)


def page_hung(what: str, limit_s: float) -> ChannelRestartError:
    return ChannelRestartError(
        f"The page did not answer {what!r} within {limit_s:g} s.", reason=Reason.PAGE_HUNG
    )


def while_starting(error: Error) -> FlowHQError:
    """What a browser that did not start means: wait, install, or change a setting."""
    words = error.message
    if any(mark in words for mark in PROFILE_IN_USE):
        return ChannelRestartError(
            "Chromium says that its profile is in use.", reason=Reason.PROFILE_IN_USE
        )
    if any(mark in words for mark in NO_SANDBOX):
        return MisconfiguredError(
            "Chromium's sandbox cannot be used on this machine.",
            next_step=(
                "Allow unprivileged user namespaces, or set [web] extra_args = "
                '["--no-sandbox"] if this machine runs nothing else.'
            ),
        )
    if any(mark in words for mark in MISSING_PARTS):
        return MisconfiguredError(
            "Chromium lacks system libraries.", next_step=f"Run: {INSTALL_CHROMIUM}"
        )
    if any(mark in words for mark in NOT_STARTABLE):
        return MisconfiguredError(
            "Chromium cannot be executed.", next_step=f"Run: {INSTALL_CHROMIUM}"
        )
    if isinstance(error, LimitError):
        return ChannelRestartError("Chromium did not start in time.", reason=Reason.BROWSER_FAILED)
    return ChannelRestartError(
        f"Chromium did not start: {first_line(error)}", reason=Reason.BROWSER_FAILED
    )


def while_loading(error: Error, url: str) -> ChannelRestartError:
    """What a page that could not be fetched means."""
    if any(words in error.message for words in CRASHED):
        return page_crashed()
    if isinstance(error, LimitError) or "net::ERR_" in error.message:
        return unreachable(url, first_line(error))
    return while_running(error)


def unreachable(url: str, why: str = "") -> ChannelRestartError:
    detail = f": {why}" if why else "."
    return ChannelRestartError(f"{url} cannot be reached{detail}", reason=Reason.CONNECTION_LOST)


def page_unusable(what: str) -> ChannelRestartError:
    return ChannelRestartError(what, reason=Reason.PAGE_UNUSABLE, next_step=LOOK_AT_IT)


def page_cannot_tell(asked: str, why: str) -> PageReadError:
    what = f"The page could not answer {asked!r} ({why})."
    return PageReadError(what, reason=Reason.PAGE_UNUSABLE, next_step=LOOK_AT_IT)


def unlinked(asked: str) -> UnlinkedError:
    what = f"The page was logged out before it answered {asked!r}."
    return UnlinkedError(what, reason=Reason.LOGGED_OUT)


def page_not_known(limit_s: float, versions: str, page_version: str) -> ChannelRestartError:
    """wa-js looks for WhatsApp's parts in the page, and did not find them."""
    return page_unusable(
        f"wa-js did not find its way in the page within {limit_s:g} s "
        f"({versions}, page {page_version or 'unknown'})."
    )


def first_line(error: Error) -> str:
    """The error without Playwright's call log, which may hold urls and settings."""
    return error.message.strip().splitlines()[0] if error.message.strip() else "unknown"
