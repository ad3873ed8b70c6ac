"""The fleet's stored figures in three readings, however many tenants there are."""

from dataclasses import dataclass
from datetime import datetime

from flowhq.db.pool import Database
from flowhq.model import TenantId

LIST_STATES = """
SELECT id, status::text AS status, reason,
    coalesce(session_state::text, 'DISCONNECTED') AS session,
    coalesce(worker_status::text, 'STOPPED') AS worker, coalesce(restarts, 0) AS restarts
FROM ops_tenants
"""
# What the statistics know of a state is hidden from the operator's role: the planner takes any row
# for one that waits, and would read the whole table, with processes of the server started to help
# it. There is an index of those that do.
BY_INDEX_ALONE = """
SELECT now(), set_config('enable_seqscan', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true)
"""
LIST_QUEUES = "SELECT tenant_id, queue, messages, oldest_at FROM ops_queues"
LIST_WEBHOOKS = "SELECT state, events, oldest_at FROM ops_webhook_queues"


@dataclass(frozen=True, slots=True)
class StoredState:
    """A tenant's state as it was written down last."""

    tenant_id: TenantId
    status: str
    session: str
    worker: str
    reason: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of one tenant that wait: ``queue`` is inbox, outbox or dead."""

    tenant_id: TenantId
    queue: str
    messages: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Events at webhooks: ``state`` is waiting, disabled (of an endpoint that is) or dead."""

    state: str
    events: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class Stock:
    """All tenants, and what of theirs waits, at one moment of the database's clock."""

    at: datetime
    tenants: tuple[StoredState, ...]
    depths: tuple[Depth, ...]
    webhooks: tuple[Undelivered, ...] = ()


async def take_stock(database: Database) -> Stock:
    """Tenants without anything that waits have no depths."""
    async with database.ops() as tx:
        states = await tx.fetch(LIST_STATES)
        at: datetime = await tx.fetchval(BY_INDEX_ALONE)
        queues = await tx.fetch(LIST_QUEUES)
        webhooks = await tx.fetch(LIST_WEBHOOKS)
    return Stock(
        at,
        tuple(
            StoredState(
                TenantId(row["id"]),
                row["status"],
                row["session"],
                row["worker"],
                row["reason"],
                row["restarts"],
            )
            for row in states
        ),
        tuple(
            Depth(TenantId(row["tenant_id"]), row["queue"], row["messages"], row["oldest_at"])
            for row in queues
        ),
        tuple(Undelivered(row["state"], row["events"], row["oldest_at"]) for row in webhooks),
    )
