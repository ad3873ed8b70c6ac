"""The hour's books in the log: a line a tenant, one in all, and no hour is the last one."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog

from flowhq import chores
from flowhq.db import accounting
from flowhq.db.accounting import Account, Books
from flowhq.errors import StoreUnavailableError
from flowhq.model import TenantId
from tests.fakes.clock import FakeClock, settle

BUSY, IDLE = TenantId(UUID(int=1)), TenantId(UUID(int=2))


class Hours:
    """What each hour brings: books, or an outage."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.since: list[datetime] = []
        self.down = False
        monkeypatch.setattr(accounting, "fetch_accounts", self._fetch)

    async def _fetch(self, database: object, since: datetime) -> Books:
        self.since.append(since)
        if self.down:
            raise StoreUnavailableError("The database is away.")
        busy = Account(received=5, answered=4, waiting=1, connected_s=3600, wanted_s=3600)
        busy.skipped["person"] = 0
        return Books(since, datetime.now(UTC), {BUSY: busy, IDLE: Account()})

    async def run(self, hours: int) -> list[Any]:
        database: Any = None
        with structlog.testing.capture_logs() as lines:
            task = asyncio.create_task(chores.tell_accounts(database, self.clock))
            await self.clock.advance(hours * 3600)
            task.cancel()
            await asyncio.wait({task})
        return lines


async def test_each_hour_tells_who_was_busy_and_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    began = hours.clock.now()
    lines = await hours.run(2)
    assert [line["event"] for line in lines] == ["account", "account of all"] * 2
    one, total = lines[:2]
    assert (one["tenant_id"], one["received"], one["connected_s"]) == (str(BUSY), 5, 3600)
    assert (total["tenants"], total["received"], total["answered"]) == (2, 5, 4)
    assert hours.since[0] == began


async def test_an_outage_costs_its_hour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    hours.down = True
    assert [line["log_level"] for line in await hours.run(1)] == ["error"]
    hours.down = False
    assert len(await hours.run(1)) == 2


async def test_the_death_of_a_chore_is_told() -> None:
    async def work() -> None:
        raise ValueError("a bug")

    with structlog.testing.capture_logs() as lines:
        async with AsyncExitStack() as stack:
            chores.begin(stack, work(), "books")
            await settle()
    [line] = lines
    assert (line["event"], line["chore"], line["log_level"]) == ("chore ended", "books", "critical")
