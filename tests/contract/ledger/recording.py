"""What comes in is recorded once, in order, in one chat for each contact."""

import asyncio
from dataclasses import replace

from flowhq.bot.ports import Ledger
from flowhq.model import ChatKey, InboxState, MessageId
from flowhq.steps import Decision, Outcome
from tests.contract.ledger.base import (
    LID,
    OTHER,
    Contract,
    answering,
    ids,
    key_of,
    message,
    refusing,
)


class Recording(Contract):
    """What comes in is recorded once, in order, in one chat for each contact."""

    async def test_a_message_is_recorded_and_waits(self, ledger: Ledger) -> None:
        recorded = await ledger.record(message(), state=InboxState.NEW)
        assert recorded.fresh
        assert recorded.state is InboxState.NEW
        assert recorded.key == key_of(message())
        assert ids(await ledger.waiting(None, limit=10)) == [message().message_id]
        assert await self.shown(ledger, recorded.key) == message()

    async def test_a_known_message_changes_nothing(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        again = await ledger.record(message(text="other"), state=InboxState.SKIPPED, reason="x")
        assert not again.fresh
        assert again.state is InboxState.NEW
        assert (await self.shown(ledger, again.key)).text == "text 1"

    async def test_what_is_recorded_is_told_for_many_at_once(self, ledger: Ledger) -> None:
        recorded = await ledger.record(message(1), state=InboxState.NEW)
        await ledger.record(message(2, from_me=True), state=InboxState.SKIPPED, reason="own")
        [reply] = await ledger.process(recorded.key, answering("one"))
        asked = {
            "known": message(1),
            "new": message(3),
            "by the owner": message(2, from_me=True),
            "their id from the other side": message(2),
            "ours": replace(message(4, from_me=True), message_id=reply.client_id),
            "ours from the other side": replace(message(4), message_id=reply.client_id),
            "known with another content": message(1, text="other"),
            "no id": replace(message(5), message_id=MessageId("\x00")),
        }
        told = await ledger.are_recorded(list(asked.values()))
        are_recorded = {name for name, is_recorded in zip(asked, told, strict=True) if is_recorded}
        assert are_recorded == {"known", "by the owner", "ours"}
        assert list(await ledger.are_recorded([])) == []

    async def test_another_content_that_was_told_is_as_good_as_recorded(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(1), state=InboxState.NEW)
        other = message(1, text="other")
        assert (await ledger.record(other, state=InboxState.NEW)).differs
        assert list(await ledger.are_recorded([other, message(1)])) == [True, True]

    async def test_at_once_one_of_many_is_fresh(self, ledger: Ledger) -> None:
        results = await asyncio.gather(
            *(ledger.record(message(), state=InboxState.NEW) for _ in range(8))
        )
        assert [result.fresh for result in results].count(True) == 1

    async def test_what_is_only_recorded_does_not_wait(self, ledger: Ledger) -> None:
        recorded = await ledger.record(message(), state=InboxState.SKIPPED, reason="own")
        assert recorded.fresh
        assert recorded.state is InboxState.SKIPPED
        assert await ledger.waiting(None, limit=10) == []
        assert await ledger.process(recorded.key, refusing) in ((), [])

    async def test_one_id_from_both_sides_is_two_messages(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        own = await ledger.record(message(from_me=True), state=InboxState.SKIPPED, reason="own")
        assert own.fresh

    async def test_one_message_under_two_jids_is_one(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        again = await ledger.record(message(chat=LID, sender=LID), state=InboxState.NEW)
        assert not again.fresh

    async def test_lid_and_number_of_a_contact_are_one_chat(self, ledger: Ledger) -> None:
        first = await ledger.record(message(1), state=InboxState.NEW)
        joint = message(2, chat=LID, sender=LID, lid="100000000000009")
        second = await ledger.record(joint, state=InboxState.NEW)
        alone = message(3, chat=LID, sender=LID, phone="")
        third = await ledger.record(alone, state=InboxState.NEW)
        assert first.chat_key == second.chat_key == third.chat_key

    async def test_chats_that_turn_out_to_be_one_are_told_once(self, ledger: Ledger) -> None:
        by_phone = await ledger.record(message(1), state=InboxState.NEW)
        only_lid = message(2, chat=LID, sender=LID, phone="")
        by_lid = await ledger.record(only_lid, state=InboxState.NEW)
        [first] = await ledger.process(by_lid.key, answering("one"))
        second = message(5, chat=LID, sender=LID, phone="")
        await ledger.record(second, state=InboxState.NEW)
        both = message(3, lid="100000000000009")
        joint = await ledger.record(both, state=InboxState.NEW)
        known = await ledger.record(both, state=InboxState.NEW)
        later = await ledger.record(message(4, lid="100000000000009"), state=InboxState.NEW)
        assert joint.chat_key == known.chat_key == later.chat_key == by_phone.chat_key
        assert joint.merged == (by_lid.chat_key,)
        assert by_phone.merged == by_lid.merged == known.merged == later.merged == ()
        assert first.chat_key == by_lid.chat_key == ChatKey(LID)
        waiting = await ledger.waiting(by_phone.chat_key, limit=10)
        expected = [message(number).message_id for number in (1, 5, 3, 4)]
        assert ids(waiting) == expected
        assert await ledger.waiting(by_lid.chat_key, limit=10) == []
        [planned] = await ledger.unsettled(by_phone.chat_key)
        assert planned.outbox_id == first.outbox_id

    async def test_a_person_at_the_phone_makes_chats_one_as_well(self, ledger: Ledger) -> None:
        kept = await ledger.record(message(1), state=InboxState.NEW)
        only_lid = message(2, chat=LID, sender=LID, phone="")
        gone = await ledger.record(only_lid, state=InboxState.NEW)
        by_hand = message(3, from_me=True, lid="100000000000009")
        told = await ledger.record(by_hand, state=InboxState.SKIPPED, reason="own")
        assert (told.chat_key, told.merged) == (kept.chat_key, (gone.chat_key,))

    async def test_a_repeat_tells_a_settled_message_s_chat_as_it_is_called_now(
        self, ledger: Ledger
    ) -> None:
        kept = await ledger.record(message(1), state=InboxState.NEW)
        settled = message(2, chat=LID, sender=LID, phone="")
        await ledger.record(settled, state=InboxState.SKIPPED, reason="paused")
        await ledger.record(message(3, lid="100000000000009"), state=InboxState.NEW)
        await self.lose_answer(ledger, settled)
        repeated = await ledger.record(settled, state=InboxState.NEW)
        assert (repeated.fresh, repeated.state) == (True, InboxState.SKIPPED)
        assert (repeated.chat_key, repeated.merged) == (kept.chat_key, (ChatKey(LID),))

    async def test_a_repeat_tells_the_chat_that_was_merged_under_whatever_name(
        self, ledger: Ledger
    ) -> None:
        older = message(1, chat=OTHER, sender=OTHER, phone="255722222222")
        kept = await ledger.record(older, state=InboxState.NEW)
        gone = await ledger.record(message(2, lid="100000000000009"), state=InboxState.NEW)
        both = message(3, chat=LID, sender=LID, phone="255722222222")
        await self.lose_answer(ledger, both)
        repeated = await ledger.record(both, state=InboxState.NEW)
        assert (repeated.fresh, repeated.chat_key) == (True, kept.chat_key)
        assert set(repeated.merged) == {gone.chat_key, ChatKey(LID)}

    async def test_contacts_do_not_share_a_chat(self, ledger: Ledger) -> None:
        one = await ledger.record(message(1), state=InboxState.NEW)
        other = message(2, chat=OTHER, sender=OTHER, phone="255722222222")
        assert (await ledger.record(other, state=InboxState.NEW)).chat_key != one.chat_key

    async def test_waiting_is_in_the_order_of_recording_and_by_chat(self, ledger: Ledger) -> None:
        for number in (3, 1, 2):
            await ledger.record(message(number), state=InboxState.NEW)
        other = message(9, chat=OTHER, sender=OTHER, phone="255722222222")
        theirs = await ledger.record(other, state=InboxState.NEW)
        expected = [message(number).message_id for number in (3, 1, 2)]
        everything = await ledger.waiting(None, limit=10)
        assert ids(everything) == [*expected, other.message_id]
        assert [row.ord for row in everything] == sorted(row.ord for row in everything)
        assert ids(await ledger.waiting(theirs.chat_key, limit=10)) == [other.message_id]
        assert ids(await ledger.waiting(None, limit=2)) == expected[:2]

    async def test_a_message_that_gets_no_answer_waits_no_more(self, ledger: Ledger) -> None:
        for number in (1, 2):
            await ledger.record(message(number), state=InboxState.NEW)
        silent = Decision(Outcome.SKIPPED, "test")
        assert await ledger.process(key_of(message(1)), lambda message, view: silent) in ((), [])
        assert ids(await ledger.waiting(None, limit=10)) == [message(2).message_id]
