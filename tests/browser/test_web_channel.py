"""The web channel on the simulator: pairing, messages of all kinds, sending, settling, states."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowhq.channel.web.convert import NEWEST
from flowhq.channel.web.host import BrowserHost
from flowhq.errors import SendRefusedError, SendUnknownError
from flowhq.events import (
    Conflicted,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    MessageSeen,
    Pairing,
    QrIdle,
    QrShown,
    Ready,
)
from flowhq.model import Ack, InboundMessage, Jid, MessageId, MessageKind, Source
from tests.browser.simulator import Simulator
from tests.browser.web_tenant import (
    CHAT,
    CUSTOMER,
    HASTY,
    LID_CHAT,
    LIMIT_S,
    PHONE,
    WebTenant,
    open_host,
    open_tenant,
    outbound,
    settings_for,
)
from tests.fakes.clock import until

ID = "3EB0AABBCCDDEEFF0011"
# Chats are found only once the test says so.
HOLD_CHATS = """() => {
  const action = require('WAWebFindChatAction');
  const find = action.findOrCreateLatestChat;
  const gate = new Promise((open) => { window.letChatsGo = open; });
  window.chatsHeld = 0;
  let first;
  window.firstChatHeld = new Promise((held) => { first = held; });
  action.findOrCreateLatestChat = async (...given) => {
    window.chatsHeld += 1;
    first();
    await gate;
    return find(...given);
  };
}"""


# -- the link ---------------------------------------------------------------------------------


async def test_a_scanned_code_leads_through_pairing_to_ready(tenant: WebTenant) -> None:
    code = await tenant.told(QrShown)
    assert len(code.text.split(",")) == 4
    assert code.expires_at is not None
    assert timedelta(0) < code.expires_at - datetime.now(UTC) <= timedelta(seconds=60)
    assert not (await tenant.channel.probe()).connected

    ready = await tenant.pair(lid="100000000000001")

    assert (ready.phone, ready.lid, ready.document) == (PHONE, "100000000000001", 1)
    kinds = [type(event) for event in tenant.events]
    assert kinds == [QrShown, Pairing, Ready]
    health = await tenant.channel.probe()
    assert (health.connected, health.mode) == (True, "MAIN")


async def test_codes_are_told_once_each_until_they_run_out(
    host: BrowserHost, simulator: Simulator
) -> None:
    await simulator.control("config", qr_max=2)
    async with open_tenant(host, simulator) as tenant:
        await tenant.told(QrShown)
        since = len(tenant.events)
        await simulator.control("clock", advance_s=51)
        await tenant.told(QrShown, since=since)
        await simulator.control("clock", advance_s=51)
        await tenant.told(QrIdle)
        codes = [code.text for code in tenant.all_of(QrShown)]
        assert len(codes) == len(set(codes)) == 2


async def test_a_page_that_reloads_after_the_scan_gets_ready_in_its_new_document(
    host: BrowserHost, simulator: Simulator
) -> None:
    await simulator.control("config", reload_after_pair=True)
    async with open_tenant(host, simulator) as tenant:
        ready = await tenant.pair()
        assert ready.document == 2


async def test_a_pairing_survives_the_restart_of_the_browser(
    host: BrowserHost, simulator: Simulator
) -> None:
    async with open_tenant(host, simulator) as tenant:
        await tenant.pair()
        await tenant.close()
        await tenant.receive("While you were away")
        since = len(tenant.events)

        await tenant.open()

        assert (await tenant.told(Ready, since=since)).phone == PHONE
        assert tenant.all_of(QrShown, since) == []

        async def past() -> Sequence[InboundMessage]:
            return await tenant.channel.history(CHAT, since=None, limit=50)

        history = await until(past, "what came meanwhile", within_s=LIMIT_S)
        assert [(m.text, m.source) for m in history] == [("While you were away", Source.CATCHUP)]


async def test_a_removed_device_tells_why_and_shows_a_new_code(tenant: WebTenant) -> None:
    await tenant.pair()
    since = len(tenant.events)

    await tenant.simulator.control("logout", phone=PHONE)

    assert (await tenant.told(LoggedOut, since=since)).reason == "unknown_companion"
    await tenant.told(QrShown, since=since)
    assert len(tenant.all_of(LoggedOut)) == 1
    assert tenant.all_of(ConnectionLost, since) == []
    await tenant.pair()


async def test_logging_out_unlinks_the_device_at_the_phone(tenant: WebTenant) -> None:
    await tenant.pair()
    since = len(tenant.events)

    await tenant.channel.log_out()

    await tenant.told(LoggedOut, since=since)
    await tenant.told(QrShown, since=since)
    assert (await tenant.simulator.control("state"))["devices"] == []


async def test_a_device_that_was_removed_while_closed_is_logged_out_when_it_opens(
    host: BrowserHost, simulator: Simulator
) -> None:
    async with open_tenant(host, simulator) as tenant:
        await tenant.pair()
        await tenant.close()
        await simulator.control("logout", phone=PHONE)
        since = len(tenant.events)

        await tenant.open()

        await tenant.told(LoggedOut, since=since)
        await tenant.told(QrShown, since=since)
        assert tenant.all_of(Ready, since) == []


async def test_a_lost_connection_is_told_and_comes_back_by_itself(tenant: WebTenant) -> None:
    await tenant.pair()
    since = len(tenant.events)

    await tenant.simulator.control("drop", seconds=600)
    await tenant.told(ConnectionLost, since=since)
    assert not (await tenant.channel.probe()).connected
    await tenant.receive("Bado upo?")
    await tenant.simulator.control("restore")

    await tenant.told(Ready, since=since)
    (message,) = await tenant.messages(1, since=since)
    assert message.text == "Bado upo?"


async def test_another_window_is_told_as_a_conflict(tenant: WebTenant) -> None:
    await tenant.pair()
    since = len(tenant.events)

    await tenant.simulator.control("conflict", phone=PHONE)

    await tenant.told(Conflicted, since=since)
    assert not (await tenant.channel.probe()).connected
    assert tenant.all_of(ConnectionLost, since) == []


async def test_a_reload_gives_a_new_document_and_calls_wait_for_it(tenant: WebTenant) -> None:
    await tenant.pair()
    await tenant.receive("Habari")
    await tenant.messages(1)
    since = len(tenant.events)

    await tenant.simulator.control("reload", phone=PHONE)
    history = await tenant.channel.history(CHAT, since=None, limit=10)

    assert [message.text for message in history] == ["Habari"]
    assert (await tenant.told(Ready, since=since)).document == 2


async def test_calls_in_the_midst_of_reloads_never_see_an_empty_store(tenant: WebTenant) -> None:
    await tenant.pair()
    await tenant.receive("Habari")
    await tenant.messages(1)
    await tenant.channel.send(outbound(ID))
    for pause_s in (0, 0.03, 0.06, 0.1, 0.3, 0.9):
        since = len(tenant.events)
        await tenant.simulator.control("reload", phone=PHONE)
        await asyncio.sleep(pause_s)

        assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.SERVER
        history = await tenant.channel.history(CHAT, since=None, limit=10)
        assert [message.text for message in history] == ["Habari", "Karibu"]

        await tenant.told(Ready, since=since)


# -- what comes in ----------------------------------------------------------------------------

THUMBNAIL = "/9j/4AAQSkZJRgABAQAAAQABAAD"
KINDS: list[tuple[dict[str, Any], MessageKind, str, dict[str, Any]]] = [
    ({"type": "image", "text": "Picha", "extra": {"thumbnail": THUMBNAIL, "mimetype": "image/png"}},
     MessageKind.IMAGE, "Picha", {"mimetype": "image/png"}),
    ({"type": "video", "extra": {"thumbnail": THUMBNAIL, "duration": 12}},
     MessageKind.VIDEO, "", {"duration_s": 12}),
    ({"type": "ptt", "extra": {"mimetype": "audio/ogg; codecs=opus", "duration": "3"}},
     MessageKind.AUDIO, "", {"voice": True, "duration_s": 3}),
    ({"type": "audio", "extra": {"mimetype": "audio/mpeg"}},
     MessageKind.AUDIO, "", {"mimetype": "audio/mpeg"}),
    ({"type": "document", "extra": {"filename": "bei.pdf", "size": 1234}},
     MessageKind.DOCUMENT, "", {"filename": "bei.pdf", "size": 1234}),
    ({"type": "sticker"}, MessageKind.STICKER, "", {}),
    ({"type": "location", "extra": {"lat": -6.8, "lng": 39.28, "loc": "Kariakoo"}},
     MessageKind.LOCATION, "", {"latitude": -6.8, "longitude": 39.28, "name": "Kariakoo"}),
    ({"type": "vcard", "text": "BEGIN:VCARD", "extra": {"vcardFormattedName": "Juma"}},
     MessageKind.CONTACTS, "", {"contacts": [{"name": "Juma", "vcard": "BEGIN:VCARD"}]}),
    ({"type": "multi_vcard", "extra": {"vcardList": [{"displayName": "A", "vcard": "X"}] * 2}},
     MessageKind.CONTACTS, "", {"contacts": [{"name": "A", "vcard": "X"}] * 2}),
    ({"type": "poll_creation", "extra": {"pollName": "Lini?", "pollOptions": [{"name": "Leo"}]}},
     MessageKind.POLL, "", {"question": "Lini?", "options": ["Leo"]}),
    ({"type": "order", "extra": {"orderId": "77", "itemCount": 2}},
     MessageKind.ORDER, "", {"order_id": "77", "items": 2}),
    ({"type": "buttons_response", "text": "Ndiyo", "extra": {"selectedButtonId": "yes"}},
     MessageKind.INTERACTIVE, "", {"selected_id": "yes"}),
    ({"type": "groups_v4_invite", "text": "x"}, MessageKind.UNSUPPORTED, "", {}),
]  # fmt: skip


async def test_every_kind_is_told_with_its_content_and_no_thumbnail(tenant: WebTenant) -> None:
    await tenant.pair()
    for given, *_ in KINDS:
        await tenant.receive(**given)

    messages = await tenant.messages(len(KINDS))

    for message, (given, kind, text, content) in zip(messages, KINDS, strict=True):
        assert (message.kind, message.text) == (kind, text), given
        assert message.raw_type == given["type"]
        assert content.items() <= dict(message.content).items(), given
        assert THUMBNAIL not in repr(message)


async def test_a_text_comes_whole_with_who_and_when(tenant: WebTenant) -> None:
    await tenant.pair()
    text = "Habari 👋🏾\n«نعم»\ud83d mstari\x00 wa pili"
    before = datetime.now(UTC) - timedelta(seconds=2)

    message_id = await tenant.receive(text.replace("\ud83d", ""))

    (message,) = await tenant.messages(1)
    assert message.text == "Habari 👋🏾\n«نعم» mstari wa pili"
    assert message.message_id == message_id
    assert (message.chat, message.sender, message.phone) == (CHAT, CHAT, CUSTOMER)
    assert (message.from_me, message.push_name, message.lid) == (False, "Amina", "")
    assert before <= message.at <= datetime.now(UTC) + timedelta(seconds=2)
    assert message.source is Source.LIVE


async def test_a_chat_under_a_lid_has_its_phone_number_resolved(tenant: WebTenant) -> None:
    await tenant.pair()
    await tenant.receive("Siri", lid=LID_CHAT.partition("@")[0])

    (message,) = await tenant.messages(1)

    assert message.chat == LID_CHAT
    assert (message.lid, message.phone) == (LID_CHAT.partition("@")[0], CUSTOMER)


async def test_what_the_owner_types_on_the_phone_is_told_as_own(tenant: WebTenant) -> None:
    await tenant.pair()
    await tenant.receive("Nitajibu mwenyewe", from_me=True)

    (message,) = await tenant.messages(1)

    assert (message.from_me, message.chat, message.text) == (True, CHAT, "Nitajibu mwenyewe")


async def test_groups_status_channels_and_notices_stay_in_the_page_and_are_counted(
    tenant: WebTenant,
) -> None:
    await tenant.pair()
    await tenant.receive("kikundi", group="120363000000000001@g.us")
    await tenant.receive("hali", group="status@broadcast")
    await tenant.receive("habari", group="120363000000000002@newsletter")
    await tenant.receive("", type="e2e_notification")
    await tenant.receive("Kwako")

    (message,) = await tenant.messages(1)

    assert message.text == "Kwako"
    detail = (await tenant.channel.probe()).detail.split()
    assert {"dropped_group=1", "dropped_e2e_notification=1"} <= set(detail)


async def test_many_messages_at_once_come_in_order_and_none_is_lost(tenant: WebTenant) -> None:
    await tenant.pair()
    await asyncio.gather(
        *(tenant.receive(f"{n}", **{"from": f"25571000{n % 7:04}"}) for n in range(300))
    )

    messages = await tenant.messages(300)

    assert sorted(int(message.text) for message in messages) == list(range(300))


async def test_a_buffer_that_nobody_reads_tells_how_much_it_dropped(
    simulator: Simulator, tmp_path: Path
) -> None:
    await simulator.control("config", sync_delay_ms=0, qr_ttl=50)
    settings = settings_for(simulator.url, tmp_path / "profiles", event_buffer=5)
    async with open_host(settings) as host, open_tenant(host, simulator) as tenant:
        await tenant.pair()
        since = len(tenant.events)
        # The reader gets no turn while the buffer is filled from within the loop.
        feed = tenant.channel._tab.feed  # noqa: SLF001
        raw = {"type": "chat", "t": 1, "text": "x", "chat": CHAT, "from": CHAT}
        batch = [{"k": "msg", "m": {**raw, "id": f"A{n}"}} for n in range(12)]
        feed.take_events(batch)

        await tenant.told(EventsDropped, since=since)
        await tenant.messages(5, since=since)

        assert tenant.all_of(EventsDropped, since) == [EventsDropped(7)]
        assert len(tenant.all_of(MessageSeen, since)) == 5


# -- what goes out ----------------------------------------------------------------------------


async def test_a_message_is_sent_under_our_id_and_its_acks_are_told(tenant: WebTenant) -> None:
    await tenant.pair()

    receipt = await tenant.channel.send(outbound(ID, "Karibu 🙏 https://example.com"))

    assert (receipt.message_id, receipt.ack) == (ID, Ack.SERVER)
    (sent,) = await tenant.outbox(1)
    assert (sent["id"], sent["to"], sent["text"]) == (ID, CUSTOMER, "Karibu 🙏 https://example.com")
    (echo,) = await tenant.messages(1)
    assert (echo.message_id, echo.from_me, echo.chat) == (ID, True, CHAT)
    for level in (Ack.DELIVERED, Ack.READ):
        await tenant.simulator.control("receipt", phone=PHONE, id=ID, ack=int(level))
    for level in (Ack.SERVER, Ack.DELIVERED, Ack.READ):
        await tenant.ack_of(ID, level)
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.READ


async def test_a_message_to_a_lid_is_sent_and_found_under_lid_and_number(
    tenant: WebTenant,
) -> None:
    await tenant.pair()
    await tenant.receive("Siri", lid=LID_CHAT.partition("@")[0])
    await tenant.messages(1)

    await tenant.channel.send(outbound(ID, to=LID_CHAT))

    (sent,) = await tenant.outbox(1)
    assert sent["id"] == ID
    assert await tenant.channel.look_up(LID_CHAT, MessageId(ID)) == Ack.SERVER
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.SERVER


async def test_a_refused_message_says_so_and_is_not_sent(tenant: WebTenant) -> None:
    await tenant.pair()
    for error, retry in (("ERROR_UNKNOWN", True), ("ERROR_CANCELLED", False)):
        await tenant.simulator.control("config", send=error)
        with pytest.raises(SendRefusedError, match=error) as refused:
            await tenant.channel.send(outbound(f"{ID}{error[6]}"))
        assert refused.value.retry is retry
    assert await tenant.outbox() == []


async def test_a_page_that_is_not_linked_sends_nothing_and_says_so(tenant: WebTenant) -> None:
    await tenant.told(QrShown)

    with pytest.raises(SendRefusedError, match="not_ready") as refused:
        await tenant.channel.send(outbound(ID))

    assert refused.value.retry is True


async def test_an_address_that_is_none_is_refused_for_good(tenant: WebTenant) -> None:
    await tenant.pair()

    with pytest.raises(SendRefusedError) as refused:
        await tenant.channel.send(outbound(ID, to=Jid("not an address")))

    assert refused.value.retry is False


@pytest.mark.parametrize("host", [HASTY], indirect=True)
async def test_a_held_message_is_unknown_pending_in_the_store_and_sent_once_later(
    tenant: WebTenant,
) -> None:
    await tenant.pair()
    await tenant.simulator.control("config", send="hold")

    with pytest.raises(SendUnknownError):
        await tenant.channel.send(outbound(ID))

    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.PENDING
    assert await tenant.channel.look_up(CHAT, MessageId("3EB0" + "0" * 18)) is None
    await tenant.simulator.control("config", send="ok")
    await tenant.ack_of(ID, Ack.SERVER)
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.SERVER
    assert [message["id"] for message in await tenant.outbox(1)] == [ID]


async def test_a_send_that_the_page_is_still_at_is_pending_and_is_not_begun_again(
    tenant: WebTenant,
) -> None:
    """A page that was busy for longer than the limit finds the look-up right behind the send."""
    await tenant.pair()
    patient = replace(tenant.host.settings, send_timeout_s=60)
    tenant.channel._settings = patient  # noqa: SLF001
    page = tenant.page()
    await page.evaluate(HOLD_CHATS)
    sending = asyncio.ensure_future(tenant.channel.send(outbound(ID)))
    async with asyncio.timeout(LIMIT_S):
        await page.evaluate("() => window.firstChatHeld")

    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.PENDING
    again = asyncio.ensure_future(tenant.channel.send(outbound(ID)))
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.PENDING
    assert await page.evaluate("() => window.chatsHeld") == 1
    await page.evaluate("() => window.letChatsGo()")

    assert [(await one).ack for one in (sending, again)] == [Ack.SERVER, Ack.SERVER]
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) == Ack.SERVER
    assert [message["id"] for message in await tenant.outbox(1)] == [ID]


@pytest.mark.parametrize("host", [HASTY], indirect=True)
async def test_a_message_sent_while_offline_is_unknown_and_goes_out_after_the_reconnect(
    tenant: WebTenant,
) -> None:
    await tenant.pair()
    await tenant.simulator.control("drop", seconds=600)
    await tenant.told(ConnectionLost)

    with pytest.raises(SendUnknownError):
        await tenant.channel.send(outbound(ID))

    await tenant.simulator.control("restore")
    await tenant.ack_of(ID, Ack.SERVER)
    assert [message["id"] for message in await tenant.outbox(1)] == [ID]


@pytest.mark.parametrize("host", [HASTY], indirect=True)
async def test_a_lost_answer_is_unknown_and_found_in_the_store_after_a_restart(
    tenant: WebTenant,
) -> None:
    await tenant.pair()
    await tenant.simulator.control("config", ack_sends=False, dedup_sends=False)
    with pytest.raises(SendUnknownError):
        await tenant.channel.send(outbound(ID))
    await tenant.outbox(1)
    await tenant.close()
    await tenant.simulator.control("config", ack_sends=True)
    since = len(tenant.events)

    await tenant.open()

    await tenant.told(Ready, since=since)
    assert await tenant.channel.look_up(CHAT, MessageId(ID)) is not None
    assert [message["id"] for message in await tenant.outbox(1)] == [ID]


async def test_chats_and_history_give_what_catching_up_needs(tenant: WebTenant) -> None:
    now = int(datetime.now(UTC).timestamp())
    history = [
        {"with": CUSTOMER, "text": f"h{n}", "t": now - 600 + n * 60, "from_me": n % 2 == 1}
        for n in range(6)
    ]
    await tenant.pair(history=history)
    await tenant.receive("juzi", **{"from": "255722222222"})
    await tenant.messages(1)

    heads = await tenant.channel.chats()
    assert [(head.chat, head.phone) for head in heads] == [
        (Jid("255722222222@c.us"), "255722222222"),
        (CHAT, CUSTOMER),
    ]
    everything = await tenant.channel.history(CHAT, since=None, limit=50)
    assert [message.text for message in everything] == [f"h{n}" for n in range(6)]
    assert [message.from_me for message in everything] == [n % 2 == 1 for n in range(6)]
    since = datetime.fromtimestamp(now - 600 + 3 * 60, UTC)
    newer = await tenant.channel.history(CHAT, since=since, limit=50)
    assert [message.text for message in newer] == ["h3", "h4", "h5"]
    last = await tenant.channel.history(CHAT, since=None, limit=2)
    assert [message.text for message in last] == ["h4", "h5"]
    assert await tenant.channel.history(Jid("255799999999@c.us"), since=None, limit=5) == []


async def test_a_chat_with_a_strange_time_costs_none_of_the_others(tenant: WebTenant) -> None:
    await tenant.pair()
    await tenant.receive("ndizi")
    await tenant.receive("juzi", **{"from": "255722222222"})
    await tenant.messages(2)
    for strange in ("5n", "Symbol.iterator", "({})"):
        await tenant.page().evaluate(f"chat => {{ WPP.chat.get(chat).t = {strange}; }}", CHAT)
        heads = await tenant.channel.chats()
        assert [head.last_at == NEWEST for head in heads] == [False, True]
        assert [head.chat for head in heads] == [Jid("255722222222@c.us"), CHAT]


async def test_reading_and_typing_are_seen_at_the_phone(tenant: WebTenant) -> None:
    await tenant.pair()
    message_id = await tenant.receive("Habari")
    await tenant.messages(1)

    await tenant.channel.show_typing(CHAT, 5)
    await tenant.channel.mark_read(CHAT)

    reads = await tenant.simulator.control("reads", phone=PHONE, wait=25)
    assert [read["ids"] for read in reads["reads"]] == [[message_id]]
    events = (await tenant.simulator.control("events"))["events"]
    assert "chatstate" in {event["event"] for event in events}


async def test_three_tenants_at_once_hear_only_their_own_phone(
    host: BrowserHost, simulator: Simulator
) -> None:
    phones = ["255700000011", "255700000022", "255700000033"]
    tenants = [WebTenant(host, simulator, phone) for phone in phones]
    try:
        await asyncio.gather(*(tenant.open() for tenant in tenants))
        await asyncio.gather(*(tenant.pair() for tenant in tenants))
        await asyncio.gather(*(tenant.receive(f"kwa {tenant.phone}") for tenant in tenants))
        for tenant in tenants:
            (message,) = await tenant.messages(1)
            assert message.text == f"kwa {tenant.phone}"
        await until(lambda: all(len(t.all_of(MessageSeen)) == 1 for t in tenants), "one each")
    finally:
        for tenant in tenants:
            await tenant.close()
