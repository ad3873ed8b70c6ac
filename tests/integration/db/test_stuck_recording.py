"""A recording that this PostgreSQL never ends, while it writes everything else at once."""

from collections.abc import AsyncIterator

import pytest

from flowhq.bot.chats import Place, QueuedMessage
from flowhq.bot.inbound import Inbound
from flowhq.bot.trace import Traces
from flowhq.clock import SystemClock
from flowhq.model import ChatKey
from tests.fakes.memory import dedup
from tests.fakes.recording import recording
from tests.integration.db.conftest import Shop, hasty_shop
from tests.integration.db.messages import ASHA_LID, BY_LID, BY_PHONE, message


class Hasty(SystemClock):
    """Between two attempts no time passes."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


class Door:
    """What comes in at one shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.lined_up: list[tuple[ChatKey, str]] = []
        clock = Hasty()
        self.inbound = Inbound(
            recording(shop.ledger, clock),
            dedup(clock),
            Traces(clock),
            paused=lambda: False,
            line_up=self._line_up,
            lined_up=lambda recorded, one, place: None,
        )

    def _line_up(self, chat: ChatKey, queued: QueuedMessage) -> Place:
        self.lined_up.append((chat, queued.key.message_id))
        return Place.IN_LINE

    async def reasons(self) -> dict[str, str]:
        async with self.shop.database.tenant(self.shop.tenant_id) as tx:
            found = await tx.fetch("SELECT wa_message_id, reason FROM inbox")
        return {row["wa_message_id"]: row["reason"] for row in found}


@pytest.fixture
async def door(postgres_url: str) -> AsyncIterator[Door]:
    """Asha wrote under both her addresses, and nothing says yet that she is one."""
    async with hasty_shop(postgres_url, command_timeout_s=2.0) as shop:
        door = Door(shop)
        await door.inbound.admit(message("3A01"), seen_at=0.0)
        await door.inbound.admit(message("3A02", chat=ASHA_LID, sender=ASHA_LID), seen_at=0.0)
        assert door.lined_up == [(BY_PHONE, "3A01"), (BY_LID, "3A02")]
        yield door


async def test_a_chat_that_cannot_be_merged_costs_no_message_anything(door: Door) -> None:
    showing_both = message("3A03", lid=ASHA_LID.partition("@")[0])
    async with door.shop.database.tenant(door.shop.tenant_id) as holder:
        await holder.execute("SELECT FROM conversations WHERE chat_key = $1 FOR UPDATE", BY_LID)
        await door.inbound.admit(showing_both, seen_at=0.0)
    assert door.lined_up[2:] == [(BY_PHONE, "3A03")]
    assert await door.reasons() == {"3A01": "", "3A02": "", "3A03": ""}
