"""Everything that is stored about a tenant, row by row, without its secrets.

Each table with a tenant_id stands either in EXPORTED or in LEFT_OUT; a test compares both with the
catalog. The rows of a table come in the order of its key, some hundred at a time, each batch in a
transaction of its own: no transaction waits for whoever reads the export. What is written
meanwhile may be in it or not.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flowhq.db.contacts import Person
from flowhq.db.pool import Database, Tx
from flowhq.model import TenantId

BATCH = 500


@dataclass(frozen=True, slots=True)
class Part:
    """One table: the columns that order it, with their types, and those that are secret."""

    table: str
    key: Mapping[str, str]
    hidden: tuple[str, ...] = ()
    owner: str = "tenant_id"


def _part(table: str, *key: str, hidden: tuple[str, ...] = (), owner: str = "tenant_id") -> Part:
    """``key`` as ``column:type``."""
    pairs = (column.partition(":")[::2] for column in key)
    return Part(table, MappingProxyType(dict(pairs)), hidden, owner)


EXPORTED = (
    _part("tenants", "id:uuid", owner="id"),
    _part("tenant_configs", "id:uuid"),
    # Whoever has the code can link a device.
    _part("whatsapp_sessions", "id:uuid", hidden=("last_qr", "last_qr_text")),
    _part("worker_processes", "id:uuid"),
    _part("tenant_events", "id:bigint"),
    _part("tenant_spans", "kind:span_kind", "began_at:timestamptz", "id:bigint"),
    _part("contacts", "id:uuid"),
    _part("conversations", "created_at:timestamptz", "id:uuid"),
    _part("chat_aliases", "jid:text"),
    _part("chat_cursors", "chat_key:text"),
    _part("message_logs", "created_at:timestamptz", "id:uuid"),
    _part("inbox", "from_me:boolean", "wa_message_id:text", hidden=("digest",)),
    _part("outbox", "planned_at:timestamptz", "id:bigint"),
    _part("bulk_results", "run_id:uuid"),
    _part("portal_users", "id:uuid"),
    _part("setup_requests", "created_at:timestamptz", "id:uuid"),
    _part("portal_event_logs", "id:bigint"),
    _part("webhook_endpoints", "id:uuid", hidden=("secret", "old_secret", "old_secret_until")),
)
# What of it is about one contact: the condition, and which of the contact's names it takes.
OF_A_CONTACT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "contacts": ("AND t.id = $5", "contact"),
        "conversations": ("AND t.contact_id = $5", "contact"),
        "chat_aliases": ("AND t.chat_key = ANY($5::text[])", "keys"),
        "chat_cursors": ("AND t.chat_key = ANY($5::text[])", "keys"),
        "message_logs": ("AND t.conversation_id = ANY($5::uuid[])", "chats"),
        "inbox": ("AND t.chat_key = ANY($5::text[])", "keys"),
        "outbox": ("AND t.chat_key = ANY($5::text[])", "keys"),
    }
)
# Why a table is not exported, by its name.
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "retention_marks": "how far the sweeps are; nothing of anybody",
        "data_keys": "what the tenant's secrets are sealed with",
        "events": "pointers to rows that are in the export, for whoever follows the stream",
        "webhook_deliveries": "they are of the events",
        "pairing_links": "who holds one can pair a phone; an export shows no credential",
        "portal_sessions": "who holds one is signed in; an export shows no credential",
    }
)


@dataclass(frozen=True, slots=True)
class ExportedRow:
    table: str
    row: Mapping[str, Any]


def batch_statement(part: Part, *, first: bool, chosen: str = "") -> str:
    """A batch of the tenant's ($1) rows: the hidden columns are $2, the limit $3, and the key of
    the row before it $4, as texts. ``chosen`` is a further condition with arguments from $5 on."""
    keys = ", ".join(f"t.{column}" for column in part.key)
    texts = ", ".join(f"t.{column}::text" for column in part.key)
    place = ", ".join(
        f"($4::text[])[{n}]::{kind}" for n, kind in enumerate(part.key.values(), start=1)
    )
    after = "AND $4::text[] IS NULL" if first else f"AND ({keys}) > ({place})"
    return f"""
SELECT to_jsonb(t) - $2::text[] AS row, ARRAY[{texts}] AS key FROM {part.table} t
WHERE t.{part.owner} = $1 {after} {chosen}
ORDER BY {keys} LIMIT $3
"""  # noqa: S608 - made of names that stand above


async def read_rows(
    database: Database, tenant_id: TenantId, part: Part, chosen: str = "", *arguments: object
) -> AsyncIterator[ExportedRow]:
    """The tenant's rows of one table, or those for which the condition ``chosen`` holds."""
    after: list[str] | None = None
    while True:
        sql = batch_statement(part, first=after is None, chosen=chosen)
        async with database.tenant(tenant_id) as tx:
            rows = await tx.fetch(sql, tenant_id, list(part.hidden), BATCH, after, *arguments)
        for row in rows:
            yield ExportedRow(part.table, row["row"])
        if len(rows) < BATCH:
            return
        after = rows[-1]["key"]


async def read_tenant(database: Database, tenant_id: TenantId) -> AsyncIterator[ExportedRow]:
    """Every row of the tenant, table by table."""
    for part in EXPORTED:
        async for row in read_rows(database, tenant_id, part):
            yield row


async def read_contact(
    database: Database, tenant_id: TenantId, person: Person
) -> AsyncIterator[ExportedRow]:
    """Every row about this contact of the tenant, table by table."""
    names = {"contact": person.contact, "chats": person.chats, "keys": person.chat_keys}
    for part in EXPORTED:
        if part.table in OF_A_CONTACT:
            condition, name = OF_A_CONTACT[part.table]
            async for row in read_rows(database, tenant_id, part, condition, names[name]):
                yield row


async def count_rows(tx: Tx, tenant_id: TenantId) -> dict[str, int]:
    """How many rows of the tenant each table has, those without any left out."""
    counts = {}
    for part in EXPORTED:
        sql = f"SELECT count(*) FROM {part.table} WHERE {part.owner} = $1"  # noqa: S608
        counts[part.table] = int(await tx.fetchval(sql, tenant_id))
    return {table: count for table, count in counts.items() if count}
