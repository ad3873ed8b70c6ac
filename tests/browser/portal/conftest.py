"""The admin API on a real database, with a fleet in memory, for a real browser."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from flowhq.admin.portal_store import PortalStore
from flowhq.admin.store import PostgresStore
from flowhq.db.pool import Database
from tests.integration.admin import conftest as of_the_api

# Every fixture that the API's own tests are served with; what is different stands below.
globals().update({k: v for k, v in vars(of_the_api).items() if not k.startswith("__")})


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        await browser.close()
