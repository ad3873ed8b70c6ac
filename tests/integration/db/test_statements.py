"""Every statement fits the real schema, and the hot ones find their index."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

import flowhq.db
from flowhq.db import faults, figures, inbox, logs, outbox, retention, tenantlists
from flowhq.db.installation import load_installation
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.tenantlists import TenantFilter
from flowhq.model import DesiredState, Direction, Reason, TenantStatus
from tests.integration.db.conftest import open_shop

NOW = datetime.now(UTC)
VERB = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def statements() -> Iterator[tuple[str, str]]:
    """Each SQL constant of the floor; those with a name to fill in are made elsewhere."""
    for module_info in pkgutil.iter_modules(flowhq.db.__path__):
        module = importlib.import_module(f"flowhq.db.{module_info.name}")
        for name, value in vars(module).items():
            if not (name.isupper() and isinstance(value, str) and VERB.match(value)):
                continue
            if "{" not in value and not name.endswith("_TAG"):
                yield f"{module_info.name}.{name}", value


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in statements()])
async def test_a_statement_fits_the_schema(any_url: str, sql: str) -> None:
    async with owner_connection(any_url) as connection:
        await connection.prepare(sql)


def test_the_statements_are_found() -> None:
    names = {name for name, _ in statements()}
    assert {"inbox.RECORD", "outbox.PLAN", "states.SAVE", "tenants.UPDATE_TENANT"} <= names
    assert len(names) > 35


async def test_constraints_that_answers_speak_of_exist(postgres_url: str) -> None:
    async with owner_connection(postgres_url) as connection:
        rows = await connection.fetch(
            "SELECT conname::text AS name, contype::text AS kind FROM pg_constraint"
        )
        indexes = await connection.fetch(
            "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indisunique"
        )
    unique = {row["name"] for row in rows if row["kind"] in ("p", "u")}
    unique |= {row["name"] for row in indexes}
    checks = {row["name"] for row in rows if row["kind"] == "c"}
    assert set(faults.TAKEN_FIELDS) <= unique
    assert set(faults.CHECKED_FIELDS) <= checks


FILL = """
INSERT INTO inbox (tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state,
    payload, log_id, log_at)
SELECT $1, false, 'm' || n, 'c' || n % 500, now(), 'live',
    CASE WHEN n % 100 = 0 THEN 'new' ELSE 'done' END::inbox_state, '{}', gen_random_uuid(), now()
FROM generate_series(1, 20000) AS n
"""
FILL_OUTBOX = """
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, state, log_id,
    log_at)
SELECT $1, 'c', 'c', 'm' || n, 0, 'i' || n, '{}',
    CASE WHEN n % 100 = 0 THEN 'planned' ELSE 'read' END::outbox_state, gen_random_uuid(), now()
FROM generate_series(1, 20000) AS n
"""
FILL_LOGS = """
INSERT INTO message_logs (tenant_id, direction, from_number, to_number, message_text, status,
    created_at)
SELECT $1, 'IN', 'a', 'b', 'text', 'received',
    date_trunc('day', now(), 'UTC') + interval '12 hours' - n * interval '1 second'
FROM generate_series(1, 20000) AS n
"""
FILL_TENANTS = """
INSERT INTO tenants (name, phone_number, created_at)
SELECT 'x', '+2556' || (10000000 + n)::text, now() - n * interval '1 second'
FROM generate_series(1, 2000) AS n
"""


@pytest.mark.parametrize(
    ("sql", "arguments", "index"),
    [
        (inbox.WAITING, (50,), "inbox_waiting_idx"),
        (inbox.WAITING_IN_CHAT, (50, "c100"), "inbox_waiting_chat_idx"),
        (inbox.LOCK_STEP, (False, "m100"), "inbox_pkey"),
        (
            inbox.ARE_RECORDED,
            ([False] * 1000, [f"m{n}" for n in range(1000)], [b"digest"] * 1000),
            "inbox_pkey",
        ),
        (outbox.UNSETTLED, (1000,), "outbox_unsettled_idx"),
        (outbox.FIND_OWN, ("i5",), "outbox_client_id_key"),
        (outbox.PLANNED_FOR, ("m5",), "outbox_cause_part_key"),
        (logs.log_statement(logs.LogFilter())[0], (200,), "tenant_id_created_at_idx"),
        (
            retention.BLANK_REPLIES,
            (NOW - timedelta(days=400), NOW - timedelta(days=90), 1000),
            "outbox_planned_at_idx",
        ),
        (retention.FIND_REPLIES_MARK, (NOW,), "outbox_unsettled_idx"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
async def test_a_hot_statement_uses_its_index(
    filled: tuple[Database, object], sql: str, arguments: tuple[object, ...], index: str
) -> None:
    database, tenant_id = filled
    async with database.tenant(tenant_id) as tx:  # type: ignore[arg-type]
        rows = await tx.fetch(f"EXPLAIN {sql}", tenant_id, *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan
    for table in ("inbox", "outbox"):
        assert f"Seq Scan on {table}" not in plan, plan


@pytest.mark.parametrize(
    ("function", "statement", "p_values", "index"),
    [
        (
            "mark_sending",
            r"UPDATE outbox.*?(?=RETURNING)",
            {"p_id": "5", "v_oldest": "now()"},
            "outbox_unsettled_idx",
        ),
        ("mark_accepted", r"UPDATE outbox.*?(?=RETURNING)", {"p_id": "5"}, "outbox_pkey"),
        ("acknowledge", r"UPDATE outbox.*?(?=RETURNING)", {}, "outbox_client_id_key"),
        ("acknowledge", r"SELECT log_id.*?(?=LOOP)", {}, "inbox_pkey"),
    ],
)
async def test_a_hot_statement_in_a_function_uses_its_index(
    filled: tuple[Database, object],
    postgres_url: str,
    function: str,
    statement: str,
    p_values: dict[str, str],
    index: str,
) -> None:
    database, tenant_id = filled
    async with owner_connection(postgres_url) as connection:
        source = await connection.fetchval(
            "SELECT prosrc FROM pg_proc WHERE oid = $1::text::regproc", function
        )
    found = re.search(statement, source, re.DOTALL)
    assert found is not None
    values = {"p_tenant": "$1", "p_ids": "'{i5}'", "p_state": "'read'", **p_values}
    sql = found[0]
    for name, value in values.items():
        sql = re.sub(rf"\b{name}\b", value, sql)
    async with database.tenant(tenant_id) as tx:  # type: ignore[arg-type]
        rows = await tx.fetch(f"EXPLAIN {sql}", tenant_id)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan
    assert "Seq Scan" not in plan, plan


FILL_EVENTS = """
INSERT INTO events (tenant_id, type, seq)
SELECT $1, 'message.in', CASE WHEN n % 2 = 0 THEN nextval('events_order') END
FROM generate_series(1, 20000) AS n
"""


async def test_events_without_a_number_are_found_however_many_the_planner_expects(
    postgres_url: str, database: Database
) -> None:
    shop = await open_shop(database, await load_installation(postgres_url), "+255700000001")
    async with owner_connection(postgres_url) as connection:
        source = await connection.fetchval(
            "SELECT prosrc FROM pg_proc WHERE oid = 'number_events(integer)'::regprocedure"
        )
        looked_for = re.search(r"\((SELECT id FROM events.*?)\) AS waiting", source)
        assert looked_for is not None
        await connection.execute(FILL_EVENTS, shop.tenant_id)
        await connection.execute("ANALYZE events")
        await connection.execute("SELECT number_events(100000)")
        rows = await connection.fetch("EXPLAIN " + looked_for[1].replace("p_limit", "1000"))
    plan = "\n".join(row[0] for row in rows)
    assert "using events_waiting_idx" in plan, plan


@pytest.fixture
async def place(filled: tuple[Database, object]) -> tuple[datetime, UUID]:
    """Noon of the day that the messages are of, whatever day it is by now. They are of its morning:
    a day that has just begun would be too short for an index to be worth its while."""
    database, tenant_id = filled
    async with database.tenant(tenant_id) as tx:  # type: ignore[arg-type]
        last = await tx.fetchval("SELECT max(created_at) FROM message_logs")
    return last.astimezone(UTC).replace(hour=12, minute=0, second=0), UUID(int=7)


@pytest.mark.parametrize(
    "chosen",
    [
        TenantFilter(),
        TenantFilter(status=TenantStatus.NEW),
        TenantFilter(desired=DesiredState.STOPPED, reason=Reason.NOT_STARTED),
        TenantFilter(text="x"),
    ],
)
async def test_the_list_of_tenants_walks_along_its_index_from_its_place_on(
    filled: tuple[Database, object], chosen: TenantFilter
) -> None:
    sql, arguments = tenantlists.find_statement(chosen, (NOW, UUID(int=7)))
    async with filled[0].ops() as tx:
        rows = await tx.fetch(f"EXPLAIN {sql}", 50, *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert re.search(r"Index Scan Backward using tenants_created_at_idx", plan), plan
    assert re.search(r"Index Cond: \(ROW\((t\.)?created_at", plan), plan


async def test_how_much_waits_is_read_from_the_indexes_of_what_waits(
    filled: tuple[Database, object],
) -> None:
    async with filled[0].ops() as tx:
        await tx.execute(figures.BY_INDEX_ALONE)
        rows = await tx.fetch(f"EXPLAIN {figures.LIST_QUEUES}")
    plan = "\n".join(row[0] for row in rows)
    used = re.findall(r"Scan (?:using|on) (\w+_idx)", plan)
    assert sorted(re.sub(r"_chat_idx$", "_idx", name) for name in used) == [
        "inbox_dead_idx",
        "inbox_waiting_idx",
        "outbox_dead_idx",
        "outbox_unsettled_idx",
    ], plan


async def test_a_page_of_the_log_leaves_out_the_days_after_it(
    filled: tuple[Database, object], place: tuple[datetime, UUID]
) -> None:
    sql, arguments = logs.log_statement(logs.LogFilter(), place)
    plan = await plan_of_log(filled, sql, arguments)
    assert len(set(re.findall(r"message_logs_\d{8}", plan))) <= 2, plan


async def test_the_log_of_some_hours_opens_their_days_alone(
    filled: tuple[Database, object], place: tuple[datetime, UUID]
) -> None:
    noon = place[0]
    chosen = logs.LogFilter(Direction.IN, since=noon - timedelta(hours=2), until=noon)
    plan = await plan_of_log(filled, *logs.log_statement(chosen))
    assert len(set(re.findall(r"message_logs_\d{8}", plan))) <= 2, plan
    assert "Seq Scan" not in plan, plan


async def test_the_log_of_a_contact_is_read_by_its_chats(
    filled: tuple[Database, object], place: tuple[datetime, UUID]
) -> None:
    sql, arguments = logs.chat_log_statement([UUID(int=5)], logs.LogFilter(), place)
    plan = await plan_of_log(filled, sql, arguments)
    assert "conversation_id_created_at_idx" in plan, plan


async def plan_of_log(
    filled: tuple[Database, object], sql: str, arguments: Sequence[object]
) -> str:
    database, tenant_id = filled
    async with database.tenant(tenant_id) as tx:  # type: ignore[arg-type]
        rows = await tx.fetch(f"EXPLAIN {sql}", tenant_id, 200, *arguments)
    return "\n".join(row[0] for row in rows)


@pytest.fixture
async def filled(postgres_url: str, database: Database) -> tuple[Database, object]:
    """A tenant with many rows, known to the planner."""
    shop = await open_shop(database, await load_installation(postgres_url), "+255700000001")
    async with owner_connection(postgres_url) as connection:
        for fill in (FILL, FILL_OUTBOX, FILL_LOGS):
            await connection.execute(fill, shop.tenant_id)
        await connection.execute(FILL_TENANTS)
        await connection.execute("ANALYZE")
    return database, shop.tenant_id
