"""The API's own page in a real browser: it works under its policy, and nothing of it is foreign."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, Request, async_playwright, expect

from flowhq.admin.app import ROUTES
from flowhq.admin.docs import POLICY
from flowhq.admin.server import AdminServer
from tests.integration.admin.conftest import (
    PASSWORD,
    Api,
    api,
    audit,
    backups,
    clock,
    credentials,
    deps_folders,
    egress,
    fleet,
    outward,
    password_hash,
    portal,
    portal_settings,
    server,
    settings,
    store,
)

__all__ = [
    "api",
    "audit",
    "backups",
    "clock",
    "credentials",
    "deps_folders",
    "egress",
    "fleet",
    "outward",
    "password_hash",
    "portal",
    "portal_settings",
    "server",
    "settings",
    "store",
]

WAIT_MS = 60_000
COUNT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Seen:
    """What a page did while a test looked at it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.foreign.append(request.url)

    async def violations(self) -> list[str]:
        found: list[str] = await self.page.evaluate("window.violations")
        return found


@pytest.fixture
async def seen(server: AdminServer) -> AsyncIterator[Seen]:
    base = f"http://127.0.0.1:{server.port}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            chromium_sandbox=os.geteuid() != 0,
        )
        try:
            context = await browser.new_context(
                http_credentials={"username": "admin", "password": PASSWORD}
            )
            page = await context.new_page()
            await page.add_init_script(COUNT_VIOLATIONS)
            seen = Seen(page, base)
            answer = await page.goto(f"{base}/docs", timeout=WAIT_MS)
            assert answer is not None
            assert answer.status == 200
            assert answer.headers["content-security-policy"] == POLICY
            yield seen
        finally:
            await browser.close()


async def test_the_page_shows_every_operation_and_tries_one(seen: Seen, api: Api) -> None:
    tenant_id = await api.create(name="Mama Asha")
    page = seen.page
    await page.wait_for_selector(".opblock-tag-section", timeout=WAIT_MS)
    for section in await page.query_selector_all(".opblock-tag[data-is-open='false']"):
        await section.click()
    await page.wait_for_selector("#operations-default-list_tenants", timeout=WAIT_MS)
    await expect(page.locator(".opblock")).to_have_count(len(ROUTES), timeout=WAIT_MS)
    block = page.locator("#operations-default-list_tenants")
    await block.locator(".opblock-summary-control").click()
    await block.locator("button.try-out__btn").click(timeout=WAIT_MS)
    await block.locator("button.execute").click(timeout=WAIT_MS)
    answer = block.locator(".live-responses-table .response .highlight-code").first
    await expect(answer).to_contain_text(tenant_id, timeout=WAIT_MS)
    assert seen.errors == []
    assert seen.foreign == []
    assert await seen.violations() == []


async def test_a_change_can_be_made_from_the_page(seen: Seen, api: Api) -> None:
    tenant_id = await api.create()
    page = seen.page
    await page.wait_for_selector(".opblock-tag-section", timeout=WAIT_MS)
    for section in await page.query_selector_all(".opblock-tag[data-is-open='false']"):
        await section.click()
    block = page.locator("#operations-default-pause_tenant")
    await block.locator(".opblock-summary-control").click(timeout=WAIT_MS)
    await block.locator("button.try-out__btn").click(timeout=WAIT_MS)
    await block.locator("tr[data-param-name='tenant_id'] input").fill(tenant_id)
    await block.locator("button.execute").click()
    status = block.locator(".live-responses-table .response-col_status").nth(1)
    await expect(status).to_contain_text("200", timeout=WAIT_MS)
    paused = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body["paused"]
    assert paused is True


async def test_the_page_is_for_those_who_are_let_in(api: Api) -> None:
    for path in ("/docs", "/docs/docs.js", "/docs/swagger-ui-bundle.js"):
        async with api.session.get(api.base + path) as response:
            assert response.status == 401
        answer = await api.call("GET", path)
        assert answer.status == 200
        known = {"If-None-Match": answer.headers["ETag"]}
        assert (await api.call("GET", path, headers=known)).status == 304


@pytest.mark.parametrize(
    "name", ["docs.html", "..%2fdocs.html", "%2e%2e%2fopenapi.py", "x.js", "swagger-ui.css.map"]
)
async def test_no_other_file_is_served(api: Api, name: str) -> None:
    answer = await api.call("GET", f"/docs/{name}")
    assert answer.status == 404
