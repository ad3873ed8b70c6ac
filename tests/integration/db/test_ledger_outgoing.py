"""Planned once, sent under one id, and a status that never goes back."""

import asyncio
import time
from datetime import timedelta

import pytest

from flowhq.attempts import ATTEMPT_WAITS_S
from flowhq.db.logs import fetch_logs
from flowhq.db.outbox import client_id
from flowhq.errors import InvalidInputError
from flowhq.model import (
    Ack,
    InboxKey,
    InboxState,
    MessageId,
    MessageStatus,
    OutboundMessage,
    OutboxState,
    Reply,
)
from flowhq.steps import Decision, Outcome
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import ASHA_PN, TEXT, message, say

KEY = InboxKey(False, TEXT.message_id)
MANY = """
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, log_id, log_at)
SELECT $1, n || '@c.us', n || '@c.us', 'api:' || n, 0, 'I' || n, '{"text": "x"}',
    gen_random_uuid(), now()
FROM generate_series(1, $2::int) AS n
"""


async def planned(shop: Shop, *texts: str) -> list[OutboundMessage]:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    return list(await shop.ledger.process(KEY, say(*texts or ("Karibu",))))


async def state_of(shop: Shop, row: OutboundMessage) -> tuple[OutboxState, MessageStatus]:
    """Where the outbox row and its ledger row stand."""
    async with shop.database.tenant(shop.tenant_id) as tx:
        found = await tx.fetchrow(
            """
            SELECT o.state::text AS state, l.status::text AS status FROM outbox o
            JOIN message_logs l ON l.id = o.log_id AND l.created_at = o.log_at WHERE o.id = $1
            """,
            row.outbox_id,
        )
    assert found is not None
    return OutboxState(found["state"]), MessageStatus(found["status"])


def test_a_client_id_depends_on_key_cause_and_part_alone() -> None:
    assert client_id(b"k", "3A1", 0) == client_id(b"k", "3A1", 0)
    ids = {client_id(k, c, p) for k in (b"k", b"l") for c in ("3A1", "3A2") for p in (0, 1)}
    assert len(ids) == 8
    assert all(len(i) == 22 and i.startswith("3EB0") and i == i.upper() for i in ids)


async def test_a_way_to_the_phone(shop: Shop) -> None:
    (row,) = await planned(shop)
    assert await state_of(shop, row) == (OutboxState.PLANNED, MessageStatus.QUEUED)
    assert await shop.ledger.mark_sending(row.outbox_id)
    assert await state_of(shop, row) == (OutboxState.SENDING, MessageStatus.QUEUED)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    assert await state_of(shop, row) == (OutboxState.ACCEPTED, MessageStatus.SENT)
    await shop.ledger.acknowledge([row.client_id], Ack.DELIVERED)
    assert await state_of(shop, row) == (OutboxState.DELIVERED, MessageStatus.DELIVERED)
    await shop.ledger.acknowledge([row.client_id], Ack.READ)
    assert await state_of(shop, row) == (OutboxState.READ, MessageStatus.READ)
    await shop.ledger.acknowledge([row.client_id], Ack.PLAYED)
    assert await state_of(shop, row) == (OutboxState.READ, MessageStatus.PLAYED)
    assert await shop.ledger.unsettled() == []


async def test_however_many_are_planned_a_start_finds_all_of_them(shop: Shop) -> None:
    many = 10_001
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(MANY, shop.tenant_id, many)
    assert len(await shop.ledger.unsettled()) == many
    assert len(await shop.ledger.unsettled(limit=many - 1)) == many - 1


async def test_acks_never_go_back(shop: Shop) -> None:
    (row,) = await planned(shop)
    await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.acknowledge([row.client_id], Ack.READ)
    for ack in (Ack.DELIVERED, Ack.SERVER, Ack.PENDING, Ack.ERROR):
        await shop.ledger.acknowledge([row.client_id], ack)
        await shop.ledger.mark_accepted(row.outbox_id, ack)
        assert await state_of(shop, row) == (OutboxState.READ, MessageStatus.READ)
    assert not await shop.ledger.mark_sending(row.outbox_id)


async def test_an_error_ack_marks_the_ledger_but_proves_nothing_to_the_sender(shop: Shop) -> None:
    (row,) = await planned(shop)
    await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.acknowledge([row.client_id], Ack.ERROR)
    assert await state_of(shop, row) == (OutboxState.SENDING, MessageStatus.FAILED)
    assert await shop.ledger.mark_sending(row.outbox_id)
    assert await state_of(shop, row) == (OutboxState.SENDING, MessageStatus.QUEUED)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    assert await state_of(shop, row) == (OutboxState.ACCEPTED, MessageStatus.SENT)


async def test_unknown_ids_are_ignored(shop: Shop) -> None:
    (row,) = await planned(shop)
    await shop.ledger.acknowledge([MessageId("3A404"), MessageId("\x00")], Ack.READ)
    await shop.ledger.acknowledge([], Ack.READ)
    assert await state_of(shop, row) == (OutboxState.PLANNED, MessageStatus.QUEUED)


async def test_acks_of_a_message_typed_by_a_person_raise_its_status(shop: Shop) -> None:
    typed = message("3A0A", from_me=True)
    await shop.ledger.record(typed, state=InboxState.SKIPPED, reason="person")
    await shop.ledger.acknowledge([typed.message_id], Ack.READ)
    assert (await fetch_logs(shop.database, shop.tenant_id)).rows[0].status is MessageStatus.READ


async def test_an_incoming_message_with_the_acknowledged_id_is_untouched(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    await shop.ledger.acknowledge([TEXT.message_id], Ack.READ)
    (row,) = (await fetch_logs(shop.database, shop.tenant_id)).rows
    assert row.status is MessageStatus.RECEIVED


async def test_our_own_echo_is_no_new_message_and_no_proof_that_it_is_out(shop: Shop) -> None:
    (row,) = await planned(shop)
    await shop.ledger.mark_sending(row.outbox_id)
    echo = message(row.client_id, from_me=True, text="Karibu", at=TEXT.at + timedelta(minutes=1))
    recorded = await shop.ledger.record(echo, state=InboxState.SKIPPED, reason="person")
    assert (recorded.fresh, recorded.state) == (False, InboxState.DONE)
    assert recorded.chat_key == row.chat_key
    assert await state_of(shop, row) == (OutboxState.SENDING, MessageStatus.QUEUED)
    assert len((await fetch_logs(shop.database, shop.tenant_id)).rows) == 2
    await shop.ledger.touch(caught_up=True)
    assert await shop.ledger.caught_up_to() == echo.at
    async with shop.database.tenant(shop.tenant_id) as tx:
        assert await tx.fetchval("SELECT last_person_message_at FROM conversations") is None
    assert await shop.ledger.known_own(row.client_id) == row.outbox_id
    assert await shop.ledger.known_own(MessageId("3A0A")) is None


async def test_what_is_not_settled_comes_back_in_order(shop: Shop) -> None:
    rows = await planned(shop, "1", "2", "3", "4")
    await shop.ledger.mark_sending(rows[0].outbox_id)
    await shop.ledger.mark_sending(rows[1].outbox_id)
    await shop.ledger.mark_unknown(rows[1].outbox_id, error="no answer")
    await shop.ledger.mark_sending(rows[2].outbox_id)
    await shop.ledger.mark_accepted(rows[2].outbox_id, Ack.PENDING)
    left = await shop.ledger.unsettled()
    assert [(row.text, row.state, row.attempts) for row in left] == [
        ("1", OutboxState.SENDING, 1),
        ("2", OutboxState.UNKNOWN, 1),
        ("4", OutboxState.PLANNED, 0),
    ]
    assert left[2] == rows[3]


async def test_a_refusal_that_may_be_repeated_waits_longer_and_ends(shop: Shop) -> None:
    (row,) = await planned(shop)
    for wait_s in ATTEMPT_WAITS_S:
        assert await shop.ledger.mark_sending(row.outbox_id)
        assert await shop.ledger.mark_failed(row.outbox_id, error="busy", retry=True) == wait_s
        assert await state_of(shop, row) == (OutboxState.PLANNED, MessageStatus.QUEUED)
    assert await shop.ledger.mark_sending(row.outbox_id)
    assert await shop.ledger.mark_failed(row.outbox_id, error="busy", retry=True) is None
    assert await state_of(shop, row) == (OutboxState.DEAD, MessageStatus.FAILED)
    assert not await shop.ledger.mark_sending(row.outbox_id)
    assert await shop.ledger.unsettled() == []


async def test_a_final_refusal_is_dead_at_once_unless_it_was_delivered(shop: Shop) -> None:
    (row,) = await planned(shop)
    await shop.ledger.mark_sending(row.outbox_id)
    assert await shop.ledger.mark_failed(row.outbox_id, error="no such number", retry=False) is None
    assert await state_of(shop, row) == (OutboxState.DEAD, MessageStatus.FAILED)
    await shop.ledger.acknowledge([row.client_id], Ack.DELIVERED)
    assert await state_of(shop, row) == (OutboxState.DELIVERED, MessageStatus.DELIVERED)
    assert await shop.ledger.mark_failed(row.outbox_id, error="late", retry=True) is None
    assert await state_of(shop, row) == (OutboxState.DELIVERED, MessageStatus.DELIVERED)


async def test_a_reply_for_later_says_when(shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    before = time.monotonic()
    rows = await shop.ledger.process(
        KEY,
        lambda _, __: Decision(
            Outcome.DONE, "x", (Reply("now", "x"), Reply("later", "x", wait_s=180.0))
        ),
    )
    now = time.monotonic()
    assert rows[0].due_at_monotonic <= now
    assert before + 179 < rows[1].due_at_monotonic <= now + 180


async def test_a_notice_is_planned_once_for_its_cause(shop: Shop) -> None:
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    notice = Reply("Tafadhali subiri", "please_wait")
    results = await asyncio.gather(
        *(
            shop.ledger.notify(recorded.chat_key, ASHA_PN, cause="wait:3A000001", reply=notice)
            for _ in range(6)
        )
    )
    assert sorted(map(len, results)) == [0] * 5 + [1]
    other = await shop.ledger.notify(recorded.chat_key, ASHA_PN, cause="wait:2", reply=notice)
    assert len(other) == 1
    assert (await fetch_logs(shop.database, shop.tenant_id)).rows[0].to_number == "+255712345678"


async def test_a_cause_that_is_no_id_is_refused(shop: Shop) -> None:
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    with pytest.raises(InvalidInputError) as refused:
        await shop.ledger.notify(
            recorded.chat_key, ASHA_PN, cause="x" * 201, reply=Reply("Habari", "api")
        )
    assert refused.value.field == "cause"


async def test_the_numbers_of_two_tenants_share_no_message_id(shop: Shop, other_shop: Shop) -> None:
    ids = set()
    for one in (shop, other_shop):
        (row,) = await planned(one)
        ids.add(row.client_id)
    assert len(ids) == 2
