"""Who waits for a turn waits behind what live replies have reserved, and not for ever."""

import asyncio

from flowhq.bot.ratelimit import ReplyBudget, ReplyLimits
from flowhq.bot.turns import Turns
from flowhq.model import ChatKey
from tests.fakes.clock import FakeClock, settle

CHAT = ChatKey("255700000001@c.us")
# Ten a minute.
PERIOD_S = 6.0


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        budget = ReplyBudget(contact_replies=6000)
        self.limits = ReplyLimits(budget, monotonic=self.clock.monotonic)
        self.turns = Turns(self.limits, self.clock)

    def live(self, replies: int) -> None:
        for _ in range(replies):
            self.limits.admit(CHAT)


async def test_turns_are_taken_in_the_order_of_asking_as_the_limit_allows() -> None:
    bench, taken = Bench(), list[int]()

    async def take(number: int) -> None:
        await bench.turns.take()
        taken.append(number)

    bench.live(10)
    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await settle()
    assert taken == []
    for number in range(3):
        await bench.clock.advance(PERIOD_S)
        assert taken == list(range(number + 1))
    await asyncio.gather(*tasks)


async def test_a_turn_waits_for_all_that_live_replies_have_reserved() -> None:
    bench = Bench()
    bench.live(15)
    turn = asyncio.create_task(bench.turns.take())
    await bench.clock.advance(6 * PERIOD_S - 1)
    assert not turn.done()
    await bench.clock.advance(1)
    assert await turn == 6 * PERIOD_S


async def test_one_with_more_to_answer_than_it_may_comes_to_its_turns_all_the_same() -> None:
    bench = Bench()
    bench.live(10)
    turn = asyncio.create_task(bench.turns.take())
    await settle()
    for _ in range(30):
        bench.live(2)
        await bench.clock.advance(PERIOD_S)
        if turn.done():
            break
    assert await turn <= 3 * PERIOD_S


async def test_a_turn_that_nobody_waits_for_any_more_is_there_again() -> None:
    bench = Bench()
    bench.live(12)
    turn = asyncio.create_task(bench.turns.take())
    await settle()
    before = bench.limits.peek().tenant_tokens
    turn.cancel()
    await asyncio.wait({turn})
    assert bench.limits.peek().tenant_tokens == before + 1
