"""A page that is connected and gets no acks any more."""

import pytest

from flowhq.bot.acks import STUCK_MAX
from flowhq.bot.outbound import BLOCK_S, SETTLE_S
from flowhq.errors import ChannelRestartError
from flowhq.model import Health, Jid, OutboxState, Reason
from tests.fakes.clock import settle
from tests.unit.bot.outbound.conftest import OTHER, Bench


def chats(number: int) -> list[Jid]:
    return [Jid(f"25570000010{n}@c.us") for n in range(number)]


async def test_a_connected_page_that_gets_no_acks_any_more_is_to_be_loaded_anew(
    bench: Bench,
) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            await bench.say("habari", chat=chat)
        await settle()
        await bench.clock.advance(SETTLE_S - 1)
        assert not bench.task.done()
        await bench.clock.advance(2)
        assert bench.task.done()
    failure = bench.task.exception()
    assert isinstance(failure, ExceptionGroup)
    [error] = failure.exceptions
    assert isinstance(error, ChannelRestartError)
    assert error.reason == Reason.SENDS_STUCK


async def test_one_message_that_never_gets_its_ack_is_held_against_no_page(bench: Bench) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    for _ in range(3):
        async with bench.running():
            if not bench.ledger.outbox:
                await bench.say("habari")
            await bench.restore()
            await bench.clock.advance(BLOCK_S + 2 * SETTLE_S)
            assert not bench.task.done()
    assert bench.states() == [OutboxState.DEAD]


async def test_an_ack_in_between_shows_that_the_page_still_sends(bench: Bench) -> None:
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            bench.channel.send_mode = "hold"
            await bench.say("stuck", chat=chat)
            await bench.clock.advance(SETTLE_S + 1)
            bench.channel.send_mode = "ok"
            await bench.say("goes", chat=OTHER)
            await settle()
        assert not bench.task.done()


async def test_acks_that_stay_out_while_it_is_offline_are_no_sign(bench: Bench) -> None:
    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    async with bench.running():
        for chat in chats(STUCK_MAX):
            await bench.say("habari", chat=chat)
        await settle()
        bench.channel.health = Health(connected=False, mode="MAIN", detail="")
        await bench.clock.advance(SETTLE_S + 1)
        bench.online.clear()
        await bench.clock.advance(4 * SETTLE_S)
        assert not bench.task.done()


async def test_a_page_that_does_not_answer_when_asked_for_the_ack_ends_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> Health:
        raise ChannelRestartError("no answer", reason=Reason.PAGE_HUNG)

    bench.channel.send_mode = "hold"
    bench.channel.echo = True
    monkeypatch.setattr(bench.channel, "probe", hangs)
    async with bench.running():
        await bench.say("habari")
        await bench.clock.advance(SETTLE_S + 1)
        assert bench.task.done()
    assert isinstance(bench.task.exception(), ExceptionGroup)
