"""Why was there no answer? Told afterwards, from what each stage left in the database."""

from datetime import UTC, datetime, timedelta

import pytest

from flowhq.admin.reasons import answer_of
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.config import LimitSettings
from flowhq.db.deadletters import list_dead, requeue
from flowhq.db.stories import ReplyStory, SeenStory, Story, fetch_story
from flowhq.errors import NotFoundError, WrongStateError
from flowhq.model import (
    Ack,
    ChatKey,
    InboundMessage,
    InboxState,
    Jid,
    MessageStatus,
    OutboxState,
    Source,
)
from tests.fakes.channel import CUSTOMER
from tests.fakes.clock import until
from tests.fakes.guards import guards
from tests.integration.pipeline.conftest import Pipeline

OTHER = Jid("255700000002@c.us")


async def seen(pipeline: Pipeline, message: InboundMessage) -> SeenStory:
    story = await fetch_story(pipeline.database, pipeline.tenant_id, message.message_id)
    assert isinstance(story, SeenStory)
    return story


async def find(pipeline: Pipeline, message: InboundMessage) -> SeenStory | None:
    """None while it is not recorded."""
    try:
        return await seen(pipeline, message)
    except NotFoundError:
        return None


async def sentence(pipeline: Pipeline, reference: str) -> str:
    return answer_of(await fetch_story(pipeline.database, pipeline.tenant_id, reference))


async def try_again(pipeline: Pipeline, reference: str) -> None:
    """What the API does: put back, then wake."""
    _, chat_key = await requeue(pipeline.database, pipeline.tenant_id, reference, actor="admin")
    pipeline.runner.wake(chat_key)


async def bury(pipeline: Pipeline, message: InboundMessage) -> None:
    """The message was recorded and then failed as often as it may."""
    recorded = await pipeline.ledger.record(message, state=InboxState.NEW)
    for _ in range(5):
        await pipeline.ledger.postpone(recorded.key, error="ValueError")


# -- answered ----


async def test_an_answered_message_is_told_from_its_arrival_to_its_last_ack(
    pipeline: Pipeline,
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with pipeline.running():
        message = pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        client_id = pipeline.channel.sent[0].client_id
        await pipeline.eventually(
            lambda: find(pipeline, message),
            lambda story: story and story.replies and story.replies[0].accepted_at is not None,
        )
        for ack in (Ack.DELIVERED, Ack.READ):
            pipeline.channel.acknowledge(client_id, ack)
        await pipeline.eventually(
            lambda: find(pipeline, message),
            lambda story: story and story.replies and story.replies[0].read_at is not None,
        )
    story = await seen(pipeline, message)
    [reply] = story.replies
    times = [
        before,
        story.received_at,
        story.done_at,
        reply.planned_at,
        reply.sent_at,
        reply.accepted_at,
        reply.delivered_at,
        reply.read_at,
        datetime.now(UTC) + timedelta(seconds=1),
    ]
    known = [at for at in times if at is not None]
    assert len(known) == len(times)
    assert known == sorted(known)
    assert (story.source, story.state, story.reason) == (Source.LIVE, InboxState.DONE, "echo")
    assert story.sent_at == message.at
    trail = story.trail
    assert trail is not None
    assert (trail["owner"], trail["intent"], trail["limit"]) == ("bot", "echo", "now")
    assert (reply.state, reply.status) == (OutboxState.READ, MessageStatus.READ)
    assert (reply.attempts, reply.cause, reply.intent) == (1, message.message_id, "echo")
    assert answer_of(story) == "Answered (echo): the reply was read."


async def test_a_message_is_found_by_every_id_that_it_has(pipeline: Pipeline) -> None:
    async with pipeline.running():
        message = pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        person = pipeline.receive("me", from_me=True)
        await pipeline.becomes(person, "skipped")
    story = await seen(pipeline, message)
    [reply] = story.replies

    async def fetch(reference: object) -> Story:
        return await fetch_story(pipeline.database, pipeline.tenant_id, str(reference))

    assert await fetch(story.log_id) == story
    assert await fetch(reply.client_id) == await fetch(reply.log_id) == reply
    own = await seen(pipeline, person)
    assert own.from_me
    assert await fetch(own.log_id) == own
    assert answer_of(own) == "Not for the bot: it was written by a person on the phone."


@pytest.mark.parametrize("reference", ["3A404", "x" * 10_000, "\x00", "\ud800", " ", "../..", "%"])
async def test_a_message_that_nobody_knows_is_not_found(pipeline: Pipeline, reference: str) -> None:
    with pytest.raises(NotFoundError):
        await fetch_story(pipeline.database, pipeline.tenant_id, reference)


# -- not answered ----


async def test_each_reason_for_silence_is_told(pipeline: Pipeline) -> None:
    pipeline.guards = guards(
        pipeline.clock,
        budget=ReplyBudget(tenant_replies=100, contact_replies=1, contact_period_s=600),
        own_numbers=OwnNumbers({pipeline.tenant_id: ["255700000003"]}),
    )
    pipeline.settings = LimitSettings(pace_ms=0, answer_max_age_s=1800, catchup_max_age_s=1800)
    backlog = pipeline.receive("first", ago_s=30, live=False)
    newest = pipeline.receive("second", ago_s=20, live=False)
    too_old = pipeline.receive("long ago", chat=OTHER, ago_s=3600, live=False)
    asked = pipeline.receive("asked", chat=Jid("255700000004@c.us"), ago_s=20, live=False)
    pipeline.receive("me", chat=Jid("255700000004@c.us"), ago_s=10, from_me=True, live=False)
    async with pipeline.running():
        await pipeline.becomes(newest, "done")
        limited = pipeline.receive("once more")
        fleet = pipeline.receive("from the house", chat=Jid("255700000003@c.us"))
        late = pipeline.receive("late", chat=OTHER, ago_s=3600)
        person = pipeline.receive("thanks", chat=Jid("255700000004@c.us"))
        for message in (limited, fleet, late, person):
            await pipeline.becomes(message, "skipped")
    told = [
        (backlog, "it came during an absence, and a newer message of the chat stands for it"),
        (too_old, "it was too old when its turn came"),
        (asked, "it came during an absence, and a person had answered already"),
        (limited, "the contact had got all the replies it may get for the moment"),
        (fleet, "it came from a number of this installation's own tenants"),
        (late, "it was too old when its turn came"),
        (person, "a person had taken the chat over"),
    ]
    for message, why in told:
        assert await sentence(pipeline, message.message_id) == f"Not answered: {why}."
    trail = (await seen(pipeline, limited)).trail
    assert trail is not None
    assert (trail["limit"], trail["limit_scope"]) == ("refused", "contact")
    assert trail["wait_s"] > 0
    assert (await seen(pipeline, person)).trail == trail_of("person")
    assert (await seen(pipeline, backlog)).trail is None


def trail_of(owner: str) -> dict[str, object]:
    return {
        "owner": owner,
        "open": None,
        "intent": "person" if owner == "person" else "",
        "limit": "",
        "limit_scope": "",
        "wait_s": 0.0,
    }


async def test_a_message_that_waits_says_for_what(pipeline: Pipeline) -> None:
    waiting = pipeline.receive("one", live=False)
    failing = pipeline.receive("two", chat=OTHER, live=False)
    await pipeline.ledger.record(waiting, state=InboxState.NEW)
    recorded = await pipeline.ledger.record(failing, state=InboxState.NEW)
    await pipeline.ledger.postpone(recorded.key, error="ValueError")
    assert await sentence(pipeline, waiting.message_id) == (
        "Not answered yet: it waits for its turn."
    )
    told = await sentence(pipeline, failing.message_id)
    assert told.startswith("Not answered yet: attempt 1 failed (ValueError), the next one is due")


# -- dead letters ----


async def test_a_message_that_was_given_up_is_listed_and_answered_when_asked_for(
    pipeline: Pipeline,
) -> None:
    message = pipeline.receive("habari", live=False, ago_s=20 * 3600)
    await bury(pipeline, message)
    [dead] = (await list_dead(pipeline.database, pipeline.tenant_id, limit=5)).rows
    assert (dead.wa_message_id, dead.attempts, dead.error) == (message.message_id, 5, "ValueError")
    assert await sentence(pipeline, message.message_id) == "Given up after 5 attempts: ValueError."
    async with pipeline.running():
        other = pipeline.receive("elsewhere", chat=OTHER)
        await pipeline.becomes(other, "done")
        assert pipeline.sent() == []
        await try_again(pipeline, message.message_id)
        await until(lambda: pipeline.sent() == ["re: habari"])
    story = await seen(pipeline, message)
    assert story.requeued_at is not None
    assert (story.state, story.attempts, story.error) == (InboxState.DONE, 0, "")
    assert (await list_dead(pipeline.database, pipeline.tenant_id, limit=5)).rows == []
    assert [name for name, _ in await pipeline.events()] == ["message_requeued"]


async def test_a_reply_that_was_refused_is_sent_when_asked_for(pipeline: Pipeline) -> None:
    pipeline.channel.plan_sends("refuse")
    async with pipeline.running():
        message = pipeline.receive("habari")
        await pipeline.eventually(
            lambda: find(pipeline, message),
            lambda story: story and story.replies and story.replies[0].state is OutboxState.DEAD,
        )
        told = await sentence(pipeline, message.message_id)
        assert told == "Answered (echo): the reply was given up: The platform refused."
        [dead] = (await list_dead(pipeline.database, pipeline.tenant_id, limit=5)).rows
        assert dead.direction == "OUT"
        await try_again(pipeline, message.message_id)
        await until(lambda: pipeline.sent() == ["re: habari"])
    assert pipeline.channel.look_ups == [dead.wa_message_id]
    story = await fetch_story(pipeline.database, pipeline.tenant_id, str(dead.log_id))
    assert isinstance(story, ReplyStory)
    assert (story.state, story.attempts, story.error) == (OutboxState.ACCEPTED, 1, "")


async def test_a_reply_given_up_that_is_out_after_all_is_not_sent_again(
    pipeline: Pipeline,
) -> None:
    message = pipeline.receive("habari", live=False)
    await pipeline.ledger.record(message, state=InboxState.NEW)
    async with pipeline.running():
        await until(lambda: pipeline.sent() == ["re: habari"])
    dead = """UPDATE outbox SET state = 'dead', error = 'not acknowledged', attempts = 5
        WHERE tenant_id = $1 RETURNING client_id"""
    client_id = await pipeline.value(dead)
    async with pipeline.running():
        await try_again(pipeline, client_id)
        await pipeline.eventually(
            lambda: fetch_story(pipeline.database, pipeline.tenant_id, client_id),
            lambda story: story.state is OutboxState.ACCEPTED,
        )
    assert len(pipeline.channel.calls) == 1


async def test_a_dead_message_of_a_chat_that_was_joined_with_another_is_answered(
    pipeline: Pipeline,
) -> None:
    lid = Jid("900000000001@lid")
    await pipeline.ledger.record(pipeline.receive("hi", live=False), state=InboxState.SKIPPED)
    message = pipeline.receive("under the lid", chat=lid, live=False)
    await bury(pipeline, message)
    joined = pipeline.receive("both", phone="255700000001", lid="900000000001", live=False)
    await pipeline.ledger.record(joined, state=InboxState.SKIPPED)
    assert (await seen(pipeline, message)).chat_key == lid
    async with pipeline.running():
        await try_again(pipeline, message.message_id)
        await until(lambda: pipeline.sent(lid) == ["re: under the lid"])
    assert (await seen(pipeline, message)).chat_key == CUSTOMER


async def test_requeueing_without_a_running_tenant_waits_for_its_start(pipeline: Pipeline) -> None:
    message = pipeline.receive("habari", live=False)
    await bury(pipeline, message)
    await requeue(pipeline.database, pipeline.tenant_id, message.message_id, actor="admin")
    async with pipeline.running():
        await until(lambda: pipeline.sent() == ["re: habari"])


async def test_what_is_not_dead_is_not_put_back(pipeline: Pipeline) -> None:
    async with pipeline.running():
        answered = pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        person = pipeline.receive("me", from_me=True)
        await pipeline.becomes(person, "skipped")
        skipped = pipeline.receive("thanks")
        await pipeline.becomes(skipped, "skipped")
    reply = (await seen(pipeline, answered)).replies[0].client_id
    for reference in (answered.message_id, skipped.message_id, person.message_id, reply):
        with pytest.raises(WrongStateError) as refused:
            await requeue(pipeline.database, pipeline.tenant_id, reference, actor="admin")
        assert refused.value.next_step
    with pytest.raises(NotFoundError):
        await requeue(pipeline.database, pipeline.tenant_id, "3A404", actor="admin")
    assert len(pipeline.channel.calls) == 1
    assert "message_requeued" not in [name for name, _ in await pipeline.events()]


async def test_pages_of_dead_letters_join_without_gap_or_repeat(pipeline: Pipeline) -> None:
    for number in range(7):
        await bury(pipeline, pipeline.receive(str(number), message_id=f"3A{number}", live=False))
    found: list[str] = []
    place = None
    while True:
        page = await list_dead(pipeline.database, pipeline.tenant_id, limit=3, after=place)
        found += [row.wa_message_id for row in page.rows]
        place = page.next
        if place is None:
            break
    assert found == [f"3A{number}" for number in (6, 5, 4, 3, 2, 1, 0)]


async def test_the_waking_of_a_chat_that_has_nothing_does_nothing(pipeline: Pipeline) -> None:
    async with pipeline.running():
        pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        for chat in (CUSTOMER, OTHER, "nobody"):
            pipeline.runner.wake(ChatKey(chat))
        pipeline.receive("again")
        await until(lambda: pipeline.sent() == ["re: habari", "re: again"])
    assert len(pipeline.channel.calls) == 2
