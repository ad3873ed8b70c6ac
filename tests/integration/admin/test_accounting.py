"""The books over HTTP: of one tenant, of all, and since when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowhq.db.accounting import Account, Books
from flowhq.model import OutboxState, TenantId
from tests.fakes.admin import FakeStore
from tests.integration.admin.conftest import Api, QuickClock


class BookStore(FakeStore):
    """Every tenant has the same books; ``asked`` has the windows."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[datetime] = []

    async def fetch_account(self, tenant_id: TenantId, since: datetime) -> Books:
        await self.fetch_tenant(tenant_id)
        return self._books(since, [tenant_id])

    async def fetch_accounts(self, since: datetime) -> Books:
        return self._books(since, list(self.tenants))

    def _books(self, since: datetime, ids: list[TenantId]) -> Books:
        self.asked.append(since)
        return Books(since, datetime.now(UTC), {tenant_id: _account() for tenant_id in ids})


def _account() -> Account:
    account = Account(received=9, answered=4, waiting=1, dead=1, repaired=2)
    account.skipped.update({"person": 2, "backlog": 1})
    account.replies.update(
        {OutboxState.READ: 2, OutboxState.ACCEPTED: 1, OutboxState.UNKNOWN: 1, OutboxState.DEAD: 1}
    )
    account.connected_s, account.wanted_s = 3500.04, 3600.0
    return account


@pytest.fixture
def store() -> BookStore:
    return BookStore()


async def test_a_tenants_books_are_told_with_their_window(api: Api, store: BookStore) -> None:
    tenant_id = await api.create()
    told = (await api.call("GET", f"/admin/tenants/{tenant_id}/accounting")).body
    assert told["tenant_id"] == tenant_id
    assert told["skipped"] == {"backlog": 1, "person": 2}
    spent = told["answered"] + told["waiting"] + told["dead"] + sum(told["skipped"].values())
    assert spent == told["received"] == 9
    assert told["replies"] == {
        "planned": 5,
        "sent": 3,
        "waiting": 0,
        "unknown": 1,
        "dead": 1,
        "cancelled": 0,
    }
    assert (told["repaired"], told["connected_s"], told["wanted_s"]) == (2, 3500.0, 3600.0)
    [since] = store.asked
    assert abs(datetime.now(UTC) - since - timedelta(hours=24)) < timedelta(minutes=1)
    assert datetime.fromisoformat(told["since"]) == since


async def test_the_books_of_all_are_their_sum(api: Api) -> None:
    for number in range(3):
        await api.create(f"+25571234567{number}")
    told = (await api.call("GET", "/admin/accounting")).body
    assert (told["tenants"], told["received"], told["replies"]["sent"]) == (3, 27, 9)
    assert told["skipped"] == {"backlog": 3, "person": 6}
    assert told["wanted_s"] == 10800.0
    assert "tenant_id" not in told


async def test_the_window_begins_where_it_is_told(
    api: Api, store: BookStore, clock: QuickClock
) -> None:
    since = (clock.now() - timedelta(days=3)).replace(microsecond=0)
    for text in (since.isoformat().replace("+00:00", "Z"), since.isoformat().replace("+", "%2B")):
        assert (await api.call("GET", f"/admin/accounting?since={text}")).status == 200
    assert store.asked == [since, since]


@pytest.mark.parametrize(
    "since",
    ["yesterday", "2026-11-20T08:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", ""],
)
async def test_a_window_that_cannot_be_is_refused(api: Api, store: BookStore, since: str) -> None:
    tenant_id = await api.create()
    for path in ("/admin/accounting", f"/admin/tenants/{tenant_id}/accounting"):
        answer: Any = await api.call("GET", f"{path}?since={since}")
        assert (answer.status, answer.fields) == (400, ["since"])
    assert store.asked == []


async def test_nobodys_books_are_not_found(api: Api) -> None:
    answer = await api.call("GET", "/admin/tenants/5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a/accounting")
    assert (answer.status, answer.kind) == (404, "not-found")
