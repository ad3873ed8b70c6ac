"""All rows of one tenant, out of a database and into another one: for its backup.

Rows travel as JSON, in an order in which they can be inserted. What is written is bound by
row-level security: no file can bring in a row of another tenant.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType

import orjson

from flowhq.db.pool import Tx
from flowhq.errors import AlreadyExistsError, NotFoundError
from flowhq.model import ChatEvent, TenantId

# Rows a step; the largest messages of all are 64 KiB.
BATCH_ROWS = 200

# Triggers that tell the outside of a new row look at this: a row that comes back is no news.
BEGIN_RESTORING = "SELECT set_config('app.restoring', 'on', true)"
TENANT_EXISTS = "SELECT EXISTS (SELECT FROM tenants WHERE id = $1)"
# Only names out of TABLES and a UUID are ever filled in.
OPEN_CURSOR = (
    "DECLARE copied NO SCROLL CURSOR FOR "
    "SELECT to_jsonb(t)::text AS line FROM {table} t WHERE {owner} = '{tenant_id}' ORDER BY {order}"
)
FETCH_CURSOR = f"FETCH {BATCH_ROWS} FROM copied"
CLOSE_CURSOR = "CLOSE copied"
COLUMNS = """
SELECT quote_ident(attname::text) AS name FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    AND NOT attname = ANY($2::text[])
ORDER BY attnum
"""
INSERT = """
INSERT INTO {table} ({columns})
SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, (
    SELECT jsonb_agg(line || $2::text::jsonb ORDER BY place)
    FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS given (line, place)
))
"""
MESSAGE_DAYS = """
SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::date AS day
FROM message_logs WHERE tenant_id = $1 ORDER BY day
"""
# As a stopped worker leaves it. What was wanted until the backup was wanted no longer afterwards.
SETTLE = """
WITH spans AS (
    UPDATE tenant_spans SET until_at = $2 WHERE tenant_id = $1 AND until_at IS NULL
)
UPDATE tenants t SET
    status = CASE WHEN s.paired_at IS NULL THEN 'NEW' ELSE 'PAUSED' END::tenant_status,
    reason = CASE WHEN s.paired_at IS NULL THEN 'NOT_STARTED' ELSE 'STOPPED_BY_ADMIN' END,
    detail = ''
FROM whatsapp_sessions s WHERE s.tenant_id = t.id AND t.id = $1
RETURNING s.paired_at IS NOT NULL AS paired
"""
TELL = "SELECT raise_event($1, $2, 'admin', $3)"


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """``order``: in which its rows are read and inserted. ``anew``: columns that the database
    numbers again. ``instead``: values that hold for a tenant which does not run."""

    name: str
    order: str
    anew: tuple[str, ...] = ()
    instead: Mapping[str, object] = field(default_factory=dict)


# In the order of their foreign keys; a test compares them with the catalog.
TABLES = (
    CopiedTable("tenants", "id", instead=MappingProxyType({"desired_state": "STOPPED"})),
    CopiedTable("tenant_configs", "id"),
    CopiedTable(
        "whatsapp_sessions",
        "id",
        instead=MappingProxyType(
            {
                "state": "DISCONNECTED",
                "last_qr": None,
                "last_qr_text": None,
                "last_qr_expires_at": None,
            }
        ),
    ),
    CopiedTable("worker_processes", "id", instead=MappingProxyType({"status": "STOPPED"})),
    CopiedTable("tenant_events", "id", anew=("id",)),
    CopiedTable("tenant_spans", "id", anew=("id",)),
    CopiedTable("contacts", "created_at, id"),
    CopiedTable("conversations", "created_at, id"),
    CopiedTable("message_logs", "created_at, id"),
    CopiedTable("inbox", "ord", anew=("ord",)),
    CopiedTable("outbox", "id", anew=("id",)),
    CopiedTable("chat_aliases", "jid"),
    CopiedTable("chat_cursors", "chat_key"),
    CopiedTable("retention_marks", "tenant_id"),
    CopiedTable("portal_users", "created_at, id"),
    CopiedTable("setup_requests", "created_at, id"),
    CopiedTable("portal_event_logs", "id", anew=("id",)),
    CopiedTable("webhook_endpoints", "id"),
)
# Tables of a tenant that stay behind, and why.
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "bulk_results": "of runs that stay with the installation",
        "data_keys": "the key is carried unwrapped, and wrapped by the other installation's key",
        "pairing_links": "an open link would be good at two installations",
        "portal_sessions": "a browser is signed in at one installation",
        "events": "what was told is told; its numbers are the installation's",
        "webhook_deliveries": "they are of the events",
    }
)
_BY_NAME = MappingProxyType({table.name: table for table in TABLES})


async def read_rows(tx: Tx, tenant_id: TenantId) -> AsyncGenerator[tuple[str, Sequence[str]], None]:
    """Every row of the tenant as JSON, some at a time, each time of one table. ``tx`` must see
    the same throughout (`Database.snapshot`). NotFoundError if there is no such tenant."""
    if not await exists(tx, tenant_id):
        raise unknown(tenant_id)
    for table in TABLES:
        owner = "t.id" if table.name == "tenants" else "t.tenant_id"
        await tx.execute(
            OPEN_CURSOR.format(
                table=table.name, owner=owner, tenant_id=tenant_id, order=table.order
            )
        )
        while rows := await tx.fetch(FETCH_CURSOR):
            yield table.name, [row["line"] for row in rows]
        await tx.execute(CLOSE_CURSOR)


async def message_days(tx: Tx, tenant_id: TenantId) -> list[date]:
    """The UTC days on which the tenant has messages."""
    return [row["day"] for row in await tx.fetch(MESSAGE_DAYS, tenant_id)]


async def exists(tx: Tx, tenant_id: TenantId) -> bool:
    return bool(await tx.fetchval(TENANT_EXISTS, tenant_id))


def unknown(tenant_id: TenantId) -> NotFoundError:
    return NotFoundError(f"There is no tenant {tenant_id}.")


async def begin(tx: Tx, tenant_id: TenantId) -> None:
    """Before the first `insert_rows`. AlreadyExistsError if the tenant is here already."""
    await tx.execute(BEGIN_RESTORING)
    await refuse_present(tx, tenant_id)


async def refuse_present(tx: Tx, tenant_id: TenantId) -> None:
    """AlreadyExistsError if the tenant is here already."""
    if await exists(tx, tenant_id):
        raise AlreadyExistsError(
            f"Tenant {tenant_id} exists here already.",
            field="tenant_id",
            next_step="Delete it first, if the backup is to take its place.",
        )


async def insert_rows(tx: Tx, name: str, lines: Sequence[str]) -> None:
    """Rows of one table as `read_rows` gave them. KeyError for a table that is not copied;
    AlreadyExistsError names what another tenant has taken."""
    table = _BY_NAME[name]
    found = await tx.fetch(COLUMNS, table.name, list(table.anew))
    columns = ", ".join(row["name"] for row in found)
    await tx.execute(
        INSERT.format(table=table.name, columns=columns),
        f"[{','.join(lines)}]",
        orjson.dumps(dict(table.instead)).decode(),
    )


async def settle(tx: Tx, tenant_id: TenantId, taken_at: datetime) -> bool:
    """After the last row: the tenant stands there stopped. True if it is paired."""
    paired = await tx.fetchval(SETTLE, tenant_id, taken_at)
    detail = f"Restored from the backup of {taken_at:%Y-%m-%d %H:%M} UTC."
    await tx.execute(TELL, tenant_id, ChatEvent.RESTORED.value, detail)
    return bool(paired)
