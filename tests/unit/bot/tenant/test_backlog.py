"""A backlog larger than the tenant's limit: answered whole, in its turn, live ones first."""

import pytest

from flowhq.bot.ratelimit import ReplyBudget
from flowhq.model import InboxState, Jid
from tests.fakes.clock import settle, until
from tests.fakes.memory import memory
from tests.unit.bot.tenant.conftest import Bench

# More than the ten of a burst and the hundred of ten minutes.
CHATS = [Jid(f"255700000{number:03}@c.us") for number in range(150)]
LIVE = [Jid(f"255711000{number:03}@c.us") for number in range(150)]


@pytest.fixture
def bench() -> Bench:
    """The limits are those of the defaults: ten replies a minute."""
    return Bench(budget=ReplyBudget())


def missed(bench: Bench, chats: list[Jid]) -> None:
    for chat in chats:
        bench.receive("habari", chat=chat, live=False)


async def all_recorded(bench: Bench, number: int) -> None:
    await until(lambda: len(bench.ledger.inbox) == number, "every message recorded")
    await settle(1000)


async def test_each_chat_of_a_large_backlog_gets_its_one_reply_spread_by_the_limit(
    bench: Bench,
) -> None:
    missed(bench, CHATS)
    async with bench.running():
        await all_recorded(bench, len(CHATS))
        counts = [len(bench.channel.sent)]
        for _ in range(14):
            await bench.clock.advance(60)
            counts.append(len(bench.channel.sent))
    assert set(bench.ledger.reasons().values()) == {"echo"}
    assert counts == list(range(10, 160, 10))
    assert {message.to for message in bench.channel.sent} == set(CHATS)
    assert {message.text for message in bench.channel.sent} == {"re: habari"}


async def test_what_a_restart_finds_waiting_takes_its_turn_and_none_counts_as_an_attempt(
    bench: Bench,
) -> None:
    missed(bench, CHATS)
    for _ in range(6):
        async with bench.running():
            await all_recorded(bench, len(CHATS))
        bench.memory = memory(bench.clock)
    async with bench.running():
        await bench.clock.advance(14 * 60)
        await until(lambda: len(bench.channel.sent) == len(CHATS))
    assert {row.attempts for row in bench.ledger.inbox.values()} == {0}
    assert set(bench.ledger.states().values()) == {InboxState.DONE}


async def test_live_messages_are_answered_before_the_backlog_that_waits(bench: Bench) -> None:
    missed(bench, CHATS)
    async with bench.running():
        await all_recorded(bench, len(CHATS))
        for chat in LIVE[:5]:
            bench.receive("sasa", chat=chat)
        await bench.clock.advance(30)
        said = [message.text for message in bench.channel.sent[10:]]
    assert said == ["slow down", *["re: sasa"] * 5]


async def test_a_flood_of_live_messages_is_still_cut_at_ten_minutes(bench: Bench) -> None:
    async with bench.running():
        for chat in LIVE:
            bench.receive("sasa", chat=chat)
        await all_recorded(bench, len(LIVE))
        reasons = list(bench.ledger.reasons().values())
    assert (reasons.count("echo"), reasons.count("tenant_limit")) == (110, 40)


async def test_a_person_who_writes_while_an_answer_waits_its_turn_takes_it_back(
    bench: Bench,
) -> None:
    missed(bench, CHATS[:12])
    async with bench.running():
        await all_recorded(bench, 12)
        answered = {message.to for message in bench.channel.sent}
        waiting = [chat for chat in CHATS[:12] if chat not in answered]
        bench.channel.receive("mimi", chat=waiting[0], from_me=True)
        await bench.clock.advance(60)
        sent = [message.to for message in bench.channel.sent[10:]]
    assert sent == waiting[1:]


async def test_what_needs_no_answer_uses_up_nothing_of_the_limit(bench: Bench) -> None:
    missed(bench, CHATS[:40])
    bench.responder.parts = 0
    async with bench.running():
        await all_recorded(bench, 40)
        await bench.clock.advance(60)
        assert bench.guards.limits.peek().tenant_tokens == 10
        assert set(bench.ledger.states().values()) == {InboxState.DONE}
