"""PostgreSQL goes away, hangs or refuses: said as one of our errors, in time, and it comes back."""

import asyncio
import os
import signal
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from asyncpg import Record

from flowhq.db import pool
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.migrate import migrate
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database, Tx
from flowhq.errors import (
    FlowHQError,
    StoreRefusedError,
    StoreTimeoutError,
    StoreUnavailableError,
    StoreUnusableError,
)
from flowhq.model import InboxState, TenantId
from tests.fakes.clock import until
from tests.integration.db.conftest import Shop, hasty_shop, open_shop
from tests.integration.db.messages import ASHA_PN, TEXT, say
from tests.pg import execute, fetchval
from tests.ports import free_port

# Much longer than the limits below, and much shorter than waiting for an answer that never comes.
GIVEN_UP_S = 25.0


@pytest.fixture
async def server(pg_home: Path, request: pytest.FixtureRequest) -> AsyncIterator[EmbeddedPostgres]:
    """A server of the test's own, to be maltreated."""
    home = pg_home / f"out-{abs(hash(request.node.name)) % 10**8}"
    async with EmbeddedPostgres(home, settings={"fsync": "off"}) as opened:
        await migrate(opened.dsn())
        yield opened


def impatient(url: str) -> Database:
    """One connection, and little time for anything; enough for a busy machine to connect."""
    return Database(url, min_size=1, max_size=1, command_timeout_s=2.0, connect_timeout_s=2.0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FREE_TIMEOUT_S", 0.5)


async def until_open(database: Database) -> None:
    """The pool works again; each attempt may use up one dead connection."""

    async def works() -> bool:
        try:
            await database.ping()
        except StoreUnavailableError:
            return False
        return True

    await until(works)


async def test_a_server_that_is_down_is_unavailable_and_comes_back(
    server: EmbeddedPostgres,
) -> None:
    async with Database(server.dsn()) as database:
        await server.close()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await database.ping()
        with pytest.raises(StoreUnavailableError):
            await Database(server.dsn()).open()
        with pytest.raises(StoreUnavailableError):
            await migrate(server.dsn())
        await server.open()
        await until_open(database)


async def test_an_immediate_stop_in_a_transaction_loses_the_whole_of_it(
    server: EmbeddedPostgres,
) -> None:
    async with Database(server.dsn()) as database:
        shop = await open_shop(database, await load_installation(server.dsn()), "+255700000001")

        async def change_for_ever() -> None:
            async with database.tenant(shop.tenant_id) as tx:
                await tx.execute("UPDATE tenants SET name = 'changed'")
                assert server.pid is not None
                os.kill(server.pid, signal.SIGQUIT)
                while True:
                    await tx.fetchval("SELECT 1")

        with pytest.raises(StoreUnavailableError):
            await change_for_ever()
        await server.close()
        await server.open()
        await until_open(database)
        async with database.tenant(shop.tenant_id) as tx:
            assert await tx.fetchval("SELECT name FROM tenants") == "Duka"


async def test_ended_backends_cost_one_error_at_most_each(server: EmbeddedPostgres) -> None:
    async with Database(server.dsn(), min_size=3) as database:
        await execute(
            server.dsn("postgres"),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'flowhq' AND pid <> pg_backend_pid()",
        )
        failed = 0
        for _ in range(6):
            try:
                await database.ping()
            except StoreUnavailableError:
                failed += 1
        assert failed <= 3
        await database.ping()


async def test_a_hanging_server_is_given_up_in_time_and_used_again(
    server: EmbeddedPostgres,
) -> None:
    async with impatient(server.dsn()) as database:
        async with database.ops() as tx:
            backend = await tx.fetchval("SELECT pg_backend_pid()")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        os.kill(backend, signal.SIGSTOP)
        try:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(StoreUnavailableError):
                    await database.ping()
                assert time.monotonic() - began < GIVEN_UP_S
        finally:
            os.kill(server.pid, signal.SIGCONT)
            os.kill(backend, signal.SIGCONT)
        await until_open(database)


async def test_a_full_pool_is_unavailable_in_time(postgres_url: str) -> None:
    async with impatient(postgres_url) as database:
        async with database.ops():
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError) as full:
                await database.ping()
            assert not isinstance(full.value, StoreTimeoutError)
            assert time.monotonic() - began < GIVEN_UP_S
        await database.ping()


async def test_a_slow_statement_ends_at_the_server_too(postgres_url: str) -> None:
    async with impatient(postgres_url) as database:
        with pytest.raises(StoreTimeoutError, match="did not answer in time"):
            async with database.ops() as tx:
                await tx.execute("SELECT pg_advisory_xact_lock(7), pg_sleep(30)")
        await until_open(database)
        async with database.ops() as tx:
            assert await tx.fetchval("SELECT pg_try_advisory_xact_lock(7)")


async def test_a_statement_that_the_server_itself_breaks_off_is_one_not_ended_in_time(
    postgres_url: str,
) -> None:
    async with impatient(postgres_url) as database, database.ops() as tx:
        await tx.execute("SET LOCAL statement_timeout = 10")
        with pytest.raises(StoreTimeoutError):
            await tx.execute("SELECT pg_sleep(30)")


async def test_a_step_that_does_not_end_is_told_from_a_server_that_is_away(
    postgres_url: str,
) -> None:
    async with hasty_shop(postgres_url, command_timeout_s=2.0) as shop:
        recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
        async with shop.database.tenant(shop.tenant_id) as holder:
            await holder.execute("SELECT FROM conversations FOR UPDATE")
            with pytest.raises(StoreTimeoutError):
                await shop.ledger.process(recorded.key, say("Karibu"))
            assert await shop.ledger.postpone(recorded.key, error="late") == 2
        (row,) = await shop.ledger.process(recorded.key, say("Karibu"))
        assert row.text == "Karibu"


async def test_a_call_that_does_not_end_is_broken_off_and_done_later(postgres_url: str) -> None:
    async with hasty_shop(postgres_url, command_timeout_s=2.0) as shop:
        async with owner_connection(postgres_url) as holder, holder.transaction():
            await holder.execute("LOCK TABLE inbox IN EXCLUSIVE MODE")
            with pytest.raises(StoreTimeoutError):
                await shop.ledger.record(TEXT, state=InboxState.NEW)
        assert (await shop.ledger.record(TEXT, state=InboxState.NEW)).fresh
        assert shop.database.figures().size == 1


async def test_a_cancelled_call_changes_nothing_and_frees_its_connection(
    postgres_url: str,
) -> None:
    async with Database(postgres_url, min_size=1, max_size=1) as database:
        shop = await open_shop(database, await load_installation(postgres_url), "+255700000001")
        async with owner_connection(postgres_url) as holder, holder.transaction():
            await holder.execute("LOCK TABLE inbox IN EXCLUSIVE MODE")
            task = asyncio.create_task(shop.ledger.record(TEXT, state=InboxState.NEW))
            await until(lambda: waits_for_a_lock(holder))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with database.tenant(shop.tenant_id) as tx:
            assert await tx.fetchval("SELECT count(*) FROM inbox") == 0


async def waits_for_a_lock(connection: "asyncpg.Connection[Record]") -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))


async def test_a_cancelled_transaction_is_rolled_back(postgres_url: str) -> None:
    async with Database(postgres_url, min_size=1, max_size=1) as database:
        shop = await open_shop(database, await load_installation(postgres_url), "+255700000001")
        begun = asyncio.Event()

        async def change() -> None:
            async with database.tenant(shop.tenant_id) as tx:
                await tx.execute("UPDATE tenants SET name = 'changed'")
                begun.set()
                await tx.execute("SELECT pg_sleep(30)")

        task = asyncio.create_task(change())
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.tenant(shop.tenant_id) as tx:
            assert await tx.fetchval("SELECT name FROM tenants") == "Duka"


async def test_closing_does_not_wait_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CLOSE_TIMEOUT_S", 0.2)
    database = Database(postgres_url)
    await database.open()

    async def close_inside() -> None:
        async with database.ops():
            await database.close()

    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await close_inside()
    assert time.monotonic() - began < GIVEN_UP_S
    await database.close()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await database.ping()


async def test_an_unmigrated_database_says_what_to_run(empty_url: str) -> None:
    async with Database(empty_url) as database:
        with pytest.raises(StoreRefusedError) as refused:
            async with database.ops() as tx:
                await tx.fetch("SELECT * FROM ops_tenants")
    assert "migrate" in refused.value.next_step


# -- a server that answers the start with an error ------------------------------------------------


@asynccontextmanager
async def server_saying(sqlstate: str) -> AsyncIterator[str]:
    """The url of a server that refuses every start with this code."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = struct.unpack("!i", await reader.readexactly(4))[0]
        await reader.readexactly(length - 4)
        fields = f"SFATAL\0VFATAL\0C{sqlstate}\0Mno\0\0".encode()
        writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable"


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("57P03", StoreUnavailableError),
        ("53300", StoreUnavailableError),
        ("57P01", StoreUnavailableError),
        ("28P01", StoreUnusableError),
        ("28000", StoreUnusableError),
        ("3D000", StoreUnusableError),
        ("22023", StoreRefusedError),
    ],
)
async def test_a_refused_start_is_an_outage_or_a_mistake(
    sqlstate: str, expected: type[FlowHQError]
) -> None:
    async with server_saying(sqlstate) as url:
        with pytest.raises(expected) as raised:
            await Database(url).open()
        assert raised.value.next_step
        with pytest.raises(expected):
            await migrate(url)


@pytest.mark.parametrize(
    "url", ["postgresql://h:port/d", "http://x/", "", "postgresql://u@h/d?target_session_attrs=x"]
)
async def test_a_url_that_is_none_is_a_mistake(url: str) -> None:
    with pytest.raises(StoreRefusedError, match="url"):
        await Database(url or "nonsense").open()


async def test_an_unknown_host_is_an_outage() -> None:
    with pytest.raises(StoreUnavailableError):
        await Database(f"postgresql://u:p@127.0.0.1:{free_port()}/d").open()


async def test_no_error_tells_the_password() -> None:
    with pytest.raises(StoreUnavailableError) as raised:
        await Database(f"postgresql://u:hunter2@127.0.0.1:{free_port()}/d").open()
    assert "hunter2" not in str(raised.value) + repr(raised.value)


# -- commits in doubt -----------------------------------------------------------------------------


class LossyDatabase(Database):
    """Commits, then loses the answer, as often as it is told."""

    losses = 0

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        async with super().tenant(tenant_id) as tx:
            yield tx
        if self.losses:
            self.losses -= 1
            raise StoreUnavailableError("the answer to COMMIT was lost")

    async def call(self, tenant_id: TenantId, sql: str, *args: object) -> Record | None:
        row = await super().call(tenant_id, sql, *args)
        if self.losses:
            self.losses -= 1
            raise StoreUnavailableError("the answer was lost")
        return row


@pytest.fixture
async def lossy(postgres_url: str) -> AsyncIterator[tuple[LossyDatabase, PostgresLedger]]:
    database = LossyDatabase(postgres_url)
    async with database:
        shop = await open_shop(database, await load_installation(postgres_url), "+255700000001")
        yield database, shop.ledger


async def test_a_step_whose_answer_was_lost_gives_the_same_when_repeated(
    lossy: tuple[LossyDatabase, PostgresLedger],
) -> None:
    database, ledger = lossy
    database.losses = 1
    with pytest.raises(StoreUnavailableError):
        await ledger.record(TEXT, state=InboxState.NEW)
    recorded = await ledger.record(TEXT, state=InboxState.NEW)
    assert (recorded.fresh, recorded.state) == (True, InboxState.NEW)
    assert not (await ledger.record(TEXT, state=InboxState.NEW)).fresh

    database.losses = 2
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await ledger.process(recorded.key, say("Karibu"))
    (row,) = await ledger.process(recorded.key, say("other"))
    assert row.text == "Karibu"
    assert await ledger.process(recorded.key, say("other")) == []

    database.losses = 1
    reply = say("Subiri")(TEXT, None).replies[0]  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailableError):
        await ledger.notify(recorded.chat_key, ASHA_PN, cause="wait:1", reply=reply)
    (notice,) = await ledger.notify(recorded.chat_key, ASHA_PN, cause="wait:1", reply=reply)
    assert notice.text == "Subiri"
    assert len(await ledger.unsettled()) == 2


# -- refusals --------------------------------------------------------------------------------------

LACKING = [
    ("REVOKE INSERT ON outbox FROM flowhq_app", "GRANT INSERT ON outbox TO flowhq_app"),
    ("ALTER TABLE chat_aliases RENAME TO moved", "ALTER TABLE moved RENAME TO chat_aliases"),
    (
        "ALTER FUNCTION raise_event RENAME TO moved",
        "ALTER FUNCTION moved RENAME TO raise_event",
    ),
]
DAYS = """
SELECT array_agg(inhrelid::regclass::text) FROM pg_inherits
WHERE inhparent = 'message_logs'::regclass
"""


@pytest.mark.parametrize(("lack", "mend"), LACKING, ids=["right", "table", "function"])
async def test_what_every_step_lacks_is_no_messages_fault_and_mended_is_done(
    any_url: str, shop: Shop, lack: str, mend: str
) -> None:
    recorded = await shop.ledger.record(TEXT, state=InboxState.NEW)
    decide = say("Karibu", mute_s=60.0)
    await execute(any_url, lack)
    try:
        with pytest.raises(StoreUnusableError) as raised:
            await shop.ledger.process(recorded.key, decide)
        assert raised.value.next_step
    finally:
        await execute(any_url, mend)
    [row] = await shop.ledger.process(recorded.key, decide)
    assert row.text == "Karibu"


async def test_a_missing_day_of_the_ledger_is_no_messages_fault(any_url: str, shop: Shop) -> None:
    days = await fetchval(any_url, DAYS)
    await execute(any_url, *(f"ALTER TABLE message_logs DETACH PARTITION {day}" for day in days))
    with pytest.raises(StoreUnusableError, match="a day of the ledger"):
        await shop.ledger.record(TEXT, state=InboxState.NEW)


async def test_a_row_of_another_tenant_is_the_statements_own_fault(
    shop: Shop, other_shop: Shop
) -> None:
    with pytest.raises(StoreRefusedError) as raised:
        async with shop.database.tenant(shop.tenant_id) as tx:
            await tx.execute(
                "INSERT INTO chat_aliases (tenant_id, jid, chat_key) VALUES ($1, 'a', 'a')",
                other_shop.tenant_id,
            )
    assert not isinstance(raised.value, StoreUnusableError)
