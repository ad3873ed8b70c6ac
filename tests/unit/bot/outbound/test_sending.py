"""Order, pace, turns and limits of what is sent."""

import asyncio
from datetime import timedelta

from flowhq.bot.outbound import AT_ONCE, BLOCK_S
from flowhq.model import Ack, ChatKey, Jid, OutboxState
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import settle, until
from tests.unit.bot.outbound.conftest import OTHER, Bench


async def test_the_intent_is_committed_before_the_page_gets_the_message(bench: Bench) -> None:
    async with bench.running():
        [row] = await bench.say("habari")
        await settle()
    assert bench.channel.states == [OutboxState.SENDING]
    assert bench.row(row).state is OutboxState.ACCEPTED
    assert bench.sent() == ["habari"]


async def test_messages_of_one_chat_keep_their_order_and_other_chats_do_not_wait(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.channel.plan_sends("hold")
        await bench.say("1", "2", "3")
        await settle()
        await bench.say("a", chat=OTHER)
        await settle()
        assert bench.sent() == ["a"]
        bench.channel.release()
        await bench.ledger.acknowledge([bench.channel.calls[0].client_id], Ack.SERVER)
        bench.outbound.note_ack([bench.channel.calls[0].client_id])
        await settle()
    assert bench.sent() == ["a", "1", "2", "3"]


async def test_the_page_gets_few_messages_at_once(bench: Bench) -> None:
    async with bench.running():
        bench.channel.before_send = asyncio.Event()
        for number in range(10):
            await bench.say(str(number), chat=Jid(f"{number}@c.us"))
        await settle()
        assert bench.channel.under_way == AT_ONCE
        bench.channel.before_send.set()
        await settle()
    assert bench.channel.most_under_way == AT_ONCE
    assert sorted(bench.sent()) == [str(number) for number in range(10)]


async def test_a_pace_is_kept_between_two_messages_of_a_chat() -> None:
    bench = Bench(pace_ms=250)
    async with bench.running():
        await bench.say("1", "2")
        await settle()
        assert bench.sent() == ["1"]
        await bench.clock.advance(0.25)
        assert bench.sent() == ["1", "2"]


async def test_a_reply_waits_for_its_time_and_holds_the_later_ones_of_its_chat(
    bench: Bench,
) -> None:
    async with bench.running():
        bench.outbound.put([await bench.plan("late", in_s=30), await bench.plan("after")])
        await bench.say("other", chat=OTHER)
        await bench.clock.advance(29)
        assert bench.sent() == ["other"]
        await bench.clock.advance(1)
    assert bench.sent() == ["other", "late", "after"]


async def test_a_wall_clock_set_back_holds_nothing_up_for_longer_than_a_block(bench: Bench) -> None:
    async with bench.running():
        bench.outbound.put([await bench.plan("late", in_s=30)])
        bench.clock.move_wall(timedelta(hours=-1))
        await bench.clock.advance(BLOCK_S + 1)
    assert bench.sent() == ["late"]


async def test_offline_nothing_is_handed_over(bench: Bench) -> None:
    bench.online.clear()
    async with bench.running():
        await bench.say("habari")
        await bench.clock.advance(3600)
        assert bench.channel.calls == []
        bench.online.set()
        await settle()
    assert bench.sent() == ["habari"]


async def test_a_page_that_goes_offline_gets_none_of_those_that_wait_for_their_place(
    bench: Bench,
) -> None:
    bench.channel.before_send = asyncio.Event()
    async with bench.running():
        for number in range(AT_ONCE + 2):
            await bench.say(str(number), chat=Jid(f"{number}@c.us"))
        await settle()
        bench.online.clear()
        bench.channel.before_send.set()
        await settle()
        assert bench.calls() == [str(number) for number in range(AT_ONCE)]
        bench.online.set()
        await settle()
    assert sorted(bench.sent()) == [str(number) for number in range(AT_ONCE + 2)]


async def test_an_intent_that_is_committed_when_the_page_is_offline_is_looked_up_first(
    bench: Bench,
) -> None:
    gate = bench.ledger.outages.hold("mark_sending")
    async with bench.running():
        [row] = await bench.say("habari")
        await settle()
        bench.online.clear()
        gate.set()
        await settle()
        assert (bench.calls(), bench.row(row).state) == ([], OutboxState.SENDING)
        bench.online.set()
        await settle()
    assert bench.channel.look_ups == [row.client_id]
    assert bench.sent() == ["habari"]
    assert bench.states() == [OutboxState.ACCEPTED]


async def test_a_full_lane_sends_everything_in_order() -> None:
    bench = Bench(chat_queue=3)
    async with bench.running():
        await bench.say(*(str(number) for number in range(20)))
        await settle(2000)
    assert bench.sent() == [str(number) for number in range(20)]
    assert bench.calls() == bench.sent()


async def test_a_reply_that_could_not_be_sent_for_long_is_taken_back_and_what_was_asked_for_is_not(
    bench: Bench,
) -> None:
    max_age_s = bench.settings.answer_max_age_s
    bench.online.clear()
    async with bench.running():
        late = await bench.plan("late")
        asked = await bench.plan("asked for", OTHER, why="api")
        bench.outbound.put([late, asked])
        await bench.clock.advance(max_age_s / 2)
        later = await bench.plan("later")
        bench.outbound.put([later])
        await bench.clock.advance(max_age_s / 2 + 1)
        bench.online.set()
        await bench.clock.advance(60)
    assert sorted(bench.sent()) == ["asked for", "later"]
    assert (bench.row(late).state, bench.row(late).reason) == (OutboxState.CANCELLED, "too_old")


async def test_a_reply_in_doubt_for_long_that_is_not_out_is_taken_back(bench: Bench) -> None:
    row = await bench.plan("habari")
    await bench.ledger.mark_sending(row.outbox_id)
    await bench.clock.advance(bench.settings.answer_max_age_s + 1)
    async with bench.running():
        await bench.restore()
        await settle()
    assert bench.channel.look_ups == [row.client_id]
    assert (bench.row(row).state, bench.row(row).reason) == (OutboxState.CANCELLED, "too_old")
    assert bench.calls() == []


async def test_a_cancelled_row_is_not_sent(bench: Bench) -> None:
    async with bench.running():
        row = await bench.plan("habari")
        bench.row(row).state = OutboxState.CANCELLED
        bench.outbound.put([row])
        await settle()
    assert bench.channel.calls == []


async def test_a_row_lined_up_twice_is_sent_once(bench: Bench) -> None:
    async with bench.running():
        row = await bench.plan("habari")
        bench.outbound.put([row, row])
        bench.outbound.put(await bench.ledger.unsettled())
        await settle()
    assert bench.calls() == ["habari"]


async def test_replies_of_chats_that_turn_out_to_be_one_go_out_once_in_one_order() -> None:
    bench = Bench(chat_queue=2)
    bench.channel.before_send = asyncio.Event()
    async with bench.running():
        for number in range(10):
            await bench.say(str(number), chat=(CUSTOMER, OTHER)[number % 2])
        await settle()
        assert bench.calls() == ["0", "1"]
        for row in bench.ledger.outbox.values():
            row.chat_key = ChatKey(CUSTOMER)
        bench.outbound.follow(ChatKey(CUSTOMER), [ChatKey(OTHER)])
        await bench.say("10")
        bench.channel.before_send.set()
        await settle(2000)
    assert bench.calls() == [str(number) for number in range(11)]


async def test_a_lane_that_was_full_reads_its_own_chat_alone() -> None:
    bench = Bench(chat_queue=2)
    async with bench.running():
        bench.online.clear()
        for chat in (CUSTOMER, OTHER):
            await bench.say(*"12345", chat=chat)
        bench.online.set()
        await until(lambda: len(bench.sent()) == 10)
    for chat in (CUSTOMER, OTHER):
        assert [one.text for one in bench.channel.sent if one.to == chat] == list("12345")


async def test_what_a_program_asks_for_takes_its_turn_in_the_tenants_limit() -> None:
    bench = Bench()
    async with bench.running():
        for number in range(4):
            jid = Jid(f"25571200000{number}@c.us")
            bench.outbound.put([await bench.plan(str(number), jid, why="api")])
        await settle()
        assert bench.sent() == ["0", "1"]
        await bench.say("a reply", chat=OTHER)
        await settle()
        assert bench.sent() == ["0", "1", "a reply"]
        await bench.clock.advance(30.1)
        assert bench.sent() == ["0", "1", "a reply", "2"]
        await bench.clock.advance(30.1)
        assert bench.sent() == ["0", "1", "a reply", "2", "3"]


async def test_a_turn_is_taken_once_however_often_a_message_is_tried() -> None:
    bench = Bench()
    bench.channel.send_mode = "refuse_for_now"
    async with bench.running():
        bench.outbound.put([await bench.plan("again", why="api")])
        await settle()
        bench.channel.send_mode = "ok"
        await bench.clock.advance(10)
    assert bench.sent() == ["again"]
    assert bench.limits.peek().tenant_tokens > 1
