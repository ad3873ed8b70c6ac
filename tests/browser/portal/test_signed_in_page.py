"""The page on which an owner lands after signing in, in a real browser."""

from playwright.async_api import Browser, ConsoleMessage, expect

from tests.integration.admin.conftest import Api
from tests.integration.admin.signin import egress, issuer, issuer_key, portal_settings

__all__ = ["egress", "issuer", "issuer_key", "portal_settings"]


async def test_an_owner_lands_on_a_page_that_says_who_he_is_and_signs_out(
    api: Api, browser: Browser
) -> None:
    page = await browser.new_page()
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Without a session the page is told so, which Chromium takes for an error.
        if message.type in {"error", "warning"} and "401" not in message.text:
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(f"{api.base}/portal/oidc/start")
    signed_in = page.get_by_text("You are signed in as asha@example.com.")
    await expect(signed_in).to_be_visible()
    assert page.url == f"{api.base}/portal/signed-in"
    await expect(page.get_by_role("heading")).to_have_text("Asha Juma")
    await expect(page.get_by_text("Send a setup request.")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    signed_out = page.get_by_text("You are not signed in.")
    await expect(signed_out).to_be_visible()
    await page.reload()
    await expect(signed_out).to_be_visible()
    await page.get_by_role("link", name="Sign in").click()
    await expect(signed_in).to_be_visible()
    assert problems == []
    await page.close()
