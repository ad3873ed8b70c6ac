"""Lost networks, second windows, removed devices, resets, silence."""

import asyncio
from typing import Any

import aiohttp
import pytest

from flowhq.simulator.ring import Entry, RingLog
from tests.fakes.clock import until
from tests.integration.simulator.conftest import Bench
from tests.integration.simulator.fake_page import SocketClosed

PHONE = "255700000001"
ASHA = "255711111111"


async def test_a_drop_closes_all_sockets_and_refuses_new_ones(bench: Bench) -> None:
    page, unlinked = await bench.linked(), bench.page()
    await unlinked.show_code()
    assert (await bench.control("drop", seconds=600))["closed"] == 2
    assert await page.closed() == 4503
    assert await unlinked.closed() == 4503
    assert (await bench.control("state"))["refs"] == []
    with pytest.raises(SocketClosed) as refused:
        await page.log_in()
    assert refused.value.code == 4503
    await bench.control("message", phone=PHONE, text="x", **{"from": ASHA})
    await bench.control("restore")
    assert (await page.log_in())["offline"] == 1


async def test_a_drop_ends_by_itself(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("drop", seconds=0.2)
    await page.closed()

    async def logged_in() -> bool:
        try:
            await page.log_in()
        except SocketClosed:
            return False
        return True

    await until(logged_in)


async def test_a_hard_drop_gives_no_closing_handshake(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("drop", seconds=600, hard=True)
    assert await page.closed() == 1006
    with pytest.raises(aiohttp.ClientError):
        await page.open()
    await bench.control("restore")
    await page.log_in()


async def test_one_account_alone_can_lose_its_network(bench: Bench) -> None:
    page, other = await bench.linked(), await bench.linked("255700000002")
    assert (await bench.control("drop", seconds=600, phone=PHONE))["closed"] == 1
    assert await page.closed() == 4503
    with pytest.raises(SocketClosed) as refused:
        await page.log_in()
    assert refused.value.code == 4503
    await other.say("ping")
    await other.expect("pong")
    await bench.control("restore", phone=PHONE)
    await page.log_in()


async def test_a_conflict_keeps_messages_back_until_the_takeover(bench: Bench) -> None:
    page = await bench.linked()
    assert (await bench.control("conflict", phone=PHONE))["pages"] == 1
    await page.expect("conflict")
    await bench.control("message", phone=PHONE, text="x", **{"from": ASHA})
    await page.say("ping")
    await page.expect("pong")
    await page.say("takeover")
    assert (await page.receive())["msg"]["body"] == "x"


async def test_a_second_socket_of_a_device_replaces_the_first(bench: Bench) -> None:
    page = await bench.linked()
    old = page.ws
    await page.log_in()
    message = await old.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert old.close_code == 4409
    await bench.control("message", phone=PHONE, text="x", **{"from": ASHA})
    await page.expect("offline_done")
    assert (await page.receive())["msg"]["body"] == "x"


async def test_the_page_can_be_told_to_reload(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("reload", phone=PHONE)
    await page.expect("reload")


async def test_the_owner_removes_the_devices_online_or_not(bench: Bench) -> None:
    page, away = await bench.linked(), await bench.linked()
    await away.close()
    removed = (await bench.control("logout", phone=PHONE, reason=7))["removed"]
    assert set(removed) == {page.device, away.device}
    assert (await page.expect("removed"))["reason"] == 7
    await away.hello()
    await away.expect("removed")
    state = await bench.control("state")
    assert (state["devices"], [a["phone"] for a in state["accounts"]]) == ([], [PHONE])
    again = bench.page()
    assert (await bench.control("scan", qr=await again.show_code(), phone=PHONE))["ok"]


async def test_one_device_can_be_removed_alone(bench: Bench) -> None:
    page, other = await bench.linked(), await bench.linked()
    await bench.control("logout", phone=PHONE, device=page.device)
    await page.expect("removed")
    await other.say("ping")
    await other.expect("pong")
    status, answer = await bench.ask("logout", phone=PHONE, device=page.device)
    assert (status, answer["field"]) == (404, "device")


async def test_a_device_removed_between_scan_and_key_is_not_linked(bench: Bench) -> None:
    page = bench.page()
    await bench.control("scan", qr=await page.show_code(), phone=PHONE)
    device = (await page.expect("paired"))["device"]
    await bench.control("logout", phone=PHONE)
    await page.say("paired_ack", device=device, key=page.public_key())
    await page.expect("removed")


async def test_the_page_can_unlink_itself(bench: Bench) -> None:
    page = await bench.linked()
    await page.say("logout")
    await page.expect("removed")
    assert (await bench.control("state"))["devices"] == []


async def test_reset_forgets_everything_and_ends_long_polls(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[RingLog] = []
    wait_since = RingLog.wait_since

    async def noted(log: RingLog, *args: Any) -> list[Entry]:
        waiting.append(log)
        return await wait_since(log, *args)

    monkeypatch.setattr(RingLog, "wait_since", noted)
    page = await bench.linked()
    await bench.control("config", qr_ttl=99)
    await bench.control("clock", advance_s=1000)
    polls = [
        asyncio.create_task(bench.control("outbox", phone=PHONE, wait=60)),
        asyncio.create_task(bench.control("events", after=10_000, wait=60)),
    ]
    await until(lambda: len(waiting) == 2)
    await bench.control("reset")
    assert (await polls[0])["messages"] == []
    assert (await polls[1])["events"] == []
    assert await page.closed() == 4503
    state = await bench.control("state")
    assert (state["accounts"], state["devices"], state["events"]) == ([], [], 0)
    assert (state["cfg"]["qr_ttl"], state["clock_offset_s"]) == (20, 0)
    await page.hello()
    await page.expect("removed")


async def test_a_page_that_answers_no_ping_is_cut_off(bench: Bench) -> None:
    await bench.control("config", ping_s=0.2)
    page = await bench.linked()
    page.answers_pings = False
    assert await page.closed() == 4400
    assert (await bench.control("state"))["devices"][0]["online"] is False


async def test_a_page_that_answers_pings_stays(bench: Bench) -> None:
    await bench.control("config", ping_s=0.2)
    page = await bench.linked()
    for _ in range(6):
        message = await page.ws.receive()
        assert message.json() == {"k": "ping"}
        await page.say("pong")
    assert (await bench.control("state"))["devices"][0]["online"] is True
