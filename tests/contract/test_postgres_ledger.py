"""PostgreSQL's ledger and book keep the contract that the bot's tests rely on."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest

from flowhq.bot.lifecycle import Lifecycle
from flowhq.bot.ports import Ledger
from flowhq.db import inbox, states
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.errors import StoreUnavailableError
from flowhq.model import DesiredState, InboundMessage, InboxState, TenantId, TenantSnapshot
from tests.contract.ledger.base import Monotonic, Now
from tests.contract.ledger.contract import LedgerContract
from tests.contract.status_book_contract import StatusBookContract
from tests.pg import database, pg_home, pg_server, postgres_url

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]


@pytest.fixture
async def tenant_id(database: Database) -> TenantId:
    row = await create_tenant(database, NewTenant("Duka", "+255700000001", "Duka la Asha"))
    return row.tenant_id


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    async def ledger(
        self, database: Database, tenant_id: TenantId, postgres_url: str
    ) -> PostgresLedger:
        installation = await load_installation(postgres_url)
        return PostgresLedger(database, tenant_id, installation.tenant_key(tenant_id))

    async def lose_answer(self, ledger: Ledger, one: InboundMessage) -> None:
        record = inbox.record

        async def lose(*call: Any) -> NoReturn:
            await record(*call)
            raise StoreUnavailableError("The connection broke before the answer.")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(inbox, "record", lose)
            with pytest.raises(StoreUnavailableError):
                await ledger.record(one, state=InboxState.NEW)

    @pytest.fixture
    def now(self, database: Database, tenant_id: TenantId) -> Now:
        async def tell() -> Any:
            async with database.tenant(tenant_id) as tx:
                return await tx.fetchval("SELECT now()")

        return tell

    @pytest.fixture
    def monotonic(self) -> Monotonic:
        return time.monotonic


class TestPostgresStatusBook(StatusBookContract):
    @pytest.fixture
    def book(self, database: Database) -> PostgresStatusBook:
        return PostgresStatusBook(database)

    @pytest.fixture
    def snapshot(self, book: PostgresStatusBook, tenant_id: TenantId) -> TenantSnapshot:
        return Lifecycle(
            tenant_id, book, desired=DesiredState.STOPPED, paired=False, paused=False
        ).snapshot

    @pytest.fixture
    def events(self, database: Database, tenant_id: TenantId) -> Callable[[], Awaitable[list[Any]]]:
        async def read() -> list[Any]:
            page = await states.fetch_events(database, tenant_id, limit=50)
            told = [(row.event, row.actor, row.to_status, row.reason) for row in page.rows]
            return told[::-1]

        return read
