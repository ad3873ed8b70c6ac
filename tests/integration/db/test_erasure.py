"""A contact is forgotten whole, whatever happens in the chat meanwhile."""

import asyncio

from flowhq.db.contacts import Erased, erase_contact
from flowhq.model import InboxState
from tests.fakes.clock import until
from tests.integration.db.conftest import Shop
from tests.integration.db.interleaving import recording, rows, waits_or_is_done
from tests.integration.db.messages import ASHA, ASHA_LID, ASHA_PN, BY_LID, TEXT, message, say

NUMBER = f"+{ASHA}"
LID_DIGITS = ASHA_LID.partition("@")[0]


async def assert_forgotten(shop: Shop) -> None:
    for table in ("contacts", "conversations", "chat_aliases", "message_logs"):
        assert await rows(shop, f"SELECT FROM {table}") == []
    seen = await rows(shop, "SELECT DISTINCT chat_key, state::text, payload FROM inbox")
    assert [tuple(row) for row in seen] == [("erased", "skipped", None)]


async def test_a_message_that_is_recorded_while_its_contact_is_erased_goes_too(
    shop: Shop,
) -> None:
    await shop.ledger.record(message("3A1"), state=InboxState.NEW)
    async with recording(shop, message("3A2")):
        erasing = asyncio.create_task(erase_contact(shop.database, shop.tenant_id, NUMBER))
        await until(lambda: waits_or_is_done(shop, erasing))
    assert await erasing == Erased(chats=1, messages=2, received=2, planned=0)
    await assert_forgotten(shop)


async def test_a_contact_whose_chats_are_merged_meanwhile_is_erased_whole(shop: Shop) -> None:
    await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    await shop.ledger.record(message("3A2", chat=ASHA_PN), state=InboxState.NEW)
    async with recording(shop, message("3A3", chat=ASHA_PN, lid=LID_DIGITS)):
        erasing = asyncio.create_task(erase_contact(shop.database, shop.tenant_id, NUMBER))
        await until(lambda: waits_or_is_done(shop, erasing))
    assert await erasing == Erased(chats=1, messages=3, received=3, planned=0)
    await assert_forgotten(shop)


async def test_a_message_that_brings_a_number_during_the_erasure_is_a_new_contacts(
    shop: Shop,
) -> None:
    first = await shop.ledger.record(message("3A1", chat=ASHA_LID), state=InboxState.NEW)
    await shop.ledger.process(first.key, say("Karibu"))
    async with shop.database.tenant(shop.tenant_id) as holder:
        await holder.execute("SELECT FROM outbox FOR UPDATE")
        erasing = asyncio.create_task(erase_contact(shop.database, shop.tenant_id, ASHA_LID))
        await until(lambda: waits_or_is_done(shop, erasing))
        both = message("3A2", chat=ASHA_LID, phone=ASHA)
        joining = asyncio.create_task(shop.ledger.record(both, state=InboxState.NEW))
        await until(lambda: waits_or_is_done(shop, joining, waiting=2))
    assert await erasing == Erased(chats=1, messages=2, received=1, planned=1)
    recorded = await joining
    assert (recorded.fresh, recorded.chat_key) == (True, BY_LID)
    (kept,) = await rows(
        shop,
        "SELECT wa_message_id, chat_key, payload ->> 'text' FROM inbox WHERE state = 'new'",
    )
    assert tuple(kept) == ("3A2", BY_LID, TEXT.text)
    (contact,) = await rows(shop, "SELECT phone_number, lid FROM contacts")
    assert tuple(contact) == (NUMBER, ASHA_LID)
