"""The page of a pairing link in a real browser, from the code to the connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, expect

from flowhq.db.pool import Database
from flowhq.model import Reason, SessionState
from flowhq.qr import png_data_url
from tests.fakes.admin import FakeFleet
from tests.integration.admin.conftest import Api
from tests.integration.admin.pairing_links import Pairing, open_pairing, token_of

# The page asks every two seconds; a busy machine gets its time.
LIMIT_MS = 60_000
# An image that the browser could read has a size.
DRAWN = "document.getElementById('code').naturalWidth > 20"


@dataclass
class Reader:
    """An owner in front of the page: what it asked for, and what its console said."""

    page: Page
    asked: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(message.text)

    async def sees(self, text: str) -> None:
        await expect(self.page.get_by_text(text)).to_be_visible(timeout=LIMIT_MS)

    async def sees_code(self, code: str) -> None:
        await expect(self.page.locator("#code")).to_have_attribute(
            "src", png_data_url(code), timeout=LIMIT_MS
        )
        await expect(self.page.locator("#code")).to_be_visible()


@pytest.fixture
async def pairing(api: Api, database: Database, fleet: FakeFleet) -> Pairing:
    return await open_pairing(api, database, fleet)


@pytest.fixture
async def reader(browser: Browser) -> AsyncIterator[Reader]:
    page = await browser.new_page()
    reader = Reader(page)
    page.on("console", reader.note)
    page.on("pageerror", lambda error: reader.problems.append(str(error)))
    page.on("request", lambda request: reader.asked.append(request))
    yield reader
    await page.close()


async def test_the_owner_scans_a_code_that_is_kept_fresh_until_the_phone_is_connected(
    pairing: Pairing, reader: Reader
) -> None:
    link = await pairing.make_link()
    token = token_of(link)
    await reader.page.goto(link["url"])
    await reader.sees("Tafadhali subiri kidogo")
    await expect(reader.page.get_by_role("heading")).to_have_text("Duka la Asha")
    await pairing.show("2@one")
    await reader.sees_code("2@one")
    await reader.sees("Unganisha kifaa")
    await reader.sees("Link a device")
    await reader.page.wait_for_function(DRAWN, timeout=LIMIT_MS)
    await pairing.show("2@two")
    await reader.sees_code("2@two")
    # The token is out of the address bar, and loading the page anew does not lose it.
    assert reader.page.url == f"{pairing.api.base}/pair"
    await reader.page.reload()
    await reader.sees_code("2@two")
    await pairing.become(SessionState.CONNECTED, Reason.CONNECTED)
    await reader.sees("Imeunganishwa")
    await reader.sees("Connected. You can close this page.")
    await expect(reader.page.locator("#code")).to_be_hidden()
    assert not any(token in request.url for request in reader.asked)
    assert {request.url.removeprefix(pairing.api.base) for request in reader.asked} <= {
        "/pair",
        "/pair/page.js",
        "/pair/page.css",
        "/pair/code",
        "data:,",
        png_data_url("2@one"),
        png_data_url("2@two"),
        f"/pair#{token}",
    }
    assert reader.problems == []


async def test_the_owner_asks_for_new_codes_when_they_ran_out(
    pairing: Pairing, reader: Reader
) -> None:
    link = await pairing.make_link()
    await pairing.become(SessionState.DISCONNECTED, Reason.PAIRING_EXPIRED)
    await reader.page.goto(link["url"])
    await reader.sees("The codes have run out.")
    await reader.page.get_by_role("button", name="New code").click()
    await reader.sees("One moment please")
    assert pairing.fleet.calls == [("restart", pairing.tenant_id)] * 2
    await pairing.show("2@new")
    await reader.sees_code("2@new")
    assert reader.problems == []


async def test_a_link_that_is_gone_says_so_and_shows_nothing(
    pairing: Pairing, reader: Reader
) -> None:
    link = await pairing.make_link()
    await pairing.show("2@one")
    await reader.page.goto(link["url"])
    await reader.sees_code("2@one")
    await pairing.api.call("POST", f"{pairing.path}/{link['id']}/revoke")
    await reader.sees("Kiungo hiki hakifanyi kazi tena")
    assert await reader.page.locator("#code").get_attribute("src") is None
    await reader.page.goto(f"{pairing.api.base}/pair")
    await reader.sees("This link does not work any more")
    # The refusal itself is told by the browser's console, and nothing else is.
    assert all("410" in problem for problem in reader.problems)
