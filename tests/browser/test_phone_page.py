"""The phone page in a real browser: link, chat, see ticks and typing, unlink."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator

import aiohttp
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Route, async_playwright, expect

from tests.browser.simulator import Simulator
from tests.integration.simulator.fake_page import FakePage

ASHA = "255711111111"
ASHA_JID = f"{ASHA}@c.us"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        await browser.close()


@pytest.fixture
async def device(simulator: Simulator) -> AsyncIterator[FakePage]:
    """The bot's side: a page that waits for its scan."""
    await simulator.control("config", qr_ttl=300)
    async with aiohttp.ClientSession() as session:
        page = FakePage(session, simulator.url)
        yield page
        await page.close()


@pytest.fixture
async def phone(browser: Browser, simulator: Simulator) -> AsyncIterator[Page]:
    """The phone page; the test fails if its console shows an error."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A reset may take an account away while the page asks about it.
        gone = "404" in message.text and "/control/chat" in message.location["url"]
        if message.type in {"error", "warning"} and not gone:
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(f"{simulator.url}/phone")
    yield page
    await page.close()
    assert problems == []


async def link(phone: Page, device: FakePage) -> None:
    await device.show_code()
    form = phone.locator("#link-form")
    await form.locator("input[name=phone]").fill("+255 700 000 001")
    await form.locator("input[name=name]").fill("Duka la Asha")
    await form.get_by_role("button", name="Scan the code").click()
    await device.finish_pairing()
    await device.expect("offline_done")


async def open_chat(phone: Page) -> None:
    form = phone.locator("#new-chat")
    await form.locator("input[name=customer]").fill(ASHA)
    await form.locator("input[name=name]").fill("Asha")
    await form.get_by_role("button", name="Open the chat").click()


async def write(phone: Page, text: str) -> None:
    await phone.locator("#composer textarea").fill(text)
    await phone.locator("#composer textarea").press("Enter")


async def test_a_newcomer_links_a_device_and_talks_to_the_bot(
    phone: Page, device: FakePage
) -> None:
    await link(phone, device)
    await expect(phone.locator("#account-name")).to_have_text("Duka la Asha")
    await expect(phone.locator("#account-state")).to_have_text("1 linked, 1 online")
    await open_chat(phone)
    await write(phone, "habari <b>yako</b>")
    message = (await device.receive())["msg"]
    assert (message["body"], message["notify"], message["chat"]) == (
        "habari <b>yako</b>",
        "Asha",
        ASHA_JID,
    )
    mine = phone.locator(".bubble.customer")
    await expect(mine).to_contain_text("habari <b>yako</b>")
    await expect(mine.locator(".ticks")).to_have_attribute("title", "delivered")
    await device.say("seen", chat=ASHA_JID, ids=[message["id"]])
    await expect(mine.locator(".ticks")).to_have_attribute("title", "read")
    await device.say("chatstate", chat=ASHA_JID, state="composing")
    await expect(phone.locator("#typing")).to_have_text("typing…")
    await device.send(ASHA_JID, "Karibu *Duka la Asha*! 2*3*4 _(sold out)_")
    await device.expect("send_ack")
    answer = phone.locator(".bubble.bot")
    await expect(answer).to_contain_text("Karibu Duka la Asha! 2*3*4 (sold out)")
    await expect(answer.locator("strong")).to_have_text("Duka la Asha")
    await expect(answer.locator("em")).to_have_text("(sold out)")
    await expect(phone.locator("#typing")).to_have_text("")
    assert [(await device.receive())["ack"] for _ in range(2)] == [2, 3]


async def test_a_chat_opened_before_the_link_was_answered_stays_open(
    phone: Page, device: FakePage
) -> None:
    opened = asyncio.Event()

    async def answer_late(route: Route) -> None:
        answer = await route.fetch()
        await opened.wait()
        await route.fulfill(response=answer)

    await phone.route("**/control/scan_live", answer_late)
    await link(phone, device)
    await open_chat(phone)
    await expect(phone.locator("#composer")).to_be_visible()
    opened.set()
    await expect(phone.locator("#link-answer")).to_contain_text("Linked to")
    await write(phone, "habari")
    assert (await device.receive())["msg"]["body"] == "habari"


async def test_the_owner_types_on_the_phone(phone: Page, device: FakePage) -> None:
    await link(phone, device)
    await open_chat(phone)
    await phone.get_by_label("type as the owner").check()
    await write(phone, "Mimi mwenyewe")
    message = (await device.receive())["msg"]
    assert (message["from_me"], message["chat"]) == (True, ASHA_JID)
    await expect(phone.locator(".bubble.owner")).to_contain_text("Mimi mwenyewe")


async def test_a_device_is_cut_off_and_unlinked(phone: Page, device: FakePage) -> None:
    await link(phone, device)
    await phone.get_by_role("button", name="Cut its network").click()
    assert await device.closed() == 4503
    await expect(phone.locator("#account-state")).to_have_text("1 linked, 0 online")
    await phone.get_by_role("button", name="Unlink its devices").click()
    await expect(phone.locator("#account-state")).to_have_text("no linked device")


async def test_a_reset_is_noticed(phone: Page, device: FakePage, simulator: Simulator) -> None:
    await link(phone, device)
    await simulator.control("reset")
    await expect(phone.locator("#no-accounts")).to_be_visible()
    again = await simulator.control("state")
    assert again["accounts"] == []


async def test_a_narrow_screen_shows_one_pane_at_a_time(phone: Page, device: FakePage) -> None:
    await phone.set_viewport_size({"width": 390, "height": 800})
    await link(phone, device)
    await expect(phone.locator("#sidebar")).to_be_hidden()
    await open_chat(phone)
    await write(phone, "habari")
    await expect(phone.locator("#chats-pane")).to_be_hidden()
    await expect(phone.locator(".bubble.customer")).to_contain_text("habari")
    overflow = await phone.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert overflow is False
    await phone.get_by_role("button", name="Back to the chats").click()
    await expect(phone.locator("#chats button")).to_have_text(re.compile("Asha"))
    await phone.get_by_role("button", name="Back to the accounts").click()
    await expect(phone.locator("#sidebar")).to_be_visible()
