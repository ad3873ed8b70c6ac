"""Each event of the page becomes a state, a record or a signal."""

from typing import Any, NoReturn

import pytest

from flowhq.bot.lifecycle import State
from flowhq.bot.pump import HELD_MAX, REPLACED_MAX, REPLACED_WINDOW_S
from flowhq.errors import ChannelRestartError, LoginRequiredError, UnlinkedError
from flowhq.events import (
    AckSeen,
    Conflicted,
    ConnectionLost,
    LoggedOut,
    Pairing,
    QrIdle,
)
from flowhq.model import (
    Ack,
    ChatKey,
    InboxState,
    Jid,
    MessageId,
    Reason,
    Reply,
    SessionState,
)
from tests.fakes.channel import CUSTOMER, OWNER_LID, OWNER_PHONE
from tests.fakes.clock import settle, until
from tests.unit.bot.pump.conftest import Bench


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
    assert bench.steps == [], "older ones of its chat may wait: they are lined up together"
    assert not bench.lifecycle.snapshot.paired


async def test_what_a_page_tells_that_is_unlinked_while_its_past_is_read_is_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unlinked(chat: Jid, **how: Any) -> NoReturn:
        raise UnlinkedError("The page was logged out.", reason=Reason.LOGGED_OUT)

    monkeypatch.setattr(bench.channel, "history", unlinked)
    bench.receive("early")
    bench.channel.ready()
    for number in range(HELD_MAX + 10):
        bench.receive(f"late {number}")
    bench.channel.emit(LoggedOut("removed"))
    await settle(2000)
    assert len(bench.ledger.states()) == HELD_MAX + 11
    assert bench.lifecycle.snapshot.reason is Reason.LOGGED_OUT
    assert not bench.lifecycle.snapshot.paired
    assert not bench.online.is_set()
    assert not bench.task.done()


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
