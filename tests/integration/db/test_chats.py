"""One person, one chat, whatever jid it shows under."""

import asyncio
from datetime import timedelta

import pytest

from flowhq.attempts import ATTEMPT_WAITS_S
from flowhq.db import contacts, deadletters, inbox
from flowhq.errors import NotFoundError
from flowhq.model import Ack, InboxKey, InboxState, Jid, Reply
from tests.fakes.clock import until
from tests.integration.db.conftest import Shop
from tests.integration.db.interleaving import recording, rows, waits_or_is_done
from tests.integration.db.messages import (
    ASHA,
    ASHA_LID,
    ASHA_PN,
    BY_LID,
    BY_PHONE,
    TEXT,
    message,
    say,
)

LID_DIGITS = ASHA_LID.partition("@")[0]
NOTICE = Reply("Subiri", "please_wait")


async def test_a_mapping_in_the_first_message_makes_both_jids_one_chat(shop: Shop) -> None:
    both = message("3A1", chat=ASHA_LID, phone=ASHA)
    first = await shop.ledger.record(both, state=InboxState.NEW)
    second = await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    assert first.chat_key == second.chat_key == BY_LID
    (contact,) = await rows(shop, "SELECT phone_number, lid FROM contacts")
    assert tuple(contact) == ("+255712345678", ASHA_LID)


async def test_an_unmapped_lid_is_a_chat_of_its_own(shop: Shop) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    assert len(await rows(shop, "SELECT FROM conversations")) == 2
    (log, _) = await rows(shop, "SELECT from_number FROM message_logs ORDER BY wa_message_id")
    assert log["from_number"] == ASHA_LID


async def test_two_chats_merge_when_the_mapping_appears(shop: Shop) -> None:
    by_lid = message("3A1", chat=ASHA_LID, push_name="", text="one")
    first = await shop.ledger.record(by_lid, state=InboxState.NEW)
    by_phone = message("3A2", chat=ASHA_PN, text="two", at=TEXT.at + timedelta(minutes=1))
    second = await shop.ledger.record(by_phone, state=InboxState.NEW)
    (reply,) = await shop.ledger.process(second.key, say("Karibu", opted_out=True))
    joined = message("3A3", chat=ASHA_LID, phone=ASHA, at=TEXT.at + timedelta(minutes=2))
    third = await shop.ledger.record(joined, state=InboxState.NEW)

    assert third.chat_key == first.chat_key == BY_LID
    assert len(await rows(shop, "SELECT FROM conversations")) == 1
    (contact,) = await rows(
        shop, "SELECT phone_number, lid, push_name, opted_out_at IS NOT NULL FROM contacts"
    )
    assert tuple(contact) == ("+255712345678", ASHA_LID, "Asha", True)
    in_chat = await shop.ledger.waiting(first.chat_key, limit=9)
    assert [row.key.message_id for row in in_chat] == ["3A1", "3A3"]
    (outgoing,) = await shop.ledger.unsettled()
    assert (outgoing.outbox_id, outgoing.chat_key) == (reply.outbox_id, BY_LID)
    logs = await rows(shop, "SELECT DISTINCT conversation_id IS NULL FROM message_logs")
    assert [tuple(row) for row in logs] == [(False,)]
    (cursor,) = await rows(shop, "SELECT chat_key, last_timestamp FROM chat_cursors")
    assert tuple(cursor) == (BY_LID, joined.at)


async def test_the_chats_that_are_gone_are_told_by_the_message_that_merged_them(
    shop: Shop,
) -> None:
    first = await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    second = await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    both = message("3A3", chat=ASHA_PN, lid=LID_DIGITS)
    joined = await shop.ledger.record(both, state=InboxState.NEW)
    again = await shop.ledger.record(both, state=InboxState.NEW)
    later = await shop.ledger.record(message("3A4", chat=ASHA_PN), state=InboxState.NEW)
    assert (joined.chat_key, joined.merged) == (BY_LID, (BY_PHONE,))
    assert first.merged == second.merged == again.merged == later.merged == ()


async def test_three_chats_become_one_at_once_and_in_turn(shop: Shop) -> None:
    other_phone, other_lid = "255712000111", "100200300999"
    for name, chat in (("3A1", f"{other_phone}@c.us"), ("3A2", ASHA_LID), ("3A3", ASHA_PN)):
        await shop.ledger.record(message(name, chat=Jid(chat)), state=InboxState.NEW)
    changed = message("3A4", chat=ASHA_LID, phone=other_phone)
    in_turn = await shop.ledger.record(changed, state=InboxState.NEW)
    assert (in_turn.chat_key, in_turn.merged) == (f"{other_phone}@c.us", (BY_LID,))
    await shop.ledger.record(message("3A5", chat=Jid(f"{other_lid}@lid")), state=InboxState.NEW)
    three = message("3A6", chat=Jid(f"{other_lid}@lid"), phone=ASHA, lid=LID_DIGITS)
    at_once = await shop.ledger.record(three, state=InboxState.NEW)
    assert at_once.chat_key == in_turn.chat_key
    assert set(at_once.merged) == {BY_PHONE, f"{other_lid}@lid"}


async def test_a_merged_chat_goes_on_working(shop: Shop) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    old = await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    await shop.ledger.record(message("3A3", chat=ASHA_PN, lid=LID_DIGITS), state=InboxState.NEW)
    (row,) = await shop.ledger.process(old.key, say("Karibu"))
    assert (row.chat_key, row.to) == (BY_LID, ASHA_PN)
    assert await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    (notice,) = await shop.ledger.notify(old.chat_key, ASHA_PN, cause="wait:1", reply=NOTICE)
    assert notice.chat_key == BY_LID


async def test_a_notice_that_is_planned_while_its_chat_is_merged_goes_to_the_kept_one(
    shop: Shop,
) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    async with recording(shop, message("3A3", chat=ASHA_PN, lid=LID_DIGITS)):
        noticing = asyncio.create_task(
            shop.ledger.notify(BY_PHONE, ASHA_PN, cause="wait:1", reply=NOTICE)
        )
        await until(lambda: waits_or_is_done(shop, noticing))
    (row,) = await noticing
    assert row.chat_key == BY_LID
    assert [one.outbox_id for one in await shop.ledger.unsettled(BY_LID)] == [row.outbox_id]


async def test_no_notice_is_planned_for_a_chat_that_is_erased_meanwhile(shop: Shop) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_PN), state=InboxState.NEW)
    async with shop.database.tenant(shop.tenant_id) as tx:
        person = await contacts.find_contact(tx, shop.tenant_id, ASHA_PN)
        await tx.execute(contacts.ERASE_CONTACT, shop.tenant_id, person)
        noticing = asyncio.create_task(
            shop.ledger.notify(BY_PHONE, ASHA_PN, cause="wait:1", reply=NOTICE)
        )
        await until(lambda: waits_or_is_done(shop, noticing))
    assert await noticing == []
    assert await shop.ledger.unsettled() == []


async def test_a_dead_letter_that_is_put_back_while_its_chat_is_merged_is_answered(
    shop: Shop,
) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    dead = await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    while await shop.ledger.postpone(dead.key, error="ValueError") is not None:
        pass
    async with recording(shop, message("3A3", chat=ASHA_PN, lid=LID_DIGITS)):
        requeuing = asyncio.create_task(
            deadletters.requeue(shop.database, shop.tenant_id, "3A2", actor="test")
        )
        await until(lambda: waits_or_is_done(shop, requeuing))
    _, chat_key = await requeuing
    assert chat_key == BY_LID
    (row,) = await shop.ledger.process(dead.key, say("Karibu"))
    assert row.chat_key == BY_LID


async def test_a_message_that_waits_in_no_chat_is_not_taken_for_settled(shop: Shop) -> None:
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    await rows(shop, "UPDATE inbox SET chat_key = 'gone@lid' RETURNING true")
    with pytest.raises(NotFoundError):
        await shop.ledger.process(recorded.key, say("Karibu"))
    assert [one.key for one in await shop.ledger.waiting(None, limit=9)] == [recorded.key]


async def test_a_message_that_is_put_off_while_its_chat_is_merged_is_not_counted_at_the_next_start(
    shop: Shop,
) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    put_off = await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    both = message("3A3", chat=ASHA_PN, lid=LID_DIGITS)
    async with shop.database.tenant(shop.tenant_id) as tx:
        await inbox.postpone(tx, shop.tenant_id, put_off.key, "ValueError")
        joining = asyncio.create_task(shop.ledger.record(both, state=InboxState.NEW))
        await until(lambda: waits_or_is_done(shop, joining))
    assert (await joining).merged == (BY_PHONE,)
    assert await shop.ledger.count_interrupted() == []
    second_wait_s = ATTEMPT_WAITS_S[1]
    assert await shop.ledger.postpone(put_off.key, error="ValueError") == second_wait_s


async def test_a_message_that_brings_the_number_waits_for_the_step_before_it(shop: Shop) -> None:
    first = await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    async with shop.database.tenant(shop.tenant_id) as holder:
        await holder.execute("SELECT FROM conversations FOR NO KEY UPDATE")
        step = asyncio.create_task(shop.ledger.process(first.key, say("Karibu")))
        await until(lambda: waits_or_is_done(shop, step))
        both = message("3A2", chat=ASHA_LID, phone=ASHA)
        joining = asyncio.create_task(shop.ledger.record(both, state=InboxState.NEW))
        await until(lambda: waits_or_is_done(shop, joining, waiting=2))
    (row,) = await step
    assert (await joining).chat_key == row.chat_key == BY_LID
    (contact,) = await rows(shop, "SELECT phone_number, lid FROM contacts")
    assert tuple(contact) == ("+255712345678", ASHA_LID)


async def test_recording_while_chats_merge_loses_nothing(shop: Shop) -> None:
    senders: list[dict[str, str]] = [
        {"chat": ASHA_LID},
        {"chat": ASHA_PN},
        {"chat": ASHA_LID, "phone": ASHA},
        {"chat": ASHA_PN, "lid": LID_DIGITS},
    ]
    messages = [message(f"3A{n:03}", **senders[n % 4]) for n in range(40)]
    recorded = await asyncio.gather(
        *(shop.ledger.record(one, state=InboxState.NEW) for one in messages)
    )
    assert all(one.fresh for one in recorded)
    (chat,) = await rows(shop, "SELECT chat_key FROM conversations")
    waiting = await shop.ledger.waiting(chat["chat_key"], limit=100)
    assert len(waiting) == 40
    assert len(await rows(shop, "SELECT FROM contacts")) == 1
    (count,) = await rows(
        shop,
        "SELECT count(*) FROM message_logs l JOIN conversations c ON c.id = l.conversation_id",
    )
    assert count["count"] == 40


async def test_answering_while_chats_merge_loses_nothing(shop: Shop) -> None:
    keys = []
    for number in range(20):
        chat = ASHA_LID if number % 2 else ASHA_PN
        recorded = await shop.ledger.record(message(f"3A{number}", chat=chat), state=InboxState.NEW)
        keys.append(recorded.key)
    joined = message("3AFF", chat=ASHA_LID, phone=ASHA)
    joining = asyncio.create_task(shop.ledger.record(joined, state=InboxState.NEW))
    planned = await asyncio.gather(*(shop.ledger.process(key, say("Karibu")) for key in keys))
    assert [len(rows) for rows in planned] == [1] * 20
    chat_key = (await joining).chat_key
    assert {row.chat_key for row in await shop.ledger.unsettled()} == {chat_key}


async def test_a_group_is_never_mixed_up_with_its_sender(shop: Shop) -> None:
    group = message("3A1", chat=Jid("1203630@g.us"), phone=ASHA, lid=LID_DIGITS)
    first = await shop.ledger.record(group, state=InboxState.SKIPPED, reason="group")
    second = await shop.ledger.record(message("3A2"), state=InboxState.NEW)
    assert first.chat_key != second.chat_key


async def test_a_new_push_name_replaces_the_old_one_but_our_own_never_does(shop: Shop) -> None:
    await shop.ledger.record(message("3A1", push_name="Asha"), state=InboxState.NEW)
    await shop.ledger.record(message("3A2", push_name="Asha B"), state=InboxState.NEW)
    await shop.ledger.record(message("3A3", push_name=""), state=InboxState.NEW)
    mine = message("3A4", push_name="Duka", from_me=True)
    await shop.ledger.record(mine, state=InboxState.SKIPPED, reason="person")
    (contact,) = await rows(shop, "SELECT push_name FROM contacts")
    assert contact["push_name"] == "Asha B"


async def test_a_strange_number_is_no_phone_number(shop: Shop) -> None:
    for number, phone in enumerate(("0", "12", "abc", "9" * 40, "255 712")):
        odd = message(f"3A{number}", chat=Jid(f"77{number}@lid"), phone=phone)
        await shop.ledger.record(odd, state=InboxState.NEW)
    phones = await rows(shop, "SELECT DISTINCT phone_number FROM contacts")
    assert [row["phone_number"] for row in phones] == [None]


async def test_the_same_person_writes_to_two_tenants_apart(shop: Shop, other_shop: Shop) -> None:
    for one in (shop, other_shop):
        recorded = await one.ledger.record(TEXT, state=InboxState.NEW)
        assert recorded.fresh
        (row,) = await one.ledger.process(InboxKey(False, TEXT.message_id), say(str(one.tenant_id)))
        assert row.text == str(one.tenant_id)
    for one in (shop, other_shop):
        assert [row.text for row in await one.ledger.unsettled()] == [str(one.tenant_id)]
        assert len(await rows(one, "SELECT FROM contacts")) == 1
