"""From the first hello to a linked page, and everything that may go wrong on the way."""

from typing import Any

import pytest

from tests.fakes.clock import until
from tests.integration.simulator.conftest import Bench
from tests.integration.simulator.fake_page import SocketClosed, encode, make_key

PHONE = "255700000001"


async def test_a_scanned_page_is_logged_in_with_contacts_and_history(bench: Bench) -> None:
    page = bench.page()
    code = await page.show_code()
    answer = await bench.control(
        "scan",
        qr=code,
        phone="+255 700 000 001",
        name="Duka",
        lid="1999",
        contacts=[{"phone": "255711111111", "name": "Asha", "lid": "1888"}],
        history=[
            {"with": "255711111111", "text": "habari", "t": 1700000000},
            {"with": "255711111111", "text": "nzuri", "from_me": True},
        ],
    )
    assert answer["ok"]
    assert answer["lid"] == "1999"
    login = await page.finish_pairing()
    assert page.device == answer["device"]
    assert login["me"] == {
        "phone": PHONE,
        "lid": "1999",
        "pushname": "Duka",
        "platform": "android",
    }
    assert login["contacts"] == [{"phone": "255711111111", "name": "Asha", "lid": "1888"}]
    first, second = login["history"]
    assert (first["body"], first["t"], first["from_me"]) == ("habari", 1700000000, False)
    assert (second["body"], second["t"], second["from_me"]) == ("nzuri", 1700000001, True)
    assert login["offline"] == 0
    await page.expect("offline_done")


async def test_history_comes_once_and_twice_when_the_page_reloads_after_the_scan(
    bench: Bench,
) -> None:
    history = [{"with": "255711111111", "text": "habari"}]
    await bench.control("config", reload_after_pair=True)
    page = await bench.linked(history=history)
    await page.close()
    assert [m["body"] for m in (await page.log_in())["history"]] == ["habari"]
    await page.close()
    assert (await page.log_in())["history"] == []


async def test_a_page_on_show_is_told_of_settings_that_change_for_it(bench: Bench) -> None:
    page = bench.page()
    code = await page.show_code()
    await bench.control("config", sync_delay_ms=321)
    await bench.control("config", qr_max=3)
    told = await page.expect("config")
    assert told["sync_delay_ms"] == 321
    await bench.control("scan", qr=code, phone=PHONE)
    await page.finish_pairing()


async def test_a_new_ref_kills_the_old_one_and_after_the_last_the_page_is_idle(
    bench: Bench,
) -> None:
    await bench.control("config", qr_ttl=0.2, qr_max=2)
    page = bench.page()
    old = await page.show_code()
    second = await page.expect("ref")
    assert second["index"] == 1
    assert second["ttl_ms"] == 200
    refused = await bench.control("scan", qr=old, phone=PHONE)
    assert refused == {"ok": False, "error": "expired ref"}
    await page.expect("refs_idle")
    assert (await bench.control("state"))["refs"] == []
    await bench.control("config", qr_ttl=60)
    await page.say("refresh_refs")
    third = await page.expect("ref")
    assert third["index"] == 0
    page.ref = third["ref"]
    assert (await bench.control("scan", qr=page.code, phone=PHONE))["ok"]


async def test_moving_the_clock_expires_a_ref_at_once(bench: Bench) -> None:
    await bench.control("config", qr_ttl=3600)
    page = bench.page()
    first = await page.show_code()
    await bench.control("clock", advance_s=3601)
    second = await page.expect("ref")
    assert second["ref"] != page.ref
    assert (await bench.control("scan", qr=first, phone=PHONE))["error"] == "expired ref"


async def test_a_code_is_good_once(bench: Bench) -> None:
    page = bench.page()
    code = await page.show_code()
    assert (await bench.control("scan", qr=code, phone=PHONE))["ok"]
    again = await bench.control("scan", qr=code, phone=PHONE)
    assert again == {"ok": False, "error": "expired ref"}


@pytest.mark.parametrize("part", ["noise", "identity", "adv"])
async def test_a_code_with_other_keys_than_the_page_is_refused(bench: Bench, part: str) -> None:
    page = bench.page()
    await page.show_code()
    honest = getattr(page, part)
    setattr(page, part, encode(bytes(32)) if part == "adv" else bytes(32))
    refused = await bench.control("scan", qr=page.code, phone=PHONE)
    assert refused == {"ok": False, "error": "keys not those of the page"}
    setattr(page, part, honest)
    assert (await bench.control("scan", qr=page.code, phone=PHONE))["ok"]


async def test_a_code_may_be_a_link_and_have_four_parts(bench: Bench) -> None:
    page = bench.page()
    code = (await page.show_code()).rpartition(",")[0]
    link = f"https://wa.me/settings/linked_devices#{code}"
    assert (await bench.control("scan", qr=link, phone=PHONE))["ok"]


@pytest.mark.parametrize("qr", ["", "hello", "a,b,c,d", "a,b,c,d,e,f", "\0", ",,,,"])
async def test_what_is_no_code_is_400_with_the_field(bench: Bench, qr: str) -> None:
    status, answer = await bench.ask("scan", qr=qr, phone=PHONE)
    assert (status, answer["ok"], answer["field"]) == (400, False, "qr")
    assert (await bench.control("state"))["accounts"] == []


async def test_scan_live_takes_the_newest_code_or_the_one_named(bench: Bench) -> None:
    assert (await bench.control("scan_live", phone=PHONE))["error"] == "no page shows a code"
    first, second = bench.page(), bench.page()
    await first.show_code()
    await second.show_code()
    assert (await bench.control("scan_live", phone=PHONE))["ok"]
    await second.finish_pairing()
    assert (await bench.control("scan_live", ref=first.ref, phone="255700000002"))["ok"]
    await first.finish_pairing()
    third, _ = bench.page(), await bench.page().show_code()
    await third.show_code()
    numbers = [ref["page"] for ref in (await bench.control("state"))["refs"]]
    answer = await bench.control("scan_live", page=numbers[1], phone="255700000003")
    assert (await third.finish_pairing())["me"]["phone"] == "255700000003"
    assert third.device == answer["device"]
    gone = await bench.control("scan_live", page=numbers[1], phone="255700000003")
    assert gone["error"] == "no page shows a code"
    devices = (await bench.control("state"))["devices"]
    assert [device["phone"] for device in devices] == [PHONE, "255700000002", "255700000003"]


async def test_a_page_that_leaves_before_its_key_was_never_linked(bench: Bench) -> None:
    page = bench.page()
    await bench.control("scan", qr=await page.show_code(), phone=PHONE)
    await page.expect("paired")
    await page.close()

    async def removed() -> bool:
        events = (await bench.control("events"))["events"]
        return "device_removed" in [event["event"] for event in events]

    await until(removed)
    assert (await bench.control("state"))["devices"] == []


async def test_a_wrong_proof_is_refused_and_the_device_stays_linked(bench: Bench) -> None:
    page = await bench.linked()
    await page.close()
    honest, page.key = page.key, make_key()
    with pytest.raises(SocketClosed) as refused:
        await page.log_in()
    assert refused.value.code == 4401
    page.key = honest
    assert (await page.log_in())["me"]["phone"] == PHONE


async def test_a_garbage_signature_is_refused(bench: Bench) -> None:
    page = await bench.linked()
    await page.close()
    await page.hello()
    await page.expect("challenge")
    await page.say("proof", sig=encode(b"short"))
    assert await page.closed() == 4401


async def test_an_unknown_device_is_told_that_it_was_removed(bench: Bench) -> None:
    page = bench.page()
    page.device = "nobody"
    await page.hello()
    assert (await page.expect("removed"))["reason"] == 0


async def test_a_key_that_is_none_ends_the_pairing(bench: Bench) -> None:
    page = bench.page()
    await bench.control("scan", qr=await page.show_code(), phone=PHONE)
    device = (await page.expect("paired"))["device"]
    await page.say("paired_ack", device=device, key=encode(b"no key"))
    assert await page.closed() == 4400


@pytest.mark.parametrize(
    "frames",
    [
        ["nonsense"],
        ['{"k":7}'],
        ["[]"],
        ['{"k":"send","msg":{}}'],
        ['{"k":"hello","device":null}'],
        ['{"k":"hello","device":null,"noise":"AA==","identity":"AA==","adv_sha256":"00"}'],
        ['{"k":"hello","device":null,"noise":7,"identity":[],"adv_sha256":{}}'],
    ],
)
async def test_a_bad_frame_closes_the_socket_with_4400(bench: Bench, frames: list[str]) -> None:
    page = bench.page()
    await page.open()
    for frame in frames:
        await page.ws.send_str(frame)
    assert await page.closed() == 4400
    assert (await bench.control("state"))["refs"] == []


@pytest.mark.parametrize(
    "frame",
    [
        {"k": "unheard_of"},
        {"k": "hello", "device": None},
        {"k": "msg_ack"},
        {"k": "send"},
        {"k": "send", "msg": {"id": 7}},
        {"k": "seen", "chat": "255711111111@c.us", "ids": "x"},
        {"k": "seen", "ids": []},
        {"k": "presence", "state": "asleep"},
        {"k": "chatstate", "chat": "255711111111@c.us", "state": "singing"},
        {"k": "subscribe"},
    ],
)
async def test_a_bad_frame_of_a_linked_page_closes_its_socket_alone(
    bench: Bench, frame: dict[str, Any]
) -> None:
    page, other = await bench.linked(), await bench.linked("255700000002")
    await page.say(**{"kind" if name == "k" else name: value for name, value in frame.items()})
    assert await page.closed() == 4400
    await other.say("ping")
    await other.expect("pong")
    await page.log_in()


async def test_binary_frames_are_refused(bench: Bench) -> None:
    page = bench.page()
    await page.open()
    await page.ws.send_bytes(b"{}")
    assert await page.closed() == 4400


async def test_pairing_works_over_tls_too(bench: Bench) -> None:
    page = bench.page(tls=True)
    assert (await bench.control("scan", qr=await page.show_code(), phone=PHONE))["ok"]
    assert (await page.finish_pairing())["me"]["phone"] == PHONE
