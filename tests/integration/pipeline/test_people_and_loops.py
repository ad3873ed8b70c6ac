"""A person on the phone wins, two bots do not talk for ever, and our own numbers are left alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.config import LimitSettings
from flowhq.db.chats import Silence, list_chats, resume_chat
from flowhq.db.pool import Database
from flowhq.model import Ack, InboundMessage, Jid, MessageKind, TenantId
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import until
from tests.fakes.guards import guards
from tests.integration.pipeline.conftest import Pipeline

OTHER = Jid("255700000002@c.us")
CHAT = "SELECT bot_paused_until FROM conversations WHERE tenant_id = $1 AND chat_key = $2"


def last_sent(pipeline: Pipeline, text: str) -> bool:
    return pipeline.sent()[-1:] == [text]


# -- a person on the phone ----


async def test_a_person_silences_the_bot_in_their_chat_alone_until_it_is_resumed(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        person = pipeline.receive("I am here myself", from_me=True)
        await pipeline.becomes(person, "skipped", "own")
        customer = pipeline.receive("thank you")
        await pipeline.becomes(customer, "skipped", "person")
        pipeline.receive("elsewhere", chat=OTHER)
        await until(lambda: pipeline.sent(OTHER) == ["re: elsewhere"])
        page = await list_chats(
            pipeline.database, pipeline.tenant_id, silence=Silence.PAUSED, limit=10
        )
        [chat] = page.rows
        assert chat.contact_number == "+255700000001"
        assert chat.paused_until is not None
        left = chat.paused_until - datetime.now(UTC)
        assert timedelta(hours=11, minutes=50) < left <= timedelta(hours=12)
        await resume_chat(pipeline.database, pipeline.tenant_id, chat.chat_id, actor="admin")
        pipeline.receive("are you there?")
        await until(lambda: pipeline.sent()[-1] == "re: are you there?")
    assert pipeline.sent() == ["re: habari", "re: are you there?"]
    (took, detail), (resumed, _) = await pipeline.events()
    assert (took, resumed) == ("person_took_over", "chat_resumed")
    assert "+255…001" in detail
    assert "700000" not in detail


async def test_what_was_planned_is_taken_back_and_what_is_on_its_way_settles(
    pipeline: Pipeline,
) -> None:
    pipeline.responder.parts = 3
    pipeline.channel.before_send = asyncio.Event()
    async with pipeline.running():
        asked = pipeline.receive("habari")
        await until(lambda: len(pipeline.channel.calls) == 1)
        person = pipeline.receive("I am here myself", from_me=True)
        await pipeline.becomes(person, "skipped")
        pipeline.channel.before_send.set()
        states = """SELECT array_agg(state || ' ' || reason ORDER BY part) FROM outbox
            WHERE tenant_id = $1 AND cause = $2"""
        wanted = ["accepted person", "cancelled person", "cancelled person"]
        await pipeline.eventually(
            lambda: pipeline.value(states, asked.message_id), lambda found: found == wanted
        )
    assert pipeline.sent() == ["re: habari"]
    logged = """SELECT array_agg(status::text ORDER BY message_text) FROM message_logs
        WHERE tenant_id = $1 AND message_text LIKE 're: %'"""
    assert await pipeline.value(logged) == ["sent", "cancelled", "cancelled"]
    [(event, detail)] = await pipeline.events()
    assert event == "person_took_over"
    assert detail.endswith("taken back: 2.")


async def test_what_was_in_doubt_is_looked_up_but_not_sent_once_more(pipeline: Pipeline) -> None:
    pipeline.channel.plan_sends("lose")
    look_up, gate = pipeline.channel.look_up, asyncio.Event()

    async def slow_look_up(chat: Jid, client_id: object) -> Ack | None:
        await gate.wait()
        return await look_up(chat, client_id)  # type: ignore[arg-type]

    pipeline.channel.look_up = slow_look_up  # type: ignore[method-assign]
    async with pipeline.running():
        asked = pipeline.receive("habari")
        state = "SELECT state::text FROM outbox WHERE tenant_id = $1 AND cause = $2"
        look = lambda: pipeline.value(state, asked.message_id)  # noqa: E731
        await pipeline.eventually(look, lambda found: found == "unknown")
        person = pipeline.receive("I am here myself", from_me=True)
        await pipeline.becomes(person, "skipped")
        gate.set()
        await pipeline.eventually(look, lambda found: found == "cancelled")
    assert len(pipeline.channel.calls) == 1
    assert pipeline.sent() == []


async def test_our_own_echo_pauses_nothing(pipeline: Pipeline) -> None:
    async with pipeline.running():
        for text in ("moja", "mbili", "tatu"):
            pipeline.receive(text)
            await until(partial(last_sent, pipeline, f"re: {text}"))
    assert await pipeline.value(CHAT, CUSTOMER) is None
    assert await pipeline.events() == []


async def test_a_reaction_of_a_person_takes_nothing_over(pipeline: Pipeline) -> None:
    async with pipeline.running():
        pipeline.receive("habari")
        reaction = pipeline.receive("\U0001f44d", from_me=True, kind=MessageKind.REACTION)
        await pipeline.becomes(reaction, "skipped")
        pipeline.receive("again")
        await until(lambda: pipeline.sent() == ["re: habari", "re: again"])
    assert await pipeline.value(CHAT, CUSTOMER) is None


@pytest.mark.parametrize(("ago_h", "paused"), [(1, True), (11.9, True), (12.1, False)])
async def test_an_old_message_of_a_person_counts_from_its_own_time(
    pipeline: Pipeline, ago_h: float, paused: bool
) -> None:
    pipeline.receive("as I said", from_me=True, ago_s=ago_h * 3600, live=False)
    async with pipeline.running():
        new = pipeline.receive("new question")
        await pipeline.becomes(new, "skipped" if paused else "done")
    until_at = await pipeline.value(CHAT, CUSTOMER)
    said_at = datetime.now(UTC) - timedelta(hours=ago_h)
    assert abs(until_at - said_at - timedelta(hours=12)) < timedelta(minutes=3)
    assert len(await pipeline.events()) == paused


async def test_the_later_end_of_two_pauses_holds(pipeline: Pipeline) -> None:
    async with pipeline.running():
        now = pipeline.receive("now", from_me=True)
        await pipeline.becomes(now, "skipped")
        first = await pipeline.value(CHAT, CUSTOMER)
        old = pipeline.receive("an hour ago", from_me=True, ago_s=3600)
        await pipeline.becomes(old, "skipped")
        assert await pipeline.value(CHAT, CUSTOMER) == first
    assert len(await pipeline.events()) == 1


async def test_without_a_pause_a_person_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.settings = LimitSettings(pace_ms=0, person_pause_s=0)
    async with pipeline.running():
        person = pipeline.receive("I am here myself", from_me=True)
        await pipeline.becomes(person, "skipped")
        pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
    assert await pipeline.events() == []


async def test_a_person_wins_over_a_step_under_way(pipeline: Pipeline) -> None:
    """Whichever commits first: a reply that is planned before is taken back, one after is not
    planned at all."""
    async with pipeline.running():
        for number in range(10):
            chat = Jid(f"25571000000{number}@c.us")
            pipeline.channel.before_send = asyncio.Event()
            pipeline.receive("habari", chat=chat)
            person = pipeline.receive("I am here", chat=chat, from_me=True)
            await pipeline.becomes(person, "skipped")
            pipeline.channel.before_send.set()
            later = pipeline.receive("thanks", chat=chat)
            await pipeline.becomes(later, "skipped", "person")
    not_taken_back = "SELECT count(*) FROM outbox WHERE tenant_id = $1 AND reason <> 'person'"
    assert await pipeline.value(not_taken_back) == 0


# -- two bots ----


def other_bot(pipeline: Pipeline, number: int) -> InboundMessage:
    return pipeline.receive(f"Thanks for your message, ticket number {number} is open.")


async def test_two_bots_are_muted_once_and_resumed_by_hand(pipeline: Pipeline) -> None:
    pipeline.guards = guards(pipeline.clock, loop_replies=3)
    async with pipeline.running():
        for number in range(4):
            await pipeline.becomes(other_bot(pipeline, number), "done")
        for number in range(4, 7):
            await pipeline.becomes(other_bot(pipeline, number), "skipped", "loop")
        [chat] = (
            await list_chats(pipeline.database, pipeline.tenant_id, silence=Silence.MUTED, limit=10)
        ).rows
        assert chat.muted_until is not None
        pipeline.receive("a person writes from elsewhere", chat=OTHER)
        await until(lambda: len(pipeline.sent(OTHER)) == 1)
        await resume_chat(pipeline.database, pipeline.tenant_id, chat.chat_id, actor="admin")
        await pipeline.becomes(other_bot(pipeline, 8), "done")
        await until(lambda: len(pipeline.sent()) >= 5)
    assert len(pipeline.sent()) == 5
    assert [name for name, _ in await pipeline.events()] == ["chat_muted", "chat_resumed"]
    assert "+255…001" in (await pipeline.events())[0][1]


async def test_a_mute_outlives_a_restart(pipeline: Pipeline) -> None:
    pipeline.guards = guards(pipeline.clock, loop_replies=1)
    async with pipeline.running():
        await pipeline.becomes(other_bot(pipeline, 1), "done")
        await pipeline.becomes(other_bot(pipeline, 2), "done")
        await pipeline.becomes(other_bot(pipeline, 3), "skipped", "loop")
    pipeline.guards = guards(pipeline.clock, loop_replies=1)
    async with pipeline.running():
        later = pipeline.receive("something quite different now")
        await pipeline.becomes(later, "skipped", "loop")


async def test_a_mute_ends_by_itself(pipeline: Pipeline) -> None:
    pipeline.guards = guards(pipeline.clock, loop_replies=1)
    async with pipeline.running():
        await pipeline.becomes(other_bot(pipeline, 1), "done")
        await pipeline.becomes(other_bot(pipeline, 2), "done")
        await pipeline.becomes(other_bot(pipeline, 3), "skipped", "loop")
        # As long as it was to last, later.
        over = """UPDATE conversations SET muted_until = now() - interval '1 second'
            WHERE tenant_id = $1 AND muted_until > now() RETURNING true"""
        assert await pipeline.value(over)
        await pipeline.becomes(other_bot(pipeline, 4), "done")


# -- our own numbers ----


@pytest.mark.parametrize("known", ["255700000001", "900000000001"])
async def test_another_tenant_of_ours_is_recorded_and_never_answered(
    pipeline: Pipeline, known: str
) -> None:
    ours = OwnNumbers({TenantId(pipeline.tenant_id): ["255799999999"]})
    pipeline.guards = guards(pipeline.clock, own_numbers=ours)
    async with pipeline.running():
        before = pipeline.receive("habari", lid="900000000001")
        await pipeline.becomes(before, "done")
        await until(lambda: pipeline.sent() == ["re: habari"])
        ours.learn(pipeline.tenant_id, known)
        after = pipeline.receive("habari again", lid="900000000001")
        await pipeline.becomes(after, "skipped", "fleet")
        by_lid = pipeline.receive(
            "and under the LID", chat=Jid("900000000001@lid"), phone="", lid="900000000001"
        )
        await pipeline.becomes(by_lid, "skipped", "fleet")
    assert pipeline.sent() == ["re: habari"]


async def test_a_tenant_is_known_under_its_own_numbers_once_it_is_paired(
    pipeline: Pipeline, database: Database
) -> None:
    ours = pipeline.guards.own_numbers
    async with pipeline.running():
        message = pipeline.receive("habari", chat=Jid("255712000000@c.us"))
        await pipeline.becomes(message, "skipped", "fleet")
    assert ours.wrote(message)
