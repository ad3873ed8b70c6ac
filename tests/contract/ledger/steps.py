"""A message is decided once, whole or not at all; one that fails is tried again for a while."""

import asyncio

import pytest

from flowhq.bot.ports import Ledger
from flowhq.model import ChatKey, InboundMessage, InboxState, OutboxState, Reply
from flowhq.steps import ConversationView, Decision, Outcome
from tests.contract.ledger.base import (
    CUSTOMER,
    LID,
    OTHER,
    SLACK_S,
    WAITS_S,
    Contract,
    Monotonic,
    Now,
    answering,
    ids,
    key_of,
    message,
    refusing,
)


class Steps(Contract):
    """A message is decided once, whole or not at all; one that fails is tried again for a while."""

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

    @pytest.mark.parametrize("why", ["a person took over", "muted", "opted out"])
    async def test_no_notice_is_planned_where_the_bot_is_silent(
        self, ledger: Ledger, now: Now, why: str
    ) -> None:
        one = message(1)
        recorded = await ledger.record(one, state=InboxState.NEW)
        if why == "a person took over":
            by_hand = message(2, from_me=True, at=await now())
            await ledger.record(by_hand, state=InboxState.SKIPPED, person_pause_s=60.0)
        elif why == "muted":
            await ledger.process(key_of(one), answering("moja", mute_s=60.0))
        else:
            await ledger.process(key_of(one), answering("moja", opted_out=True))
        reply = Reply("please wait", "please_wait")
        told = await ledger.notify(recorded.chat_key, CUSTOMER, cause="wait:2", reply=reply)
        assert list(told) == []

    async def test_no_notice_is_planned_in_a_chat_that_is_not_there(self, ledger: Ledger) -> None:
        reply = Reply("please wait", "please_wait")
        assert len(await ledger.notify(ChatKey(OTHER), OTHER, cause="wait:1", reply=reply)) == 0
        assert len(await ledger.unsettled()) == 0

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

    async def test_what_waits_while_its_chat_is_merged_is_not_counted_at_the_next_start(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(1), state=InboxState.NEW)
        only_lid = message(2, chat=LID, sender=LID, phone="")
        await ledger.record(only_lid, state=InboxState.NEW)
        await ledger.record(message(3, lid="100000000000009"), state=InboxState.NEW)
        assert await ledger.count_interrupted() == []
        for number in (1, 2, 3):
            assert await ledger.postpone(key_of(message(number)), error="ours") == WAITS_S[0]

    async def test_a_step_of_a_merged_chat_that_ends_the_process_is_counted(
        self, ledger: Ledger
    ) -> None:
        await ledger.record(message(1), state=InboxState.NEW)
        only_lid = message(2, chat=LID, sender=LID, phone="")
        await ledger.record(only_lid, state=InboxState.NEW)
        await ledger.record(message(3, lid="100000000000009"), state=InboxState.NEW)
        await self.ends_in_its_step(ledger, only_lid)
        assert await ledger.count_interrupted() == []
        assert await ledger.postpone(key_of(only_lid), error="ours") == WAITS_S[1]

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
