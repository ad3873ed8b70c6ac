"""Two installations: one with a tenant that has talked, and an empty one."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowhq.backup.envelope import GivenKey
from flowhq.backup.restoring import Restored, Site, restore
from flowhq.backup.taking import Source, Taken, take
from flowhq.channel.web.profile import profile_dir
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import Installation, load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.model import Ack, InboxState, TenantId
from tests.integration.db.messages import TEXT, say
from tests.pg import TEMPLATE, empty_url, fresh_database, patient, pg_home, pg_server
from tests.vaults import open_vault

__all__ = ["empty_url", "pg_home", "pg_server"]

LOCK = GivenKey(b"b" * 32)
PAIRING = "Default/IndexedDB/pairing.log"


@dataclass(frozen=True, slots=True)
class House:
    """An installation with its folders."""

    url: str
    database: Database
    installation: Installation
    profiles: Path

    async def take(self, tenant_id: TenantId, target: Path) -> Taken:
        source = Source(self.database, self.installation, self.profiles)
        return await take(source, tenant_id, LOCK, target)

    async def restore(self, file: Path) -> Restored:
        return await restore(Site(self.url, self.database, self.profiles), file, LOCK)

    def profile(self, tenant_id: TenantId) -> Path:
        return profile_dir(self.profiles, tenant_id)


@dataclass(frozen=True, slots=True)
class Shop:
    """A tenant with its ledger."""

    tenant_id: TenantId
    ledger: PostgresLedger


def urls(server: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(server.dsn, server.dsn("postgres"), TEMPLATE) as url:
        yield url


@pytest.fixture
def here_url(pg_server: EmbeddedPostgres) -> Iterator[str]:
    yield from urls(pg_server)


@pytest.fixture
def there_url(pg_server: EmbeddedPostgres) -> Iterator[str]:
    yield from urls(pg_server)


async def houses(url: str, profiles: Path) -> AsyncIterator[House]:
    async with patient(url, await open_vault(url)) as database:
        yield House(url, database, await load_installation(url), profiles)


@pytest.fixture
async def here(here_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async for house in houses(here_url, tmp_path / "here"):
        yield house


@pytest.fixture
async def there(there_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async for house in houses(there_url, tmp_path / "there"):
        yield house


async def open_shop(house: House, phone: str) -> Shop:
    row = await create_tenant(house.database, NewTenant("Duka", phone, "Duka la Asha"))
    key = house.installation.tenant_key(row.tenant_id)
    pairing = house.profile(row.tenant_id) / PAIRING
    pairing.parent.mkdir(parents=True)
    pairing.write_bytes(phone.encode() * 1000)
    return Shop(row.tenant_id, PostgresLedger(house.database, row.tenant_id, key))


@pytest.fixture
async def shop(here: House) -> Shop:
    """Paired; one question answered, and an answer that was planned but not sent."""
    shop = await open_shop(here, "+255700000001")
    await shop.ledger.save_identity(phone="255700000001", lid="555")
    await shop.ledger.touch()
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    first, _ = await shop.ledger.process(recorded.key, say("Karibu", "Bei ni 15000"))
    await shop.ledger.mark_sending(first.outbox_id)
    await shop.ledger.mark_accepted(first.outbox_id, Ack.SERVER)
    return shop
