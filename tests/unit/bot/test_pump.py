"""Each event of a channel, in order, and what is held back until the past is recorded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from flowhq.bot import pump as pump_module
from flowhq.bot.catchup import ARRIVAL_LOOKS, ARRIVAL_PAUSE_S, CatchUp
from flowhq.bot.chats import Place
from flowhq.bot.inbound import Inbound
from flowhq.bot.lifecycle import Event, Lifecycle, State
from flowhq.bot.memory import Memory
from flowhq.bot.pump import REPLACED_MAX, REPLACED_WINDOW_S, Pump
from flowhq.bot.trace import Traces
from flowhq.config import LimitSettings
from flowhq.errors import ChannelRestartError, LoginRequiredError
from flowhq.events import (
    AckSeen,
    Conflicted,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    Pairing,
    QrIdle,
)
from flowhq.model import (
    Ack,
    ChatKey,
    DesiredState,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    Reason,
    Reply,
    SessionState,
)
from tests.fakes.channel import CUSTOMER, OWNER_LID, OWNER_PHONE, FakeChannel
from tests.fakes.clock import EPOCH, FakeClock, settle, until
from tests.fakes.ledger import TENANT, FakeLedger, FakeStatusBook


class Bench:
    """A pump over a scripted channel; ``steps`` has what happened, in order."""

    def __init__(
        self, ledger: FakeLedger | None = None, channel: FakeChannel | None = None
    ) -> None:
        self.clock = FakeClock(EPOCH + timedelta(hours=1))
        self.ledger = ledger or FakeLedger(self.clock)
        self.ledger.paired_at = EPOCH - timedelta(days=1)
        self.channel = channel or FakeChannel()
        self.book = FakeStatusBook()
        self.steps: list[str] = []
        self.acked: list[MessageId] = []
        self.online = asyncio.Event()
        self.memory = Memory()
        self.lifecycle = Lifecycle(
            TENANT, self.book, desired=DesiredState.RUNNING, paired=True, paused=False
        )
        inbound = Inbound(
            self.ledger,
            self.clock,
            LimitSettings(),
            Traces(self.clock),
            paused=lambda: self.lifecycle.snapshot.paused,
            line_up=self._line_up,
            lined_up=lambda recorded, message, place: None,
            merged=lambda chat, others: None,
        )
        self.pump = Pump(
            self.channel,
            self.ledger,
            self.lifecycle,
            self.clock,
            inbound=inbound,
            catchup=CatchUp(self.channel, self.ledger, inbound, self.clock, max_age_s=43_200),
            online=self.online,
            acknowledged=self._acknowledged,
            paired=lambda phone, lid: None,
            restore=self._restore,
            memory=self.memory,
        )

    def _line_up(self, chat: ChatKey, key: InboxKey) -> Place:
        self.steps.append(key.message_id)
        return Place.IN_LINE

    def _acknowledged(self, ids: Sequence[MessageId]) -> None:
        self.acked.extend(ids)

    async def _restore(self) -> None:
        self.steps.append("restore")
        assert not self.online.is_set(), "nothing is sent before it is known what came before"
        for waiting in await self.ledger.waiting(None, limit=100):
            self._line_up(waiting.chat_key, waiting.key)

    async def start(self) -> None:
        await self.channel.open()
        await self.lifecycle.apply(Event.START)
        self.task = asyncio.create_task(self.pump.run())

    async def ready(self) -> None:
        self.channel.ready()
        await settle()

    def receive(self, message_id: str, *, live: bool = True) -> None:
        self.channel.receive("habari", message_id=message_id, live=live)


class Reading:
    """Holds up the readings of one chat until told to go on."""

    def __init__(self, channel: FakeChannel, chat: Jid) -> None:
        self.begun = False
        self.go_on = asyncio.Event()
        self._chat = chat
        self._history = channel.history
        channel.history = self._read  # type: ignore[method-assign]

    async def _read(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        if chat == self._chat:
            self.begun = True
            await self.go_on.wait()
        return await self._history(chat, since=since, limit=limit)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.start()
    yield bench
    bench.task.cancel()
    await asyncio.wait({bench.task})


# -- states ----


async def test_a_code_is_stored_and_shown_and_nothing_is_online(bench: Bench) -> None:
    bench.channel.show_qr("a,b,c,d,1")
    await until(lambda: bench.lifecycle.state is State.SCANNING)
    assert bench.ledger.qr == "a,b,c,d,1"
    assert not bench.online.is_set()
    assert bench.lifecycle.snapshot.session is SessionState.QR_READY


async def test_codes_that_ran_out_and_a_scan_move_the_state(bench: Bench) -> None:
    for event, state in ((QrIdle(), State.EXPIRED), (Pairing(), State.PAIRING)):
        bench.channel.emit(event)
        await settle()
        assert bench.lifecycle.state is state


async def test_ready_stores_the_number_and_clears_the_code(bench: Bench) -> None:
    bench.ledger.qr = "old"
    await bench.ready()
    assert bench.ledger.identity == (OWNER_PHONE, OWNER_LID)
    assert bench.ledger.qr == ""
    assert bench.online.is_set()
    assert bench.lifecycle.state is State.CONNECTED
    assert bench.lifecycle.snapshot.last_seen_at == bench.clock.now()


async def test_a_lost_connection_takes_the_page_offline_until_it_is_ready(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    await settle()
    assert not bench.online.is_set()
    lost = bench.lifecycle.snapshot
    assert (lost.reason, lost.detail) == (Reason.CONNECTION_LOST, "no network")
    await bench.ready()
    assert bench.online.is_set()
    back = bench.lifecycle.snapshot
    assert (back.reason, back.detail) == (Reason.CONNECTED, "")


async def test_a_conflict_stops_the_sending(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(Conflicted())
    await settle()
    assert not bench.online.is_set()
    assert bench.lifecycle.snapshot.reason is Reason.CONFLICT


async def test_who_is_replaced_again_and_again_gives_way_until_a_person_decides(
    bench: Bench,
) -> None:
    await bench.ready()
    for _ in range(REPLACED_MAX):
        assert not bench.task.done()
        bench.channel.emit(Conflicted())
        bench.channel.ready()
        await settle()
    error = bench.task.exception()
    assert isinstance(error, LoginRequiredError)
    assert error.reason == Reason.CONFLICT


async def test_being_replaced_is_remembered_over_runs_and_forgotten_in_time(bench: Bench) -> None:
    bench.memory.replaced_at.extend([bench.clock.monotonic()] * (REPLACED_MAX - 1))
    await bench.clock.advance(REPLACED_WINDOW_S + 1)
    await bench.ready()
    for _ in range(REPLACED_MAX - 1):
        bench.channel.emit(Conflicted())
        await settle()
    assert bench.lifecycle.state is State.CONFLICTED
    bench.channel.emit(Conflicted())
    await settle()
    assert isinstance(bench.task.exception(), LoginRequiredError)


async def test_a_logged_out_tenant_forgets_its_pairing_and_pairs_anew(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(LoggedOut("removed"))
    await settle()
    told = bench.lifecycle.snapshot
    assert not told.paired
    assert bench.ledger.identity is None
    assert not bench.online.is_set()
    bench.channel.show_qr()
    await until(lambda: bench.lifecycle.snapshot.session is SessionState.QR_READY)
    assert bench.lifecycle.snapshot.reason is Reason.LOGGED_OUT
    bench.receive("missed", live=False)
    await bench.clock.advance(60)
    bench.channel.document += 1
    await bench.ready()
    assert bench.lifecycle.snapshot.paired
    assert bench.ledger.paired_at == bench.clock.now()
    assert "missed" not in bench.steps


async def test_what_was_held_back_is_recorded_before_its_page_forgets_it(bench: Bench) -> None:
    bench.receive("held")
    await settle()
    assert bench.ledger.inbox == {}
    bench.channel.emit(LoggedOut("removed"))
    await settle()
    assert bench.ledger.states() == {"held": InboxState.NEW}
    assert not bench.lifecycle.snapshot.paired


async def test_acks_are_stored_and_told_to_who_waits(bench: Bench) -> None:
    bench.ledger.know(CUSTOMER)
    [row] = await bench.ledger.notify(
        ChatKey(CUSTOMER), CUSTOMER, cause="test", reply=Reply("x", "x")
    )
    bench.channel.emit(AckSeen((row.client_id, MessageId("unknown")), Ack.DELIVERED))
    await settle()
    assert bench.ledger.outbox[row.outbox_id].state == "delivered"
    assert bench.acked == [row.client_id, "unknown"]


async def test_the_end_of_the_events_is_a_failure(bench: Bench) -> None:
    await bench.channel.close()
    with pytest.raises(ChannelRestartError) as caught:
        await bench.task
    assert caught.value.reason == Reason.BROWSER_GONE


async def test_a_page_that_is_gone_is_told_after_what_it_said_before(bench: Bench) -> None:
    await bench.ready()
    bench.receive("last words")
    bench.channel.crash(Reason.PAGE_CRASHED)
    with pytest.raises(ChannelRestartError) as caught:
        await bench.task
    assert caught.value.reason == Reason.PAGE_CRASHED
    assert bench.steps == ["restore", "last words"]


# -- holding back ----


async def test_live_messages_wait_until_what_was_missed_and_planned_is_looked_after(
    bench: Bench,
) -> None:
    bench.receive("missed", live=False)
    bench.receive("live 1")
    bench.receive("live 2")
    await settle()
    assert bench.steps == []
    assert bench.ledger.inbox == {}
    await bench.ready()
    assert bench.steps == ["restore", "live 2"]
    assert bench.ledger.reasons() == {"missed": "backlog", "live 1": "backlog", "live 2": ""}
    bench.receive("live 3")
    await settle()
    assert bench.steps[-1] == "live 3"


async def test_while_the_past_is_read_later_messages_wait_their_turn(bench: Bench) -> None:
    bench.receive("missed", live=False)
    gate = bench.ledger.outages.hold("caught_up_to")
    bench.channel.ready()
    await settle()
    bench.receive("live")
    await settle()
    assert bench.steps == []
    assert not bench.online.is_set()
    gate.set()
    await settle()
    assert bench.steps == ["restore", "live"]
    assert [key.message_id for key in bench.ledger.inbox] == ["missed", "live"]


async def test_the_past_is_read_once_for_each_page_document(bench: Bench) -> None:
    await bench.ready()
    bench.receive("missed", live=False)
    await bench.ready()
    assert "missed" not in bench.steps
    bench.channel.document += 1
    await bench.ready()
    assert bench.steps == ["restore", "missed"]


async def test_a_page_that_reloads_holds_its_messages_back_again(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("another document"))
    bench.receive("missed", live=False)
    bench.receive("live")
    await settle()
    assert bench.ledger.inbox == {}
    bench.channel.document += 1
    await bench.ready()
    assert [key.message_id for key in bench.ledger.inbox] == ["missed", "live"]
    assert bench.steps == ["restore", "live"]


async def test_what_came_during_a_short_absence_of_the_network_is_all_answered(
    bench: Bench,
) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    for number in range(3):
        bench.receive(f"live {number}")
    await bench.ready()
    assert bench.steps == ["restore", "live 0", "live 1", "live 2"]


@pytest.mark.parametrize("told", ["before it is ready", "afterwards"])
async def test_after_a_long_absence_of_the_network_a_chat_gets_one_answer_at_most(
    bench: Bench, told: str
) -> None:
    """The platform hands over what it kept a little before or after the page is ready again."""
    mended = Jid("255700000002@c.us")
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    await settle()
    await bench.clock.advance(3600)

    def hand_over() -> None:
        for number in range(3):
            bench.receive(f"live {number}")
        bench.channel.receive("Mnafungua lini?", chat=mended, message_id="asked")
        bench.channel.receive("Kesho saa 2", chat=mended, message_id="told", from_me=True)

    if told == "before it is ready":
        hand_over()
        await bench.ready()
    else:
        await bench.ready()
        await bench.clock.advance(1.0)
        hand_over()
    assert not bench.online.is_set()
    await bench.clock.advance(10.0)
    assert bench.online.is_set()
    assert bench.steps == ["restore", "live 2"]
    assert bench.ledger.reasons() == {
        "live 0": "backlog",
        "live 1": "backlog",
        "live 2": "",
        "asked": "answered",
        "told": "own",
    }
    bench.receive("live 3")
    await settle()
    assert bench.steps[-1] == "live 3"


async def test_a_page_that_gets_more_and_more_is_read_all_the_same(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    await settle()
    await bench.clock.advance(3600)
    await bench.ready()
    for number in range(2 * ARRIVAL_LOOKS):
        bench.receive(f"live {number}")
        await bench.clock.advance(ARRIVAL_PAUSE_S)
    assert bench.online.is_set()
    assert bench.ledger.reasons()["live 0"] == "backlog"


async def test_too_many_to_hold_are_read_from_the_page_instead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump_module, "HELD_MAX", 2)
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    for number in range(5):
        bench.receive(f"live {number}")
    await bench.ready()
    assert len(bench.ledger.inbox) == 5
    assert bench.steps == ["restore", "live 4"]


async def test_dropped_events_are_read_from_the_page_in_their_place(bench: Bench) -> None:
    await bench.ready()
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    bench.receive("after")
    await settle()
    assert [key.message_id for key in bench.ledger.inbox] == ["dropped", "after"]


async def test_events_dropped_offline_are_read_when_the_page_is_back(bench: Bench) -> None:
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    bench.receive("after")
    await settle()
    assert bench.ledger.inbox == {}
    await bench.ready()
    assert [key.message_id for key in bench.ledger.inbox] == ["dropped", "after"]


@pytest.mark.parametrize("why", ["another document", "dropped events"])
async def test_a_catch_up_that_breaks_off_moves_the_mark_past_nothing(
    bench: Bench, why: str
) -> None:
    await bench.ready()
    busy, quiet = Jid("255700000002@c.us"), Jid("255700000003@c.us")
    ends = bench.clock.now()
    bench.channel.receive(
        "q", chat=quiet, message_id="q", at=ends - timedelta(minutes=1), live=False
    )
    for number in range(3):
        at = ends - timedelta(minutes=20 * number)
        bench.channel.receive("b", chat=busy, message_id=f"b{number}", at=at, live=False)
    reading = Reading(bench.channel, busy)
    if why == "dropped events":
        bench.channel.emit(EventsDropped(1))
    else:
        bench.channel.document += 1
        bench.channel.ready()
    await until(lambda: reading.begun)
    assert [key.message_id for key in bench.ledger.inbox] == ["q"]
    await bench.ledger.touch(caught_up=bench.pump.caught_up)  # a heartbeat
    bench.task.cancel()
    await asyncio.wait({bench.task})
    again = Bench(bench.ledger, bench.channel)
    reading.go_on.set()
    await again.start()
    await again.ready()
    assert {key.message_id for key in bench.ledger.inbox} == {"q", "b0", "b1", "b2"}
    assert again.pump.caught_up
    again.task.cancel()
    await asyncio.wait({again.task})


async def test_what_is_dropped_during_a_long_reading_is_read_wherever_the_mark_stands(
    bench: Bench,
) -> None:
    """The store is away for 20 minutes in the middle of the reading: what was dropped early in it
    is older than the overlap when the next reading begins."""
    early, late = Jid("255700000002@c.us"), Jid("255700000003@c.us")
    began = bench.clock.now()
    bench.channel.receive("e", chat=early, message_id="e0", at=began, live=False)
    bench.channel.receive("l", chat=late, message_id="l0", at=began, live=False)
    reading = Reading(bench.channel, late)
    bench.channel.ready()
    await until(lambda: reading.begun)
    await bench.clock.advance(1200)
    at = began + timedelta(minutes=3)
    bench.channel.receive("e", chat=early, message_id="dropped", at=at, live=False)
    bench.channel.receive("l", chat=late, message_id="l1", at=bench.clock.now(), live=False)
    reading.go_on.set()
    await until(lambda: bench.online.is_set())
    assert not bench.pump.caught_up, "the mark stays until what came meanwhile is recorded"
    assert await bench.ledger.caught_up_to() is None
    bench.channel.emit(EventsDropped(1))
    await settle()
    assert {key.message_id for key in bench.ledger.inbox} == {"e0", "l0", "l1", "dropped"}
    assert bench.pump.caught_up


async def test_after_a_long_reading_the_first_message_that_is_new_ends_the_doubt(
    bench: Bench,
) -> None:
    reading = Reading(bench.channel, CUSTOMER)
    bench.receive("missed", live=False)
    bench.channel.ready()
    await until(lambda: reading.begun)
    bench.receive("meanwhile")
    await bench.clock.advance(1200)
    reading.go_on.set()
    await until(lambda: bench.online.is_set())
    await settle()
    assert not bench.pump.caught_up
    bench.channel.receive("habari", message_id="live", seen_at_monotonic=bench.clock.monotonic())
    await settle()
    assert bench.pump.caught_up


async def test_dropped_events_before_ready_are_read_at_ready(bench: Bench) -> None:
    bench.receive("dropped", live=False)
    bench.channel.emit(EventsDropped(1))
    await settle()
    assert bench.ledger.inbox == {}
    await bench.ready()
    assert bench.steps == ["restore", "dropped"]


async def test_a_second_ready_does_not_restore_again(bench: Bench) -> None:
    await bench.ready()
    bench.channel.document += 1
    await bench.ready()
    assert bench.steps == ["restore"]


async def test_a_paused_tenant_records_and_lines_up_nothing(bench: Bench) -> None:
    bench.receive("missed", live=False)
    await bench.lifecycle.apply(Event.PAUSE)
    await bench.ready()
    bench.receive("live")
    await settle()
    assert bench.steps == ["restore"]
    assert set(bench.ledger.reasons().values()) == {"paused"}
    assert bench.lifecycle.snapshot.reason is Reason.PAUSED_BY_ADMIN


# -- the store away ----


OUTAGES = ["save_identity", "caught_up_to", "known_own", "record", "touch"]


@pytest.mark.parametrize("method", OUTAGES)
@pytest.mark.parametrize("how", ["fail", "lose_answer"])
async def test_an_outage_at_any_step_is_waited_out_in_order(
    bench: Bench, method: str, how: str
) -> None:
    bench.channel.receive("by hand", message_id="by hand", from_me=True, live=False)
    bench.receive("missed", live=False)
    getattr(bench.ledger.outages, how)(method, 3)
    bench.channel.ready()
    bench.receive("live 1")
    bench.receive("live 2")
    await bench.clock.advance(60)
    assert [key.message_id for key in bench.ledger.inbox] == [
        "by hand",
        "missed",
        "live 1",
        "live 2",
    ]
    assert bench.ledger.states()["live 2"] is InboxState.NEW


async def test_during_an_outage_the_pump_stops_reading_and_the_channel_counts_what_it_drops(
    bench: Bench,
) -> None:
    await bench.ready()
    bench.ledger.outages.down = True
    for number in range(1500):
        bench.receive(f"m{number:04}")
    await bench.clock.advance(60)
    assert bench.ledger.inbox == {}
    bench.ledger.outages.down = False
    await bench.clock.advance(10)
    await until(lambda: len(bench.ledger.inbox) == 1000)
    bench.receive("after")
    await until(lambda: len(bench.ledger.inbox) == 1501)


async def test_a_stop_during_an_outage_ends_at_once(bench: Bench) -> None:
    await bench.ready()
    bench.ledger.outages.down = True
    bench.receive("live")
    await settle()
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_stop_anywhere_swallows_nothing(bench: Bench, turns: int) -> None:
    bench.receive("missed", live=False)
    bench.channel.show_qr()
    bench.channel.ready()
    bench.receive("live")
    await settle(turns)
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
