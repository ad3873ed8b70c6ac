"""What programs ask for: once for each cause, however many ask for it at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from flowhq.db.installation import Installation
from flowhq.db.owner import owner_connection
from flowhq.db.sending import Sending, Wanted
from flowhq.db.stories import ReplyStory
from flowhq.errors import AlreadyExistsError
from flowhq.model import ChatKey, InboxState
from tests.fakes.clock import until
from tests.integration.db.conftest import WAITING, Shop
from tests.integration.db.messages import ASHA, TEXT

CAUSE = "api:one"
TO_ASHA = Wanted(CAUSE, f"+{ASHA}", "Agizo liko tayari")


@pytest.fixture
def sending(shop: Shop, installation: Installation) -> Sending:
    return Sending(shop.database, installation)


@asynccontextmanager
async def held_up(shop: Shop, url: str, *, until_waiting: int) -> AsyncIterator[None]:
    """Nobody gets at a chat of the shop before so many wait for one."""
    async with owner_connection(url) as looker, shop.database.tenant(shop.tenant_id) as tx:
        await tx.fetch("SELECT FROM conversations WHERE tenant_id = $1 FOR UPDATE", shop.tenant_id)
        yield

        async def all_wait() -> bool:
            return int(await looker.fetchval(WAITING)) == until_waiting

        await until(all_wait, "those who ask to wait")


async def asked_at_once(
    sending: Sending, shop: Shop, url: str, *wishes: Wanted
) -> Sequence[tuple[ReplyStory, ChatKey] | BaseException]:
    """What each of them gets who ask before the first one's message is planned."""
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    async with held_up(shop, url, until_waiting=len(wishes)):
        asking = [asyncio.ensure_future(sending.ask(shop.tenant_id, one)) for one in wishes]
    return await asyncio.gather(*asking, return_exceptions=True)


async def test_two_that_ask_the_same_at_once_get_one_message(
    sending: Sending, shop: Shop, any_url: str
) -> None:
    one, other = await asked_at_once(sending, shop, any_url, TO_ASHA, TO_ASHA)
    assert not isinstance(one, BaseException)
    assert not isinstance(other, BaseException)
    assert one[0].log_id == other[0].log_id
    assert len(await shop.ledger.unsettled()) == 1


async def test_of_two_that_ask_for_different_messages_at_once_one_is_refused(
    sending: Sending, shop: Shop, any_url: str
) -> None:
    other = Wanted(CAUSE, TO_ASHA.number, "Karibu tena")
    answers = await asked_at_once(sending, shop, any_url, TO_ASHA, other)
    [refused] = [answer for answer in answers if isinstance(answer, BaseException)]
    assert isinstance(refused, AlreadyExistsError)
    assert refused.field == "Idempotency-Key"
    [planned] = await shop.ledger.unsettled()
    told = {TO_ASHA.text: 0, other.text: 1}
    assert not isinstance(answers[told[planned.text]], BaseException)


async def test_a_text_that_is_stored_otherwise_is_still_the_same_one(
    sending: Sending, shop: Shop
) -> None:
    odd = Wanted(CAUSE, TO_ASHA.number, "Agizo\x00 liko \ud800 tayari")
    first, _ = await sending.ask(shop.tenant_id, odd)
    again, _ = await sending.ask(shop.tenant_id, odd)
    assert first.log_id == again.log_id
