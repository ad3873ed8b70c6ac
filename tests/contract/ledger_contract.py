"""What every ledger and every book of states must do: one suite over the fakes
(test_fake_ledger.py) and over PostgreSQL (test_postgres_ledger.py)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowhq.bot.ports import Ledger, StatusBook
from flowhq.model import (
    Ack,
    ChatKey,
    ConversationView,
    Decision,
    DesiredState,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    OutboxState,
    Outcome,
    Reason,
    Recorded,
    Reply,
    SessionState,
    Source,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

CUSTOMER = Jid("255711111111@c.us")
OTHER = Jid("255722222222@c.us")
LID = Jid("100000000000009@lid")
WAITS_S = (2, 10, 60, 300)
SLACK = timedelta(seconds=30)
SLACK_S = SLACK.total_seconds()
# Some time before any clock that the suite may run on.
LONG_AGO = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

Now = Callable[[], Awaitable[datetime]]
Monotonic = Callable[[], float]
Decide = Callable[[InboundMessage, ConversationView], Decision]


def message(number: int = 1, **changes: Any) -> InboundMessage:
    plain = InboundMessage(
        message_id=MessageId(f"3A{number:018X}"),
        chat=CUSTOMER,
        from_me=False,
        kind=MessageKind.TEXT,
        text=f"text {number}",
        at=LONG_AGO + timedelta(seconds=number),
        source=Source.LIVE,
        sender=CUSTOMER,
        phone="255711111111",
        push_name="Amina",
        raw_type="chat",
    )
    return replace(plain, **changes)


def key_of(one: InboundMessage) -> InboxKey:
    return InboxKey(one.from_me, one.message_id)


def answering(*texts: str, **changes: Any) -> Decide:
    replies = tuple(Reply(text, "test") for text in texts)
    return lambda message, view: Decision(Outcome.DONE, "test", replies=replies, **changes)


def refusing(message: InboundMessage, view: ConversationView) -> Decision:
    raise AssertionError("nothing was to be decided")


def ids(rows: Any) -> list[str]:
    return [row.key.message_id for row in rows]


class LedgerContract:
    """A subclass gives ``ledger``, of one fresh tenant, and its clocks: ``now``, ``monotonic``."""

    async def planned(self, ledger: Ledger, *texts: str, number: int = 1) -> list[OutboundMessage]:
        one = message(number)
        await ledger.record(one, state=InboxState.NEW)
        return list(await ledger.process(key_of(one), answering(*texts or ("habari",))))

    async def row(self, ledger: Ledger, row: OutboundMessage) -> OutboundMessage | None:
        """The outbox row as it stands, None once it is settled."""
        found = [one for one in await ledger.unsettled() if one.outbox_id == row.outbox_id]
        return found[0] if found else None

    async def shown(self, ledger: Ledger, key: InboxKey) -> InboundMessage:
        """The message as it is shown to the responder, who has nothing to say."""
        seen: list[InboundMessage] = []

        def look(message: InboundMessage, view: ConversationView) -> Decision:
            seen.append(message)
            return Decision(Outcome.SKIPPED, "test")

        await ledger.process(key, look)
        return seen[0]

    async def lose_answer(self, ledger: Ledger, one: InboundMessage) -> None:
        """The message is recorded, and whoever asked for it never hears of that."""
        raise NotImplementedError

    # -- recording ----

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

    # -- up to when all is recorded ----

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

    # -- steps ----

    async def test_a_step_marks_the_message_and_plans_its_replies_in_order(
        self, ledger: Ledger, monotonic: Monotonic
    ) -> None:
        rows = await self.planned(ledger, "one", "two")
        assert [row.text for row in rows] == ["one", "two"]
        assert {row.state for row in rows} == {OutboxState.PLANNED}
        assert {row.to for row in rows} == {CUSTOMER}
        assert {row.attempts for row in rows} == {0}
        moment = monotonic()
        assert all(abs(row.due_at_monotonic - moment) < SLACK_S for row in rows)
        assert await ledger.waiting(None, limit=10) == []
        assert await ledger.unsettled() == rows

    async def test_client_ids_look_like_whatsapps_own_and_differ(self, ledger: Ledger) -> None:
        rows = await self.planned(ledger, "one", "two")
        rows += await self.planned(ledger, "three", number=2)
        client_ids = [row.client_id for row in rows]
        assert len(set(client_ids)) == 3
        for client_id in client_ids:
            assert client_id.startswith("3EB0")
            assert len(client_id) == 22
            assert set(client_id[4:]) <= set("0123456789ABCDEF")

    async def test_a_step_is_taken_once(self, ledger: Ledger) -> None:
        await self.planned(ledger, "one")
        assert len(await ledger.process(key_of(message(1)), refusing)) == 0
        assert len(await ledger.unsettled()) == 1

    async def test_at_once_one_of_many_takes_the_step(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        taken = await asyncio.gather(
            *(ledger.process(key_of(message()), answering("one")) for _ in range(6))
        )
        assert sum(len(rows) for rows in taken) == 1
        assert len(await ledger.unsettled()) == 1

    async def test_a_step_that_fails_leaves_no_trace(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)

        def fail(message: InboundMessage, view: ConversationView) -> Decision:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await ledger.process(key_of(message()), fail)
        assert await ledger.unsettled() == []
        rows = await ledger.process(key_of(message()), answering("one"))
        assert [row.text for row in rows] == ["one"]

    async def test_a_message_nobody_recorded_has_no_step(self, ledger: Ledger) -> None:
        assert len(await ledger.process(key_of(message(77)), refusing)) == 0

    async def test_the_view_has_what_the_last_turn_left(self, ledger: Ledger) -> None:
        views: list[ConversationView] = []

        def look(message: InboundMessage, view: ConversationView) -> Decision:
            views.append(view)
            replies = (Reply("asante", "test"),)
            return Decision(
                Outcome.DONE, "test", replies=replies, bot_state={"turn": 1}, opted_out=True
            )

        for number in (1, 2):
            await ledger.record(message(number), state=InboxState.NEW)
            await ledger.process(key_of(message(number)), look)
        first, second = views
        assert (first.contact_name, first.phone) == ("Amina", "255711111111")
        assert (first.bot_state, first.opted_out, first.last_outgoing_at) == ({}, False, None)
        assert second.bot_state == {"turn": 1}
        assert second.opted_out
        assert second.last_outgoing_at is not None
        assert second.last_person_at is None

    async def test_what_a_decision_leaves_open_stays_as_it_was(self, ledger: Ledger) -> None:
        views: list[ConversationView] = []
        decisions = [
            Decision(Outcome.DONE, "a", bot_state={"turn": 1}, opted_out=True),
            Decision(Outcome.SKIPPED, "b"),
            Decision(Outcome.DONE, "c", opted_out=False),
            Decision(Outcome.DONE, "d"),
        ]
        for number, decision in enumerate(decisions):

            def decide(
                message: InboundMessage, view: ConversationView, decision: Decision = decision
            ) -> Decision:
                views.append(view)
                return decision

            await ledger.record(message(number), state=InboxState.NEW)
            await ledger.process(key_of(message(number)), decide)
        assert [view.opted_out for view in views] == [False, True, True, False]
        assert [view.bot_state for view in views[1:]] == [{"turn": 1}] * 3

    async def test_a_person_at_the_phone_shows_in_the_view(self, ledger: Ledger) -> None:
        by_hand = message(2, from_me=True)
        await ledger.record(message(1), state=InboxState.NEW)
        await ledger.record(by_hand, state=InboxState.SKIPPED, reason="own")
        views: list[ConversationView] = []

        def look(message: InboundMessage, view: ConversationView) -> Decision:
            views.append(view)
            return Decision(Outcome.SKIPPED, "test")

        await ledger.process(key_of(message(1)), look)
        assert views[0].last_person_at == by_hand.at

    async def test_a_reply_for_later_is_planned_for_later(
        self, ledger: Ledger, monotonic: Monotonic
    ) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        decision = Decision(Outcome.DONE, "test", replies=(Reply("later", "test", wait_s=300.0),))
        [row] = await ledger.process(key_of(message()), lambda message, view: decision)
        assert abs(row.due_at_monotonic - monotonic() - 300.0) < SLACK_S

    async def test_a_failing_message_is_tried_five_times_with_longer_and_longer_waits(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        for wait_s in WAITS_S:
            assert await ledger.postpone(key_of(message()), error="ValueError") == wait_s
            assert ids(await ledger.waiting(None, limit=10)) == [message().message_id]
        assert await ledger.postpone(key_of(message()), error="ValueError") is None
        assert await ledger.waiting(None, limit=10) == []
        assert len(await ledger.process(key_of(message()), refusing)) == 0

    async def test_a_postponed_message_can_be_processed(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        await ledger.postpone(key_of(message()), error="ValueError")
        assert len(await ledger.process(key_of(message()), answering("one"))) == 1

    # -- notices ----

    async def test_a_notice_is_planned_once_for_its_cause(self, ledger: Ledger) -> None:
        recorded = await ledger.record(message(), state=InboxState.NEW)
        reply = Reply("please wait", "please_wait")
        first = await ledger.notify(recorded.chat_key, CUSTOMER, cause="wait:1", reply=reply)
        again = await ledger.notify(recorded.chat_key, CUSTOMER, cause="wait:1", reply=reply)
        other = await ledger.notify(recorded.chat_key, CUSTOMER, cause="wait:2", reply=reply)
        assert [row.text for row in first] == ["please wait"]
        assert first[0].chat_key == recorded.chat_key
        assert len(again) == 0
        assert len(other) == 1

    async def test_a_notice_follows_a_chat_that_was_merged(self, ledger: Ledger) -> None:
        kept = await ledger.record(message(1), state=InboxState.NEW)
        only_lid = message(2, chat=LID, sender=LID, phone="")
        gone = await ledger.record(only_lid, state=InboxState.NEW)
        await ledger.record(message(3, lid="100000000000009"), state=InboxState.NEW)
        reply = Reply("please wait", "please_wait")
        [row] = await ledger.notify(gone.chat_key, LID, cause="wait:2", reply=reply)
        assert (row.chat_key, row.to) == (kept.chat_key, LID)
        [found] = await ledger.unsettled(kept.chat_key)
        assert found.outbox_id == row.outbox_id

    async def test_no_notice_is_planned_in_a_chat_that_is_not_there(self, ledger: Ledger) -> None:
        reply = Reply("please wait", "please_wait")
        assert len(await ledger.notify(ChatKey(OTHER), OTHER, cause="wait:1", reply=reply)) == 0
        assert len(await ledger.unsettled()) == 0

    # -- sending ----

    async def test_an_intent_is_committed_and_counted(self, ledger: Ledger) -> None:
        [row] = await self.planned(ledger)
        assert await ledger.mark_sending(row.outbox_id)
        going = await self.row(ledger, row)
        assert going is not None
        assert (going.state, going.attempts) == (OutboxState.SENDING, 1)
        assert going.client_id == row.client_id

    async def test_an_accepted_message_is_settled_and_is_not_sent_again(
        self, ledger: Ledger
    ) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        await ledger.mark_accepted(row.outbox_id, Ack.SERVER)
        assert await self.row(ledger, row) is None
        assert not await ledger.mark_sending(row.outbox_id)

    async def test_a_message_in_doubt_stays_to_be_looked_after_and_may_be_sent_again(
        self, ledger: Ledger
    ) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        await ledger.mark_unknown(row.outbox_id, error="no answer")
        doubtful = await self.row(ledger, row)
        assert doubtful is not None
        assert doubtful.state is OutboxState.UNKNOWN
        assert await ledger.mark_sending(row.outbox_id)
        again = await self.row(ledger, row)
        assert again is not None
        assert again.attempts == 2

    async def test_a_passing_refusal_puts_it_back_for_later(
        self, ledger: Ledger, monotonic: Monotonic
    ) -> None:
        [row] = await self.planned(ledger)
        for wait_s in WAITS_S:
            await ledger.mark_sending(row.outbox_id)
            assert await ledger.mark_failed(row.outbox_id, error="no", retry=True) == wait_s
            back = await self.row(ledger, row)
            assert back is not None
            assert back.state is OutboxState.PLANNED
            assert abs(back.due_at_monotonic - monotonic() - wait_s) < SLACK_S
        await ledger.mark_sending(row.outbox_id)
        assert await ledger.mark_failed(row.outbox_id, error="no", retry=True) is None
        assert await self.row(ledger, row) is None

    async def test_a_final_refusal_is_the_end(self, ledger: Ledger) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        assert await ledger.mark_failed(row.outbox_id, error="no", retry=False) is None
        assert await self.row(ledger, row) is None
        assert not await ledger.mark_sending(row.outbox_id)

    async def test_unsettled_is_oldest_first(self, ledger: Ledger) -> None:
        rows = [*await self.planned(ledger, "1", "2"), *await self.planned(ledger, "3", number=2)]
        await ledger.mark_sending(rows[0].outbox_id)
        await ledger.mark_unknown(rows[0].outbox_id, error="x")
        assert [row.text for row in await ledger.unsettled()] == ["1", "2", "3"]

    @pytest.mark.parametrize("ack", [Ack.SERVER, Ack.DELIVERED, Ack.READ, Ack.PLAYED])
    async def test_an_ack_of_the_server_or_more_settles_a_message_in_doubt(
        self, ledger: Ledger, ack: Ack
    ) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        await ledger.acknowledge([MessageId("3EB0UNKNOWN"), row.client_id], ack)
        assert await self.row(ledger, row) is None
        assert not await ledger.mark_sending(row.outbox_id)

    @pytest.mark.parametrize("ack", [Ack.PENDING, Ack.ERROR])
    async def test_an_ack_that_proves_nothing_settles_nothing(
        self, ledger: Ledger, ack: Ack
    ) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        await ledger.acknowledge([row.client_id], ack)
        assert await self.row(ledger, row) is not None

    async def test_a_late_doubt_or_refusal_does_not_undo_an_acceptance(
        self, ledger: Ledger
    ) -> None:
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        await ledger.acknowledge([row.client_id], Ack.DELIVERED)
        await ledger.mark_unknown(row.outbox_id, error="x")
        assert await ledger.mark_failed(row.outbox_id, error="x", retry=True) is None
        await ledger.mark_accepted(row.outbox_id, Ack.SERVER)
        assert await self.row(ledger, row) is None

    # -- our own messages ----

    async def test_our_own_messages_are_known_and_a_persons_are_not(self, ledger: Ledger) -> None:
        [row] = await self.planned(ledger)
        assert await ledger.known_own(row.client_id) == row.outbox_id
        assert await ledger.known_own(MessageId("3EB0BYHAND")) is None

    async def test_our_own_echo_is_neither_fresh_nor_a_person(self, ledger: Ledger) -> None:
        [row] = await self.planned(ledger)
        echo = message(9, message_id=row.client_id, from_me=True)
        recorded = await ledger.record(echo, state=InboxState.SKIPPED, reason="own")
        assert not recorded.fresh
        assert recorded.chat_key == row.chat_key
        views: list[ConversationView] = []

        def look(message: InboundMessage, view: ConversationView) -> Decision:
            views.append(view)
            return Decision(Outcome.SKIPPED, "test")

        await ledger.record(message(2), state=InboxState.NEW)
        await ledger.process(key_of(message(2)), look)
        assert views[0].last_person_at is None

    async def test_an_echo_proves_no_delivery(self, ledger: Ledger) -> None:
        """The page shows its own message before the server has it, with a pending ack."""
        [row] = await self.planned(ledger)
        await ledger.mark_sending(row.outbox_id)
        echo = message(9, message_id=row.client_id, from_me=True)
        await ledger.record(echo, state=InboxState.SKIPPED, reason="own")
        left = await self.row(ledger, row)
        assert left is not None
        assert left.state is OutboxState.SENDING

    # -- a person takes over, a chat is muted ----

    async def look(self, ledger: Ledger, number: int) -> ConversationView:
        """The view at a further message of the customer's chat."""
        views: list[ConversationView] = []

        def keep(message: InboundMessage, view: ConversationView) -> Decision:
            views.append(view)
            return Decision(Outcome.SKIPPED, "test")

        await ledger.record(message(number), state=InboxState.NEW)
        await ledger.process(key_of(message(number)), keep)
        return views[0]

    async def take_over(
        self, ledger: Ledger, at: datetime, *, pause_s: float = 3600.0, **changes: Any
    ) -> Recorded:
        by_hand = message(90, from_me=True, at=at, **changes)
        return await ledger.record(
            by_hand, state=InboxState.SKIPPED, reason="own", person_pause_s=pause_s
        )

    async def test_a_person_pauses_the_chat_from_their_own_time_on(
        self, ledger: Ledger, now: Now
    ) -> None:
        at = await now() - timedelta(minutes=10)
        recorded = await self.take_over(ledger, at)
        assert (recorded.by_person, recorded.fresh, recorded.cancelled) == (True, True, 0)
        view = await self.look(ledger, 2)
        assert view.paused_until == at + timedelta(hours=1)
        assert view.last_person_at == at

    async def test_a_person_from_the_future_pauses_from_now_on(
        self, ledger: Ledger, now: Now
    ) -> None:
        await self.take_over(ledger, datetime(9999, 12, 31, tzinfo=UTC))
        view = await self.look(ledger, 2)
        assert view.paused_until is not None
        assert abs(view.paused_until - await now() - timedelta(hours=1)) < SLACK

    async def test_a_person_takes_back_what_is_planned_in_their_chat_alone(
        self, ledger: Ledger, now: Now
    ) -> None:
        rows = await self.planned(ledger, "one", "two", "three")
        there = message(2, chat=OTHER, sender=OTHER, phone="255722222222")
        await ledger.record(there, state=InboxState.NEW)
        [elsewhere] = await ledger.process(key_of(there), answering("x"))
        await ledger.mark_sending(rows[0].outbox_id)
        recorded = await self.take_over(ledger, await now())
        assert recorded.cancelled == 2
        assert [await ledger.mark_sending(row.outbox_id) for row in rows[1:]] == [False, False]
        left = [row.outbox_id for row in await ledger.unsettled()]
        assert sorted(left) == sorted([rows[0].outbox_id, elsewhere.outbox_id])

    async def test_what_is_on_its_way_then_settles_but_is_not_sent_once_more(
        self, ledger: Ledger, now: Now
    ) -> None:
        going, doubtful, refused = await self.planned(ledger, "one", "two", "three")
        for row in (going, doubtful, refused):
            await ledger.mark_sending(row.outbox_id)
        await self.take_over(ledger, await now())
        await ledger.mark_accepted(going.outbox_id, Ack.SERVER)
        await ledger.mark_unknown(doubtful.outbox_id, error="no answer")
        assert await self.row(ledger, doubtful) is not None
        assert not await ledger.mark_sending(doubtful.outbox_id)
        assert await ledger.mark_failed(refused.outbox_id, error="no", retry=True) is None
        assert list(await ledger.unsettled()) == []

    async def test_a_person_long_ago_takes_back_only_what_was_planned_before(
        self, ledger: Ledger, now: Now
    ) -> None:
        [row] = await self.planned(ledger)
        recorded = await self.take_over(ledger, await now() - timedelta(days=2))
        assert (recorded.by_person, recorded.cancelled) == (True, 0)
        assert await ledger.mark_sending(row.outbox_id)

    async def test_a_person_without_a_pause_changes_nothing(self, ledger: Ledger, now: Now) -> None:
        [row] = await self.planned(ledger)
        recorded = await self.take_over(ledger, await now(), pause_s=0.0)
        assert (recorded.by_person, recorded.cancelled) == (True, 0)
        assert (await self.look(ledger, 2)).paused_until is None
        assert await ledger.mark_sending(row.outbox_id)

    async def test_neither_a_customer_nor_our_echo_takes_over(
        self, ledger: Ledger, now: Now
    ) -> None:
        [row, second] = await self.planned(ledger, "one", "two")
        echo = await self.take_over(ledger, await now(), message_id=row.client_id)
        customer = await ledger.record(message(5), state=InboxState.NEW, person_pause_s=3600.0)
        assert (echo.by_person, customer.by_person) == (False, False)
        assert (await self.look(ledger, 2)).paused_until is None
        assert await ledger.mark_sending(second.outbox_id)

    async def test_a_mute_begins_with_the_step(self, ledger: Ledger, now: Now) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        muting = Decision(Outcome.SKIPPED, "loop", mute_s=60.0)
        await ledger.process(key_of(message()), lambda message, view: muting)
        view = await self.look(ledger, 2)
        assert view.muted_until is not None
        assert abs(view.muted_until - await now() - timedelta(seconds=60)) < SLACK

    async def test_another_content_under_a_known_id_is_told_once(self, ledger: Ledger) -> None:
        await ledger.record(message(), state=InboxState.NEW)
        assert not (await ledger.record(message(), state=InboxState.NEW)).differs
        for differs in (True, False):
            other = await ledger.record(message(text="another"), state=InboxState.NEW)
            assert (other.fresh, other.differs) == (False, differs)
        assert (await self.shown(ledger, key_of(message()))).text == message().text

    # -- the pairing ----

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

    async def test_what_is_unsettled_in_one_chat_is_found_apart(self, ledger: Ledger) -> None:
        rows = await self.planned(ledger, "one", "two", "three")
        chat = rows[0].chat_key
        assert [one.outbox_id for one in await ledger.unsettled(chat, limit=2)] == [
            row.outbox_id for row in rows[:2]
        ]
        assert await ledger.unsettled(ChatKey("255700009999@c.us"), limit=2) == []

    async def test_what_waited_for_its_turn_is_not_counted_at_any_start(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(1), state=InboxState.NEW)
        await ledger.record(message(2), state=InboxState.NEW)
        for _ in range(7):
            assert await ledger.count_interrupted() == []
        assert ids(await ledger.waiting(None, limit=10)) == [
            message(1).message_id,
            message(2).message_id,
        ]
        assert await ledger.postpone(key_of(message(1)), error="ours") == WAITS_S[0]

    async def test_a_step_that_ends_the_process_is_counted_each_time_and_dead_after_five(
        self, ledger: Ledger
    ) -> None:
        poison, behind = message(1), message(2)
        await ledger.record(poison, state=InboxState.NEW)
        await ledger.record(behind, state=InboxState.NEW)
        for _ in range(4):
            await self.ends_in_its_step(ledger, poison)
            assert await ledger.count_interrupted() == []
            assert await ledger.count_interrupted() == []
        await self.ends_in_its_step(ledger, poison)
        assert await ledger.count_interrupted() == [key_of(poison)]
        assert ids(await ledger.waiting(None, limit=10)) == [behind.message_id]
        assert await ledger.count_interrupted() == []

    async def test_a_failure_that_was_counted_is_not_counted_again_at_a_start(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(1), state=InboxState.NEW)
        for wait_s in WAITS_S:
            await self.ends_in_its_step(ledger, message(1))
            assert await ledger.postpone(key_of(message(1)), error="ours") == wait_s
            assert await ledger.count_interrupted() == []
        await self.ends_in_its_step(ledger, message(1))
        assert await ledger.count_interrupted() == [key_of(message(1))]

    async def ends_in_its_step(self, ledger: Ledger, one: InboundMessage) -> None:
        """The step begins and is never committed, as when the process dies in it."""

        def dying(message: InboundMessage, view: ConversationView) -> Decision:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await ledger.process(key_of(one), dying)

    async def test_a_touch_is_now(self, ledger: Ledger, now: Now) -> None:
        assert abs(await ledger.touch() - await now()) < SLACK


class StatusBookContract:
    """A subclass gives ``book`` and ``snapshot``, of a tenant that the book knows, and ``events``,
    which reads the history, oldest first, as (event, actor, status, reason)."""

    async def test_each_change_of_status_or_reason_is_history(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        for change in (
            ("start", TenantStatus.QR_PENDING, Reason.STARTING),
            ("qr_shown", TenantStatus.QR_PENDING, Reason.SCAN_QR),
            ("ready", TenantStatus.ACTIVE, Reason.CONNECTED),
        ):
            event, status, reason = change
            await book.save(
                replace(
                    snapshot,
                    status=status,
                    reason=reason,
                    session=SessionState.DISCONNECTED,
                    worker=WorkerStatus.RUNNING,
                    desired=DesiredState.RUNNING,
                ),
                event=event,
                actor="admin",
            )
        assert await events() == [
            ("start", "admin", TenantStatus.QR_PENDING, Reason.STARTING),
            ("qr_shown", "admin", TenantStatus.QR_PENDING, Reason.SCAN_QR),
            ("ready", "admin", TenantStatus.ACTIVE, Reason.CONNECTED),
        ]

    async def test_a_change_of_neither_is_stored_and_no_history(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        active = replace(snapshot, status=TenantStatus.ACTIVE, reason=Reason.CONNECTED)
        await book.save(active, event="ready", actor="daemon")
        await book.save(replace(active, restarts=3), event="failed", actor="daemon")
        assert len(await events()) == 1

    async def test_a_detail_of_any_content_can_be_stored(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        odd = replace(
            snapshot,
            status=TenantStatus.ERROR,
            reason=Reason.INTERNAL_ERROR,
            detail="\x00 " + "\ud800" + "x" * 50_000,
        )
        await book.save(odd, event="failed", actor="daemon")
        assert len(await events()) == 1
