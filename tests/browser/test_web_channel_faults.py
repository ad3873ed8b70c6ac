"""Each way a page, a browser or a driver can fail: what the channel says, and the way back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from flowhq.channel.web import process, profile
from flowhq.channel.web.host import BrowserHost
from flowhq.errors import (
    ChannelError,
    ChannelRestartError,
    LoginRequiredError,
    SendUnknownError,
)
from flowhq.events import ConnectionLost, LoggedOut, MessageSeen, QrShown, Ready
from flowhq.model import MessageId, Reason, Rung
from tests.browser.simulator import Simulator
from tests.browser.web_tenant import (
    CHAT,
    HASTY,
    LIMIT_S,
    WebTenant,
    open_host,
    open_tenant,
    outbound,
    settings_for,
)
from tests.fakes.clock import until
from tests.ports import free_port

ID = "3EB0AABBCCDDEEFF0011"
SET_MODE = "(mode) => { require('WAWebStreamModel').Stream.mode = mode; }"


@pytest.fixture
async def tenant(tenant: WebTenant) -> WebTenant:
    """It has been paired."""
    await tenant.pair()
    return tenant


async def gone(processes: Iterable[process.Process]) -> None:
    """None of them runs any more."""
    known = list(processes)
    await until(
        lambda: not any(process.is_alive(one) for one in known),
        "their end",
        within_s=LIMIT_S,
    )


async def one_page_alone(tenant: WebTenant) -> None:
    """The old page is closed by a task of its own."""
    await until(lambda: len(tenant.page().context.pages) == 1, "one page", within_s=LIMIT_S)


def reason_of(error: ChannelError) -> str:
    assert isinstance(error, ChannelRestartError), error
    return error.reason


async def comes_back(tenant: WebTenant, rung: Rung = Rung.BROWSER) -> None:
    """Opened again, it is ready without a scan and hears its phone."""
    since = len(tenant.events)
    await tenant.open(rung)
    await tenant.told(Ready, since=since)
    assert tenant.all_of(QrShown, since) == []
    await tenant.receive("Umerudi?")
    await until(
        lambda: "Umerudi?" in [e.message.text for e in tenant.all_of(MessageSeen, since)],
        "a message after the return",
        within_s=LIMIT_S,
    )


async def crash_renderer(tenant: WebTenant) -> None:
    """Asks the renderer to crash; it never answers that."""
    session = await tenant.page().context.new_cdp_session(tenant.page())
    asking = asyncio.ensure_future(session.send("Page.crash"))
    await tenant.lost()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@asynccontextmanager
async def hanging(tenant: WebTenant) -> AsyncIterator[None]:
    """The page computes for ever: what is asked of it from now on waits behind that."""
    asking = asyncio.ensure_future(tenant.page().evaluate("() => { for (;;); }"))
    try:
        # So that it is asked first.
        await asyncio.sleep(0)
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


# -- the page -------------------------------------------------------------------------------------


async def test_a_crashed_renderer_ends_the_channel_and_its_browser_is_used_again(
    tenant: WebTenant,
) -> None:
    browser = tenant.browser()

    await crash_renderer(tenant)

    assert tenant.fault is not None
    assert reason_of(tenant.fault) == Reason.PAGE_CRASHED
    with pytest.raises(ChannelRestartError, match="crashed"):
        await tenant.channel.probe()
    await comes_back(tenant, Rung.RELOAD)
    assert tenant.browser() == browser
    await one_page_alone(tenant)


@pytest.mark.parametrize("rung", Rung)
async def test_a_rung_throws_away_what_it_says_and_no_more(tenant: WebTenant, rung: Rung) -> None:
    browser, page = tenant.browser(), tenant.page()
    document = await page.evaluate("() => performance.timeOrigin")

    await comes_back(tenant, rung)

    assert (tenant.browser() == browser) is (rung < Rung.BROWSER)
    assert (tenant.page() is page) is (rung is Rung.RELOAD)
    assert await tenant.page().evaluate("() => performance.timeOrigin") > document
    await one_page_alone(tenant)


@pytest.mark.parametrize("host", [HASTY], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_page_that_hangs_is_replaced_in_its_browser(
    tenant: WebTenant, number: signal.Signals
) -> None:
    browser = tenant.browser()
    renderers = process.renderers_of(browser)
    for renderer in renderers:
        os.kill(renderer.pid, number)
    with pytest.raises(ChannelRestartError):
        await tenant.channel.probe()

    await comes_back(tenant, Rung.PAGE)

    assert tenant.browser() == browser
    await gone(renderers)
    await one_page_alone(tenant)


async def test_a_page_that_cannot_be_reached_leaves_its_browser_to_the_next_attempt(
    tenant: WebTenant,
) -> None:
    browser = tenant.browser()
    await tenant.page().context.set_offline(True)
    for _ in range(2):
        with pytest.raises(ChannelRestartError) as unreached:
            await tenant.channel.open(Rung.RELOAD)
        assert reason_of(unreached.value) == Reason.CONNECTION_LOST
        with pytest.raises(ChannelRestartError):
            await tenant.channel.probe()
    await tenant.page().context.set_offline(False)
    await comes_back(tenant, Rung.RELOAD)
    assert tenant.browser() == browser


async def test_a_send_that_a_crash_interrupts_is_unknown(tenant: WebTenant) -> None:
    await tenant.simulator.control("config", send="hold")
    sending = asyncio.ensure_future(tenant.channel.send(outbound(ID)))
    await tenant.messages(1)

    await crash_renderer(tenant)

    with pytest.raises(SendUnknownError):
        await sending


async def test_a_send_that_a_reload_interrupts_is_unknown(tenant: WebTenant) -> None:
    await tenant.simulator.control("config", send="hold")
    sending = asyncio.ensure_future(tenant.channel.send(outbound(ID)))
    await tenant.messages(1)

    await tenant.simulator.control("reload", phone=tenant.phone)

    with pytest.raises(SendUnknownError):
        await sending


@pytest.mark.parametrize("host", [HASTY], indirect=True)
async def test_a_hung_page_is_found_by_the_probe_and_can_still_be_closed(
    tenant: WebTenant,
) -> None:
    async with hanging(tenant):
        started = time.monotonic()
        with pytest.raises(ChannelRestartError) as hung:
            await tenant.channel.probe()
        assert reason_of(hung.value) == Reason.PAGE_HUNG
        assert time.monotonic() - started < 30
        with pytest.raises(SendUnknownError):
            await tenant.channel.send(outbound(ID))

        tree = process.tree_of(tenant.browser())
        await tenant.close()

        await gone(tree)
    await comes_back(tenant)


async def test_a_hung_page_can_be_killed_at_once(tenant: WebTenant) -> None:
    async with hanging(tenant):
        tree = process.tree_of(tenant.browser())

        started = time.monotonic()
        await tenant.channel.kill()

        assert time.monotonic() - started < 30
        await gone(tree)


async def test_a_page_that_wants_to_leave_stays_where_it_is(
    tenant: WebTenant, foreign_server: str
) -> None:
    page, before = tenant.page(), tenant.page().url

    await page.evaluate("(url) => { location.href = url; }", foreign_server)
    await page.evaluate(
        "(url) => { window.open(url); window.open('about:blank'); }", foreign_server
    )
    refused = await page.evaluate(
        "(url) => fetch(url).then(() => 'got it', String)", foreign_server
    )

    assert "got it" not in refused
    await until(lambda: len(page.context.pages) == 1, "the pages it opened are closed")
    assert page.url == before
    assert (await tenant.channel.probe()).connected
    async with aiohttp.ClientSession() as session, session.get(f"{foreign_server}hits") as hits:
        assert await hits.text() == "0"


async def test_the_logged_out_address_alone_tells_the_log_out(tenant: WebTenant) -> None:
    since = len(tenant.events)
    await tenant.page().evaluate("() => { location.search = '?post_logout=1&logout_reason=3'; }")
    assert (await tenant.told(LoggedOut, since=since)).reason == "3"


async def test_a_reload_without_a_network_is_a_lost_connection(tenant: WebTenant) -> None:
    await tenant.page().context.set_offline(True)
    await tenant.page().evaluate("() => { location.reload(); }")
    assert reason_of(await tenant.lost()) == Reason.CONNECTION_LOST
    await comes_back(tenant)


async def test_a_linked_page_that_opens_into_an_outage_tells_it_and_recovers(
    tenant: WebTenant,
) -> None:
    await tenant.close()
    await tenant.simulator.control("drop", seconds=600)
    since = len(tenant.events)

    await tenant.open()

    await tenant.told(ConnectionLost, since=since)
    assert not (await tenant.channel.probe()).connected
    await tenant.simulator.control("restore")
    await tenant.told(Ready, since=since)


@pytest.fixture
async def foreign_server() -> AsyncIterator[str]:
    """Another host's address, which counts who comes."""
    hits = 0

    async def count(request: web.Request) -> web.Response:
        nonlocal hits
        if request.path == "/hits":
            return web.Response(text=str(hits))
        if request.path == "/moved":
            raise web.HTTPFound(f"http://127.0.0.1:{request.url.port}/")
        if request.path == "/broken":
            raise web.HTTPServiceUnavailable
        hits += 1
        return web.Response(text="foreign", headers={"Access-Control-Allow-Origin": "*"})

    app = web.Application()
    app.router.add_get("/{path:.*}", count)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://localhost:{port}/"
    await runner.cleanup()


async def test_a_page_without_whatsapp_in_it_is_unusable_and_leaves_nothing_running(
    simulator: Simulator, tmp_path: Path, foreign_server: str
) -> None:
    settings = settings_for(foreign_server.rstrip("/"), tmp_path)
    async with open_host(settings) as host:
        tenant = WebTenant(host, simulator)
        opening = asyncio.ensure_future(tenant.channel.open())
        await until(lambda: tenant.channel._tab.is_open, "a browser", within_s=LIMIT_S)  # noqa: SLF001
        # What is short is the time for the page, not for the browser's start.
        host.settings = replace(settings, launch_timeout_s=10)

        with pytest.raises(ChannelRestartError) as unusable:
            await opening

        assert reason_of(unusable.value) == Reason.PAGE_UNUSABLE
        assert "wa-js 4.6.0" in str(unusable.value)
        assert profile.browser_process(host.profile_dir(tenant.tenant_id)) is None


async def test_a_page_that_is_sent_to_another_host_is_unusable(
    simulator: Simulator, tmp_path: Path, foreign_server: str
) -> None:
    url = f"{foreign_server}moved"
    async with open_host(replace(settings_for("", tmp_path), url=url)) as host:
        with pytest.raises(ChannelRestartError, match=r"another host: 127\.0\.0\.1") as unusable:
            await WebTenant(host, simulator).channel.open()
        assert reason_of(unusable.value) == Reason.PAGE_UNUSABLE


async def test_a_server_that_answers_with_an_error_is_a_lost_connection(
    simulator: Simulator, tmp_path: Path, foreign_server: str
) -> None:
    url = f"{foreign_server}broken"
    async with open_host(replace(settings_for("", tmp_path), url=url)) as host:
        with pytest.raises(ChannelRestartError, match="status 503") as lost:
            await WebTenant(host, simulator).channel.open()
        assert reason_of(lost.value) == Reason.CONNECTION_LOST


async def test_a_server_that_is_not_there_is_a_lost_connection(
    simulator: Simulator, tmp_path: Path
) -> None:
    async with open_host(settings_for(f"http://127.0.0.1:{free_port()}", tmp_path)) as host:
        with pytest.raises(ChannelRestartError) as lost:
            await WebTenant(host, simulator).channel.open()
        assert reason_of(lost.value) == Reason.CONNECTION_LOST


@pytest.mark.parametrize("mode", ["TOS_BLOCK", "PROXYBLOCK"])
async def test_a_blocked_number_needs_a_person(tenant: WebTenant, mode: str) -> None:
    await tenant.page().evaluate(SET_MODE, mode)

    fault = await tenant.lost()

    assert isinstance(fault, LoginRequiredError)
    assert fault.reason == Reason.BLOCKED
    with pytest.raises(LoginRequiredError):
        await tenant.channel.probe()


async def test_a_page_that_is_too_old_is_unusable(tenant: WebTenant) -> None:
    await tenant.page().evaluate(SET_MODE, "DEPRECATED_VERSION")
    assert reason_of(await tenant.lost()) == Reason.PAGE_UNUSABLE


async def test_a_store_that_cannot_be_read_is_never_taken_for_an_empty_one(
    tenant: WebTenant,
) -> None:
    """Absent means: send again. Nothing else may look like it."""
    await tenant.receive("Habari")
    await tenant.messages(1)
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) is None
    await tenant.page().evaluate(
        """() => { const store = require('WAWebDBMessageFindLocal');
          for (const name of Object.keys(store)) {
            store[name] = () => Promise.reject(new Error('the database is gone'));
          } }"""
    )

    with pytest.raises(ChannelRestartError, match="lookUp"):
        await tenant.channel.look_up(CHAT, MessageId(ID))
    with pytest.raises(ChannelRestartError, match="history"):
        await tenant.channel.history(CHAT, since=None, limit=10)


# -- the browser and the driver -------------------------------------------------------------------


async def test_a_killed_browser_ends_the_channel_and_the_pairing_survives(
    tenant: WebTenant,
) -> None:
    tree = process.tree_of(tenant.browser())
    os.kill(tenant.browser().pid, signal.SIGKILL)

    assert reason_of(await tenant.lost()) == Reason.BROWSER_GONE
    await tenant.close()
    await gone(tree)
    await comes_back(tenant)


async def test_a_browser_that_died_is_replaced_without_a_close_between(
    tenant: WebTenant,
) -> None:
    os.kill(tenant.browser().pid, signal.SIGKILL)
    await tenant.lost()
    await comes_back(tenant)


async def test_a_killed_driver_takes_its_browsers_along_and_is_started_again(
    host: BrowserHost, simulator: Simulator, tenant: WebTenant
) -> None:
    async with open_tenant(host, simulator, "255700000099") as other:
        await other.pair()
        trees = [*process.tree_of(tenant.browser()), *process.tree_of(other.browser())]
        driver = host._driver.pid  # noqa: SLF001
        assert driver is not None

        os.kill(driver, signal.SIGKILL)

        assert reason_of(await tenant.lost()) == Reason.BROWSER_GONE
        assert reason_of(await other.lost()) == Reason.BROWSER_GONE
        assert await process.wait_gone(trees, limit_s=30) == []
        await comes_back(tenant)
        await comes_back(other)


async def test_a_profile_is_open_once_in_a_daemon(host: BrowserHost, tenant: WebTenant) -> None:
    second = host.channel(tenant.tenant_id)

    with pytest.raises(ChannelRestartError) as in_use:
        await second.open()

    assert reason_of(in_use.value) == Reason.PROFILE_IN_USE
    with pytest.raises(ChannelRestartError):
        await host.forget_profile(tenant.tenant_id)
    await second.close()
    assert (await tenant.channel.probe()).connected


async def test_a_profile_that_another_daemon_holds_is_left_alone(
    host: BrowserHost, tenant: WebTenant
) -> None:
    async with open_host(host.settings) as other:
        with pytest.raises(ChannelRestartError) as in_use:
            await other.channel(tenant.tenant_id).open()
        assert reason_of(in_use.value) == Reason.PROFILE_IN_USE
    assert (await tenant.channel.probe()).connected


async def test_a_lock_of_another_host_or_a_dead_process_does_not_stop_the_start(
    tenant: WebTenant,
) -> None:
    folder = tenant.host.profile_dir(tenant.tenant_id)
    for holder in (f"another-host-{os.getpid()}", f"{os.uname().nodename}-4194303"):
        await tenant.close()
        profile.remove_lock(folder)
        (folder / profile.LOCK).symlink_to(holder)
        await comes_back(tenant)


async def test_a_forgotten_profile_must_be_paired_again(tenant: WebTenant) -> None:
    await tenant.close()
    await tenant.host.forget_profile(tenant.tenant_id)
    assert not tenant.host.profile_dir(tenant.tenant_id).exists()
    since = len(tenant.events)

    await tenant.open()

    await tenant.told(QrShown, since=since)
    assert tenant.all_of(Ready, since) == []


async def test_a_cancelled_start_leaves_nothing_running(
    host: BrowserHost, simulator: Simulator
) -> None:
    tenant = WebTenant(host, simulator)
    folder = host.profile_dir(tenant.tenant_id)
    opening = asyncio.ensure_future(tenant.channel.open())
    await until(lambda: profile.browser_process(folder) is not None, "a browser")
    browser = profile.browser_process(folder)
    assert browser is not None

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    await until(lambda: process.tree_of(browser) == [], "the browser's end")
    async with open_tenant(host, simulator) as again:
        await again.told(QrShown)


async def test_closing_twice_and_calling_a_closed_channel_are_no_harm(tenant: WebTenant) -> None:
    await tenant.close()
    await tenant.channel.close()
    await tenant.channel.kill()
    with pytest.raises(ChannelRestartError, match="closed"):
        await tenant.channel.send(outbound(ID, to=CHAT))
