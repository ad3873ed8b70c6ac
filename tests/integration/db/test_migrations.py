"""From nothing to the schema, once, whoever starts; and never a half or a step back."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Record

from flowhq.db.binaries import Binaries, find_binaries
from flowhq.db.installation import load_installation
from flowhq.db.migrate import (
    LOCK_KEY,
    Migration,
    current_version,
    load_migrations,
    migrate,
    sql_root,
)
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database, refuse_old_server
from flowhq.db.tenantlists import list_tenants
from flowhq.errors import StoreRefusedError, StoreUnavailableError
from flowhq.model import InboxState
from tests.integration.db.conftest import open_shop
from tests.integration.db.messages import TEXT, say
from tests.pg import OWNER, PlainServer, execute, fetchval, fresh_database

# Everything that makes a schema what it is, each object as one line of text.
CATALOG = """
SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || ' ' || a.attnotnull || ' ' || a.attidentity::text || ' '
    || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS line
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    AND c.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT 'relation ' || relname || ' ' || relkind::text || relrowsecurity || relforcerowsecurity
    || relispartition || ' ' || coalesce(pg_get_expr(relpartbound, oid), '') || ' '
    || coalesce(relacl::text, '') || ' '
    || CASE WHEN relkind = 'v' THEN pg_get_userbyid(relowner) || pg_get_viewdef(oid) ELSE '' END
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
UNION ALL
SELECT 'grant ' || c.relname || '.' || a.attname || a.attacl::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND a.attacl IS NOT NULL
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL
SELECT 'enum ' || t.typname || ' '
    || row_number() OVER (PARTITION BY t.oid ORDER BY e.enumsortorder) || ' ' || e.enumlabel
FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
UNION ALL
SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'policy ' || p::text FROM pg_policies p
ORDER BY line
"""


async def catalog(url: str) -> list[str]:
    async with owner_connection(url) as connection:
        rows: list[Record] = await connection.fetch(CATALOG)
    days = ("message_logs_2", "schema_migrations")
    return [row["line"] for row in rows if not any(day in row["line"] for day in days)]


async def test_schema_and_migrations_lead_to_the_same_database(
    postgres_url: str, empty_url: str
) -> None:
    await execute(empty_url, (sql_root() / "schema.sql").read_text(encoding="utf-8"))
    by_schema, by_migrations = await catalog(empty_url), await catalog(postgres_url)
    assert by_schema == by_migrations
    assert len(by_schema) > 200


async def test_every_version_of_postgresql_gets_the_same_tables(
    postgres_url: str, plain_url: str
) -> None:
    columns = [
        {line for line in await catalog(url) if line.startswith(("column", "index", "enum"))}
        for url in (postgres_url, plain_url)
    ]
    assert columns[0] == columns[1]


async def test_an_empty_database_gets_every_migration_once(empty_url: str) -> None:
    assert await current_version(empty_url) == 0
    numbers = tuple(migration.version for migration in load_migrations())
    first = await migrate(empty_url)
    assert (first.version, first.applied) == (numbers[-1], numbers)
    again = await migrate(empty_url)
    assert (again.version, again.applied) == (numbers[-1], ())
    assert await current_version(empty_url) == numbers[-1]


async def test_many_starters_at_once_apply_each_migration_once(empty_url: str) -> None:
    results = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert sorted(len(result.applied) for result in results) == [0, 0, 0, len(load_migrations())]
    assert {result.version for result in results} == {len(load_migrations())}


async def test_a_starter_waits_for_the_lock_but_not_for_ever(postgres_url: str) -> None:
    holder = await asyncpg.connect(postgres_url, timeout=10)
    await holder.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    with pytest.raises(StoreUnavailableError, match="Another daemon"):
        await migrate(postgres_url, lock_limit_s=0.3)
    waiting = asyncio.create_task(migrate(postgres_url))
    await holder.execute(f"SELECT pg_advisory_unlock({LOCK_KEY})")
    assert (await waiting).applied == ()
    await holder.close(timeout=10)


async def test_a_newer_database_is_refused(postgres_url: str) -> None:
    await execute(
        postgres_url,
        "INSERT INTO schema_migrations (version, name, sha256) VALUES (999, 'future', '')",
    )
    with pytest.raises(StoreRefusedError, match="is at version 999"):
        await migrate(postgres_url)


async def test_a_changed_migration_is_refused(postgres_url: str) -> None:
    known = load_migrations()
    changed = [replace(known[0], sql=known[0].sql + "\n-- touched"), *known[1:]]
    with pytest.raises(StoreRefusedError, match="0001"):
        await migrate(postgres_url, migrations=changed)


async def test_a_failing_migration_leaves_the_version_before_it(postgres_url: str) -> None:
    known = load_migrations()
    number = len(known) + 1
    broken = Migration(number, "broken", "CREATE TABLE half (id int); SELECT 1 / 0;")
    with pytest.raises(Exception, match="cannot be stored"):
        await migrate(postgres_url, migrations=[*known, broken])
    assert await current_version(postgres_url) == len(known)
    assert await fetchval(postgres_url, "SELECT to_regclass('half')") is None
    fixed = replace(broken, sql="CREATE TABLE half (id int);")
    assert (await migrate(postgres_url, migrations=[*known, fixed])).applied == (number,)


def test_files_with_a_gap_are_refused(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "migrations" / "0003_c.sql").write_text("SELECT 1;")
    with pytest.raises(StoreRefusedError, match="gap"):
        load_migrations(tmp_path)


def test_an_old_server_is_refused() -> None:
    refuse_old_server(14_00_00)
    with pytest.raises(StoreRefusedError, match="PostgreSQL 13 is too old"):
        refuse_old_server(13_00_22)


async def test_a_user_without_rights_is_told_what_it_needs(plain_server: PlainServer) -> None:
    admin = plain_server.url("postgres", "postgres")
    await execute(
        admin,
        f"CREATE ROLE weak LOGIN PASSWORD '{plain_server.password}'",
        "CREATE DATABASE weak_shop OWNER weak",
    )
    try:
        with pytest.raises(StoreRefusedError) as refused:
            await migrate(plain_server.url("weak", "weak_shop"))
        assert "flowhq_app" in refused.value.message
        assert "GRANT flowhq_app, flowhq_ops" in refused.value.next_step
        await execute(admin, "GRANT flowhq_app, flowhq_ops TO weak")
        assert (await migrate(plain_server.url("weak", "weak_shop"))).applied
    finally:
        await execute(
            admin,
            "DROP DATABASE weak_shop WITH (FORCE)",
            "REVOKE flowhq_app, flowhq_ops FROM weak",
            "DROP ROLE weak",
        )


def test_a_foreign_owner_is_refused(plain_server: PlainServer) -> None:
    """The url's user must own the database: here it may not create a table in it."""
    admin = plain_server.url("postgres", "postgres")

    async def attempt(url: str) -> None:
        await execute(url, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
        with pytest.raises(StoreRefusedError, match="no schema"):
            await migrate(plain_server.url(OWNER, url.rsplit("/", 1)[1]))

    with fresh_database(lambda name: plain_server.url("postgres", name), admin, "template0") as url:
        asyncio.run(attempt(url))


@pytest.mark.parametrize("binaries", find_binaries(), ids=lambda found: str(found.major))
async def test_every_version_at_hand_serves_an_ordinary_owner(
    pg_home: Path, binaries: Binaries
) -> None:
    server = PlainServer(pg_home / f"plain-{binaries.major}", binaries)
    await asyncio.to_thread(server.open)
    try:
        await execute(
            server.url("postgres", "postgres"),
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{server.password}'",
            f"CREATE DATABASE shop OWNER {OWNER}",
        )
        url = server.owners_url("shop")
        assert (await migrate(url)).applied
        async with Database(url) as database:
            shop = await open_shop(database, await load_installation(url), "+255700000001")
            recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
            assert len(await shop.ledger.process(recorded.key, say("Karibu"))) == 1
            assert [row.name for row in (await list_tenants(database, limit=5)).rows] == ["Duka"]
    finally:
        await asyncio.to_thread(server.close)
