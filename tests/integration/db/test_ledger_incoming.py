"""Recording and answering: once, in order, whole or not at all."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flowhq.attempts import ATTEMPT_WAITS_S
from flowhq.db.logs import fetch_logs
from flowhq.errors import InvalidInputError
from flowhq.model import (
    Direction,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    MessageStatus,
    Source,
)
from flowhq.steps import ConversationView, Decision, Outcome
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import ASHA_PN, BY_PHONE, TEXT, message, say

KEY = InboxKey(from_me=False, message_id=MessageId("3A000001"))


async def shown(shop: Shop, key: InboxKey = KEY) -> InboundMessage:
    """The message as it is shown to the responder, who has nothing to say."""
    seen: list[InboundMessage] = []

    def look(message: InboundMessage, _: ConversationView) -> Decision:
        seen.append(message)
        return Decision(Outcome.SKIPPED, "quiet")

    await shop.ledger.process(key, look)
    return seen[0]


async def keeps_payload(shop: Shop) -> bool:
    """Whether the one message that was recorded still has all that it came with."""
    async with shop.database.tenant(shop.tenant_id) as tx:
        return bool(await tx.fetchval("SELECT payload IS NOT NULL FROM inbox"))


async def test_a_recorded_message_is_in_the_ledger_and_waits(shop: Shop) -> None:
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    assert (recorded.key, recorded.fresh, recorded.state) == (KEY, True, InboxState.NEW)
    assert recorded.chat_key == BY_PHONE
    (row,) = (await fetch_logs(shop.database, shop.tenant_id)).rows
    assert (row.direction, row.kind, row.status) == (
        Direction.IN,
        MessageKind.TEXT,
        MessageStatus.RECEIVED,
    )
    assert (row.from_number, row.to_number) == ("+255712345678", "+255700000001")
    assert (row.text, row.wa_message_id, row.sent_at) == ("Habari", "3A000001", TEXT.at)
    assert [waiting.key for waiting in await shop.ledger.waiting(None, limit=9)] == [KEY]


async def test_a_message_recorded_twice_is_known_and_changes_nothing(shop: Shop) -> None:
    first = await shop.ledger.record(TEXT, state=InboxState.NEW)
    again = await shop.ledger.record(
        message(text="other", source=Source.CATCHUP), state=InboxState.SKIPPED, reason="late"
    )
    assert not again.fresh
    assert (again.state, again.ord, again.chat_key) == (
        InboxState.NEW,
        first.ord,
        first.chat_key,
    )
    assert len((await fetch_logs(shop.database, shop.tenant_id)).rows) == 1


async def test_the_same_id_in_the_other_direction_is_another_message(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    typed = await shop.ledger.record(
        message(from_me=True, text="Karibu"), state=InboxState.SKIPPED, reason="person"
    )
    assert typed.fresh
    rows = (await fetch_logs(shop.database, shop.tenant_id)).rows
    assert [(row.direction, row.status) for row in rows] == [
        (Direction.OUT, MessageStatus.SENT),
        (Direction.IN, MessageStatus.RECEIVED),
    ]


async def test_two_recording_at_once_agree_on_one(shop: Shop) -> None:
    results = await asyncio.gather(
        *(shop.ledger.record(TEXT, state=InboxState.NEW) for _ in range(8))
    )
    assert sum(result.fresh for result in results) == 1
    assert len({result.ord for result in results}) == 1
    assert len((await fetch_logs(shop.database, shop.tenant_id)).rows) == 1


async def test_messages_wait_in_the_order_they_were_recorded(shop: Shop) -> None:
    other = Jid("255755555555@c.us")
    for number in range(6):
        chat = other if number % 2 else ASHA_PN
        at = TEXT.at - timedelta(minutes=number)
        await shop.ledger.record(message(f"3A{number}", chat=chat, at=at), state=InboxState.NEW)
    everything = await shop.ledger.waiting(None, limit=100)
    assert [row.key.message_id for row in everything] == [f"3A{n}" for n in range(6)]
    of_one = await shop.ledger.waiting(everything[1].chat_key, limit=2)
    assert [row.key.message_id for row in of_one] == ["3A1", "3A3"]
    assert [row.ord for row in everything] == sorted(row.ord for row in everything)


async def test_the_responder_is_shown_the_message_as_it_was_recorded(shop: Shop) -> None:
    picture = message(
        kind=MessageKind.IMAGE,
        text="caption",
        content={"mime": "image/jpeg", "size": 12, "nested": {"list": [1, None, "x"]}},
        raw_type="image",
        phone="255712345678",
        lid="100@lid",
    )
    await shop.ledger.record(picture, state=InboxState.NEW)
    assert await shown(shop) == picture


async def test_a_settled_message_keeps_no_payload(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.SKIPPED, reason="paused")
    assert not await keeps_payload(shop)
    assert await shop.ledger.waiting(None, limit=9) == []


async def test_a_step_plans_its_replies_and_settles_the_message(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    planned = await shop.ledger.process(KEY, say("Karibu", "Chagua 1"))
    assert [row.text for row in planned] == ["Karibu", "Chagua 1"]
    assert {row.to for row in planned} == {ASHA_PN}
    assert all(row.client_id.startswith("3EB0") and len(row.client_id) == 22 for row in planned)
    assert planned[0].client_id != planned[1].client_id
    assert planned[0].outbox_id < planned[1].outbox_id
    assert await shop.ledger.waiting(None, limit=9) == []
    assert await shop.ledger.process(KEY, say("Again")) == []
    out = (await fetch_logs(shop.database, shop.tenant_id)).rows[:2]
    assert {row.status for row in out} == {MessageStatus.QUEUED}
    assert {(row.from_number, row.to_number) for row in out} == {("+255700000001", "+255712345678")}


async def test_a_step_runs_once_however_many_ask_for_it(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    results = await asyncio.gather(*(shop.ledger.process(KEY, say("Karibu")) for _ in range(8)))
    assert sorted(map(len, results)) == [0] * 7 + [1]
    assert len(await shop.ledger.unsettled()) == 1


async def test_a_step_that_fails_leaves_everything_as_it_was(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)

    def fail(_: InboundMessage, __: ConversationView) -> Decision:
        raise OSError("the responder's own")

    with pytest.raises(OSError, match="the responder's own"):
        await shop.ledger.process(KEY, fail)
    assert [row.state for row in await shop.ledger.waiting(None, limit=9)] == [InboxState.NEW]
    assert await shop.ledger.unsettled() == []
    assert len(await shop.ledger.process(KEY, say("Karibu"))) == 1


async def test_the_responder_sees_the_conversation(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    seen: list[ConversationView] = []

    def look(_: InboundMessage, view: ConversationView) -> Decision:
        seen.append(view)
        return Decision(Outcome.SKIPPED, "quiet", (), {"menu": "main"}, opted_out=True)

    await shop.ledger.process(KEY, look)
    later = message("3A000002", at=TEXT.at + timedelta(minutes=1))
    await shop.ledger.record(later, state=InboxState.NEW)
    await shop.ledger.process(InboxKey(False, later.message_id), look)
    first, second = seen
    assert (first.contact_name, first.phone, first.bot_state) == ("Asha", "255712345678", {})
    assert (first.opted_out, first.last_outgoing_at, first.last_person_at) == (False, None, None)
    assert (second.opted_out, second.bot_state) == (True, {"menu": "main"})


async def test_opting_in_again_clears_the_opt_out(shop: Shop) -> None:
    views: list[bool] = []
    for number, choice in enumerate((True, None, False, None)):
        seen = message(f"3A{number}")
        await shop.ledger.record(seen, state=InboxState.NEW)

        def decide(
            _: InboundMessage, view: ConversationView, choice: bool | None = choice
        ) -> Decision:
            views.append(view.opted_out)
            return Decision(Outcome.DONE, "stop", (), None, choice)

        await shop.ledger.process(InboxKey(False, seen.message_id), decide)
    assert views == [False, True, True, False]


async def test_a_person_at_the_phone_shows_in_the_conversation(shop: Shop) -> None:
    typed = message("3A0A", from_me=True, text="Mimi mwenyewe", at=TEXT.at + timedelta(minutes=2))
    await shop.ledger.record(typed, state=InboxState.SKIPPED, reason="person")
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    views: list[ConversationView] = []

    def look(_: InboundMessage, view: ConversationView) -> Decision:
        views.append(view)
        return Decision(Outcome.DONE, "greeting")

    await shop.ledger.process(KEY, look)
    assert views[0].last_person_at == typed.at
    assert views[0].last_outgoing_at == typed.at


async def test_failed_attempts_wait_longer_and_end(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    for wait_s in ATTEMPT_WAITS_S:
        assert await shop.ledger.postpone(KEY, error="boom\x00" * 500) == wait_s
        assert [row.state for row in await shop.ledger.waiting(None, limit=9)] == [InboxState.RETRY]
    assert await shop.ledger.postpone(KEY, error="boom") is None
    assert await shop.ledger.waiting(None, limit=9) == []
    assert await shop.ledger.process(KEY, say("too late")) == []
    assert await keeps_payload(shop)


async def test_a_postponed_message_can_still_be_answered(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    await shop.ledger.postpone(KEY, error="boom")
    assert len(await shop.ledger.process(KEY, say("Karibu"))) == 1


async def test_the_cursor_is_the_newest_message_and_never_goes_back(shop: Shop) -> None:
    newer = message("3A2", at=TEXT.at + timedelta(hours=1))
    await shop.ledger.record(newer, state=InboxState.NEW)
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    await shop.ledger.touch(caught_up=True)
    assert await shop.ledger.caught_up_to() == newer.at


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(2038, 1, 1),  # noqa: DTZ001 - a channel that forgot the zone
    ],
    ids=["year 1", "year 9999", "naive"],
)
async def test_an_impossible_time_neither_fails_nor_hides_later_messages(
    shop: Shop, at: datetime
) -> None:
    recorded = await shop.ledger.record(message(at=at), state=InboxState.NEW)
    assert recorded.fresh
    await shop.ledger.touch(caught_up=True)
    mark = await shop.ledger.caught_up_to()
    assert mark is not None
    assert mark <= datetime.now(UTC) + timedelta(seconds=5)
    assert (await shown(shop)).text == TEXT.text


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("a\x00b", "ab"),
        ("\x00", ""),
        ("\ud83d\ude00", "\U0001f600"),
        ("lone \ud83d", "lone \ufffd"),
        ("e\u0301 \u202e \U0001f9d1\u200d\U0001f33e", "e\u0301 \u202e \U0001f9d1\u200d\U0001f33e"),
        ("x" * 70_000, "x" * 70_000),
    ],
    ids=["zero inside", "only zero", "pair", "lone surrogate", "marks", "long"],
)
async def test_odd_text_is_stored_as_far_as_it_can_be(shop: Shop, sent: str, stored: str) -> None:
    odd = message(text=sent, push_name=sent, content={"t\x00": [sent]}, raw_type=sent)
    await shop.ledger.record(odd, state=InboxState.NEW)
    assert (await shown(shop)).text == stored
    assert (await fetch_logs(shop.database, shop.tenant_id)).rows[0].text == stored


@pytest.mark.parametrize("field", ["message_id", "chat"])
@pytest.mark.parametrize("value", ["", "x" * 10_000, "a\x00b", "\ud83d"])
async def test_an_id_that_cannot_be_one_is_refused(shop: Shop, field: str, value: str) -> None:
    odd = message("3A1")
    object.__setattr__(odd, field, value)
    with pytest.raises(InvalidInputError) as refused:
        await shop.ledger.record(odd, state=InboxState.NEW)
    assert refused.value.field == field
    assert (await fetch_logs(shop.database, shop.tenant_id)).rows == []


async def test_huge_or_strange_content_is_named_instead_of_kept(shop: Shop) -> None:
    await shop.ledger.record(message(content={"b": "x" * 100_000}), state=InboxState.NEW)
    assert set((await shown(shop)).content) == {"dropped"}
    strange = message("3A2", content={"b": object()})
    await shop.ledger.record(strange, state=InboxState.NEW)
    told = await shown(shop, InboxKey(False, strange.message_id))
    assert told.content == {"dropped": "not JSON"}


async def test_an_unknown_key_is_nothing_to_do(shop: Shop) -> None:
    unknown = InboxKey(False, MessageId("3AFFFF"))
    assert await shop.ledger.process(unknown, say("x")) == []
    assert await shop.ledger.postpone(unknown, error="x") is None


async def test_the_conversation_remembers_the_last_message_of_each_kind(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    old = message("3A2", text="older", at=TEXT.at - timedelta(days=1), source=Source.CATCHUP)
    await shop.ledger.record(old, state=InboxState.NEW)
    async with shop.database.tenant(shop.tenant_id) as tx:
        row = await tx.fetchrow("SELECT * FROM conversations")
    assert row is not None
    assert (row["last_message"], row["last_message_at"]) == ("Habari", TEXT.at)
    assert row["last_customer_message_at"] == TEXT.at
    assert row["last_person_message_at"] is None
    picture = message("3A3", text="", kind=MessageKind.STICKER, at=TEXT.at + timedelta(seconds=1))
    await shop.ledger.record(picture, state=InboxState.NEW)
    async with shop.database.tenant(shop.tenant_id) as tx:
        assert await tx.fetchval("SELECT last_message FROM conversations") == "[sticker]"


async def test_steps_of_one_chat_see_what_the_step_before_them_left(shop: Shop) -> None:
    keys = [
        (await shop.ledger.record(message(f"3A{number}"), state=InboxState.NEW)).key
        for number in range(12)
    ]

    def count(_: InboundMessage, view: ConversationView) -> Decision:
        turn = view.bot_state.get("turn", 0)
        return Decision(Outcome.DONE, f"turn {turn}", (), {"turn": turn + 1}, turn % 2 == 0)

    await asyncio.gather(*(shop.ledger.process(key, count) for key in keys))
    async with shop.database.tenant(shop.tenant_id) as tx:
        assert await tx.fetchval("SELECT bot_state FROM conversations") == {"turn": 12}
        reasons = await tx.fetch("SELECT reason FROM inbox")
    assert {row["reason"] for row in reasons} == {f"turn {turn}" for turn in range(12)}
