"""Alive means probed: what a probe proves, what a miss does."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from flowhq.bot.heartbeat import PAIRING_MAX_S, START_MAX_S, Heartbeat
from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.config import SupervisorSettings
from flowhq.errors import ChannelRestartError, LoginRequiredError
from flowhq.model import DesiredState, Health, Reason
from tests.fakes.channel import FakeChannel
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import TENANT, FakeLedger
from tests.fakes.statusbook import FakeStatusBook

MISS = ChannelRestartError("The page does not answer.", reason=Reason.PAGE_HUNG)


class ProbedChannel(FakeChannel):
    """Its probes can fail one by one, as a page that hangs for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[Exception | None] = []
        self.probes = 0

    async def probe(self) -> Health:
        self.probes += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        return await super().probe()


@dataclass
class Bench:
    heartbeat: Heartbeat
    channel: ProbedChannel
    ledger: FakeLedger
    lifecycle: Lifecycle
    book: FakeStatusBook
    clock: FakeClock


@pytest.fixture
async def bench() -> Bench:
    clock, channel, book = FakeClock(), ProbedChannel(), FakeStatusBook()
    ledger = FakeLedger(clock)
    lifecycle = Lifecycle(TENANT, book, desired=DesiredState.RUNNING, paired=True, paused=False)
    await lifecycle.apply(Event.START)
    await channel.open()
    heartbeat = Heartbeat(
        channel, ledger, lifecycle, clock, SupervisorSettings(), caught_up=lambda: True
    )
    return Bench(heartbeat, channel, ledger, lifecycle, book, clock)


async def test_a_probe_that_answers_is_a_proof_of_life_and_stored(bench: Bench) -> None:
    await bench.heartbeat.beat()
    assert bench.lifecycle.snapshot.last_seen_at == bench.clock.now()
    assert bench.lifecycle.seen_at_monotonic == bench.clock.monotonic()
    assert bench.ledger.last_seen_at == bench.clock.now()


async def test_it_probes_every_15_s_and_stores_every_30_s(bench: Bench) -> None:
    running = asyncio.create_task(bench.heartbeat.run())
    await bench.clock.advance(121)
    assert bench.channel.probes == 8
    assert bench.ledger.touches == 4
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_page_that_answers_but_is_not_connected_is_not_seen(bench: Bench) -> None:
    bench.channel.health = replace(bench.channel.health, connected=False)
    await bench.heartbeat.beat()
    assert bench.lifecycle.snapshot.last_seen_at is None
    assert bench.ledger.touches == 0


async def test_three_misses_in_a_row_are_a_hang(bench: Bench) -> None:
    bench.channel.faults = [MISS, MISS, MISS]
    await bench.heartbeat.beat()
    await bench.heartbeat.beat()
    with pytest.raises(ChannelRestartError) as caught:
        await bench.heartbeat.beat()
    assert caught.value.reason == Reason.PAGE_HUNG


async def test_an_answer_between_misses_forgives_them(bench: Bench) -> None:
    bench.channel.faults = [MISS, MISS, None, MISS, MISS, None]
    for _ in range(6):
        await bench.heartbeat.beat()
    assert bench.ledger.touches == 1


async def test_what_a_person_must_mend_is_raised_at_once(bench: Bench) -> None:
    bench.channel.faults = [LoginRequiredError("Blocked.", reason=Reason.BLOCKED)]
    with pytest.raises(LoginRequiredError):
        await bench.heartbeat.beat()


async def test_a_heartbeat_that_cannot_be_stored_is_no_failure_and_comes_with_the_next(
    bench: Bench,
) -> None:
    bench.ledger.outages.down = True
    await bench.heartbeat.beat()
    assert bench.lifecycle.snapshot.last_seen_at == bench.clock.now()
    bench.ledger.outages.down = False
    await bench.clock.advance(15)
    await bench.heartbeat.beat()
    assert bench.ledger.last_seen_at == bench.clock.now()


async def test_a_state_that_could_not_be_stored_is_stored_with_a_heartbeat(bench: Bench) -> None:
    bench.book.outages.fail("save")
    await bench.lifecycle.apply(Event.READY)
    await bench.heartbeat.beat()
    assert bench.book.saved[-1][0] == bench.lifecycle.snapshot


async def test_a_moved_wall_clock_neither_hurries_nor_stops_it(bench: Bench) -> None:
    await bench.heartbeat.beat()
    bench.clock.move_wall(datetime(2026, 1, 1, tzinfo=UTC) - bench.clock.now())
    await bench.clock.advance(29)
    await bench.heartbeat.beat()
    assert bench.ledger.touches == 1
    await bench.clock.advance(1)
    await bench.heartbeat.beat()
    assert bench.ledger.touches == 2


async def test_a_linked_page_that_never_gets_ready_is_loaded_anew(bench: Bench) -> None:
    bench.channel.health = Health(connected=False, mode="SYNCING", detail="info=SYNCING")
    await bench.clock.advance(START_MAX_S)
    await bench.heartbeat.beat()
    await bench.clock.advance(1)
    with pytest.raises(ChannelRestartError, match="SYNCING") as caught:
        await bench.heartbeat.beat()
    assert caught.value.reason == Reason.PAGE_UNUSABLE


async def test_a_connected_page_that_never_told_that_it_is_ready_is_loaded_anew(
    bench: Bench,
) -> None:
    await bench.clock.advance(START_MAX_S)
    await bench.heartbeat.beat()
    await bench.clock.advance(SupervisorSettings().heartbeat_s)
    with pytest.raises(ChannelRestartError, match="did not get ready") as caught:
        await bench.heartbeat.beat()
    assert caught.value.reason == Reason.PAGE_UNUSABLE


async def test_a_start_that_waits_for_the_store_is_left_alone(bench: Bench) -> None:
    bench.ledger.outages.fail("touch", 100)
    for _ in range(100):
        await bench.clock.advance(START_MAX_S / 10)
        await bench.heartbeat.beat()
    await bench.clock.advance(START_MAX_S / 10)
    await bench.heartbeat.beat()
    assert bench.ledger.touches == 1


async def test_a_page_that_told_that_it_is_ready_may_stay(bench: Bench) -> None:
    await bench.lifecycle.apply(Event.READY)
    await bench.clock.advance(10 * START_MAX_S)
    await bench.heartbeat.beat()


@pytest.mark.parametrize("event", [Event.QR_SHOWN, Event.QR_IDLE, Event.LOST])
async def test_who_waits_for_a_scan_or_for_the_network_is_left_alone(
    bench: Bench, event: Event
) -> None:
    await bench.lifecycle.apply(event)
    bench.channel.health = replace(bench.channel.health, connected=False)
    await bench.clock.advance(10 * START_MAX_S)
    await bench.heartbeat.beat()


async def test_a_page_that_was_never_linked_is_not_hurried(bench: Bench) -> None:
    await bench.lifecycle.apply(Event.LOGGED_OUT)
    await bench.lifecycle.apply(Event.START)
    bench.channel.health = replace(bench.channel.health, connected=False)
    await bench.clock.advance(10 * START_MAX_S)
    await bench.heartbeat.beat()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_linking_that_never_ends_is_begun_anew(bench: Bench, restarted: bool) -> None:
    await bench.lifecycle.apply(Event.LOGGED_OUT)
    bench.channel.health = Health(connected=False, mode="QR", detail="")
    await bench.clock.advance(10 * PAIRING_MAX_S)
    await bench.heartbeat.beat()
    await bench.lifecycle.apply(Event.START if restarted else Event.SCANNED)
    bench.channel.health = Health(connected=False, mode="SYNCING", detail="info=SYNCING")
    await bench.clock.advance(PAIRING_MAX_S)
    await bench.heartbeat.beat()
    await bench.clock.advance(1)
    with pytest.raises(ChannelRestartError, match="SYNCING") as caught:
        await bench.heartbeat.beat()
    assert caught.value.reason == Reason.PAGE_UNUSABLE
