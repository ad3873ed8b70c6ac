"""Whatever a page shows: recorded, or refused with a reason, and the next message is answered."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from flowhq.events import (
    AckSeen,
    ChannelEvent,
    Conflicted,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    MessageSeen,
    Pairing,
    QrIdle,
    QrShown,
    Ready,
)
from flowhq.model import Ack, Jid, MessageId, MessageKind
from tests.fakes.channel import CUSTOMER, OWNER_LID, OWNER_PHONE
from tests.fakes.clock import until
from tests.integration.pipeline.conftest import Pipeline

YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)
YEAR_9999 = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
ENDLESS = "X" * 10_240
COUNT = "SELECT count(*) FROM inbox WHERE tenant_id = $1"


async def goes_on(pipeline: Pipeline, text: str = "and now?", chat: Jid = CUSTOMER) -> None:
    """The tenant still runs and answers."""
    pipeline.receive(text, chat=chat)
    await until(lambda: f"re: {text}" in pipeline.sent(chat))


def events_named(logs: list[Any], name: str) -> list[Any]:
    return [line for line in logs if line["event"] == name]


# -- one id, two contents ----


@pytest.mark.parametrize("restart", [False, True], ids=["at once", "after a restart"])
async def test_of_one_id_with_two_contents_the_first_stays_and_the_other_is_told_once(
    pipeline: Pipeline, restart: bool
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running():
            first = pipeline.receive("ten pieces", message_id="3A01")
            await until(lambda: pipeline.sent() == ["re: ten pieces"])
            if not restart:
                pipeline.receive("ten thousand pieces", message_id="3A01")
                pipeline.receive("eleven pieces", message_id="3A01")
                await goes_on(pipeline)
        if restart:
            async with pipeline.running():
                pipeline.receive("ten thousand pieces", message_id="3A01")
                pipeline.receive("eleven pieces", message_id="3A01")
                await goes_on(pipeline)
    assert pipeline.sent() == ["re: ten pieces", "re: and now?"]
    text = "SELECT message_text FROM message_logs WHERE tenant_id = $1 AND wa_message_id = $2"
    assert await pipeline.value(text, first.message_id) == "ten pieces"
    assert [name for name, _ in await pipeline.events()] == ["content_differed"]
    told = events_named(logs, "known message with another content: the first one stays")
    assert [line["message_id"] for line in told] == ["3A01"]


async def test_a_backlog_that_shows_another_content_changes_nothing(pipeline: Pipeline) -> None:
    async with pipeline.running():
        pipeline.receive("ten pieces", message_id="3A01")
        await until(lambda: pipeline.sent() == ["re: ten pieces"])
    pipeline.channel.forget(MessageId("3A01"))
    pipeline.receive("edited meanwhile", message_id="3A01", live=False)
    async with pipeline.running():
        await goes_on(pipeline)
    assert pipeline.sent() == ["re: ten pieces", "re: and now?"]
    assert [name for name, _ in await pipeline.events()] == ["content_differed"]


async def test_the_same_message_shown_again_and_again_is_nothing_to_tell(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        message = pipeline.receive("habari", content={"quoted": "3A00"})
        for _ in range(5):
            pipeline.channel.emit(MessageSeen(message, 0.0))
        await goes_on(pipeline)
    async with pipeline.running():
        pipeline.channel.emit(MessageSeen(message, 0.0))
        await goes_on(pipeline, "third")
    assert pipeline.sent() == ["re: habari", "re: and now?", "re: third"]
    assert await pipeline.events() == []


# -- ids ----


@pytest.mark.parametrize("live", [True, False], ids=["live", "backlog"])
@pytest.mark.parametrize("from_me", [False, True], ids=["theirs", "ours"])
async def test_an_endless_id_is_refused_and_told(
    pipeline: Pipeline, live: bool, from_me: bool
) -> None:
    if not live:
        pipeline.receive("endless", message_id=ENDLESS, from_me=from_me, live=False)
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running():
            if live:
                pipeline.receive("endless", message_id=ENDLESS, from_me=from_me)
            pipeline.channel.acknowledge(MessageId(ENDLESS), Ack.READ)
            await goes_on(pipeline)
    refused = events_named(logs, "message refused")
    assert refused
    assert all(line["field"] == "message_id" for line in refused)
    assert not any(ENDLESS[:500] in str(line) for line in logs)
    assert await pipeline.value(COUNT) == 1


@pytest.mark.parametrize("message_id", ["3A\x00", "\ud800", " ", "'; DROP TABLE inbox; --", "ü"])
async def test_an_odd_id_is_recorded_or_refused(pipeline: Pipeline, message_id: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running():
            pipeline.receive("odd", message_id=message_id)
            pipeline.channel.acknowledge(MessageId(message_id), Ack.READ)
            await goes_on(pipeline)
    refused = len(events_named(logs, "message refused"))
    assert pipeline.sent() == ["re: odd"] * (1 - refused) + ["re: and now?"]
    assert await pipeline.value(COUNT) == 2 - refused


# -- times ----


@pytest.mark.parametrize("at", [YEAR_1, YEAR_9999], ids=["year 1", "year 9999"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "backlog"])
async def test_a_message_of_an_impossible_time_is_recorded_and_stops_nothing(
    pipeline: Pipeline, at: datetime, live: bool
) -> None:
    """In a backlog it is not read if it is older than the pairing."""
    other = Jid("255700000002@c.us")
    for run in range(3):
        async with pipeline.running():
            if run == 0:
                pipeline.receive("impossible", at=at, live=live)
                pipeline.receive("the person", at=at, live=live, chat=other, from_me=True)
            await goes_on(pipeline, f"run {run}")
        pipeline.receive(f"missed {run}", live=False)
    text = "SELECT count(*) FROM message_logs WHERE tenant_id = $1 AND message_text LIKE $2"
    read = live or at == YEAR_9999
    assert await pipeline.value(text, "impossible") == read
    assert await pipeline.value(text, "the person") == read
    assert await pipeline.value(text, "run %") == 3
    assert await pipeline.value(text, "missed %") == 2
    cursors = """SELECT bool_and(last_timestamp <= now() AND last_timestamp > '1969-12-31')
        FROM chat_cursors WHERE tenant_id = $1"""
    assert await pipeline.value(cursors) is True
    paused = "SELECT bot_paused_until FROM conversations WHERE tenant_id = $1 AND chat_key = $2"
    until_at = await pipeline.value(paused, other)
    assert until_at is None or until_at < datetime.now(UTC) + timedelta(hours=13)


# -- chats ----

NO_CHATS = [
    "",
    "nonsense",
    "@c.us",
    "255700000009",
    "255700000009@",
    "255700000009@s.whatsapp.net",
    "255700000009@c.us@c.us",
    "a b@c.us",
    "255700000009@c.us\n",
    "\ud800@c.us",
    "255\x00700@c.us",
    "../../etc/passwd@lid",
    "9" * 10_240 + "@c.us",
    "120363000000000000@g.us",
    "status@broadcast",
]


@pytest.mark.parametrize("live", [True, False], ids=["live", "backlog"])
async def test_what_is_no_chat_is_refused_and_told(pipeline: Pipeline, live: bool) -> None:
    if not live:
        for chat in NO_CHATS:
            pipeline.receive("nonsense", chat=Jid(chat), phone="", live=False)
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running():
            if live:
                for chat in NO_CHATS:
                    pipeline.receive("nonsense", chat=Jid(chat), phone="")
            await goes_on(pipeline)
    assert await pipeline.value(COUNT) == 1
    assert len(pipeline.channel.calls) == 1
    told = events_named(logs, "message refused")
    # Groups and broadcasts are no nonsense: they are left out without a word.
    assert len(told) == (len(NO_CHATS) - 2 if live else 0)


# -- content ----


@pytest.mark.parametrize(
    "more",
    [
        {"text": "null\x00byte"},
        {"text": "half a \ud83d pair"},
        {"text": "x" * 1_000_000},
        {"text": "", "kind": MessageKind.IMAGE, "content": {"filename": "a\x00\ud800"}},
        {"text": "named", "push_name": "\x00" * 10_000},
        {"text": "of nobody", "phone": "not a number", "lid": "x" * 5_000},
        {"text": "deep", "content": {"c": [[[[[[{}]]]]]]}},
    ],
    ids=["nul", "surrogate", "a million", "file name", "name", "numbers", "nested"],
)
async def test_odd_content_is_recorded_or_refused(pipeline: Pipeline, more: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as logs:
        async with pipeline.running():
            message = pipeline.receive(**more)
            await goes_on(pipeline)
    recorded = "SELECT count(*) FROM inbox WHERE tenant_id = $1 AND wa_message_id = $2"
    refused = len(events_named(logs, "message refused"))
    assert await pipeline.value(recorded, message.message_id) == 1 - refused


# -- acks ----


async def test_acks_of_what_nobody_sent_change_nothing(pipeline: Pipeline) -> None:
    async with pipeline.running():
        message = pipeline.receive("habari")
        await until(lambda: pipeline.sent() == ["re: habari"])
        strangers = tuple(MessageId(f"3EB0{number:018X}") for number in range(2_000))
        for ack in Ack:
            pipeline.channel.emit(AckSeen(strangers, ack))
            pipeline.channel.emit(AckSeen((), ack))
            pipeline.channel.emit(AckSeen((message.message_id,), ack))
        await goes_on(pipeline)
    states = "SELECT array_agg(state::text) FROM outbox WHERE tenant_id = $1"
    assert await pipeline.value(states) == ["accepted", "accepted"]
    incoming = """SELECT array_agg(DISTINCT status::text) FROM message_logs
        WHERE tenant_id = $1 AND direction = 'IN'"""
    assert await pipeline.value(incoming) == ["received"]


# -- much at once ----


async def test_a_backlog_of_5000_gets_one_answer_a_chat_and_the_live_ones_after_it(
    pipeline: Pipeline,
) -> None:
    chats = [Jid(f"2557100000{number:02}@c.us") for number in range(20)]
    for number in range(250):
        for chat in chats:
            pipeline.receive(str(number), chat=chat, ago_s=600 - number, live=False)
    async with pipeline.running():
        await until(lambda: len(pipeline.channel.sent) == 20, within_s=80)
        for chat in chats:
            pipeline.receive("live", chat=chat)
        await until(lambda: len(pipeline.channel.sent) == 40)
    for chat in chats:
        assert pipeline.sent(chat) == ["re: 249", "re: live"]
    counted = """SELECT count(*) FROM inbox WHERE tenant_id = $1 AND reason = 'backlog'
        AND state = 'skipped'"""
    assert await pipeline.value(COUNT) == 5_020
    assert await pipeline.value(counted) == 249 * 20


# -- a page that is gone ----


async def test_what_a_page_said_after_it_was_gone_is_read_from_the_next_one_once(
    pipeline: Pipeline,
) -> None:
    async with pipeline.running():
        await goes_on(pipeline, "before")
    pipeline.receive("said to nobody")
    pipeline.channel.emit(AckSeen((MessageId("3EB0"),), Ack.READ))
    async with pipeline.running():
        await until(lambda: pipeline.sent()[-1:] == ["re: said to nobody"])
        await goes_on(pipeline)
    assert pipeline.sent() == ["re: before", "re: said to nobody", "re: and now?"]


@pytest.mark.parametrize("seed", range(5))
async def test_events_in_any_order_end_in_no_crash(pipeline: Pipeline, seed: int) -> None:
    dice = random.Random(seed)
    kinds: list[ChannelEvent] = [
        QrShown("ref,noise,identity,adv,1", None),
        QrIdle(),
        Pairing(),
        Ready("", "", 1),
        Ready(OWNER_PHONE, OWNER_LID, 2),
        ConnectionLost("\ud800" * 2_000),
        LoggedOut("x" * 5_000),
        Conflicted(),
        EventsDropped(10**9),
        AckSeen((MessageId(""),), Ack.ERROR),
    ]
    async with pipeline.running():
        for number in range(40):
            event = dice.choice(kinds)
            pipeline.channel.emit(event)
            if isinstance(event, Conflicted):  # several of them are for a person to decide
                kinds.remove(event)
            if dice.random() < 0.3:
                pipeline.receive(f"amid {number}")
        pipeline.channel.document += 1
        pipeline.channel.ready()
        await goes_on(pipeline)
