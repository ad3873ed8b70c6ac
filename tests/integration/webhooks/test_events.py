"""Events are written with what they tell, or not at all, and read in an order without gaps."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flowhq.db import chats, events
from flowhq.db.owner import owner_connection
from flowhq.db.states import PostgresStatusBook
from flowhq.errors import StoreRefusedError
from flowhq.model import (
    ChatEvent,
    DesiredState,
    EventType,
    InboxState,
    Reason,
    SessionState,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.webhooks.feed import BUFFER
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import message
from tests.integration.webhooks.conftest import Office, answer, receive, stored
from tests.pg import fetchval

WRITE = "INSERT INTO events (tenant_id, type) VALUES ($1, 'handoff')"


def snapshot(shop: Shop, reason: Reason = Reason.CONNECTED) -> TenantSnapshot:
    return TenantSnapshot(
        tenant_id=shop.tenant_id,
        status=TenantStatus.ACTIVE,
        session=SessionState.CONNECTED,
        worker=WorkerStatus.RUNNING,
        desired=DesiredState.RUNNING,
        reason=reason,
        next_action="",
    )


async def test_a_conversation_is_told_step_by_step(office: Office, shop: Shop) -> None:
    await receive(shop, 1, "Mna nywele?")
    await answer(shop, 1, "Ndiyo")
    await office.tell()
    told = await stored(office.database, shop)
    assert [(one.type.value, one.data.get("status")) for one in told] == [
        ("message.in", "received"),
        ("message.out", "queued"),
        ("message.ack", "sent"),
        ("message.ack", "read"),
    ]
    came, planned, sent, _ = told
    assert came.of_people["text"] == "Mna nywele?"
    assert came.of_people["contact"] == {"number": "+255712345678", "name": "Asha"}
    assert planned.of_people["text"] == "Ndiyo"
    assert came.data["kind"] == "text"
    assert came.data["chat_id"] == planned.data["chat_id"]
    assert sent.data["message_id"] == planned.data["message_id"]
    assert "text" not in sent.of_people
    assert [one.seq for one in told] == sorted({one.seq for one in told})


async def test_a_change_of_state_is_told_and_what_happens_in_a_chat_is_not_one(
    office: Office, shop: Shop
) -> None:
    book = PostgresStatusBook(office.database)
    await book.save(snapshot(shop), event="connected", actor="daemon")
    await book.save(snapshot(shop), event="connected", actor="daemon")
    async with office.database.tenant(shop.tenant_id) as tx:
        for name in ChatEvent:
            await tx.execute("SELECT raise_event($1, $2, 'test', '')", shop.tenant_id, name.value)
    await office.tell()
    [told] = await stored(office.database, shop)
    assert told.type is EventType.TENANT_STATE
    assert (told.data["from_status"], told.data["status"]) == ("NEW", "ACTIVE")
    assert (told.data["reason"], told.data["actor"]) == ("CONNECTED", "daemon")


async def test_who_has_a_chat_is_told_when_that_changes(office: Office, shop: Shop) -> None:
    await receive(shop, 1)
    for number in (2, 3):
        typed = message(f"3A00000{number}", from_me=True, at=datetime.now(UTC))
        await shop.ledger.record(typed, state=InboxState.SKIPPED, person_pause_s=43_200.0)
    [chat] = (await chats.list_chats(office.database, shop.tenant_id, silence=None, limit=9)).rows
    await chats.resume_chat(office.database, shop.tenant_id, chat.chat_id, actor="admin")
    async with office.database.tenant(shop.tenant_id) as tx:
        await tx.execute("UPDATE conversations SET muted_until = now() + interval '1 hour'")
    await office.tell()
    told = [one for one in await stored(office.database, shop) if one.type is EventType.HANDOFF]
    assert [one.data["kind"] for one in told] == ["taken_over", "resumed", "muted"]
    assert {one.data["chat_id"] for one in told} == {str(chat.chat_id)}
    assert told[0].data["until"]
    assert told[1].data["until"] is None
    assert told[0].of_people["contact"]["number"] == "+255712345678"


async def test_an_incident_is_of_the_installation(office: Office, shop: Shop) -> None:
    await events.tell_incident(office.database, {"state": "began", "tenants": 5})
    await office.tell()
    [told] = await stored(office.database)
    assert (told.tenant_id, told.type) == (None, EventType.INCIDENT)
    async with office.database.tenant(shop.tenant_id) as tx:
        assert await tx.fetchval("SELECT count(*) FROM events") == 0
    with pytest.raises(StoreRefusedError):
        async with office.database.installation() as tx:
            await tx.execute(WRITE, shop.tenant_id)


async def test_what_is_taken_back_tells_nothing(office: Office, shop: Shop) -> None:
    async def fail() -> None:
        async with office.database.tenant(shop.tenant_id) as tx:
            await tx.execute(WRITE, shop.tenant_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await office.tell()
    assert await stored(office.database) == []


async def test_a_restored_backup_tells_nothing(office: Office, shop: Shop) -> None:
    async with office.database.tenant(shop.tenant_id) as tx:
        await tx.execute("SELECT set_config('app.restoring', 'on', true)")
        await tx.execute(
            "INSERT INTO message_logs (tenant_id, direction, from_number, to_number, message_text,"
            " status) VALUES ($1, 'IN', 'a', 'b', 'x', 'received')",
            shop.tenant_id,
        )
        await tx.execute(
            "INSERT INTO tenant_events (tenant_id, from_status, to_status, session, worker, reason,"
            " event, actor) VALUES ($1, 'NEW', 'ACTIVE', 'CONNECTED', 'RUNNING', 'X', 'x', 'x')",
            shop.tenant_id,
        )
    await receive(shop, 1)
    await office.tell()
    assert [one.type for one in await stored(office.database)] == [EventType.MESSAGE_IN]


async def test_nobody_misses_what_was_written_first_and_committed_last(
    office: Office, shop: Shop, other_shop: Shop
) -> None:
    written, read = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with office.database.tenant(shop.tenant_id) as tx:
            await tx.execute(WRITE, shop.tenant_id)
            written.set()
            await read.wait()

    late = asyncio.create_task(slow())
    await written.wait()
    async with office.database.tenant(other_shop.tenant_id) as tx:
        await tx.execute(WRITE, other_shop.tenant_id)
    stream = office.feed.subscribe(None, None)
    await office.tell()
    assert [one.tenant_id for one in await stream.next()] == [other_shop.tenant_id]
    read.set()
    await late
    await office.tell()
    assert [one.tenant_id for one in await stream.next()] == [shop.tenant_id]
    office.feed.leave(stream)


async def test_writers_in_a_hurry_and_a_reader_agree_on_everything(
    office: Office, shop: Shop, other_shop: Shop
) -> None:
    stream = office.feed.subscribe(None, None)
    done = False
    seen: list[int] = []

    async def write(which: Shop, numbers: range) -> None:
        for number in numbers:
            await receive(which, number)

    async def read() -> None:
        while not done:
            await office.feed.step()

    reader = asyncio.create_task(read())
    await asyncio.gather(
        *(
            write(one, range(start, start + 20))
            for one in (shop, other_shop)
            for start in (100, 200)
        )
    )
    done = True
    await reader
    await office.tell()
    while len(seen) < 80:
        seen += [one.seq for one in await stream.next()]
    assert seen == sorted(set(seen))
    assert len(seen) == 80
    office.feed.leave(stream)


async def test_old_events_go_whatever_their_endpoints_did(
    office: Office, shop: Shop, postgres_url: str
) -> None:
    await office.desk.create(None, "http://127.0.0.1:1/nobody", [])
    await receive(shop, 1)
    await receive(shop, 2)
    await office.tell()
    assert await fetchval(postgres_url, "SELECT count(*) FROM webhook_deliveries") == 2
    async with owner_connection(postgres_url) as connection:
        await connection.execute(
            "UPDATE events SET at = at - interval '8 days' WHERE id = (SELECT min(id) FROM events)"
        )
    before = office.clock.now() - timedelta(days=7)
    assert await events.prune(office.database, before) == 1
    assert await events.prune(office.database, before) == 0
    assert await fetchval(postgres_url, "SELECT count(*) FROM webhook_deliveries") == 1


async def test_a_stream_that_does_not_keep_up_is_lost_and_holds_up_nobody(
    office: Office, shop: Shop
) -> None:
    slow = office.feed.subscribe(None, frozenset({shop.tenant_id}))
    async with office.database.tenant(shop.tenant_id) as tx:
        await tx.execute(
            "INSERT INTO events (tenant_id, type) SELECT $1, 'handoff' FROM generate_series(1, $2)",
            shop.tenant_id,
            BUFFER + 1,
        )
    await office.tell()
    assert slow.lost
    assert await slow.next() == []
    office.feed.leave(slow)


async def test_who_comes_later_reads_the_past_up_to_where_the_stream_begins(
    office: Office, shop: Shop, other_shop: Shop
) -> None:
    for number in range(3):
        await receive(shop, number)
        await receive(other_shop, number)
    await office.tell()
    stream = office.feed.subscribe(None, frozenset({shop.tenant_id}))
    await receive(shop, 9, "mpya")
    await office.tell()
    past = [one async for batch in office.feed.past(stream, 0) for one in batch]
    assert len(past) == 3
    assert {one.tenant_id for one in past} == {shop.tenant_id}
    [live] = await stream.next()
    assert live.of_people["text"] == "mpya"
    assert live.seq > max(one.seq for one in past)
    office.feed.leave(stream)


async def test_the_trigger_knows_every_event_of_a_chat(postgres_url: str) -> None:
    definition = await fetchval(
        postgres_url,
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'tenant_events_told'",
    )
    for name in ChatEvent:
        assert f"'{name.value}'" in definition


async def test_only_the_functions_reach_what_is_of_all_tenants(
    office: Office, shop: Shop, postgres_url: str
) -> None:
    await receive(shop, 1)
    async with office.database.installation() as tx:
        assert await tx.fetchval("SELECT count(*) FROM events") == 0
    with pytest.raises(StoreRefusedError):
        async with office.database.ops() as tx:
            await tx.execute("SELECT message_text FROM message_logs")
    with pytest.raises(StoreRefusedError):
        async with office.database.ops() as tx:
            await tx.execute("SELECT secret FROM webhook_endpoints")
