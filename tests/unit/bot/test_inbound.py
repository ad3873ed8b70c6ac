"""The door: what is dropped, recorded only, or lined up; every message once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from flowhq.bot.chats import Place, QueuedMessage
from flowhq.bot.inbound import MISTAKES_MAX, NOT_A_MESSAGE, Inbound, judge
from flowhq.bot.recording import UNRECORDABLE
from flowhq.bot.trace import Traces
from flowhq.errors import InvalidInputError, StoreRefusedError
from flowhq.model import (
    ChatKey,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    Source,
)
from flowhq.steps import Recorded
from tests.fakes.clock import EPOCH, FakeClock, settle
from tests.fakes.ledger import FakeLedger
from tests.fakes.memory import dedup
from tests.fakes.meter import FakeMeter
from tests.fakes.recording import recording

CHAT = Jid("255700000001@c.us")
LID = Jid("100000000000009@lid")


def message(number: int = 1, **changes: Any) -> InboundMessage:
    plain = InboundMessage(
        message_id=MessageId(f"3A{number:04}"),
        chat=CHAT,
        from_me=False,
        kind=MessageKind.TEXT,
        text="habari",
        at=EPOCH + timedelta(seconds=number),
        source=Source.LIVE,
        sender=CHAT,
        phone="255700000001",
        raw_type="chat",
    )
    return replace(plain, **changes)


@dataclass
class Bench:
    clock: FakeClock = field(default_factory=FakeClock)
    paused: bool = False
    place: Place = Place.IN_LINE

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.clock)
        self.lined_up: list[tuple[ChatKey, QueuedMessage]] = []
        self.told: list[tuple[ChatKey, str, Place]] = []
        self.merges: list[tuple[ChatKey, Sequence[ChatKey], int]] = []
        """With how many messages were lined up by then."""
        self.meter = FakeMeter()
        self.traces = Traces(self.clock, self.meter)
        self.dedup = dedup(self.clock, entries=10)
        self.inbound = self.next_run()

    def next_run(self) -> Inbound:
        return Inbound(
            recording(self.ledger, self.clock, merged=self._merged),
            self.dedup,
            self.traces,
            paused=lambda: self.paused,
            line_up=self._line_up,
            lined_up=lambda recorded, one, place: self.told.append(
                (recorded.chat_key, one.message_id, place)
            ),
        )

    def _line_up(self, chat: ChatKey, queued: QueuedMessage) -> Place:
        self.lined_up.append((chat, queued))
        return self.place

    def _merged(self, chat: ChatKey, others: Sequence[ChatKey]) -> None:
        self.merges.append((chat, others, len(self.lined_up)))

    async def admit(self, *messages: InboundMessage) -> None:
        for one in messages:
            await self.inbound.admit(one, seen_at=self.clock.monotonic())

    @property
    def ids(self) -> list[str]:
        return [queued.key.message_id for _, queued in self.lined_up]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- what a message deserves ----


@pytest.mark.parametrize(
    "chat", ["1203630@g.us", "1203@newsletter", "status@broadcast", "55@broadcast"]
)
def test_what_is_no_chat_with_a_contact_is_dropped(chat: str) -> None:
    verdict = judge(message(chat=Jid(chat)), paused=False)
    assert (verdict.state, verdict.reason) == (None, "not_a_contact")


@pytest.mark.parametrize(
    "chat",
    ["", "nonsense", "@c.us", "255@s.whatsapp.net", "255@c.us@c.us", "\ud800@lid", "2 5@lid"],
)
def test_what_is_no_address_at_all_is_dropped(chat: str) -> None:
    verdict = judge(message(chat=Jid(chat)), paused=False)
    assert (verdict.state, verdict.reason) == (None, "not_a_chat")


@pytest.mark.parametrize("raw_type", sorted(NOT_A_MESSAGE))
def test_events_dressed_as_messages_are_dropped(raw_type: str) -> None:
    assert judge(message(raw_type=raw_type), paused=False).state is None


@pytest.mark.parametrize("paused", [False, True])
def test_own_messages_and_reactions_are_recorded_only(paused: bool) -> None:
    own = judge(message(from_me=True), paused=paused)
    reaction = judge(message(kind=MessageKind.REACTION), paused=paused)
    assert (own.state, own.reason) == (InboxState.SKIPPED, "own")
    assert (reaction.state, reaction.reason) == (InboxState.SKIPPED, "reaction")


@pytest.mark.parametrize("kind", [kind for kind in MessageKind if kind is not MessageKind.REACTION])
def test_every_other_kind_is_answered_unless_the_tenant_is_paused(kind: MessageKind) -> None:
    assert judge(message(kind=kind), paused=False).state is InboxState.NEW
    assert judge(message(kind=kind), paused=True).reason == "paused"


# -- through the door ----


async def test_a_message_is_recorded_before_it_is_lined_up(bench: Bench) -> None:
    await bench.admit(message())
    assert bench.ledger.states() == {"3A0001": InboxState.NEW}
    queued = QueuedMessage(InboxKey(False, MessageId("3A0001")), bench.clock.monotonic())
    assert bench.lined_up == [(ChatKey(CHAT), queued)]
    assert bench.meter.received["admitted"] == 1


async def test_what_is_dropped_is_counted_and_not_stored(bench: Bench) -> None:
    await bench.admit(message(chat=Jid("1@g.us")), message(raw_type="gp2"))
    assert bench.ledger.inbox == {}
    assert bench.meter.received == {"not_a_contact": 1, "not_a_message": 1}


async def test_a_paused_tenant_records_and_answers_nothing(bench: Bench) -> None:
    bench.paused = True
    await bench.admit(message())
    assert bench.ledger.reasons() == {"3A0001": "paused"}
    assert bench.lined_up == []


async def test_a_repeat_is_stopped_in_memory(bench: Bench) -> None:
    await bench.admit(message(), message())
    assert bench.ledger.outages.calls == ["record"]
    assert bench.ids == ["3A0001"]
    assert bench.meter.received["duplicate"] == 1


async def test_a_repeat_is_stopped_in_memory_in_the_next_run_too(bench: Bench) -> None:
    await bench.admit(message())
    bench.inbound = bench.next_run()
    await bench.admit(message(), message(text="another"))
    assert bench.ledger.outages.calls == ["record", "record"]
    assert bench.ids == ["3A0001"]
    assert bench.meter.received == {"admitted": 1, "duplicate": 2, "differed": 1}


async def test_a_repeat_that_memory_forgot_is_stopped_by_the_inbox(bench: Bench) -> None:
    await bench.admit(message())
    bench.ledger.inbox[InboxKey(False, MessageId("3A0001"))].state = InboxState.SKIPPED
    await bench.clock.advance(301)
    await bench.admit(message())
    assert bench.ledger.outages.calls.count("record") == 2
    assert bench.ids == ["3A0001"]


async def test_more_messages_than_memory_holds_are_still_taken_once(bench: Bench) -> None:
    for _ in range(2):
        await bench.admit(*(message(number) for number in range(30)))
    assert len(bench.ledger.inbox) == 30
    assert bench.ids == [f"3A{number:04}" for number in range(30)]


async def test_one_id_from_both_sides_is_two_messages(bench: Bench) -> None:
    await bench.admit(message(), message(from_me=True))
    assert len(bench.ledger.inbox) == 2
    assert bench.ids == ["3A0001"]


async def test_lid_and_number_of_one_contact_are_one_chat(bench: Bench) -> None:
    lid = Jid("100000000000009@lid")
    await bench.admit(
        message(1),
        message(2, chat=lid, phone="255700000001", lid="100000000000009"),
        message(3, chat=lid, phone=""),
    )
    assert {chat for chat, _ in bench.lined_up} == {ChatKey(CHAT)}


async def test_one_message_under_two_jids_is_answered_once(bench: Bench) -> None:
    await bench.admit(message(1), message(1, chat=Jid("100000000000009@lid")))
    assert bench.ids == ["3A0001"]


async def test_a_message_that_was_lined_up_is_told_with_its_place(bench: Bench) -> None:
    bench.place = Place.FULL
    await bench.admit(message(1))
    bench.place = Place.STILL_FULL
    await bench.admit(message(2), message(2))
    assert [told[1:] for told in bench.told] == [
        ("3A0001", Place.FULL),
        ("3A0002", Place.STILL_FULL),
    ]
    assert bench.ledger.states()["3A0002"] is InboxState.NEW


async def test_a_message_that_the_store_refuses_is_dropped_and_the_next_one_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bench.ledger.record

    async def picky(one: InboundMessage, *, state: InboxState, **how: Any) -> Recorded:
        if one.message_id == "3A0001":
            raise InvalidInputError("Too long.", field="message_id")
        return await record(one, state=state, **how)

    monkeypatch.setattr(bench.ledger, "record", picky)
    await bench.admit(message(1), message(2))
    assert bench.ids == ["3A0002"]
    assert bench.meter.received["refused"] == 1


# -- chats that turn out to be one ----


@pytest.fixture
async def apart(bench: Bench) -> Bench:
    """One person wrote under two addresses, and nothing says so yet."""
    await bench.admit(message(1), message(2, chat=LID, phone=""))
    assert {chat for chat, _ in bench.lined_up} == {ChatKey(CHAT), ChatKey(LID)}
    assert bench.merges == []
    return bench


@pytest.mark.parametrize("from_me", [False, True], ids=["customer", "person"])
async def test_a_merge_is_told_before_the_message_that_showed_it_is_lined_up(
    apart: Bench, from_me: bool
) -> None:
    await apart.admit(message(3, lid="100000000000009", from_me=from_me), message(4))
    assert apart.merges == [(ChatKey(CHAT), (ChatKey(LID),), 2)]
    assert apart.ids[2:] == (["3A0004"] if from_me else ["3A0003", "3A0004"])


async def test_a_merge_is_told_though_the_store_s_answer_was_lost(apart: Bench) -> None:
    apart.ledger.outages.lose_answer("record")
    admitting = asyncio.create_task(apart.admit(message(3, lid="100000000000009")))
    await apart.clock.advance(1)
    await admitting
    assert apart.merges == [(ChatKey(CHAT), (ChatKey(LID),), 2)]


async def test_a_merge_is_told_though_the_message_could_only_be_set_aside(
    apart: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = apart.ledger.record

    async def picky(one: InboundMessage, **how: Any) -> Recorded:
        if one.text:
            raise ValueError("cannot be stored")
        return await record(one, **how)

    monkeypatch.setattr(apart.ledger, "record", picky)
    await apart.admit(message(3, lid="100000000000009"))
    assert apart.merges == [(ChatKey(CHAT), (ChatKey(LID),), 2)]


# -- the store away ----


async def test_while_the_store_is_away_the_door_waits_and_then_goes_on(bench: Bench) -> None:
    bench.ledger.outages.down = True
    admitting = asyncio.create_task(bench.admit(message(1), message(2)))
    await bench.clock.advance(60)
    assert not admitting.done()
    assert bench.lined_up == []
    bench.ledger.outages.down = False
    await bench.clock.advance(5)
    await admitting
    assert bench.ids == ["3A0001", "3A0002"]


async def test_waiting_for_the_store_never_takes_more_than_5_s_a_try(bench: Bench) -> None:
    bench.ledger.outages.down = True
    admitting = asyncio.create_task(bench.admit(message(1)))
    await bench.clock.advance(600)
    assert max(bench.clock.naps) <= 5
    assert bench.clock.naps[0] <= 0.1
    bench.ledger.outages.down = False
    await bench.clock.advance(5)
    await admitting


async def test_a_message_stored_without_an_answer_is_lined_up_all_the_same(bench: Bench) -> None:
    bench.ledger.outages.lose_answer("record")
    admitting = asyncio.create_task(bench.admit(message(1)))
    await bench.clock.advance(1)
    await admitting
    assert bench.ids == ["3A0001"]


async def test_a_cancelled_wait_for_the_store_ends_at_once(bench: Bench) -> None:
    bench.ledger.outages.down = True
    admitting = asyncio.create_task(bench.admit(message(1)))
    await settle()
    admitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await admitting


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_anywhere_leaves_the_message_unseen_or_recorded(
    bench: Bench, turns: int
) -> None:
    admitting = asyncio.create_task(bench.admit(message(1)))
    for _ in range(turns):
        await asyncio.sleep(0)
    admitting.cancel()
    await asyncio.wait({admitting})
    restored = [one.key.message_id for one in await bench.ledger.waiting(None, limit=10)]
    if not restored:
        await bench.admit(message(1))
    assert set(bench.ids) | set(restored) == {"3A0001"}
    assert bench.ledger.states() == {"3A0001": InboxState.NEW}


# -- traces ----


async def test_a_repeat_does_not_restart_the_trace_of_a_message_under_way(bench: Bench) -> None:
    await bench.admit(message(1))
    before = dict(bench.traces._marks)  # noqa: SLF001 - no other way to see a trace under way
    marks = dict(before[MessageId("3A0001")])
    await bench.clock.advance(1)
    await bench.admit(message(1))
    assert bench.traces._marks[MessageId("3A0001")] == marks  # noqa: SLF001


# -- what nobody expected ----


class Broken:
    """A ledger in which recording goes wrong for some messages."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception = TypeError("a bug")
        self.bare_too = False
        self._record = bench.ledger.record
        monkeypatch.setattr(bench.ledger, "record", self.record)

    async def record(self, message: InboundMessage, **how: Any) -> Recorded:
        if "poison" in message.text or (self.bare_too and how["reason"] == UNRECORDABLE):
            # A new one each time: one that is raised again and again drags all its past along.
            raise type(self.error)(*self.error.args)
        return await self._record(message, **how)


@pytest.mark.parametrize("error", [TypeError("a bug"), RecursionError(), StoreRefusedError("x")])
async def test_a_message_that_cannot_be_recorded_is_kept_without_what_it_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Broken(bench, monkeypatch).error = error
    await bench.admit(message(1, text="poison"), message(2))
    assert bench.ledger.reasons() == {"3A0001": UNRECORDABLE, "3A0002": ""}
    assert bench.ledger.inbox[InboxKey(False, MessageId("3A0001"))].message.text == ""
    assert bench.ids == ["3A0002"]
    assert bench.meter.received[UNRECORDABLE] == 1


async def test_a_few_messages_of_which_nothing_can_be_recorded_cost_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    Broken(bench, monkeypatch).bare_too = True
    for number in range(1, 30):
        await bench.admit(message(number, text="poison" if number % MISTAKES_MAX else "well"))
    assert len(bench.ids) == 29 // MISTAKES_MAX


async def test_a_ledger_that_records_nothing_any_more_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(bench, monkeypatch)
    broken.bare_too = True
    for number in range(1, MISTAKES_MAX):
        await bench.admit(message(number, text="poison"))
    with pytest.raises(TypeError):
        await bench.admit(message(MISTAKES_MAX, text="poison"))
    broken.error = StoreRefusedError("No rights.")
    with pytest.raises(StoreRefusedError):
        await bench.admit(message(99, text="poison"))
