"""Where the wrapped data keys are kept: one a tenant, and the installation's own.

A tenant's key is made when it is first needed and goes with the tenant: what it sealed cannot be
opened by anybody afterwards. Nothing unwrapped is kept here or in the database.
"""

from dataclasses import dataclass
from uuid import UUID

import asyncpg
from asyncpg import Record

from flowhq.db.faults import translated
from flowhq.db.installation import Installation
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database, Tx
from flowhq.errors import MisconfiguredError, SealedError, StoreRefusedError
from flowhq.model import TenantId
from flowhq.vault import DataKey, MasterKey, Vault

MESSAGE_KEY = "data_keys.message_key"

FETCH_KEY = "SELECT wrapped FROM data_keys WHERE tenant_id = $1"
# Two at once: the second waits for the first one's commit, and then finds its key.
INSERT_KEY = """
INSERT INTO data_keys (tenant_id, wrapped) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT data_keys_pkey DO NOTHING
"""
FETCH_MESSAGE_KEY = "SELECT message_key FROM data_keys WHERE tenant_id = $1"
ADOPT_KEY = "INSERT INTO data_keys (tenant_id, wrapped, message_key) VALUES ($1, $2, $3)"

READ_OWN = "SELECT data_key, master_key_id FROM installation"
WRITE_OWN = "UPDATE installation SET data_key = $1, master_key_id = $2"
WRITE_OWN_ONCE = f"{WRITE_OWN} WHERE data_key IS NULL"

# The owner is bound by FORCE as well; the lock that lifting takes keeps everybody out meanwhile.
LIFT = "ALTER TABLE data_keys NO FORCE ROW LEVEL SECURITY"
BIND = "ALTER TABLE data_keys FORCE ROW LEVEL SECURITY"
READ_ALL = "SELECT tenant_id, wrapped FROM data_keys ORDER BY tenant_id"
REWRAP = "UPDATE data_keys SET wrapped = $2 WHERE tenant_id = $1"
DROP_ALL = "DELETE FROM data_keys"


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """How many tenants' keys a new master key holds now."""

    tenants: int


async def tenant_key(tx: Tx, tenant_id: TenantId) -> DataKey:
    """The tenant's data key, made now if it has none; ``tx`` is a transaction of this tenant.

    SealedError if the stored one cannot be unwrapped.
    """
    wrapped = await tx.fetchval(FETCH_KEY, tenant_id)
    if wrapped is None:
        fresh = DataKey.make(tenant_id).wrapped_by(tx.vault.master)
        await tx.execute(INSERT_KEY, tenant_id, fresh)
        wrapped = await tx.fetchval(FETCH_KEY, tenant_id)
    return tx.vault.master.unwrap(bytes(wrapped), tenant_id)


async def message_key(database: Database, installation: Installation, tenant_id: TenantId) -> bytes:
    """The key of the tenant's message ids: the one it came with from another installation, else
    the one that is derived here. The same for ever, so that no reply ever gets a second id."""
    async with database.tenant(tenant_id) as tx:
        return await read_message_key(tx, installation, tenant_id)


async def read_message_key(tx: Tx, installation: Installation, tenant_id: TenantId) -> bytes:
    """The same in an open transaction of the tenant."""
    sealed = await tx.fetchval(FETCH_MESSAGE_KEY, tenant_id)
    if sealed is None:
        return installation.tenant_key(tenant_id)
    key = await tenant_key(tx, tenant_id)
    return bytes.fromhex(key.open(bytes(sealed), column=MESSAGE_KEY, row=str(tenant_id)))


async def adopt(tx: Tx, tenant_id: TenantId, key: DataKey, message_ids: bytes) -> None:
    """Takes over the keys with which a tenant comes from another installation."""
    sealed = key.seal(message_ids.hex(), column=MESSAGE_KEY, row=str(tenant_id))
    await tx.execute(ADOPT_KEY, tenant_id, key.wrapped_by(tx.vault.master), sealed)


async def find_master_key_id(url: str) -> str | None:
    """Which master key this database is written with; None if none was used yet."""
    async with owner_connection(url) as connection:
        with translated():
            row = await connection.fetchrow(READ_OWN)
    return None if row is None or row["data_key"] is None else str(row["master_key_id"])


async def open_vault(url: str, master: MasterKey) -> Vault:
    """The vault of this database; its first master key becomes the one it is written with.

    MisconfiguredError: it is written with another one. ``url`` is the owner's, after
    `load_installation`.
    """
    async with owner_connection(url) as connection:
        with translated():
            fresh = DataKey.make(None).wrapped_by(master)
            await connection.execute(WRITE_OWN_ONCE, fresh, master.key_id)
            row = await connection.fetchrow(READ_OWN)
    if row is None:
        raise StoreRefusedError("The database holds no row of its installation.")
    _refuse_other(row["master_key_id"], master)
    return Vault(master=master, installation=master.unwrap(bytes(row["data_key"]), None))


async def rewrap(url: str, old: MasterKey, new: MasterKey) -> Rewrapped:
    """Every data key is wrapped by ``new`` from now on, or none is; what they seal is untouched.

    SealedError names the key that ``old`` does not open. No daemon may run.
    """
    async with owner_connection(url) as connection:
        with translated():
            async with connection.transaction():
                await connection.execute(LIFT)
                row = await connection.fetchrow(READ_OWN)
                if row is None or row["data_key"] is None:
                    raise MisconfiguredError(
                        "Nothing is sealed in this database yet.",
                        next_step="Start the daemon with the new key; there is nothing to rotate.",
                    )
                _refuse_other(row["master_key_id"], old)
                own = old.unwrap(bytes(row["data_key"]), None)
                await connection.execute(WRITE_OWN, own.wrapped_by(new), new.key_id)
                changed = await _rewrap_tenants(connection, old, new)
                await connection.execute(BIND)
    return Rewrapped(tenants=changed)


async def give_up(url: str, new: MasterKey) -> None:
    """The old master key is lost: every data key is dropped, so that nothing sealed so far ever
    opens again, and ``new`` is the one that the database is written with."""
    async with owner_connection(url) as connection:
        with translated():
            async with connection.transaction():
                await connection.execute(LIFT)
                await connection.execute(DROP_ALL)
                fresh = DataKey.make(None).wrapped_by(new)
                await connection.execute(WRITE_OWN, fresh, new.key_id)
                await connection.execute(BIND)


async def _rewrap_tenants(
    connection: "asyncpg.Connection[Record]", old: MasterKey, new: MasterKey
) -> int:
    rows = await connection.fetch(READ_ALL)
    for row in rows:
        tenant_id = TenantId(UUID(str(row["tenant_id"])))
        try:
            key = old.unwrap(bytes(row["wrapped"]), tenant_id)
        except SealedError as error:
            raise SealedError(
                error.message,
                next_step="Restore this row of data_keys from a backup, or delete it: what it "
                "sealed is lost then. Nothing was rotated.",
            ) from error
        await connection.execute(REWRAP, tenant_id, key.wrapped_by(new))
    return len(rows)


def _refuse_other(written_with: str, given: MasterKey) -> None:
    if written_with != given.key_id:
        raise MisconfiguredError(
            f"The master key is not the one that this database is written with: it is "
            f"{given.key_id}, not {written_with}.",
            next_step="Set [secrets] master_key_file to the file with the right one. After an "
            "interrupted rotation run flowhq-daemon rotate-key once more.",
        )
