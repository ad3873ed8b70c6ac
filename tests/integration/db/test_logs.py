"""The log as people read it, and the days that it is kept in."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from flowhq.db.logs import fetch_logs
from flowhq.db.owner import owner_connection
from flowhq.db.partitions import DAYS_AHEAD, ensure_ahead, name_of
from flowhq.errors import InvalidInputError
from flowhq.model import InboxState
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import message
from tests.pg import execute, fetchval

INSERT_AT = """
INSERT INTO message_logs
    (tenant_id, direction, from_number, to_number, message_text, status, created_at)
VALUES ($1, 'IN', 'a', 'b', $2, 'received', $3)
"""


async def texts(shop: Shop, limit: int) -> list[str]:
    """Every text, collected page by page."""
    found: list[str] = []
    before: str | None = None
    while True:
        page = await fetch_logs(shop.database, shop.tenant_id, limit=limit, before=before)
        assert len(page.rows) <= limit
        found += [row.text for row in page.rows]
        if page.next is None:
            return found
        before = page.next


async def test_pages_join_without_gap_or_repeat_even_within_one_instant(shop: Shop) -> None:
    now = datetime.now(UTC)
    async with shop.database.tenant(shop.tenant_id) as tx:
        for number in range(10):
            at = now - timedelta(days=number // 4)
            await tx.execute(INSERT_AT, shop.tenant_id, str(number), at)
    for limit in (1, 3, 4, 10, 11):
        found = await texts(shop, limit)
        assert sorted(found) == [str(n) for n in range(10)]
        assert [int(text) // 4 for text in found] == [0] * 4 + [1] * 4 + [2] * 2


async def test_an_exact_page_is_the_last(shop: Shop) -> None:
    for number in range(2):
        await shop.ledger.record(message(f"3A{number}"), state=InboxState.NEW)
    page = await fetch_logs(shop.database, shop.tenant_id, limit=2)
    assert (len(page.rows), page.next) == (2, None)
    assert (await fetch_logs(shop.database, shop.tenant_id)).next is None


async def test_a_row_hides_what_is_private_from_its_repr(shop: Shop) -> None:
    await shop.ledger.record(message(text="private words"), state=InboxState.NEW)
    shown = repr(await fetch_logs(shop.database, shop.tenant_id))
    assert "private words" not in shown
    assert "255712345678" not in shown


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**12])
async def test_a_limit_out_of_range_is_refused(shop: Shop, limit: int) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await fetch_logs(shop.database, shop.tenant_id, limit=limit)
    assert refused.value.field == "limit"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "x",
        "!!",
        "\x00",
        "é",
        "a" * 10_000,
        base64.urlsafe_b64encode(b"2026-01-01|x").decode(),
        base64.urlsafe_b64encode(
            b"2026-01-01T00:00:00|00000000-0000-0000-0000-000000000000"
        ).decode(),
        base64.urlsafe_b64encode(
            b"0001-01-01T00:00:00+14:00|00000000-0000-0000-0000-000000000000"
        ).decode(),
    ],
)
async def test_a_place_that_is_not_ours_is_refused(shop: Shop, place: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await fetch_logs(shop.database, shop.tenant_id, before=place)
    assert refused.value.field == "before"


# -- days ------------------------------------------------------------------------------------------


async def test_two_weeks_are_ready_and_today_takes_the_messages(shop: Shop, any_url: str) -> None:
    today = datetime.now(UTC).date()
    await shop.ledger.record(message(), state=InboxState.NEW)
    async with owner_connection(any_url) as connection:
        days = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'message_logs'::regclass"
        )
    names = {row["name"] for row in days} - {"message_logs_default"}
    # The day on which the database was made: a test may run past its end.
    made = datetime.strptime(min(names), "message_logs_%Y%m%d").replace(tzinfo=UTC).date()
    assert today - made in (timedelta(days=0), timedelta(days=1))
    assert names == {name_of(made + timedelta(days=n)) for n in range(DAYS_AHEAD + 1)}
    async with shop.database.tenant(shop.tenant_id) as tx:
        held_by = await tx.fetchval("SELECT tableoid::regclass::text FROM message_logs")
    assert held_by in {name_of(today), name_of(today + timedelta(days=1))}
    later = {name_of(made + timedelta(days=DAYS_AHEAD + n)) for n in (1, 2)}
    assert set(await ensure_ahead(any_url)) <= later


async def test_a_day_without_a_partition_is_kept_and_moves_when_it_is_made(
    shop: Shop, any_url: str
) -> None:
    late = datetime.now(UTC) + timedelta(days=DAYS_AHEAD + 3)
    far = datetime.now(UTC) + timedelta(days=900)
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(INSERT_AT, shop.tenant_id, "late", late)
        await tx.execute(INSERT_AT, shop.tenant_id, "far", far)
    made = await ensure_ahead(any_url, days=DAYS_AHEAD + 4)
    assert name_of(late.date()) in made
    async with shop.database.tenant(shop.tenant_id) as tx:
        rows = await tx.fetch(
            "SELECT message_text, tableoid::regclass::text FROM message_logs ORDER BY created_at"
        )
    assert [tuple(row) for row in rows] == [
        ("late", name_of(late.date())),
        ("far", "message_logs_default"),
    ]
    walled = await fetchval(
        any_url,
        "SELECT bool_and(relrowsecurity AND relforcerowsecurity) FROM pg_class "
        "WHERE relname LIKE 'message_logs_%' AND relkind = 'r'",
    )
    assert walled


async def test_a_day_can_be_dropped_whole(shop: Shop, any_url: str) -> None:
    await shop.ledger.record(message(), state=InboxState.NEW)
    async with shop.database.tenant(shop.tenant_id) as tx:
        held_by = await tx.fetchval("SELECT tableoid::regclass::text FROM message_logs")
    await execute(any_url, f"DROP TABLE {held_by}")
    assert (await fetch_logs(shop.database, shop.tenant_id)).rows == []
    await shop.ledger.record(message("3A2"), state=InboxState.NEW)
    assert len((await fetch_logs(shop.database, shop.tenant_id)).rows) == 1
    assert held_by in await ensure_ahead(any_url)
    assert len((await fetch_logs(shop.database, shop.tenant_id)).rows) == 1
