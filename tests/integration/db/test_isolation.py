"""The second wall: no row of another tenant, whatever the query forgets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from flowhq.db import bulk, events, outbox, portable, webhooks
from flowhq.db.datakeys import tenant_key
from flowhq.db.owner import owner_connection
from flowhq.db.pool import CHOSEN_TENANT, Database, Tx
from flowhq.errors import StoreRefusedError
from flowhq.model import Ack, InboxState, TenantId
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import TEXT, say
from tests.pg import fetchval

TABLES = [
    "tenants",
    "tenant_configs",
    "whatsapp_sessions",
    "worker_processes",
    "tenant_events",
    "contacts",
    "conversations",
    "message_logs",
    "inbox",
    "outbox",
    "chat_aliases",
    "chat_cursors",
    "tenant_spans",
    "retention_marks",
    "data_keys",
    "portal_users",
    "setup_requests",
    "portal_event_logs",
    "pairing_links",
    "portal_sessions",
    "events",
    "webhook_endpoints",
    "webhook_deliveries",
    "bulk_results",
]

INSERT_EVENT = """
INSERT INTO tenant_events
    (tenant_id, from_status, to_status, session, worker, reason, event, actor)
VALUES ($1, 'NEW', 'ACTIVE', 'CONNECTED', 'RUNNING', 'CONNECTED', 'READY', 'test')
"""


INSERT_MARK = "INSERT INTO retention_marks (tenant_id, texts_to) VALUES ($1, now())"
INSERT_SPAN = "INSERT INTO tenant_spans (tenant_id, kind) VALUES ($1, 'wanted')"


# An owner with a request and an event; the foreign keys are looked at when all are there.
INSERT_PORTAL = """
WITH owner AS (
    INSERT INTO portal_users (tenant_id, email) VALUES ($1, $2) RETURNING id
), request AS (
    INSERT INTO setup_requests (tenant_id, user_id, template_type, whatsapp_number)
    SELECT $1, id, 'BOOKING', '+255700000003' FROM owner
), session AS (
    INSERT INTO portal_sessions (tenant_id, user_id, secret_sha256)
    SELECT $1, id, decode(md5($2) || md5($2), 'hex') FROM owner
)
INSERT INTO portal_event_logs (tenant_id, user_id, event_type) SELECT $1, id, 'SIGNED_UP' FROM owner
"""


INSERT_LINK = """
INSERT INTO pairing_links (tenant_id, token_sha256, created_by, expires_at)
VALUES ($1, decode(md5($2) || md5($2), 'hex'), 'test', now() + interval '1 hour')
"""


# It chooses one tenant and asks for another's.
MARK_ANOTHERS = f"""
SELECT mark_sending(CASE WHEN t.chosen IS NOT NULL THEN $3::uuid END, $2::bigint, NULL) AS going
FROM (SELECT {CHOSEN_TENANT} AS chosen OFFSET 0) AS t
"""  # noqa: S608


def owner_of(table: str) -> str:
    return "id" if table == "tenants" else "tenant_id"


@pytest.fixture
async def furnished(shop: Shop, other_shop: Shop) -> tuple[Shop, Shop]:
    """Two tenants with a row in every table."""
    await furnish(shop, other_shop)
    return shop, other_shop


async def furnish(*shops: Shop) -> None:
    """A row in every table for each of them."""
    for one in shops:
        await webhooks.create_endpoint(
            one.database,
            one.tenant_id,
            url="https://example.org/",
            types=[],
            secret="whsec_",
        )
        recorded = await one.ledger.record(TEXT, state=InboxState.NEW)
        (row,) = await one.ledger.process(recorded.key, say("Karibu"))
        await one.ledger.mark_sending(row.outbox_id)
        await one.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
        async with one.database.tenant(one.tenant_id) as tx:
            await tx.execute(INSERT_EVENT, one.tenant_id)
            await tx.execute(INSERT_SPAN, one.tenant_id)
            await tx.execute(INSERT_MARK, one.tenant_id)
            await tenant_key(tx, one.tenant_id)
            await tx.execute(INSERT_PORTAL, one.tenant_id, f"{one.tenant_id}@example.com")
            await tx.execute(INSERT_LINK, one.tenant_id, str(one.tenant_id))
        run = await bulk.create_run(one.database, "test", "stop", [one.tenant_id], dry_run=True)
        await bulk.begin_item(one.database, run.run_id, one.tenant_id)
    await events.number(shops[0].database)


@asynccontextmanager
async def plainly(database: Database) -> AsyncIterator[Tx]:
    """A transaction of the pool in which nobody chose a tenant."""
    async with database._transaction("BEGIN") as tx:  # noqa: SLF001 - the door that must be shut
        yield tx


async def test_the_list_of_tables_is_whole(any_url: str) -> None:
    async with owner_connection(any_url) as connection:
        rows = await connection.fetch(
            """
            SELECT c.relname::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS walled,
                c.relispartition AS partition, pg_get_userbyid(c.relowner)::text AS owner,
                ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
                has_table_privilege('flowhq_app', c.oid, 'SELECT') AS granted
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
                AND (a.attname = 'tenant_id' OR c.relname = 'tenants' AND a.attname = 'id')
            """
        )
    assert {row["name"] for row in rows if not row["partition"]} == set(TABLES)
    for row in rows:
        assert row["walled"], row["name"]
        assert row["owner"] not in ("flowhq_app", "flowhq_ops"), row["name"]
        # A partition is reached through its parent alone, whose policy holds then.
        assert row["partition"] or "tenant_isolation" in row["policies"], row["name"]
        assert row["granted"] is not row["partition"], row["name"]
    assert sum(row["partition"] for row in rows) >= 15


def test_every_table_is_exported_or_left_out_for_a_reason() -> None:
    exported = [part.table for part in portable.EXPORTED]
    assert sorted([*exported, *portable.LEFT_OUT]) == sorted(TABLES)
    assert all(portable.LEFT_OUT.values())


async def test_what_looks_like_a_secret_is_not_exported(any_url: str) -> None:
    hidden = {(part.table, column) for part in portable.EXPORTED for column in part.hidden}
    async with owner_connection(any_url) as connection:
        rows = await connection.fetch(
            """
            SELECT c.relname::text AS name, a.attname::text AS column
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
            WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY($1)
                AND (a.atttypid = 'bytea'::regtype
                    OR a.attname ~ '(secret|token|password|hash|cipher|qr)')
            """,
            [part.table for part in portable.EXPORTED],
        )
    harmless = {("whatsapp_sessions", "last_qr_expires_at")}
    assert {(row["name"], row["column"]) for row in rows} - hidden == harmless


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_sees_its_rows_and_no_other(
    furnished: tuple[Shop, Shop], table: str
) -> None:
    for one in furnished:
        async with one.database.tenant(one.tenant_id) as tx:
            rows = await tx.fetch(f"SELECT {owner_of(table)} AS owner FROM {table}")  # noqa: S608
        assert rows
        assert {row["owner"] for row in rows} == {one.tenant_id}


@pytest.mark.parametrize("table", TABLES)
async def test_the_plain_pool_sees_no_row(furnished: tuple[Shop, Shop], table: str) -> None:
    async with plainly(furnished[0].database) as tx:
        assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


@pytest.mark.parametrize("table", TABLES)
async def test_nothing_of_another_can_be_changed_or_removed(
    furnished: tuple[Shop, Shop], table: str
) -> None:
    mine, theirs = furnished
    owner = owner_of(table)
    async with mine.database.tenant(mine.tenant_id) as tx:
        update = f"UPDATE {table} SET {owner} = {owner} WHERE {owner} = $1"  # noqa: S608
        assert await tx.execute(update, theirs.tenant_id) == "UPDATE 0"
        delete = f"DELETE FROM {table} WHERE {owner} = $1"  # noqa: S608
        assert await tx.execute(delete, theirs.tenant_id) == "DELETE 0"
    async with theirs.database.tenant(theirs.tenant_id) as tx:
        assert await tx.fetchval(f"SELECT count(*) FROM {table}") > 0  # noqa: S608


async def test_a_row_cannot_be_given_to_another(furnished: tuple[Shop, Shop]) -> None:
    mine, theirs = furnished
    with pytest.raises(StoreRefusedError):
        async with mine.database.tenant(mine.tenant_id) as tx:
            await tx.execute(INSERT_EVENT, theirs.tenant_id)
    for table in TABLES[1:]:
        with pytest.raises(StoreRefusedError):
            async with mine.database.tenant(mine.tenant_id) as tx:
                await tx.execute(f"UPDATE {table} SET tenant_id = $1", theirs.tenant_id)  # noqa: S608


async def test_a_connection_forgets_its_tenant(furnished: tuple[Shop, Shop], any_url: str) -> None:
    mine, _ = furnished
    async with Database(any_url, min_size=1, max_size=1) as one_connection:
        async with one_connection.tenant(mine.tenant_id) as tx:
            assert await tx.fetchval("SELECT count(*) FROM inbox") == 1
            assert await tx.fetchval("SELECT current_user::text") == "flowhq_app"
        async with plainly(one_connection) as tx:
            assert await tx.fetchval("SELECT current_setting('app.tenant_id', true)") == ""
            assert await tx.fetchval("SELECT count(*) FROM inbox") == 0
            assert await tx.fetchval("SELECT current_user::text") == "flowhq_app"
        with pytest.raises(ZeroDivisionError):
            async with one_connection.tenant(mine.tenant_id):
                raise ZeroDivisionError
        async with plainly(one_connection) as tx:
            assert await tx.fetchval("SELECT count(*) FROM tenants") == 0


async def test_a_call_reaches_its_own_tenant_and_is_forgotten(
    furnished: tuple[Shop, Shop], any_url: str
) -> None:
    mine, theirs = furnished
    their_reply = await plan_anew(theirs)
    async with Database(any_url, min_size=1, max_size=1) as one_connection:

        async def going(tenant_id: TenantId, sql: str, *others: object) -> bool:
            row = await one_connection.call(tenant_id, sql, their_reply, *others)
            assert row is not None
            return bool(row["going"])

        assert not await going(mine.tenant_id, outbox.MARK_SENDING, None)
        assert not await going(TenantId(uuid4()), outbox.MARK_SENDING, None)
        assert not await going(mine.tenant_id, MARK_ANOTHERS, theirs.tenant_id)
        assert await going(theirs.tenant_id, outbox.MARK_SENDING, None)
        async with plainly(one_connection) as tx:
            assert await tx.fetchval("SELECT current_setting('app.tenant_id', true)") == ""
            assert await tx.fetchval("SELECT count(*) FROM outbox") == 0


async def plan_anew(shop: Shop) -> int:
    """The shop's reply, as if it had not been begun."""
    async with shop.database.tenant(shop.tenant_id) as tx:
        return int(await tx.fetchval("UPDATE outbox SET state = 'planned' RETURNING id"))


async def test_an_unknown_tenant_sees_nothing(furnished: tuple[Shop, Shop]) -> None:
    async with furnished[0].database.tenant(TenantId(uuid4())) as tx:
        for table in TABLES:
            assert await tx.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_ops_sees_every_tenant_and_no_message(furnished: tuple[Shop, Shop]) -> None:
    database = furnished[0].database
    async with database.ops() as tx:
        assert await tx.fetchval("SHOW transaction_read_only") == "on"
        tenants = await tx.fetch("SELECT id FROM ops_tenants")
        assert {row["id"] for row in tenants} == {one.tenant_id for one in furnished}
    for forbidden in (
        "SELECT message_text FROM message_logs",
        "SELECT payload FROM inbox",
        "SELECT body FROM outbox",
        "SELECT last_qr FROM whatsapp_sessions",
        "SELECT phone_number FROM contacts",
        "SELECT detail FROM tenant_events",
        "SELECT secret FROM installation",
    ):
        with pytest.raises(StoreRefusedError):
            async with database.ops() as tx:
                await tx.execute(forbidden)


async def test_a_tenant_reaches_neither_the_views_nor_partitions_nor_the_secret(
    shop: Shop,
) -> None:
    for forbidden in (
        "SELECT * FROM ops_tenants",
        "SELECT * FROM message_logs_default",
        "SELECT * FROM installation",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM ops_setup_requests",
        "DELETE FROM portal_keys",
        "UPDATE portal_keys SET key_sha256 = key_sha256",
        "ALTER TABLE inbox DISABLE ROW LEVEL SECURITY",
        "DROP TABLE inbox",
        "TRUNCATE inbox",
    ):
        with pytest.raises(StoreRefusedError):
            async with shop.database.tenant(shop.tenant_id) as tx:
                await tx.execute(forbidden)


async def test_even_an_ordinary_owner_is_bound(plain_url: str) -> None:
    async with Database(plain_url) as database:
        tenant_id = TenantId(uuid4())
        async with database.tenant(tenant_id) as tx:
            await tx.execute(
                "INSERT INTO tenants (id, name, phone_number) VALUES ($1, 'x', '+255700000009')",
                tenant_id,
            )
    assert await fetchval(plain_url, "SELECT count(*) FROM tenants") == 0


async def test_the_roles_cannot_log_in_and_do_not_bypass(any_url: str) -> None:
    connection = await asyncpg.connect(any_url, timeout=10)
    rows = await connection.fetch(
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles "
        "WHERE rolname IN ('flowhq_app', 'flowhq_ops')"
    )
    await connection.close(timeout=10)
    assert [tuple(row) for row in rows] == [(False, False, False, False)] * 2


async def test_a_tenant_is_chosen_by_nothing_but_a_uuid(shop: Shop) -> None:
    with pytest.raises(TypeError):
        await _open_as(shop.database, "x', true); DROP TABLE inbox; SELECT ('")
    with pytest.raises(TypeError):
        await shop.database.call(str(shop.tenant_id), outbox.MARK_SENDING, 1, None)  # type: ignore[arg-type]


async def _open_as(database: Database, tenant_id: object) -> None:
    async with database.tenant(tenant_id):  # type: ignore[arg-type]
        raise AssertionError("opened")
