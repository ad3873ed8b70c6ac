"""Live messages wait until what came before them is recorded."""

import asyncio
from datetime import timedelta

import pytest

from flowhq.bot import pump as pump_module
from flowhq.bot.catchup import ARRIVAL_LOOKS, ARRIVAL_PAUSE_S
from flowhq.bot.lifecycle import Event
from flowhq.events import (
    ConnectionLost,
)
from flowhq.model import (
    Jid,
    Reason,
)
from tests.fakes.clock import EPOCH, settle
from tests.unit.bot.pump.conftest import Bench


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


async def test_nothing_is_sent_before_what_was_told_of_a_short_absence_is_recorded(
    bench: Bench,
) -> None:
    """One of them may be the answer of a person."""
    await bench.ready()
    bench.channel.emit(ConnectionLost("no network"))
    bench.receive("habari")
    bench.channel.receive("I answer", message_id="by the owner", from_me=True)
    gate = bench.ledger.outages.hold("record")
    await bench.ready()
    assert not bench.online.is_set()
    gate.set()
    await settle()
    assert bench.online.is_set()
    assert [key.message_id for key in bench.ledger.inbox] == ["habari", "by the owner"]


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


@pytest.mark.parametrize(
    ("ago_s", "answered"),
    [(30.0, ["live 0", "live 1", "live 2"]), (36_000.0, ["live 2"])],
    ids=["short", "long"],
)
async def test_a_start_after_a_long_absence_waits_for_what_the_platform_kept(
    ago_s: float, answered: list[str]
) -> None:
    bench = Bench(last_seen_at=EPOCH + timedelta(hours=1, seconds=-ago_s))
    await bench.start()
    await bench.ready()
    for number in range(3):
        bench.receive(f"live {number}")
    await bench.clock.advance(10.0)
    assert bench.online.is_set()
    assert bench.steps == ["restore", *answered]
    bench.task.cancel()
    await asyncio.wait({bench.task})


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
