"""What holds for one pairing, and up to when all of its past is recorded."""

from datetime import timedelta

from flowhq.bot.ports import Ledger
from flowhq.model import (
    InboxState,
)
from tests.contract.ledger.base import (
    LID,
    SLACK,
    Contract,
    Now,
    key_of,
    message,
)


class Pairing(Contract):
    """What holds for one pairing, and up to when all of its past is recorded."""

    async def test_a_pairing_keeps_its_time_until_it_is_forgotten(
        self, ledger: Ledger, now: Now
    ) -> None:
        await ledger.save_qr(text="a,b", data_url="data:image/png;base64,", expires_at=None)
        first = await ledger.save_identity(phone="255712000000", lid="100000000000001")
        assert abs(first - await now()) < SLACK
        assert await ledger.save_identity(phone="255712000000", lid="100000000000001") == first
        await ledger.forget_pairing()
        second = await ledger.save_identity(phone="255712000000", lid="")
        assert second >= first

    async def test_another_number_answers_and_sends_nothing_of_the_one_before(
        self, ledger: Ledger
    ) -> None:
        await ledger.save_identity(phone="255712000000", lid="1")
        [planned] = await self.planned(ledger)
        [doubtful] = await self.planned(ledger, number=2)
        await ledger.mark_sending(doubtful.outbox_id)
        await ledger.record(message(3), state=InboxState.NEW)
        await ledger.forget_pairing()
        await ledger.save_identity(phone="255712000000", lid="2")
        assert len(await ledger.unsettled()) == 2
        await ledger.forget_pairing()
        await ledger.save_identity(phone="255712999999", lid="2")
        assert await ledger.unsettled() == []
        assert await ledger.waiting(None, limit=10) == []
        assert not await ledger.mark_sending(planned.outbox_id)
        assert not await ledger.mark_sending(doubtful.outbox_id)
        await ledger.record(message(4), state=InboxState.NEW)
        await ledger.save_identity(phone="255712999999", lid="")
        assert [one.key for one in await ledger.waiting(None, limit=10)] == [key_of(message(4))]

    async def test_a_touch_is_now(self, ledger: Ledger, now: Now) -> None:
        assert abs(await ledger.touch() - await now()) < SLACK

    async def test_who_is_caught_up_is_so_up_to_the_newest_message(self, ledger: Ledger) -> None:
        assert await ledger.caught_up_to() is None
        newest = message(5, chat=LID, sender=LID, lid="100000000000009")
        for one in (message(1), newest, message(3)):
            await ledger.record(one, state=InboxState.NEW)
        await ledger.touch()
        assert await ledger.caught_up_to() is None
        await ledger.touch(caught_up=True)
        assert await ledger.caught_up_to() == newest.at
        await ledger.record(message(7), state=InboxState.NEW)
        await ledger.touch()
        assert await ledger.caught_up_to() == newest.at

    async def test_a_message_from_the_future_does_not_hide_those_of_today(
        self, ledger: Ledger, now: Now
    ) -> None:
        ahead = await now() + timedelta(days=365)
        await ledger.record(message(at=ahead), state=InboxState.NEW)
        await ledger.touch(caught_up=True)
        mark = await ledger.caught_up_to()
        assert mark is not None
        assert mark <= await now()

    async def test_a_new_pairing_begins_without_a_past(self, ledger: Ledger) -> None:
        await ledger.save_identity(phone="255754000001", lid="1")
        await ledger.record(message(1), state=InboxState.NEW)
        await ledger.touch(caught_up=True)
        await ledger.save_identity(phone="255754000001", lid="1")
        assert await ledger.caught_up_to() is not None
        await ledger.forget_pairing()
        await ledger.save_identity(phone="255754000001", lid="1")
        assert await ledger.caught_up_to() is None

    async def test_another_number_begins_without_a_past_though_nobody_unlinked_the_one_before(
        self, ledger: Ledger
    ) -> None:
        first = await ledger.save_identity(phone="255712000000", lid="1")
        await ledger.record(message(1), state=InboxState.NEW)
        await ledger.touch(caught_up=True)
        second = await ledger.save_identity(phone="255712999999", lid="2")
        assert second >= first
        assert await ledger.caught_up_to() is None
        await ledger.touch(caught_up=True)
        assert await ledger.save_identity(phone="255712999999", lid="2") == second
        assert await ledger.caught_up_to() is not None

    async def test_a_page_that_does_not_tell_its_number_leaves_the_known_one_to_compare_with(
        self, ledger: Ledger
    ) -> None:
        await ledger.save_identity(phone="255712000000", lid="1")
        first = await ledger.save_identity(phone="", lid="")
        await self.planned(ledger)
        assert await ledger.save_identity(phone="255712000000", lid="") == first
        assert len(await ledger.unsettled()) == 1
        await ledger.forget_pairing()
        await ledger.save_identity(phone="", lid="")
        await ledger.save_identity(phone="255712999999", lid="")
        assert await ledger.unsettled() == []

    async def test_the_lid_of_the_number_before_is_not_taken_for_that_of_the_next(
        self, ledger: Ledger
    ) -> None:
        await ledger.save_identity(phone="255712000000", lid="1")
        await ledger.save_identity(phone="255712999999", lid="")
        await self.planned(ledger)
        await ledger.save_identity(phone="", lid="2")
        assert len(await ledger.unsettled()) == 1
