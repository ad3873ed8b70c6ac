"""The real wa-js on the simulated page: the life of a link, from the first code to the last."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import qrcode
from qrcode.constants import ERROR_CORRECT_L

from tests.browser.simulator import Simulator
from tests.browser.wa_page import CHAT, CODE, PHONE, READY, WaPage, wa_page
from tests.fakes.clock import until

WA_JS_SHA256 = "5bfb88027f14a4d8c9e319374e8bb4083201906881cf8c74f75789b32e4106bd"


@pytest.fixture
async def wa(simulator: Simulator, tmp_path: Path, wa_js_path: Path) -> AsyncIterator[WaPage]:
    await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
    async with wa_page(simulator, tmp_path / "profile", wa_js_path.read_text()) as page:
        yield page
        assert page.problems == []


def test_the_bundle_is_the_released_one(wa_js_path: Path) -> None:
    assert hashlib.sha256(wa_js_path.read_bytes()).hexdigest() == WA_JS_SHA256


async def test_a_link_lives_from_its_code_to_its_removal(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()

    await wa.receive("Habari", name="Asha")
    heard = await wa.event("chat.new_message")
    assert (heard["body"], heard["from"], heard["notifyName"]) == ("Habari", CHAT, "Asha")
    await wa.until(f"WPP.chat.get('{CHAT}').unreadCount === 1")

    sent = await wa.send(CHAT, "Karibu")
    assert sent["sendMsgResult"]["messageSendResult"] == "OK"
    assert [message["text"] for message in await wa.outbox(1)] == ["Karibu"]

    await wa.run("(chat) => WPP.chat.markIsRead(chat)", CHAT)
    reads = await wa.control("reads", phone=PHONE, wait=25)
    assert [read["phone"] for read in reads["reads"]] == ["255711111111"]
    await wa.until(f"WPP.chat.get('{CHAT}').unreadCount === 0")

    await wa.control("drop", seconds=600)
    await wa.until("WPP.whatsapp.Socket.state !== 'CONNECTED'")
    await wa.control("restore")
    await wa.until(READY)
    since = len(wa.events)
    await wa.receive("Bado upo?")
    assert (await wa.event("chat.new_message", since=since))["body"] == "Bado upo?"

    await wa.close()
    await wa.open()
    await wa.until(READY)
    assert await wa.run("String(WPP.conn.getMyUserId())") == f"{PHONE}@c.us"

    await wa.control("logout", phone=PHONE)
    assert (await wa.event("conn.logout_reason")) == "unknown_companion"
    await wa.event("conn.logout")
    await wa.until("location.search.includes('post_logout=1')")
    await wa.until(CODE)
    assert not await wa.run("WPP.conn.isAuthenticated()")
    assert await wa.run("WPP.whatsapp.ChatStore.length") == 0


async def test_an_unlinked_page_shows_a_code_and_main_ready_means_nothing(wa: WaPage) -> None:
    await wa.open()
    code = await wa.until(CODE)
    assert len(code.split(",")) == 4
    assert (await wa.event("conn.auth_code_change", bool))["fullCode"] == code
    await wa.event("conn.main_ready")
    assert await wa.run("WPP.conn.getStreamData().mode") == "QR"
    assert not await wa.run("WPP.conn.isAuthenticated()")
    shown = wa.page.locator("[data-ref]")
    await shown.locator("canvas").wait_for()
    assert await shown.get_attribute("data-ref") == code


async def test_the_drawn_code_is_the_standards(wa: WaPage) -> None:
    await wa.open()
    code = await wa.until(CODE)
    for text in ("a", code, code + ",1", "x" * 800):
        drawn = await wa.run("(text) => require('SimQr').matrixOf(text)", text)
        expected = qrcode.QRCode(error_correction=ERROR_CORRECT_L, mask_pattern=0, border=0)
        expected.add_data(text.encode(), optimize=0)
        expected.make(fit=True)
        assert drawn == expected.get_matrix()


async def test_codes_follow_each_other_until_the_page_is_idle(wa: WaPage) -> None:
    await wa.control("config", qr_ttl=0.5, qr_max=2)
    await wa.open()
    await wa.event("conn.qrcode_idle")
    assert await wa.run("WPP.whatsapp.Socket.state") == "UNPAIRED_IDLE"
    assert await wa.run("WPP.conn.getAuthCode()") is None
    await wa.control("config", qr_ttl=300)
    fresh = await wa.run("WPP.conn.refreshQR()")
    answer = await wa.control("scan", qr=fresh["fullCode"], phone=PHONE)
    assert answer["ok"]
    await wa.until(READY)


async def test_the_states_of_a_pairing_come_in_order(wa: WaPage) -> None:
    await wa.control("config", sync_delay_ms=300)
    await wa.open()
    await wa.pair()
    await wa.event("conn.stream_info_changed", lambda info: info == "NORMAL")
    await wa.event("conn.main_loaded")
    modes = wa.values("conn.stream_mode_changed")
    assert modes[modes.index("QR") :] == ["QR", "SYNCING", "MAIN"]
    infos = wa.values("conn.stream_info_changed")
    assert infos[-3:] == ["PAIRING", "SYNCING", "NORMAL"]
    assert len(wa.values("conn.main_loaded")) == 1
    assert await wa.run("WPP.whatsapp.Socket.hasSynced")
    assert await wa.run("String(WPP.conn.getMyUserLid())") == (
        (await wa.control("state"))["accounts"][0]["lid"] + "@lid"
    )


async def test_the_key_of_the_pairing_cannot_leave_the_profile(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    key = await wa.run(
        """() => new Promise((resolve, reject) => {
          const opening = indexedDB.open('model-storage');
          opening.onerror = () => reject(opening.error);
          opening.onsuccess = () => {
            const store = opening.result.transaction('registration').objectStore('registration');
            store.get('pairing').onsuccess = async (event) => {
              const {privateKey} = event.target.result;
              const exported = await crypto.subtle.exportKey('pkcs8', privateKey)
                .then(() => true, () => false);
              resolve({extractable: privateKey.extractable, exported});
            };
          };
        })"""
    )
    assert key == {"extractable": False, "exported": False}


async def test_a_page_may_load_itself_anew_after_the_scan(wa: WaPage) -> None:
    await wa.control("config", reload_after_pair=True)
    loads: list[str] = []
    await wa.open()
    wa.page.on("load", lambda page: loads.append(page.url))
    await wa.pair(history=[{"with": "255711111111", "text": "zamani"}])
    await until(lambda: loads)
    assert len(loads) == 1
    messages = await wa.run(
        "async (chat) => (await WPP.chat.getMessages(chat)).map((m) => m.body)", CHAT
    )
    assert messages == ["zamani"]


async def test_the_link_survives_the_death_of_the_browser(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.kill()
    await wa.open()
    await wa.until(READY)


async def test_a_reload_of_the_page_keeps_the_link(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.run("window.isOldDocument = true")
    await wa.control("reload", phone=PHONE)
    await wa.until(f"!window.isOldDocument && {READY}")


async def test_a_conflict_lasts_until_it_is_taken_over(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.control("conflict", phone=PHONE)
    await wa.event("conn.stream_mode_changed", lambda mode: mode == "CONFLICT")
    assert await wa.run("WPP.whatsapp.Socket.state") == "CONFLICT"
    await wa.receive("Upo?")
    assert wa.values("chat.new_message") == []
    await wa.run("WPP.whatsapp.Socket.takeover()")
    await wa.until(READY)
    assert (await wa.event("chat.new_message"))["body"] == "Upo?"


async def test_a_conflict_is_not_ended_by_losing_the_connection(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.control("conflict", phone=PHONE)
    await wa.event("conn.stream_mode_changed", lambda mode: mode == "CONFLICT")
    await wa.control("drop", seconds=0)

    async def closed() -> bool:
        events = (await wa.control("events"))["events"]
        return "socket_closed" in [event["event"] for event in events]

    await until(closed)
    assert await wa.run("WPP.whatsapp.Socket.state") == "CONFLICT"
    await wa.run("WPP.whatsapp.Socket.takeover()")
    await wa.until(READY)


async def test_the_page_unlinks_itself(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.run("WPP.conn.logout()")
    await wa.until(f"location.search.includes('logout_reason=') && {CODE}")
    assert "user_initiated" in wa.values("conn.logout_reason")
    assert (await wa.control("state"))["devices"] == []


async def test_a_device_that_was_removed_while_away_shows_a_new_code(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.close()
    await wa.control("logout", phone=PHONE)
    await wa.open()
    await wa.until(f"location.search.includes('post_logout=1') && {CODE}")


async def test_losing_the_network_is_seen_and_healed(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.context.set_offline(True)
    assert await wa.event("conn.online", lambda online: online is False) is False
    await wa.until("WPP.conn.getStreamData().info === 'OFFLINE'")
    assert not await wa.run("WPP.conn.isOnline()")
    assert await wa.run("WPP.conn.getStreamData().mode") == "MAIN"
    await wa.context.set_offline(False)
    await wa.until(READY)
    assert await wa.run("WPP.conn.isOnline()")


async def test_a_dropped_page_stays_main_but_not_normal(wa: WaPage) -> None:
    await wa.open()
    await wa.pair()
    await wa.control("drop", seconds=600, hard=True)
    await wa.until("WPP.conn.getStreamData().info !== 'NORMAL'")
    assert await wa.run("WPP.conn.getStreamData().mode") == "MAIN"
    await wa.control("restore")
    await wa.until(READY)


async def test_a_headless_browser_is_turned_away_if_wanted(wa: WaPage) -> None:
    await wa.control("config", refuse_headless=True)
    await wa.open(user_agent=None)
    await wa.page.get_by_text("WhatsApp works with Google Chrome").wait_for()
    assert await wa.run("typeof window.require") == "undefined"
    await wa.close()
    await wa.open()
    await wa.until(CODE)
    wa.problems.clear()


@pytest.mark.parametrize("csp", [True, False])
async def test_the_policy_of_the_page_stops_foreign_scripts_only(wa: WaPage, csp: bool) -> None:
    await wa.control("config", csp=csp)
    await wa.open()
    await wa.until(CODE)
    ran = await wa.run(
        """() => { const script = document.createElement('script');
          script.textContent = 'window.foreign = true'; document.body.append(script);
          return Boolean(window.foreign); }"""
    )
    assert ran is not csp
    wa.problems.clear()


async def test_modules_that_come_late_are_waited_for(wa: WaPage) -> None:
    await wa.control("config", module_delay_ms=2000)
    await wa.open(goto=False)
    await wa.context.add_init_script(
        "document.addEventListener('DOMContentLoaded',"
        " () => { window.early = window.Debug === undefined; })"
    )
    await wa.page.goto(wa.simulator.url, wait_until="commit")
    await wa.pair()
    assert await wa.run("window.early")


async def test_a_build_without_a_module_lacks_what_rests_on_it_and_nothing_else(
    wa: WaPage,
) -> None:
    await wa.control("config", drop_modules=["WAWebUpdateUnreadChatAction"])
    await wa.open()
    await wa.pair()
    await wa.receive("Habari")
    await wa.event("chat.new_message")
    assert (await wa.send(CHAT, "Karibu"))["ack"] == 1
    with pytest.raises(Exception, match="not a function"):
        await wa.run("(chat) => WPP.chat.markIsRead(chat)", CHAT)
    wa.problems.clear()


async def test_message_keys_of_a_minified_build_still_have_their_text(wa: WaPage) -> None:
    await wa.control("config", minified_key=True)
    await wa.open()
    await wa.pair()
    shapes = await wa.run(
        """() => { const Key = require('WAWebMsgKey');
          const make = () => new Key({fromMe: true, remote: '1@c.us', id: 'A'});
          const before = [make().toString(), make()._serialized ?? null];
          void WPP.whatsapp.MsgKey;
          return [...before, make().toString(), make()._serialized]; }"""
    )
    assert shapes == ["true_1@c.us_A", None, "true_1@c.us_A", "true_1@c.us_A"]
    message_id = await wa.new_id()
    assert (await wa.send(CHAT, "Karibu", message_id))["id"] == message_id


async def test_the_page_names_its_version(wa: WaPage) -> None:
    await wa.open()
    await wa.until(CODE)
    version = await wa.run("window.Debug.VERSION")
    assert version.startswith("2.3000.")
    assert await wa.run("WPP.conn.getBuildConstants().VERSION_STR") == version
