"""A reply is handed over by a committed intent, settled by its ack, and known by its id."""

import pytest

from flowhq.bot.ports import Ledger
from flowhq.model import Ack, ChatKey, InboundMessage, InboxState, MessageId, OutboxState
from flowhq.steps import ConversationView, Decision, Outcome
from tests.contract.ledger.base import (
    SLACK_S,
    WAITS_S,
    Contract,
    Monotonic,
    key_of,
    message,
)


class Sending(Contract):
    """A reply is handed over by a committed intent, settled by its ack, and known by its id."""

    async def test_an_intent_is_committed_and_counted(self, ledger: Ledger) -> None:
        [row] = await self.planned(ledger)
        assert await ledger.mark_sending(row.outbox_id)
        going = await self.row(ledger, row)
        assert going is not None
        assert (going.state, going.attempts) == (OutboxState.SENDING, 1)
        assert going.client_id == row.client_id

    async def test_one_that_was_due_too_long_ago_is_taken_back(self, ledger: Ledger) -> None:
        late, other = await self.planned(ledger, "1", "2")
        # Due more than a second from now on: of anything planned so far that is true.
        assert not await ledger.mark_sending(late.outbox_id, max_age_s=-1.0)
        assert [row.outbox_id for row in await ledger.unsettled()] == [other.outbox_id]
        assert not await ledger.mark_sending(late.outbox_id)
        assert await ledger.mark_sending(other.outbox_id, max_age_s=60.0)

    async def test_one_in_doubt_that_was_due_too_long_ago_is_not_sent_once_more(
        self, ledger: Ledger
    ) -> None:
        [row] = await self.planned(ledger)
        assert await ledger.mark_sending(row.outbox_id, max_age_s=60.0)
        assert not await ledger.mark_sending(row.outbox_id, max_age_s=-1.0)
        assert await self.row(ledger, row) is None

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

    async def test_what_is_unsettled_in_one_chat_is_found_apart(self, ledger: Ledger) -> None:
        rows = await self.planned(ledger, "one", "two", "three")
        chat = rows[0].chat_key
        assert [one.outbox_id for one in await ledger.unsettled(chat, limit=2)] == [
            row.outbox_id for row in rows[:2]
        ]
        assert await ledger.unsettled(ChatKey("255700009999@c.us"), limit=2) == []
