"""The audit's rows: written once, ended once, out of reach of the application afterwards."""

import pytest

from flowhq.db import audit
from flowhq.db.audit import Change, EntryFilter, NewEntry
from flowhq.db.pool import Database
from flowhq.errors import StoreRefusedError

ENTRY = NewEntry("user:asha", "192.0.2.7", "req-1", "POST", "pause_tenant", None, {"chat": "c"})


async def test_an_entry_is_ended_once(store: Database) -> None:
    entry_id = await audit.begin(store, ENTRY)
    (row,) = (await audit.list_entries(store, EntryFilter(), limit=5)).rows
    assert (row.entry, row.status, row.done_at) == (ENTRY, None, None)
    await audit.end(store, entry_id, status=200, changes=[Change("name", "A", None)])
    await audit.end(store, entry_id, status=500, changes=[])
    (row,) = (await audit.list_entries(store, EntryFilter(), limit=5)).rows
    assert (row.status, row.changes) == (200, [Change("name", "A", None)])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE audit_log SET principal = 'somebody else'",
        "UPDATE audit_log SET status = 200, done_at = now()",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    ],
)
async def test_what_is_entered_stays(store: Database, statement: str) -> None:
    await audit.write(store, ENTRY, status=409, changes=[])
    with pytest.raises(StoreRefusedError):
        async with store.installation() as tx:
            await tx.execute(statement)
    (row,) = (await audit.list_entries(store, EntryFilter(), limit=5)).rows
    assert (row.entry, row.status) == (ENTRY, 409)


async def test_the_door_to_the_installations_tables_shows_no_tenants_row(store: Database) -> None:
    async with store.installation() as tx:
        assert await tx.fetchval("SELECT current_user::text") == "flowhq_app"
        for table in ("tenants", "inbox", "message_logs"):
            assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
