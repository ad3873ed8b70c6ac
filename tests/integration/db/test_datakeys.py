"""Data keys as they are stored: made once, gone with the tenant, wrapped anew by a rotation."""

import asyncio

import pytest

from flowhq.db import datakeys
from flowhq.db.installation import Installation
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.sessions import fetch_session
from flowhq.db.tenants import delete_tenant
from flowhq.errors import MisconfiguredError, SealedError, StoreRefusedError
from flowhq.vault import KEY_BYTES, DataKey, MasterKey
from tests.integration.db.conftest import Shop
from tests.pg import execute, fetchval
from tests.vaults import MASTER, open_vault

OTHER = MasterKey(b"o" * KEY_BYTES)
CODE, PICTURE = "2@siri,siri", "data:image/png;base64,siri"
PLACE = {"column": "webhooks.secret", "row": "1"}
# As somebody who got at the files of the database: the walls do not stand in the way.
UNWALLED = "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"
WALLED = "ALTER TABLE {table} FORCE ROW LEVEL SECURITY"


async def seal(shop: Shop, text: str) -> bytes:
    async with shop.database.tenant(shop.tenant_id) as tx:
        return (await datakeys.tenant_key(tx, shop.tenant_id)).seal(text, **PLACE)


async def unseal(database: Database, shop: Shop, sealed: bytes) -> str:
    async with database.tenant(shop.tenant_id) as tx:
        return (await datakeys.tenant_key(tx, shop.tenant_id)).open(sealed, **PLACE)


async def tamper(url: str, table: str, statement: str) -> None:
    await execute(url, UNWALLED.format(table=table), statement, WALLED.format(table=table))


async def test_a_code_on_show_is_sealed_in_the_database(shop: Shop, any_url: str) -> None:
    await shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    async with shop.database.tenant(shop.tenant_id) as tx:
        row = await tx.fetchrow("SELECT last_qr, last_qr_text FROM whatsapp_sessions")
    assert row is not None
    assert b"siri" not in bytes(row["last_qr"]) + bytes(row["last_qr_text"])
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.last_qr_text, session.last_qr) == (CODE, PICTURE)


async def test_a_tenants_key_is_made_once_however_many_ask(shop: Shop) -> None:
    sealed = await asyncio.gather(*(seal(shop, f"siri {number}") for number in range(8)))
    opened = [await unseal(shop.database, shop, one) for one in sealed]
    assert opened == [f"siri {number}" for number in range(8)]


async def test_what_one_tenant_sealed_opens_for_no_other(shop: Shop, other_shop: Shop) -> None:
    sealed = await seal(shop, "siri")
    with pytest.raises(SealedError, match=str(other_shop.tenant_id)):
        await unseal(shop.database, other_shop, sealed)


async def test_codes_exchanged_in_the_database_open_for_neither_and_the_rest_goes_on(
    shop: Shop, other_shop: Shop, any_url: str
) -> None:
    await shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    await other_shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    await tamper(
        any_url,
        "whatsapp_sessions",
        "UPDATE whatsapp_sessions a SET last_qr = b.last_qr, last_qr_text = b.last_qr_text"  # noqa: S608 - ids of our own
        f" FROM whatsapp_sessions b WHERE a.tenant_id = '{shop.tenant_id}'"
        f" AND b.tenant_id = '{other_shop.tenant_id}'",
    )
    with pytest.raises(SealedError, match=f"last_qr of tenant {shop.tenant_id}") as refused:
        await fetch_session(shop.database, shop.tenant_id)
    assert "restart the worker" in refused.value.next_step
    assert (await fetch_session(shop.database, other_shop.tenant_id)).last_qr_text == CODE
    await shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    assert (await fetch_session(shop.database, shop.tenant_id)).last_qr_text == CODE


async def test_a_broken_data_key_stops_its_own_tenant_alone(
    shop: Shop, other_shop: Shop, any_url: str
) -> None:
    await shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    await tamper(
        any_url,
        "data_keys",
        "UPDATE data_keys SET wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20))",
    )
    with pytest.raises(SealedError, match=f"The data key of tenant {shop.tenant_id}"):
        await shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    await other_shop.ledger.save_qr(text=CODE, data_url=PICTURE, expires_at=None)
    assert (await fetch_session(shop.database, other_shop.tenant_id)).last_qr_text == CODE


async def test_the_key_goes_with_its_tenant(shop: Shop, other_shop: Shop, any_url: str) -> None:
    await seal(shop, "siri")
    sealed = await seal(other_shop, "siri")
    await delete_tenant(shop.database, shop.tenant_id)
    async with owner_connection(any_url) as connection, connection.transaction():
        await connection.execute(UNWALLED.format(table="data_keys"))
        left = await connection.fetch("SELECT tenant_id FROM data_keys")
        await connection.execute(WALLED.format(table="data_keys"))
    assert [row["tenant_id"] for row in left] == [other_shop.tenant_id]
    assert await unseal(shop.database, other_shop, sealed) == "siri"


async def test_another_master_key_is_refused_by_name(any_url: str) -> None:
    assert await datakeys.find_master_key_id(any_url) is None
    await open_vault(any_url)
    assert await datakeys.find_master_key_id(any_url) == MASTER.key_id
    with pytest.raises(MisconfiguredError, match=f"{OTHER.key_id}, not {MASTER.key_id}"):
        await datakeys.open_vault(any_url, OTHER)


async def test_the_installations_own_key_is_the_same_at_each_start(any_url: str) -> None:
    sealed = (await open_vault(any_url)).installation.seal("siri", **PLACE)
    assert (await open_vault(any_url)).installation.open(sealed, **PLACE) == "siri"


async def test_a_rotation_wraps_every_key_anew_and_touches_nothing_else(
    shop: Shop, other_shop: Shop, any_url: str
) -> None:
    own = (await open_vault(any_url)).installation.seal("ya wote", **PLACE)
    sealed = [(one, await seal(one, one.tenant_id.hex)) for one in (shop, other_shop)]
    assert (await datakeys.rewrap(any_url, MASTER, OTHER)).tenants == 2
    with pytest.raises(MisconfiguredError):
        await datakeys.open_vault(any_url, MASTER)
    vault = await datakeys.open_vault(any_url, OTHER)
    assert vault.installation.open(own, **PLACE) == "ya wote"
    async with Database(any_url, vault=vault) as database:
        for one, text in sealed:
            assert await unseal(database, one, text) == one.tenant_id.hex


async def test_a_rotation_with_the_wrong_key_or_a_broken_one_changes_nothing(
    shop: Shop, other_shop: Shop, any_url: str
) -> None:
    sealed = await seal(shop, "siri")
    await seal(other_shop, "siri")
    with pytest.raises(MisconfiguredError, match="is not the one"):
        await datakeys.rewrap(any_url, OTHER, MASTER)
    await tamper(
        any_url,
        "data_keys",
        f"UPDATE data_keys SET wrapped = 'x' WHERE tenant_id = '{other_shop.tenant_id}'",  # noqa: S608
    )
    with pytest.raises(SealedError, match=str(other_shop.tenant_id)) as refused:
        await datakeys.rewrap(any_url, MASTER, OTHER)
    assert "Nothing was rotated" in refused.value.next_step
    assert await datakeys.find_master_key_id(any_url) == MASTER.key_id
    assert await unseal(shop.database, shop, sealed) == "siri"
    walled = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'data_keys'"
    assert await fetchval(any_url, walled) is True


async def test_with_the_master_key_given_up_the_old_stays_shut_and_the_new_works(
    shop: Shop, any_url: str
) -> None:
    sealed = await seal(shop, "siri")
    await datakeys.give_up(any_url, OTHER)
    vault = await datakeys.open_vault(any_url, OTHER)
    async with Database(any_url, vault=vault) as database:
        with pytest.raises(SealedError, match="Set it anew"):
            await unseal(database, shop, sealed)
        async with database.tenant(shop.tenant_id) as tx:
            anew = (await datakeys.tenant_key(tx, shop.tenant_id)).seal("mpya", **PLACE)
        assert await unseal(database, shop, anew) == "mpya"


async def test_a_tenant_that_comes_from_elsewhere_keeps_its_keys(
    shop: Shop, other_shop: Shop, installation: Installation
) -> None:
    brought = DataKey.make(shop.tenant_id)
    sealed = brought.seal("siri", **PLACE)
    async with shop.database.tenant(shop.tenant_id) as tx:
        await datakeys.adopt(tx, shop.tenant_id, brought, b"i" * 32)
    assert await unseal(shop.database, shop, sealed) == "siri"
    for one, expected in ((shop, b"i" * 32), (other_shop, None)):
        key = await datakeys.message_key(one.database, installation, one.tenant_id)
        assert key == (expected or installation.tenant_key(one.tenant_id))


async def test_the_pool_may_not_read_the_installations_key(shop: Shop) -> None:
    with pytest.raises(StoreRefusedError):
        async with shop.database.tenant(shop.tenant_id) as tx:
            await tx.fetchval("SELECT data_key FROM installation")
