"""The database floor's tests run twice: on the embedded server, and on an ordinary one by URL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from flowhq.db.installation import Installation, load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database, Tx
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.errors import StoreUnavailableError
from flowhq.model import TenantId
from tests.pg import (
    database,
    empty_url,
    patient,
    pg_home,
    pg_server,
    plain_server,
    plain_url,
    postgres_url,
)
from tests.vaults import open_vault

__all__ = [
    "database",
    "empty_url",
    "pg_home",
    "pg_server",
    "plain_server",
    "plain_url",
    "postgres_url",
]


# How many wait for what somebody else has locked.
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture(params=["embedded", "by-url"])
def any_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database on either server."""
    name = {"embedded": "postgres_url", "by-url": "plain_url"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture
async def store(any_url: str) -> AsyncIterator[Database]:
    async with patient(any_url, await open_vault(any_url)) as opened:
        yield opened


@pytest.fixture
async def installation(any_url: str) -> Installation:
    return await load_installation(any_url)


@dataclass(frozen=True, slots=True)
class Shop:
    """A tenant with its ledger."""

    tenant_id: TenantId
    ledger: PostgresLedger
    database: Database


async def open_shop(database: Database, installation: Installation, phone: str) -> Shop:
    row = await create_tenant(database, NewTenant("Duka", phone, "Duka la Asha"))
    key = installation.tenant_key(row.tenant_id)
    return Shop(row.tenant_id, PostgresLedger(database, row.tenant_id, key), database)


@asynccontextmanager
async def hasty_shop(url: str, *, command_timeout_s: float) -> AsyncIterator[Shop]:
    """A shop that was made without haste, on a database with little time for a statement."""
    installation = await load_installation(url)
    async with Database(url) as calm:
        made = await open_shop(calm, installation, "+255700000001")
    async with Database(
        url, min_size=1, max_size=2, command_timeout_s=command_timeout_s
    ) as database:
        key = installation.tenant_key(made.tenant_id)
        yield Shop(made.tenant_id, PostgresLedger(database, made.tenant_id, key), database)


@pytest.fixture
async def shop(store: Database, installation: Installation) -> Shop:
    return await open_shop(store, installation, "+255700000001")


@pytest.fixture
async def other_shop(store: Database, installation: Installation) -> Shop:
    return await open_shop(store, installation, "+255700000002")


class Dies(Database):
    """A database that is gone after so many transactions of a tenant."""

    lives = 0

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        async with super().tenant(tenant_id) as tx:
            self.lives -= 1
            if self.lives < 0:
                raise StoreUnavailableError("gone")
            yield tx
