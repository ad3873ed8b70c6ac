"""The ledger and the book in memory keep the contract of the real ones, and fail as told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowhq.bot.lifecycle import Lifecycle
from flowhq.bot.ports import Ledger
from flowhq.errors import StoreUnavailableError
from flowhq.model import DesiredState, InboundMessage, InboxState, TenantSnapshot
from tests.contract.ledger.base import LID, Monotonic, Now, answering, key_of, message
from tests.contract.ledger.contract import LedgerContract
from tests.contract.status_book_contract import StatusBookContract
from tests.fakes.clock import FakeClock, settle
from tests.fakes.ledger import TENANT, FakeLedger
from tests.fakes.statusbook import FakeStatusBook


class TestFakeLedger(LedgerContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def ledger(self, clock: FakeClock) -> FakeLedger:
        return FakeLedger(clock)

    @pytest.fixture
    def now(self, clock: FakeClock) -> Now:
        async def tell() -> Any:
            return clock.now()

        return tell

    @pytest.fixture
    def monotonic(self, clock: FakeClock) -> Monotonic:
        return clock.monotonic

    async def lose_answer(self, ledger: Ledger, one: InboundMessage) -> None:
        assert isinstance(ledger, FakeLedger)
        ledger.outages.lose_answer("record")
        with pytest.raises(StoreUnavailableError):
            await ledger.record(one, state=InboxState.NEW)

    async def test_an_outage_stores_nothing(self, ledger: FakeLedger) -> None:
        ledger.outages.fail("record")
        with pytest.raises(StoreUnavailableError):
            await ledger.record(message(), state=InboxState.NEW)
        assert ledger.inbox == {}
        assert (await ledger.record(message(), state=InboxState.NEW)).fresh

    async def test_a_lost_answer_stores_and_the_repeat_answers_as_the_first_would_have(
        self, ledger: FakeLedger
    ) -> None:
        ledger.outages.lose_answer("*", 2)
        with pytest.raises(StoreUnavailableError):
            await ledger.record(message(), state=InboxState.NEW)
        assert len(ledger.inbox) == 1
        with pytest.raises(StoreUnavailableError):
            await ledger.record(message(), state=InboxState.NEW)
        assert (await ledger.record(message(), state=InboxState.NEW)).fresh
        ledger.outages.lose_answer("process")
        with pytest.raises(StoreUnavailableError):
            await ledger.process(key_of(message()), answering("one"))
        assert len(await ledger.process(key_of(message()), answering("one"))) == 1

    async def test_a_merge_waits_for_the_step_under_way_in_the_chat_that_goes(
        self, ledger: FakeLedger
    ) -> None:
        kept = await ledger.record(message(1), state=InboxState.NEW)
        by_lid = message(2, chat=LID, sender=LID, phone="")
        gone = await ledger.record(by_lid, state=InboxState.NEW)
        gate = ledger.outages.hold("commit")
        step = asyncio.create_task(ledger.process(gone.key, answering("one")))
        await settle()
        both = message(3, lid="100000000000009")
        merging = asyncio.create_task(ledger.record(both, state=InboxState.NEW))
        await settle()
        assert not merging.done()
        gate.set()
        [planned] = await step
        assert planned.chat_key == gone.chat_key
        assert (await merging).merged == (gone.chat_key,)
        assert ledger.outbox[planned.outbox_id].chat_key == kept.chat_key


class TestFakeStatusBook(StatusBookContract):
    @pytest.fixture
    def book(self) -> FakeStatusBook:
        return FakeStatusBook()

    @pytest.fixture
    def snapshot(self, book: FakeStatusBook) -> TenantSnapshot:
        return Lifecycle(
            TENANT, book, desired=DesiredState.STOPPED, paired=False, paused=False
        ).snapshot

    @pytest.fixture
    def events(self, book: FakeStatusBook) -> Callable[[], Awaitable[list[Any]]]:
        async def read() -> list[Any]:
            return [(event, actor, one.status, one.reason) for one, event, actor in book.history]

        return read
