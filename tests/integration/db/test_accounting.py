"""The books: each message in one of four places, the time connected against the time wanted."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowhq.bot.lifecycle import Event
from flowhq.db import accounting, states
from flowhq.db.accounting import Account, fetch_account, fetch_accounts, figures
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.model import (
    Ack,
    DesiredState,
    InboxState,
    OutboxState,
    Reason,
    SessionState,
    Source,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.steps import Decision, Outcome
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import message, say

ALL = datetime(2026, 1, 1, tzinfo=UTC)


async def account(shop: Shop, since: datetime = ALL) -> Account:
    return (await fetch_account(shop.database, shop.tenant_id, since)).tenants[shop.tenant_id]


async def execute(shop: Shop, sql: str, *args: object) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(sql, shop.tenant_id, *args)


# -- messages ----


async def trade(shop: Shop) -> None:
    """A day's business: two answers, two silences, one waits, one is dead, one was a person."""
    for number, source in ((1, Source.LIVE), (2, Source.CATCHUP)):
        recorded = await shop.ledger.record(
            message(f"3A{number}", source=source), state=InboxState.NEW
        )
        rows = await shop.ledger.process(recorded.key, say("Karibu", "Menu"))
        await shop.ledger.mark_sending(rows[0].outbox_id)
        await shop.ledger.mark_accepted(rows[0].outbox_id, Ack.SERVER)
        await shop.ledger.mark_unknown(rows[1].outbox_id, error="no answer")
    await shop.ledger.mark_failed(rows[1].outbox_id, error="refused", retry=False)
    backlog = message("3A3", source=Source.CATCHUP)
    await shop.ledger.record(backlog, state=InboxState.SKIPPED, reason="backlog")
    quiet = await shop.ledger.record(message("3A4"), state=InboxState.NEW)
    await shop.ledger.process(quiet.key, lambda *_: Decision(Outcome.SKIPPED, "person"))
    await shop.ledger.record(message("3A5"), state=InboxState.NEW)
    dead = await shop.ledger.record(message("3A6"), state=InboxState.NEW)
    for _ in range(5):
        await shop.ledger.postpone(dead.key, error="KeyError")
    await shop.ledger.record(message("3A7", from_me=True), state=InboxState.SKIPPED, reason="own")


async def test_every_message_is_in_one_place_of_the_books(shop: Shop) -> None:
    await trade(shop)
    books = await account(shop)
    assert (books.received, books.answered, books.waiting, books.dead) == (6, 2, 1, 1)
    assert books.skipped == {"backlog": 1, "person": 1}
    assert books.answered + books.waiting + books.dead + books.skipped.total() == books.received
    assert books.repaired == 2
    assert books.replies == {OutboxState.ACCEPTED: 2, OutboxState.UNKNOWN: 1, OutboxState.DEAD: 1}
    assert (books.sent, books.under_way) == (2, 0)
    told = figures(books)
    assert (told["received"], told["replies_unknown"], told["replies_dead"]) == (6, 1, 1)


async def test_the_books_of_all_are_the_sum_of_each(shop: Shop, other_shop: Shop) -> None:
    await trade(shop)
    await trade(other_shop)
    await other_shop.ledger.record(message("3A8"), state=InboxState.NEW)
    books = await fetch_accounts(shop.database, ALL)
    assert set(books.tenants) == {shop.tenant_id, other_shop.tenant_id}
    assert books.tenants[shop.tenant_id] == await account(shop)
    total = books.total()
    assert (total.received, total.waiting, total.repaired) == (13, 3, 4)
    assert total.skipped == {"backlog": 2, "person": 2}
    assert total.replies[OutboxState.DEAD] == 2


async def test_what_came_before_the_window_is_not_in_it(shop: Shop) -> None:
    await trade(shop)
    await execute(shop, "UPDATE inbox SET created_at = now() - interval '2 h' WHERE tenant_id = $1")
    await execute(
        shop, "UPDATE outbox SET planned_at = now() - interval '2 h' WHERE tenant_id = $1"
    )
    now = datetime.now(UTC)
    assert (await account(shop, now - timedelta(hours=1))).received == 0
    hours = await account(shop, now - timedelta(hours=3))
    assert (hours.received, hours.replies.total()) == (6, 4)


async def test_a_tenant_without_anything_has_empty_books(shop: Shop, other_shop: Shop) -> None:
    await trade(other_shop)
    assert await account(shop) == Account()
    books = await fetch_accounts(shop.database, ALL)
    assert books.tenants[shop.tenant_id] == Account()
    assert books.since == ALL < books.until


# -- time ----


class Life:
    """A tenant's states as its runner stores them; time passes by setting the past back."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.book = PostgresStatusBook(shop.database)
        self.snapshot = TenantSnapshot(
            tenant_id=shop.tenant_id,
            status=TenantStatus.QR_PENDING,
            session=SessionState.DISCONNECTED,
            worker=WorkerStatus.RUNNING,
            desired=DesiredState.RUNNING,
            reason=Reason.STARTING,
            next_action="",
        )

    async def change(
        self, event: Event, session: SessionState, desired: DesiredState = DesiredState.RUNNING
    ) -> None:
        self.snapshot = replace(self.snapshot, session=session, desired=desired)
        await self.book.save(self.snapshot, event=event, actor="test")

    async def connect(self) -> None:
        await self.change(Event.START, SessionState.DISCONNECTED)
        await self.change(Event.READY, SessionState.CONNECTED)

    async def pass_time(self, seconds: float) -> None:
        await execute(
            self.shop,
            """UPDATE tenant_spans SET began_at = began_at - $2::interval,
                until_at = until_at - $2::interval WHERE tenant_id = $1""",
            timedelta(seconds=seconds),
        )

    async def seconds(self, since: datetime = ALL) -> tuple[float, float]:
        """Connected and wanted, to the nearest second or two of the test's own time."""
        books = await account(self.shop, since)
        return books.connected_s, books.wanted_s


@pytest.fixture
def life(shop: Shop) -> Life:
    return Life(shop)


def about(*seconds: float) -> object:
    """With room for the test's own time, and less than any step of it."""
    return pytest.approx(seconds, abs=9)


async def test_heartbeats_count_the_time_connected(life: Life) -> None:
    await life.connect()
    for _ in range(4):
        await life.pass_time(30)
        await life.shop.ledger.touch()
    assert await life.seconds() == about(120, 120)
    await life.pass_time(30)
    assert await life.seconds() == about(120, 150)


async def test_a_connection_that_ends_in_order_counts_to_its_end(life: Life) -> None:
    await life.connect()
    await life.pass_time(20)
    await life.change(Event.LOST, SessionState.DISCONNECTED)
    assert await life.seconds() == about(20, 20)
    await life.pass_time(40)
    assert await life.seconds() == about(20, 60)
    await life.change(Event.READY, SessionState.CONNECTED)
    await life.pass_time(10)
    await life.change(Event.STOP, SessionState.DISCONNECTED, DesiredState.STOPPED)
    await life.pass_time(1000)
    assert await life.seconds() == about(30, 70)


@pytest.mark.parametrize("event", [Event.START, Event.FAILED, Event.STALE, Event.PARK])
async def test_after_a_crash_the_time_since_the_last_heartbeat_is_lost_and_no_more(
    life: Life, event: Event
) -> None:
    await life.connect()
    await life.pass_time(30)
    await life.shop.ledger.touch()
    await life.pass_time(3600)
    await life.change(event, SessionState.DISCONNECTED)
    assert await life.seconds() == about(30, 3630)
    await life.change(Event.READY, SessionState.CONNECTED)
    await life.pass_time(30)
    await life.shop.ledger.touch()
    assert await life.seconds() == about(60, 3660)


async def test_a_stop_after_a_crash_counts_no_time_that_nobody_was_there(life: Life) -> None:
    await life.connect()
    await life.pass_time(7200)
    await life.change(Event.STOP, SessionState.DISCONNECTED, DesiredState.STOPPED)
    connected_s, wanted_s = await life.seconds()
    assert connected_s <= 125
    assert wanted_s == pytest.approx(7200, abs=60)


async def test_a_heartbeat_of_a_lost_connection_counts_nothing(life: Life) -> None:
    await life.connect()
    await life.change(Event.LOST, SessionState.DISCONNECTED)
    await life.pass_time(600)
    await life.shop.ledger.touch()
    assert await life.seconds() == about(0, 600)


async def test_only_the_wish_of_the_operator_counts_as_wanted(life: Life) -> None:
    await life.change(Event.START, SessionState.DISCONNECTED)
    await life.change(Event.START, SessionState.DISCONNECTED)
    await life.pass_time(100)
    await life.change(Event.STOP, SessionState.DISCONNECTED, DesiredState.STOPPED)
    await life.pass_time(100)
    await life.change(Event.START, SessionState.DISCONNECTED)
    await life.pass_time(50)
    assert await life.seconds() == about(0, 150)


async def test_the_window_cuts_the_time_at_its_beginning(life: Life) -> None:
    await life.connect()
    await life.pass_time(3600)
    await life.shop.ledger.touch()
    since = datetime.now(UTC) - timedelta(seconds=600)
    assert await life.seconds(since) == pytest.approx((600, 600), abs=60)
    books = await fetch_accounts(life.shop.database, since)
    assert books.total().connected_s == pytest.approx(600, abs=60)


def test_the_events_that_end_a_connection_in_order_are_known_ones() -> None:
    named = re.search(r"\$10 IN \(([^)]*)\)", states.SAVE)
    assert named is not None
    words = set(re.findall(r"'(\w+)'", named[1]))
    assert words == {Event.LOST, Event.LOGGED_OUT, Event.CONFLICT, Event.STOP, Event.SHUTDOWN}


# -- what it costs ----

FILL = """
INSERT INTO tenants (name, phone_number)
SELECT 'x', '+2556' || (10000000 + n)::text FROM generate_series(1, 40) AS n;
INSERT INTO inbox (tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state,
    payload, log_id, log_at, created_at)
SELECT t.id, n % 10 = 0, 'm' || n, 'c', now(), 'live', 'done', '{}', gen_random_uuid(), now(),
    now() - n * interval '1 minute'
FROM tenants t, generate_series(1, 4000) AS n;
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, state, log_id,
    log_at, planned_at)
SELECT t.id, 'c', 'c', 'm' || n, 0, 'i' || n, '{}', 'read', gen_random_uuid(), now(),
    now() - n * interval '1 minute'
FROM tenants t, generate_series(1, 4000) AS n;
INSERT INTO tenant_spans (tenant_id, kind, began_at, until_at)
SELECT t.id, 'connected', now() - n * interval '1 minute', now() - n * interval '1 minute'
FROM tenants t, generate_series(1, 200) AS n;
ANALYZE;
"""


@pytest.fixture
async def filled(shop: Shop, any_url: str) -> Shop:
    async with owner_connection(any_url) as connection:
        for table in ("tenants", "inbox", "outbox", "tenant_spans"):
            await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        await connection.execute(FILL)
        for table in ("tenants", "inbox", "outbox", "tenant_spans"):
            await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    return shop


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (accounting.SEEN, "inbox_created_at_idx"),
        (accounting.REPLIES, "outbox_planned_at_idx"),
        (accounting.SPANS, "tenant_spans_tenant_id_idx"),
    ],
    ids=["seen", "replies", "spans"],
)
async def test_the_books_of_one_tenant_read_its_own_rows(
    filled: Shop, sql: str, index: str
) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    async with filled.database.tenant(filled.tenant_id) as tx:
        rows = await tx.fetch(f"EXPLAIN {sql}", since, filled.tenant_id)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (accounting.SEEN_BY_ALL, "inbox_created_at_idx"),
        (accounting.REPLIES_OF_ALL, "outbox_planned_at_idx"),
    ],
    ids=["seen", "replies"],
)
async def test_the_books_of_all_read_the_window_alone(filled: Shop, sql: str, index: str) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    async with filled.database.ops() as tx:
        rows = await tx.fetch(f"EXPLAIN {sql}", since)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan
    books = await fetch_accounts(filled.database, since)
    assert len(books.tenants) == 41
    assert 41 * 50 <= books.total().received <= 41 * 54


async def test_the_views_show_no_message(store: Database) -> None:
    async with store.ops() as tx:
        for view in ("ops_seen", "ops_replies", "ops_spans"):
            columns = await tx.fetch(
                "SELECT attname::text AS name FROM pg_attribute "
                "WHERE attrelid = $1::text::regclass AND attnum > 0",
                view,
            )
            names = {row["name"] for row in columns}
            assert not names & {"payload", "body", "chat_key", "to_jid", "error"}, view
