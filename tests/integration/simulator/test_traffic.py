"""Messages both ways, offline queues, holding, repeats, receipts and read marks."""

import asyncio

import pytest

from tests.integration.simulator.conftest import Bench

PHONE = "255700000001"
ASHA = "255711111111"
ASHA_JID = f"{ASHA}@c.us"


async def test_a_message_reaches_the_page_with_what_the_customer_wrote(bench: Bench) -> None:
    page = await bench.linked()
    answer = await bench.control(
        "message",
        phone=PHONE,
        **{"from": ASHA},
        text="habari",
        name="Asha",
        t=1700000000,
        extra={"mimetype": "image/png"},
    )
    assert (answer["ok"], answer["chat"], answer["t"]) == (True, ASHA_JID, 1700000000)
    frame = await page.receive()
    assert frame["offline"] is False
    assert frame["msg"] == {
        "id": answer["id"],
        "chat": ASHA_JID,
        "from": ASHA_JID,
        "to": f"{PHONE}@c.us",
        "from_me": False,
        "type": "chat",
        "body": "habari",
        "t": 1700000000,
        "notify": "Asha",
        "ack": 1,
        "extra": {"mimetype": "image/png"},
    }


async def test_the_other_kinds_of_chats_are_spelt_as_whatsapp_does(bench: Bench) -> None:
    page = await bench.linked()
    base = {"phone": PHONE, "from": ASHA, "text": "x"}
    await bench.control("message", **base, lid="1888")
    frame = await page.receive()
    assert frame["msg"]["chat"] == frame["msg"]["from"] == "1888@lid"
    assert frame["lid_pn"] == {"lid": "1888", "phone": ASHA}
    await bench.control("message", **base, group="12036304")
    message = (await page.receive())["msg"]
    assert (message["chat"], message["author"]) == ("12036304@g.us", ASHA_JID)
    await bench.control("message", **base, group="status@broadcast")
    assert (await page.receive())["msg"]["chat"] == "status@broadcast"
    await bench.control("message", **base, from_me=True)
    message = (await page.receive())["msg"]
    assert (message["from"], message["to"], message["from_me"]) == (
        f"{PHONE}@c.us",
        ASHA_JID,
        True,
    )
    await bench.control("message", phone=PHONE, type="image", **{"from": ASHA})
    message = (await page.receive())["msg"]
    assert (message["type"], message["body"]) == ("image", "")


async def test_a_repeated_id_is_delivered_again(bench: Bench) -> None:
    page = await bench.linked()
    for _ in range(2):
        await bench.control("message", phone=PHONE, text="x", id="AC00", **{"from": ASHA})
    assert [(await page.receive())["msg"]["id"] for _ in range(2)] == ["AC00", "AC00"]


async def test_what_comes_while_the_page_is_away_waits_in_order(bench: Bench) -> None:
    page = await bench.linked()
    await page.close()
    for n in range(20):
        await bench.control("message", phone=PHONE, text=str(n), **{"from": ASHA})
    device = (await bench.control("state"))["devices"][0]
    assert (device["online"], device["queued"]) == (False, 20)
    login = await page.log_in()
    assert login["offline"] == 20
    frames = [await page.receive() for _ in range(20)]
    assert [frame["msg"]["body"] for frame in frames] == [str(n) for n in range(20)]
    assert all(frame["offline"] for frame in frames)
    await page.expect("offline_done")
    await bench.control("message", phone=PHONE, text="live", **{"from": ASHA})
    assert (await page.receive())["offline"] is False


async def test_what_the_page_did_not_confirm_comes_again(bench: Bench) -> None:
    page = await bench.linked()
    for text in ("a", "b", "c"):
        await bench.control("message", phone=PHONE, text=text, **{"from": ASHA})
    frames = [await page.hear() for _ in range(3)]
    await page.say("msg_ack", seq=frames[1]["seq"])
    await page.say("ping")
    await page.expect("pong")
    await page.close()
    assert (await page.log_in())["offline"] == 2
    assert [(await page.receive())["msg"]["body"] for _ in range(2)] == ["a", "c"]
    await page.expect("offline_done")
    await page.say("ping")
    await page.expect("pong")
    assert (await bench.control("state"))["devices"][0]["queued"] == 0


async def test_a_sent_message_is_in_the_outbox_and_acknowledged(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("message", phone=PHONE, text="x", lid="1888", **{"from": ASHA})
    await page.receive()
    message_id = await page.send("1888@lid", "karibu")
    ack = await page.expect("send_ack")
    assert ack["id"] == message_id
    assert "error" not in ack
    (sent,) = (await bench.control("outbox", phone=PHONE))["messages"]
    assert sent["received_at"] == pytest.approx(ack["t"], abs=1)
    expected = {
        "index": 1,
        "id": message_id,
        "chat": "1888@lid",
        "to": ASHA,
        "text": "karibu",
        "type": "chat",
        "quoted": None,
        "t": ack["t"],
    }
    assert {name: sent[name] for name in expected} == expected


async def test_the_outbox_can_be_waited_for(bench: Bench) -> None:
    page = await bench.linked()
    poll = asyncio.create_task(bench.control("outbox", phone=PHONE, after=0, wait=20))
    await page.send(ASHA_JID, "one")
    assert [m["text"] for m in (await poll)["messages"]] == ["one"]
    await page.send(ASHA_JID, "two")
    answer = await bench.control("outbox", phone=PHONE, after=1, wait=20)
    assert [m["text"] for m in answer["messages"]] == ["two"]
    assert (await bench.control("outbox", phone=PHONE, after=2, wait=0.05))["messages"] == []


async def test_a_repeated_send_counts_once_and_is_answered_alike(bench: Bench) -> None:
    page = await bench.linked()
    await page.send(ASHA_JID, "x", "3EB001")
    first = await page.expect("send_ack")
    await page.send(ASHA_JID, "x", "3EB001")
    assert await page.expect("send_ack") == first
    assert len((await bench.control("outbox", phone=PHONE))["messages"]) == 1


async def test_without_dedup_a_repeated_send_counts_twice(bench: Bench) -> None:
    await bench.control("config", dedup_sends=False)
    page = await bench.linked()
    for _ in range(2):
        await page.send(ASHA_JID, "x", "3EB001")
        await page.expect("send_ack")
    assert len((await bench.control("outbox", phone=PHONE))["messages"]) == 2


@pytest.mark.parametrize("way", ["accepted", "held"])
async def test_without_dedup_a_frame_that_the_page_repeats_counts_once(
    bench: Bench, way: str
) -> None:
    await bench.control("config", dedup_sends=False, send="ok" if way == "accepted" else "hold")
    page = await bench.linked()
    for number in (1, 2, 1, 2):
        await page.send(ASHA_JID, "x", "3EB001", number=number)
    await page.say("ping")
    while (await page.hear())["k"] != "pong":
        pass
    await bench.control("config", send="ok")
    assert len((await bench.control("outbox", phone=PHONE))["messages"]) == 2


async def test_held_sends_are_answered_when_the_setting_changes(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("config", send="hold")
    await page.send(ASHA_JID, "a", "3EB001")
    await page.send(ASHA_JID, "a", "3EB001")
    await page.send(ASHA_JID, "b", "3EB002")
    await page.say("ping")
    await page.expect("pong")
    state = await bench.control("state")
    assert state["accounts"][0]["held"] == 2
    assert (await bench.control("outbox", phone=PHONE))["messages"] == []
    await bench.control("config", send="ok")
    assert [(await page.expect("send_ack"))["id"] for _ in range(2)] == ["3EB001", "3EB002"]
    texts = [m["text"] for m in (await bench.control("outbox", phone=PHONE))["messages"]]
    assert texts == ["a", "b"]


async def test_held_sends_can_be_refused_in_the_end(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("config", send="hold")
    await page.send(ASHA_JID, "a", "3EB001")
    await page.say("ping")
    await page.expect("pong")
    await bench.control("config", send="ERROR_EXPIRED")
    assert (await page.expect("send_ack"))["error"] == "ERROR_EXPIRED"


async def test_a_refused_send_may_be_tried_again_with_its_id(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("config", send="ERROR_UNKNOWN")
    await page.send(ASHA_JID, "a", "3EB001")
    assert (await page.expect("send_ack"))["error"] == "ERROR_UNKNOWN"
    assert (await bench.control("outbox", phone=PHONE))["messages"] == []
    await bench.control("config", send="ok")
    await page.send(ASHA_JID, "a", "3EB001")
    assert "error" not in await page.expect("send_ack")


async def test_an_answer_can_get_lost_after_the_send_counted(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("config", ack_sends=False)
    await page.send(ASHA_JID, "a", "3EB001")
    await page.say("ping")
    await page.expect("pong")
    assert len((await bench.control("outbox", phone=PHONE))["messages"]) == 1
    await bench.control("config", ack_sends=True)
    await page.send(ASHA_JID, "a", "3EB001")
    assert (await page.expect("send_ack"))["id"] == "3EB001"
    assert len((await bench.control("outbox", phone=PHONE))["messages"]) == 1


async def test_the_other_devices_see_what_one_device_sent(bench: Bench) -> None:
    page, other = await bench.linked(), await bench.linked()
    message_id = await page.send(ASHA_JID, "karibu")
    await page.expect("send_ack")
    message = (await other.receive())["msg"]
    assert (message["id"], message["from_me"], message["chat"]) == (message_id, True, ASHA_JID)


async def test_receipts_reach_the_page_also_after_an_absence(bench: Bench) -> None:
    page = await bench.linked()
    message_id = await page.send(ASHA_JID, "karibu")
    await page.expect("send_ack")
    await bench.control("receipt", phone=PHONE, id=message_id, ack=2)
    frame = await page.receive()
    assert (frame["k"], frame["id"], frame["chat"], frame["ack"]) == (
        "receipt",
        message_id,
        ASHA_JID,
        2,
    )
    await page.close()
    await bench.control("receipt", phone=PHONE, id=f"true_{ASHA_JID}_{message_id}", ack=3)
    assert (await page.log_in())["offline"] == 1
    assert (await page.receive())["ack"] == 3


async def test_receipts_can_come_by_themselves(bench: Bench) -> None:
    await bench.control("config", auto_receipts=3)
    page = await bench.linked()
    await page.send(ASHA_JID, "karibu")
    await page.expect("send_ack")
    assert [(await page.receive())["ack"] for _ in range(2)] == [2, 3]


async def test_a_receipt_for_what_nobody_sent_is_404(bench: Bench) -> None:
    await bench.linked()
    status, answer = await bench.ask("receipt", phone=PHONE, id="3EB0FF", ack=2)
    assert (status, answer["field"]) == (404, "id")


async def test_read_marks_typing_and_presence_are_noted(bench: Bench) -> None:
    page = await bench.linked()
    start = (await bench.control("events"))["last"]
    answer = await bench.control(
        "message", phone=PHONE, text="x", lid="1888", name="Asha", **{"from": ASHA}
    )
    await page.receive()
    await page.say("presence", state="available")
    await page.say("subscribe", chat="1888@lid")
    await page.say("chatstate", chat="1888@lid", state="composing")
    await page.say("seen", chat="1888@lid", ids=[answer["id"]])
    reads = (await bench.control("reads", phone=PHONE, after=0, wait=25))["reads"]
    assert [(r["chat"], r["phone"], r["ids"]) for r in reads] == [
        ("1888@lid", ASHA, [answer["id"]])
    ]
    log = (await bench.control("events", after=start))["events"]
    assert [event["event"] for event in log] == [
        "message",
        "delivered",
        "presence",
        "subscribe",
        "chatstate",
        "seen",
    ]
    chat = await bench.control("chat", phone=PHONE, **{"with": ASHA})
    assert (chat["name"], chat["typing"]) == ("Asha", "composing")
    assert [(b["by"], b["text"], b["ack"]) for b in chat["messages"]] == [("customer", "x", 3)]


async def test_the_phone_sees_both_sides_of_a_chat(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("message", phone=PHONE, text="habari", **{"from": ASHA})
    await page.receive()
    await page.say("chatstate", chat=ASHA_JID, state="composing")
    message_id = await page.send(ASHA_JID, "karibu")
    await page.expect("send_ack")
    await bench.control("receipt", phone=PHONE, id=message_id, ack=3)
    await bench.control("message", phone=PHONE, text="mimi", from_me=True, **{"from": ASHA})
    chat = await bench.control("chat", phone=PHONE, **{"with": ASHA})
    bubbles = [(b["by"], b["text"], b["ack"]) for b in chat["messages"]]
    assert bubbles == [("customer", "habari", 2), ("bot", "karibu", 3), ("owner", "mimi", 1)]
    assert chat["typing"] == ""
    chats = (await bench.control("chats", phone=PHONE))["chats"]
    assert [(c["with"], c["messages"][0]["text"]) for c in chats] == [(ASHA, "mimi")]


async def test_new_contacts_reach_a_linked_page(bench: Bench) -> None:
    page = await bench.linked()
    await bench.control("contacts", phone=PHONE, contacts=[{"phone": ASHA, "name": "Asha"}])
    assert (await page.expect("contacts"))["contacts"] == [{"phone": ASHA, "name": "Asha"}]


async def test_accounts_never_see_each_others_traffic(bench: Bench) -> None:
    phones = [f"25570000000{n}" for n in range(5)]
    pages = [await bench.linked(phone) for phone in phones]
    for n in range(50):
        phone = phones[n % 5]
        await bench.control("message", phone=phone, text=f"{phone}-{n}", **{"from": ASHA})
    for phone, page in zip(phones, pages, strict=True):
        texts = [(await page.receive())["msg"]["body"] for _ in range(10)]
        assert all(text.startswith(phone) for text in texts)
        assert texts == sorted(texts, key=lambda text: int(text.rpartition("-")[2]))
        await page.send(ASHA_JID, phone)
    for phone in phones:
        answer = await bench.control("outbox", phone=phone, wait=25)
        assert [m["text"] for m in answer["messages"]] == [phone]
