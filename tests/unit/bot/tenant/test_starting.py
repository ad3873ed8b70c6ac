"""What waits at a start: planned replies, messages, what was missed."""

import pytest

from flowhq.bot import tenant as tenant_module
from flowhq.bot.lifecycle import State
from flowhq.events import LoggedOut
from flowhq.model import InboxState, Jid
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import settle, until
from tests.fakes.memory import memory
from tests.unit.bot.tenant.conftest import Bench


async def test_a_start_first_sends_what_was_planned_then_answers_what_waited_then_catches_up(
    bench: Bench,
) -> None:
    bench.channel.send_mode = "lose"
    async with bench.running():
        bench.ledger.outages.hold("mark_sending")
        bench.receive("planned")
        await settle()
        bench.ledger.outages.hold("process")
        bench.receive("waiting")
        await settle()
    bench.ledger.outages = type(bench.ledger.outages)()
    bench.channel.send_mode = "ok"
    bench.receive("missed", live=False)
    async with bench.running():
        bench.receive("live")
        await settle()
    assert bench.sent() == ["re: planned", "re: waiting", "re: missed", "re: live"]


@pytest.mark.parametrize("left", ["planned", "waiting"])
async def test_what_was_left_is_not_sent_where_a_person_answered_meanwhile(
    bench: Bench, left: str
) -> None:
    other = Jid("255700000002@c.us")
    async with bench.running():
        bench.ledger.outages.hold("mark_sending" if left == "planned" else "process")
        for chat in (CUSTOMER, other):
            bench.receive("Mnafungua lini?", chat=chat)
        await settle()
    bench.ledger.outages = type(bench.ledger.outages)()
    bench.channel.receive("Kesho saa mbili.", from_me=True, live=False)
    async with bench.running():
        await settle()
    assert bench.sent() == []
    assert bench.sent(other) == ["re: Mnafungua lini?"]


@pytest.mark.parametrize("held_up", ["process", "mark_sending"], ids=["waiting", "planned"])
async def test_more_than_one_read_holds_is_all_answered_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, held_up: str
) -> None:
    monkeypatch.setattr(tenant_module, "RESTORE_FIRST", 2)
    chats = [Jid(f"25570000000{number}@c.us") for number in range(4)]
    async with bench.running():
        bench.ledger.outages.hold(held_up)
        for number in range(3):
            for chat in chats:
                bench.receive(str(number), chat=chat)
        rows = bench.ledger.inbox if held_up == "process" else bench.ledger.outbox
        await until(lambda: len(rows) == 12)
    bench.ledger.outages = type(bench.ledger.outages)()
    async with bench.running():
        await until(lambda: len(bench.channel.sent) == 12)
    for chat in chats:
        assert bench.sent(chat) == ["re: 0", "re: 1", "re: 2"]


async def test_a_message_that_ends_every_process_is_dead_after_five_and_the_next_goes_on(
    bench: Bench,
) -> None:
    poison, after = await two_that_wait(bench)
    gate = bench.ledger.outages.hold("commit")  # never returns: the process dies in its step
    for _ in range(5):
        bench.memory = memory(bench.clock)
        async with bench.running():
            await settle()
            assert bench.ledger.states()[poison] is InboxState.NEW
    gate.set()
    bench.memory = memory(bench.clock)
    async with bench.running():
        await settle()
    assert bench.ledger.states() == {poison: InboxState.DEAD, after: InboxState.DONE}
    assert bench.meter.answered == {"dead": 1, "answered": 1}


async def test_processes_that_die_before_its_turn_cost_a_message_nothing(bench: Bench) -> None:
    first, after = await two_that_wait(bench)
    gate = bench.ledger.outages.hold("process")  # never begun: the store does not let it
    for _ in range(7):
        bench.memory = memory(bench.clock)
        async with bench.running():
            await settle()
    gate.set()
    bench.memory = memory(bench.clock)
    async with bench.running():
        await settle()
    assert bench.ledger.states() == {first: InboxState.DONE, after: InboxState.DONE}


async def two_that_wait(bench: Bench) -> list[str]:
    """Recorded by an earlier process, in one chat."""
    waiting = [bench.receive(text, live=False) for text in ("first", "after")]
    for message in [stored.message for stored in bench.channel.store[CUSTOMER]]:
        await bench.ledger.record(message, state=InboxState.NEW)
    return list(waiting)


async def test_runs_within_one_process_count_nothing_against_what_waits(bench: Bench) -> None:
    message_id = bench.receive("habari", live=False)
    bench.ledger.outages.hold("process")
    for _ in range(8):
        async with bench.running():
            await settle()
    assert bench.ledger.states()[message_id] is InboxState.NEW


async def test_after_a_logout_and_a_new_pairing_it_goes_on(bench: Bench) -> None:
    async with bench.running():
        bench.channel.emit(LoggedOut("removed"))
        await settle()
        assert bench.lifecycle.state is State.SCANNING
        bench.channel.document += 1
        bench.channel.ready()
        await settle()
        bench.receive("habari")
        await settle()
    assert bench.sent() == ["re: habari"]
