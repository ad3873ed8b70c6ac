"""Messages that the store, being well, never gets done with recording."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowhq.bot import retry
from flowhq.bot.recording import APART_S, PATIENT_TRIES, TIMEOUTS_MAX, UNRECORDABLE
from flowhq.bot.retry import LONGEST_WAIT_S
from flowhq.errors import StoreTimeoutError
from flowhq.model import ChatKey, InboundMessage, InboxKey, Jid, MessageId
from flowhq.steps import Recorded
from tests.fakes.clock import PATIENCE_S
from tests.unit.bot.test_inbound import CHAT, LID, Bench, message


class Stuck:
    """A ledger that is well, and never ends the recording of some messages: those that ``never``
    holds for."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.never: Callable[[InboundMessage], bool] = lambda one: "poison" in one.text
        self.tries = 0
        self._record = bench.ledger.record
        monkeypatch.setattr(bench.ledger, "record", self.record)

    async def record(self, message: InboundMessage, **how: Any) -> Recorded:
        if self.never(message):
            self.tries += 1
            raise StoreTimeoutError("The database did not answer in time.")
        return await self._record(message, **how)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(retry, "PROOF_S", PATIENCE_S)
    return Bench()


@pytest.fixture
def stuck(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(bench, monkeypatch)


async def through(bench: Bench, *messages: InboundMessage, within_s: float) -> None:
    admitting = asyncio.create_task(bench.admit(*messages))
    await bench.clock.advance(within_s)
    assert admitting.done(), "the door is still held"
    await admitting


async def test_a_message_whose_recording_never_ends_is_set_aside_and_those_behind_it_go_on(
    bench: Bench, stuck: Stuck
) -> None:
    other = Jid("255700000002@c.us")
    most_s = PATIENT_TRIES * LONGEST_WAIT_S
    await through(bench, message(1, text="poison"), message(2, chat=other), within_s=most_s)
    assert stuck.tries == PATIENT_TRIES
    assert bench.ledger.reasons() == {"3A0001": UNRECORDABLE, "3A0002": ""}
    assert bench.ids == ["3A0002"]
    assert bench.meter.received == {UNRECORDABLE: 1, "admitted": 1}


async def test_two_chats_that_cannot_be_made_one_stay_two_and_nothing_of_them_is_lost(
    bench: Bench, stuck: Stuck
) -> None:
    await bench.admit(message(1), message(2, chat=LID, phone=""))
    stuck.never = lambda one: bool(one.lid)
    merging = [message(number, lid="100000000000009") for number in (3, 4)]
    await through(bench, *merging, within_s=5 * LONGEST_WAIT_S)
    assert stuck.tries == TIMEOUTS_MAX, "the second did not even try"
    assert bench.ids[2:] == ["3A0003", "3A0004"]
    assert {chat for chat, _ in bench.lined_up[2:]} == {ChatKey(CHAT)}
    stuck.never = lambda one: False
    await bench.clock.advance(APART_S)
    await bench.admit(message(5, lid="100000000000009"))
    assert bench.merges == [(ChatKey(CHAT), (ChatKey(LID),), 4)]


async def test_the_next_run_tries_again_to_make_two_chats_one(bench: Bench, stuck: Stuck) -> None:
    await bench.admit(message(1), message(2, chat=LID, phone=""))
    stuck.never = lambda one: bool(one.lid)
    await through(bench, message(3, lid="100000000000009"), within_s=5 * LONGEST_WAIT_S)
    bench.inbound = bench.next_run()
    stuck.never = lambda one: False
    await bench.admit(message(4, lid="100000000000009"))
    assert bench.merges == [(ChatKey(CHAT), (ChatKey(LID),), 3)]


async def test_a_store_that_ends_nothing_in_time_is_away_and_costs_no_message_a_word(
    bench: Bench,
) -> None:
    bench.ledger.outages.time_out("*", 60)
    await through(bench, message(1), message(2), within_s=60 * LONGEST_WAIT_S)
    assert bench.ledger.reasons() == {"3A0001": "", "3A0002": ""}
    assert bench.ids == ["3A0001", "3A0002"]
    assert bench.ledger.inbox[InboxKey(False, MessageId("3A0001"))].message.text == "habari"


async def test_a_moment_in_which_no_recording_ends_costs_nothing(
    bench: Bench, stuck: Stuck
) -> None:
    stuck.never = lambda one: stuck.tries < PATIENT_TRIES - 1
    await through(bench, message(1), message(2), within_s=PATIENT_TRIES * LONGEST_WAIT_S)
    assert bench.ledger.reasons() == {"3A0001": "", "3A0002": ""}


async def test_where_not_even_that_it_came_is_stored_it_is_waited_for_and_nothing_is_lost(
    bench: Bench, stuck: Stuck
) -> None:
    rounds = 3 * (PATIENT_TRIES + 1)
    stuck.never = lambda one: stuck.tries < rounds
    await through(bench, message(1), message(2), within_s=(rounds + 1) * LONGEST_WAIT_S)
    assert bench.ledger.reasons() == {"3A0001": "", "3A0002": ""}
    assert bench.meter.received == {"admitted": 2}
