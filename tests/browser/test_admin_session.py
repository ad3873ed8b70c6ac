"""The session's cookie in a real browser, on loopback without TLS."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright
from pydantic import SecretStr

from flowhq.admin.app import create_app
from flowhq.admin.ports import AdminDeps
from flowhq.admin.server import AdminServer
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings
from flowhq.password import hash_password
from tests.fakes.admin import FakeAudit, FakeBackups, FakeFleet, FakeStore, absent_portal
from tests.fakes.credentials import FakeCredentials
from tests.fakes.outward import unused_outward

PASSWORD = "karibu-sana-2026"
CALL = """async ([method, path, headers, body]) => {
    const answer = await fetch(path, {method, headers, body, credentials: "include"});
    const text = await answer.text();
    return [answer.status, text && JSON.parse(text), document.cookie];
}"""
JSON_BODY = {"Content-Type": "application/json"}
LOG_IN = f'{{"user": "admin", "password": "{PASSWORD}"}}'


@pytest.fixture
async def base() -> AsyncIterator[str]:
    clock = SystemClock()
    deps = AdminDeps(
        store=FakeStore(),
        fleet=FakeFleet(),
        settings=AdminSettings(password_hash=SecretStr(hash_password(PASSWORD))),
        clock=clock,
        version="0",
        started_at=clock.now(),
        audit=FakeAudit(),
        credentials=FakeCredentials(),
        backups=FakeBackups(),
        portal=absent_portal(),
        outward=unused_outward(),
    )
    server = AdminServer(create_app(deps), "127.0.0.1", 0)
    await server.open()
    yield server.url
    await server.close()


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
async def page(browser: Browser, base: str) -> Page:
    """A page that the API served; the policy that forbids it to fetch is left aside."""
    context = await browser.new_context(bypass_csp=True)
    page = await context.new_page()
    await page.goto(f"{base}/health")
    return page


async def test_the_cookie_works_on_loopback_and_no_script_reads_it(page: Page) -> None:
    status, identity, cookies = await page.evaluate(
        CALL, ["POST", "/admin/session", JSON_BODY, LOG_IN]
    )
    assert (status, cookies) == (201, "")
    status, again, _ = await page.evaluate(CALL, ["GET", "/admin/session", {}, None])
    assert (status, again["principal"]) == (200, "user:admin")
    assert again["csrf_token"] == identity["csrf_token"]
    assert (await page.evaluate(CALL, ["DELETE", "/admin/session", {}, None]))[0] == 403
    csrf = {"X-CSRF-Token": identity["csrf_token"]}
    assert (await page.evaluate(CALL, ["DELETE", "/admin/session", csrf, None]))[0] == 204
    assert (await page.evaluate(CALL, ["GET", "/admin/session", {}, None]))[0] == 401
