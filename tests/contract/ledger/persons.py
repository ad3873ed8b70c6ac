"""A person at the phone takes over; a chat can be muted; one id says one thing."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flowhq.bot.ports import Ledger
from flowhq.model import Ack, InboundMessage, InboxState
from flowhq.steps import ConversationView, Decision, Outcome, Recorded
from tests.contract.ledger.base import (
    OTHER,
    SLACK,
    Contract,
    Now,
    answering,
    key_of,
    message,
)


class Persons(Contract):
    """A person at the phone takes over; a chat can be muted; one id says one thing."""

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
