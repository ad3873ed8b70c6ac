"""The real wa-js on the simulated page: what is sent, received, acknowledged and found again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.simulator import Simulator
from tests.browser.wa_page import CHAT, CUSTOMER, LIMIT_S, PHONE, READY, WaPage, wa_page
from tests.fakes.clock import until

LID = "100200300400500"
LID_CHAT = f"{LID}@lid"
GROUP = "120363000000000001@g.us"
BODIES = "async ([chat, options]) => (await WPP.chat.getMessages(chat, options)).map((m) => m.body)"
ACK = "async (id) => (await WPP.chat.getMessageById(id)).ack"


@pytest.fixture
async def wa(simulator: Simulator, tmp_path: Path, wa_js_path: Path) -> AsyncIterator[WaPage]:
    """Open and not yet linked."""
    await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
    async with wa_page(simulator, tmp_path / "profile", wa_js_path.read_text()) as page:
        await page.open()
        yield page
        assert page.problems == []


@pytest.fixture
async def linked(wa: WaPage) -> WaPage:
    await wa.pair(contacts=[{"phone": CUSTOMER, "name": "Asha Juma"}])
    return wa


# -- sending --------------------------------------------------------------------------------


async def test_a_message_keeps_the_id_it_was_given(linked: WaPage) -> None:
    message_id = await linked.new_id()
    sent = await linked.send(CHAT, "Karibu", message_id)
    assert (sent["id"], sent["ack"], sent["to"]) == (message_id, 1, CHAT)
    [arrived] = await linked.outbox(1)
    assert arrived["id"] in message_id
    own = await linked.event("chat.new_message")
    assert (own["id"], own["fromMe"], own["body"]) == (message_id, True, "Karibu")


async def test_an_id_that_is_sent_twice_arrives_once(linked: WaPage) -> None:
    message_id = await linked.new_id()
    for _ in range(2):
        sent = await linked.send(CHAT, "Karibu", message_id)
        assert sent["sendMsgResult"]["messageSendResult"] == "OK"
    await linked.send(CHAT, "Kwaheri")
    assert [m["text"] for m in await linked.outbox(2)] == ["Karibu", "Kwaheri"]


async def test_acks_follow_the_receipts(linked: WaPage) -> None:
    sent = await linked.send(CHAT, "Karibu")
    [arrived] = await linked.outbox(1)
    for ack in (2, 3):
        await linked.control("receipt", phone=PHONE, id=arrived["id"], ack=ack)
    await linked.event("chat.msg_ack_change", lambda change: bool(change["ack"] == 3))
    expected = [{"ack": ack, "chat": CHAT, "ids": [sent["id"]]} for ack in (1, 2, 3)]
    assert linked.values("chat.msg_ack_change") == expected
    assert await linked.run(ACK, sent["id"]) == 3


async def test_a_message_sent_without_connection_waits_and_goes_out_once(linked: WaPage) -> None:
    await linked.control("drop", seconds=600)
    await linked.until("WPP.whatsapp.Socket.state !== 'CONNECTED'")
    message_id = await linked.new_id()
    waiting = asyncio.create_task(linked.send(CHAT, "Nipo", message_id))
    await linked.until(f"WPP.whatsapp.MsgStore.get('{message_id}')?.ack === 0")
    assert not waiting.done()
    await linked.control("restore")
    assert (await waiting)["sendMsgResult"]["messageSendResult"] == "OK"
    await linked.send(CHAT, "Tena")
    assert [m["text"] for m in await linked.outbox(2)] == ["Nipo", "Tena"]


async def test_a_message_handed_over_before_a_kill_is_sent_after_the_restart(
    linked: WaPage,
) -> None:
    await linked.control("drop", seconds=600)
    await linked.until("WPP.whatsapp.Socket.state !== 'CONNECTED'")
    message_id = await linked.new_id()
    handed_over = await linked.send(CHAT, "Baada ya kifo", message_id, waitForAck=False)
    assert (handed_over["id"], handed_over["ack"]) == (message_id, 0)
    await linked.kill()
    await linked.control("restore")
    await linked.open()
    await linked.until(READY)
    assert [m["text"] for m in await linked.outbox(1)] == ["Baada ya kifo"]
    await linked.until(f"WPP.whatsapp.MsgStore.get('{message_id}')?.ack === 1")
    assert await linked.run(ACK, message_id) == 1
    await linked.send(CHAT, "Mwisho")
    assert [m["text"] for m in await linked.outbox(2)] == ["Baada ya kifo", "Mwisho"]


async def test_a_refused_message_does_not_throw(linked: WaPage) -> None:
    await linked.control("config", send="ERROR_UNKNOWN")
    sent = await linked.send(CHAT, "Karibu")
    assert sent["sendMsgResult"] == {"messageSendResult": "ERROR_UNKNOWN"}
    assert sent["ack"] == -1
    assert (await linked.control("outbox", phone=PHONE))["messages"] == []
    await linked.control("config", send="ok")
    again = await linked.send(CHAT, "Karibu", sent["id"])
    assert (again["ack"], again["sendMsgResult"]["messageSendResult"]) == (1, "OK")
    assert [m["text"] for m in await linked.outbox(1)] == ["Karibu"]


async def test_an_answer_that_is_held_back_keeps_the_sender_waiting(linked: WaPage) -> None:
    await linked.control("config", send="hold")
    message_id = await linked.new_id()
    waiting = asyncio.create_task(linked.send(CHAT, "Subiri", message_id))
    await linked.until(f"WPP.whatsapp.MsgStore.get('{message_id}')?.ack === 0")
    assert not waiting.done()
    await linked.control("config", send="ok")
    assert (await waiting)["ack"] == 1


async def test_many_messages_at_once_arrive_in_order(linked: WaPage) -> None:
    await linked.run(
        """async (chat) => { const results = [];
          for (let at = 0; at < 40; at += 1) results.push(WPP.chat.sendTextMessage(
            chat, `m${at}`, {linkPreview: false, markIsRead: false, waitForAck: true}));
          await Promise.all(results); }""",
        CHAT,
    )
    texts = [m["text"] for m in await linked.outbox(40)]
    assert texts == [f"m{at}" for at in range(40)]


async def test_an_answer_quotes_what_it_answers(linked: WaPage) -> None:
    await linked.receive("Bei gani?", id="SWALI1")
    asked = await linked.event("chat.new_message")
    await linked.send(CHAT, "Elfu tatu", quotedMsg=asked["id"])
    [arrived] = await linked.outbox(1)
    assert arrived["quoted"] == "SWALI1"


async def test_typing_is_told_and_ends(linked: WaPage) -> None:
    await linked.receive("Habari")
    await linked.event("chat.new_message")
    await linked.run("(chat) => WPP.chat.markIsComposing(chat, 50)", CHAT)

    async def paused() -> list[str]:
        told = (await linked.control("events"))["events"]
        states = [event["state"] for event in told if event["event"] == "chatstate"]
        return states if states[-1:] == ["paused"] else []

    assert await until(paused) == ["composing", "paused"]


async def test_reading_marks_what_was_unread_and_nothing_twice(linked: WaPage) -> None:
    ids = [(await linked.receive(f"Ujumbe {at}"))["id"] for at in range(3)]
    await linked.until(f"WPP.chat.get('{CHAT}')?.unreadCount === 3")
    marked = await linked.run("(chat) => WPP.chat.markIsRead(chat)", CHAT)
    assert marked["unreadCount"] == 3
    await linked.run("(chat) => WPP.chat.markIsRead(chat)", CHAT)
    reads = (await linked.control("reads", phone=PHONE, wait=25))["reads"]
    assert [read["ids"] for read in reads] == [ids]


# -- receiving ------------------------------------------------------------------------------


# wa-js waits until no module has come for a while: here, until everything is filed.
KEEP_GROWING = """setInterval(() => { if (!window.allFiled && window.__d)
  window.__d(`SimFiller${performance.now()}`, [], () => {}); }, 100);"""


async def everything_is_filed(wa: WaPage) -> None:
    """The page has stored all that the platform had for it."""

    async def filed() -> bool:
        [device] = (await wa.control("state"))["devices"]
        return device["online"] and not device["queued"]

    await until(filed, "the page has everything", within_s=LIMIT_S)


async def test_messages_that_came_while_the_page_was_closed_are_unread_without_events(
    linked: WaPage,
) -> None:
    await linked.receive("Kabla")
    await linked.event("chat.new_message")
    await linked.close()
    for text in ("Moja", "Mbili"):
        await linked.receive(text)
    since = len(linked.events)
    await linked.open(goto=False)
    await linked.context.add_init_script(KEEP_GROWING)
    await linked.page.goto(linked.simulator.url)

    await everything_is_filed(linked)
    await linked.run("window.allFiled = true")
    await linked.until(f"{READY} && WPP.chat.get('{CHAT}').unreadCount === 3")
    chats = await linked.run(
        """async () => (await WPP.chat.list({ignoreGroupMetadata: true}))
          .map((chat) => [String(chat.id), chat.unreadCount, chat.hasUnread])"""
    )
    assert chats == [[CHAT, 3, True]]
    assert await linked.run(BODIES, [CHAT, {"count": 20}]) == ["Kabla", "Moja", "Mbili"]
    unread = await linked.run(BODIES, [CHAT, {"onlyUnread": True}])
    assert unread == ["Kabla", "Moja", "Mbili"]
    assert [e for e in linked.events[since:] if e[0] == "chat.new_message"] == []


async def test_history_reaches_back_behind_what_is_in_memory(wa: WaPage) -> None:
    past = [{"with": CUSTOMER, "text": f"h{at}", "t": 1_700_000_000 + at} for at in range(60)]
    await wa.pair(history=past)
    assert wa.values("chat.new_message") == []
    everything = [f"h{at}" for at in range(60)]
    assert await wa.run(BODIES, [CHAT, {"count": -1}]) == everything
    await wa.close()
    await wa.open()
    await wa.until(READY)
    assert await wa.run(BODIES, [CHAT, {"count": 5}]) == everything[-5:]
    assert await wa.run(BODIES, [CHAT, {"count": -1}]) == everything
    oldest = await wa.run(
        "async (chat) => (await WPP.chat.getMessages(chat, {count: -1}))[0].id.toString()", CHAT
    )
    assert not await wa.run("(id) => Boolean(WPP.whatsapp.MsgStore.get(id))", oldest)
    found = await wa.run("async (id) => (await WPP.chat.getMessageById(id)).body", oldest)
    assert found == "h0"
    after = {"count": 3, "direction": "after", "id": oldest}
    assert await wa.run(BODIES, [CHAT, after]) == ["h1", "h2", "h3"]
    with pytest.raises(Exception, match="not found"):
        await wa.run("(id) => WPP.chat.getMessageById(id)", f"false_{CHAT}_NIMEPOTEA")


async def test_what_the_owner_types_on_the_phone_comes_as_an_own_message(linked: WaPage) -> None:
    await linked.receive("Nitakupigia", from_me=True)
    own = await linked.event("chat.new_message")
    assert (own["fromMe"], own["from"], own["to"]) == (True, f"{PHONE}@c.us", CHAT)
    assert await linked.run(f"WPP.chat.get('{CHAT}').unreadCount") == 0


async def test_a_chat_under_a_lid_knows_its_phone_number(linked: WaPage) -> None:
    await linked.receive("Habari", lid=LID, name="Asha")
    heard = await linked.event("chat.new_message")
    assert (heard["chat"], heard["from"]) == (LID_CHAT, LID_CHAT)
    entry = await linked.run("(chat) => WPP.contact.getPnLidEntry(chat)", LID_CHAT)
    assert entry["phoneNumber"]["_serialized"] == CHAT
    assert (await linked.run("(id) => WPP.contact.getPnLidEntry(id)", CHAT))["lid"]["id"] == LID
    names = await linked.run(
        "async (id) => { const c = await WPP.contact.get(id); return [c.name, c.pushname]; }",
        LID_CHAT,
    )
    assert names == ["Asha Juma", "Asha"]
    sent = await linked.send(LID_CHAT, "Karibu")
    assert sent["from"] == await linked.run("String(WPP.conn.getMyUserLid())")
    [arrived] = await linked.outbox(1)
    assert (arrived["chat"], arrived["to"]) == (LID_CHAT, CUSTOMER)


async def test_contacts_have_names_from_the_book_or_their_own(linked: WaPage) -> None:
    await linked.receive("Mimi ni Juma", **{"from": "255722222222"}, name="Juma")
    await linked.event("chat.new_message")
    names = await linked.run(
        """async (ids) => Promise.all(ids.map(async (id) => { const c = await WPP.contact.get(id);
          return [c.name ?? null, c.pushname ?? null, c.formattedName, c.isMyContact]; }))""",
        [CHAT, "255722222222@c.us"],
    )
    assert names == [["Asha Juma", None, "Asha Juma", True], [None, "Juma", "Juma", False]]


async def test_a_ciphertext_comes_twice_under_one_id(linked: WaPage) -> None:
    await linked.receive("Siri", type="ciphertext")
    await linked.event("chat.new_message", lambda m: m["type"] == "chat")
    heard = [(m["type"], m["body"]) for m in linked.values("chat.new_message")]
    assert heard == [("ciphertext", None), ("chat", "Siri")]
    assert len({m["id"] for m in linked.values("chat.new_message")}) == 1


@pytest.mark.parametrize(
    ("sent", "seen", "counts"),
    [
        ({"type": "image", "text": "Picha", "extra": {"thumbnail": "AAAA"}},
         {"type": "image", "caption": "Picha", "body": "AAAA"}, True),
        ({"type": "sticker"}, {"type": "sticker", "body": ""}, True),
        ({"type": "ptt", "extra": {"mimetype": "audio/ogg"}}, {"type": "ptt", "body": ""}, True),
        ({"type": "location", "text": "Posta", "extra": {"lat": -6.8, "lng": 39.3}},
         {"type": "location", "lat": -6.8, "body": ""}, True),
        ({"type": "vcard", "text": "BEGIN:VCARD"}, {"type": "vcard", "body": "BEGIN:VCARD"}, True),
        ({"type": "revoked"}, {"type": "revoked", "body": None}, False),
        ({"type": "call_log"}, {"type": "call_log"}, False),
        ({"type": "e2e_notification", "extra": {"subtype": "encrypt"}},
         {"type": "e2e_notification", "subtype": "encrypt"}, False),
        ({"type": "gp2", "group": GROUP, "extra": {"subtype": "add"}},
         {"type": "gp2", "subtype": "add", "chat": GROUP}, False),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)  # fmt: skip
async def test_other_kinds_of_messages(
    linked: WaPage, sent: dict[str, Any], seen: dict[str, Any], counts: bool
) -> None:
    await linked.receive(**{"text": "", "name": "Asha", **sent})
    heard = await linked.event("chat.new_message")
    assert seen.items() <= heard.items()
    await linked.until(f"WPP.chat.get('{heard['chat']}').unreadCount + 1 === {int(counts) + 1}")


async def test_a_message_taken_back_loses_its_text(linked: WaPage) -> None:
    asked = await linked.receive("Samahani")
    heard = await linked.event("chat.new_message")
    await linked.receive("", type="revoked", extra={"revokes": asked["id"]})
    gone = await linked.event("chat.msg_revoke")
    assert gone == {"refId": heard["id"], "type": "sender_revoke"}
    await linked.until(f"WPP.whatsapp.MsgStore.get('{heard['id']}').type === 'revoked'")
    await everything_is_filed(linked)
    await linked.close()
    await linked.open()
    await linked.until(READY)
    assert await linked.run(BODIES, [CHAT, {}]) == [None]


async def test_a_reaction_is_no_message(linked: WaPage) -> None:
    sent = await linked.send(CHAT, "Karibu")
    [arrived] = await linked.outbox(1)
    target = {"id": arrived["id"], "from_me": True}
    await linked.receive("❤", type="reaction", extra={"target": target})
    reaction = await linked.event("chat.new_reaction")
    assert reaction == {"msgId": sent["id"], "text": "❤"}
    assert [m["fromMe"] for m in linked.values("chat.new_message")] == [True]


async def test_a_group_message_names_its_author(linked: WaPage) -> None:
    await linked.receive("Hamjambo", group=GROUP, name="Asha")
    heard = await linked.event("chat.new_message")
    assert (heard["chat"], heard["from"], heard["author"]) == (GROUP, GROUP, CHAT)
    assert heard["id"].endswith(f"_{CHAT}")
    sent = await linked.send(GROUP, "Hatujambo")
    assert sent["id"].endswith("@lid")
    [arrived] = await linked.outbox(1)
    await linked.control("receipt", phone=PHONE, id=arrived["id"], ack=3)
    await linked.until(f"WPP.whatsapp.MsgStore.get('{sent['id']}').ack === 3")


async def test_the_status_feed_is_no_chat(linked: WaPage) -> None:
    await linked.receive("Hali yangu", group="status@broadcast", name="Asha")
    await linked.receive("Habari")
    await linked.event("chat.new_message", lambda m: m["chat"] == CHAT)
    assert await linked.run("WPP.whatsapp.ChatStore.map((chat) => String(chat.id))") == [CHAT]


async def test_a_channel_is_no_chat_either(linked: WaPage) -> None:
    channel = "120363999@newsletter"
    await linked.receive("Matangazo", group=channel)
    heard = await linked.event("chat.new_message")
    assert heard["chat"] == channel
    assert await linked.run("WPP.whatsapp.ChatStore.length") == 0
    await linked.until(f"WPP.chat.get('{channel}')?.unreadCount === 1")


async def test_a_message_that_was_not_confirmed_is_not_doubled(linked: WaPage) -> None:
    """The server sends it again when the socket dies before the page's answer."""
    await linked.receive("Mara moja", id="MARAMOJA")
    await linked.event("chat.new_message")
    await linked.receive("Mara moja", id="MARAMOJA")
    await linked.receive("Nyingine")
    await linked.event("chat.new_message", lambda m: m["body"] == "Nyingine")
    assert await linked.run(BODIES, [CHAT, {}]) == ["Mara moja", "Nyingine"]
    await linked.until(f"WPP.chat.get('{CHAT}').unreadCount === 2")
