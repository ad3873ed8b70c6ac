"""Playwright's words as decisions."""

import pytest
from playwright.async_api import Error
from playwright.async_api import TimeoutError as LimitError

from flowhq.channel.web import faults
from flowhq.errors import ChannelRestartError, MisconfiguredError
from flowhq.model import Reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Error("Page.evaluate: Target crashed"), Reason.PAGE_CRASHED),
        (Error("Target page, context or browser has been closed"), Reason.BROWSER_GONE),
        (Error("Connection closed while reading from the driver"), Reason.BROWSER_GONE),
    ],
)
def test_a_failed_call_ends_the_channel(error: Error, reason: Reason) -> None:
    assert faults.while_running(error).reason == reason


def test_a_document_that_went_away_is_no_fault() -> None:
    words = "Page.evaluate: Execution context was destroyed, most likely because of a navigation"
    assert faults.is_navigation(Error(words))
    assert not faults.is_navigation(Error("Target crashed"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            Error(
                "Failed to create a ProcessSingleton for your profile directory. This usually "
                "means that the profile is already in use by another instance of Chromium."
            ),
            Reason.PROFILE_IN_USE,
        ),
        (LimitError("Timeout 60000ms exceeded."), Reason.BROWSER_FAILED),
        (Error("Target page, context or browser has been closed"), Reason.BROWSER_FAILED),
    ],
)
def test_a_browser_that_does_not_start_is_tried_again(error: Error, reason: Reason) -> None:
    fault = faults.while_starting(error)
    assert isinstance(fault, ChannelRestartError)
    assert fault.reason == reason


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("[pid=1][err] FATAL: No usable sandbox! Update your kernel", "--no-sandbox"),
        ("Running as root without --no-sandbox is not supported", "--no-sandbox"),
        ("Failed to launch: Error: spawn /x/chrome ENOENT", "playwright install"),
        ("Failed to launch: Error: spawn /x/chrome EACCES", "playwright install"),
        ("error while loading shared libraries: libnss3.so", "install --with-deps chromium"),
    ],
)
def test_a_machine_that_lacks_something_is_told_what_to_do(words: str, advice: str) -> None:
    fault = faults.while_starting(Error(words))
    assert isinstance(fault, MisconfiguredError)
    assert advice in fault.next_step


def test_a_page_that_cannot_be_fetched_is_a_lost_connection() -> None:
    error = Error("Page.goto: net::ERR_NAME_NOT_RESOLVED at https://x/\nCall log:\n  - secret")
    fault = faults.while_loading(error, "https://x/")
    assert fault.reason == Reason.CONNECTION_LOST
    assert "secret" not in str(fault)


def test_an_error_without_words_has_still_a_line() -> None:
    assert faults.first_line(Error("")) == "unknown"
