"""The end of a tenant: its rows go by the batch, the large tables one after the other.

The cascade from the tenant's own row would take all of them in one statement, which takes longer
than a statement may if there are some thousand chats and a year of days. Each batch is a
transaction; what was broken off goes on where it stopped when it is asked for again.
"""

from flowhq.db.pool import Database
from flowhq.db.retention import BATCH, until_done
from flowhq.model import TenantId

# Each chat costs a look into every day of the ledger: some seven milliseconds with a year of them.
CHATS = 100

# By its place: nobody else writes a row of a tenant that is on its way out, and what moves
# meanwhile is found by the next batch.
DELETE = """
DELETE FROM {table} WHERE tenant_id = $1
    AND ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant_id = $1 LIMIT $2))
"""
# A place is a place in one partition alone.
DELETE_LOGS = """
DELETE FROM message_logs m USING (
    SELECT id, created_at FROM message_logs WHERE tenant_id = $1 ORDER BY created_at LIMIT $2
) AS b
WHERE m.tenant_id = $1 AND m.id = b.id AND m.created_at = b.created_at
"""


def _delete(table: str) -> str:
    return DELETE.format(table=table)


# What is referenced goes after what refers to it. All other tables are small: they go with the
# tenant's own row.
STEPS: tuple[tuple[str, int], ...] = (
    (DELETE_LOGS, BATCH),
    (_delete("inbox"), BATCH),
    (_delete("outbox"), BATCH),
    (_delete("events"), BATCH),
    (_delete("chat_aliases"), BATCH),
    (_delete("chat_cursors"), BATCH),
    (_delete("conversations"), CHATS),
    (_delete("contacts"), BATCH),
    (_delete("tenant_events"), BATCH),
    (_delete("tenant_spans"), BATCH),
    (_delete("portal_event_logs"), BATCH),
)


async def clear_tenant(database: Database, tenant_id: TenantId) -> None:
    """Every row of the large tables that is the tenant's; nothing if there is no such tenant."""
    for sql, at_once in STEPS:
        await until_done(database, tenant_id, sql, at_once=at_once)
