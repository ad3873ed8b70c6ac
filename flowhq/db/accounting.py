"""What came, what became of it, and how long tenants were connected: the books of a time.

Of one tenant through its own rows, of all through the operator's views. Numbers only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from asyncpg import Record

from flowhq.db.pool import Database, Tx
from flowhq.model import InboxState, OutboxState, TenantId

SEEN = """
SELECT tenant_id, state::text AS state, CASE WHEN state = 'skipped' THEN reason ELSE '' END AS why,
    source = 'catchup' AS repaired, count(*) AS number
FROM inbox WHERE tenant_id = $2 AND NOT from_me AND created_at >= $1
GROUP BY 1, 2, 3, 4
"""
REPLIES = """
SELECT tenant_id, state::text AS state, count(*) AS number
FROM outbox WHERE tenant_id = $2 AND planned_at >= $1
GROUP BY 1, 2
"""
SPANS = """
SELECT tenant_id, kind::text AS kind, sum(greatest(0, extract(
    epoch FROM least(coalesce(until_at, now()), now()) - greatest(began_at, $1::timestamptz)
)))::float8 AS seconds
FROM tenant_spans WHERE tenant_id = $2 AND coalesce(until_at, now()) > $1
GROUP BY 1, 2
"""
SEEN_BY_ALL = SEEN.replace("inbox WHERE tenant_id = $2 AND NOT from_me AND", "ops_seen WHERE")
REPLIES_OF_ALL = REPLIES.replace("outbox WHERE tenant_id = $2 AND", "ops_replies WHERE")
SPANS_OF_ALL = SPANS.replace("tenant_spans WHERE tenant_id = $2 AND", "ops_spans WHERE")
NOW = "SELECT now()"
LIST_IDS = "SELECT id FROM ops_tenants ORDER BY id"

_SENT = (OutboxState.ACCEPTED, OutboxState.DELIVERED, OutboxState.READ)
_UNDER_WAY = (OutboxState.PLANNED, OutboxState.SENDING)


@dataclass(slots=True)
class Account:
    """The books of one tenant, or the sum of several. Incoming messages: ``received`` is the sum of
    ``answered``, ``skipped``, ``waiting`` and ``dead``; ``repaired`` of them were read after an
    absence. Ours by their state. Seconds connected, and seconds wanted."""

    received: int = 0
    answered: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    dead: int = 0
    repaired: int = 0
    replies: Counter[OutboxState] = field(default_factory=Counter)
    connected_s: float = 0.0
    wanted_s: float = 0.0

    @property
    def sent(self) -> int:
        """Replies that the server took."""
        return sum(self.replies[state] for state in _SENT)

    @property
    def under_way(self) -> int:
        """Replies that wait to be sent or are being sent."""
        return sum(self.replies[state] for state in _UNDER_WAY)

    def add(self, other: "Account") -> None:
        self.received += other.received
        self.answered += other.answered
        self.skipped.update(other.skipped)
        self.waiting += other.waiting
        self.dead += other.dead
        self.repaired += other.repaired
        self.replies.update(other.replies)
        self.connected_s += other.connected_s
        self.wanted_s += other.wanted_s


@dataclass(frozen=True, slots=True)
class Books:
    """From ``since`` to ``until``, by the database's clock; a tenant without anything is there."""

    since: datetime
    until: datetime
    tenants: Mapping[TenantId, Account]

    def total(self) -> Account:
        total = Account()
        for account in self.tenants.values():
            total.add(account)
        return total


async def fetch_account(database: Database, tenant_id: TenantId, since: datetime) -> Books:
    """The books of one tenant; empty ones if it is not known."""
    async with database.tenant(tenant_id) as tx:
        return await _books(tx, (SEEN, REPLIES, SPANS), [tenant_id], since, tenant_id)


async def fetch_accounts(database: Database, since: datetime) -> Books:
    """The books of every tenant."""
    async with database.ops() as tx:
        tenant_ids = [TenantId(row["id"]) for row in await tx.fetch(LIST_IDS)]
        return await _books(tx, (SEEN_BY_ALL, REPLIES_OF_ALL, SPANS_OF_ALL), tenant_ids, since)


async def _books(
    tx: Tx, sql: tuple[str, str, str], ids: Iterable[TenantId], since: datetime, *args: object
) -> Books:
    accounts = {tenant_id: Account() for tenant_id in ids}
    seen, replies, spans = [await tx.fetch(one, since, *args) for one in sql]
    for row in seen:
        _count_seen(_of(accounts, row), row)
    for row in replies:
        _of(accounts, row).replies[OutboxState(row["state"])] += row["number"]
    for row in spans:
        account = _of(accounts, row)
        if row["kind"] == "connected":
            account.connected_s += row["seconds"]
        else:
            account.wanted_s += row["seconds"]
    return Books(since, await tx.fetchval(NOW), accounts)


def _of(accounts: dict[TenantId, Account], row: Record) -> Account:
    return accounts.setdefault(TenantId(row["tenant_id"]), Account())


def _count_seen(account: Account, row: Record) -> None:
    number: int = row["number"]
    account.received += number
    account.repaired += number if row["repaired"] else 0
    match InboxState(row["state"]):
        case InboxState.DONE:
            account.answered += number
        case InboxState.SKIPPED:
            account.skipped[row["why"] or "unknown"] += number
        case InboxState.DEAD:
            account.dead += number
        case InboxState.NEW | InboxState.RETRY:
            account.waiting += number


def figures(account: Account) -> dict[str, object]:
    """The books for a line of the log."""
    return {
        "received": account.received,
        "answered": account.answered,
        "skipped": dict(account.skipped),
        "waiting": account.waiting,
        "dead": account.dead,
        "repaired": account.repaired,
        "replies_sent": account.sent,
        "replies_unknown": account.replies[OutboxState.UNKNOWN],
        "replies_dead": account.replies[OutboxState.DEAD],
        "connected_s": round(account.connected_s),
        "wanted_s": round(account.wanted_s),
    }
