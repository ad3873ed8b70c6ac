"""The books: what came, what became of it, and how long tenants were connected."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

from flowhq.admin.inputs import NoBody, Query
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.accounting import Account, Books
from flowhq.errors import InvalidInputError
from flowhq.model import OutboxState

DEFAULT = timedelta(hours=24)
# Longer, and the answer is a report that reads a year of messages, not a figure.
LONGEST = timedelta(days=92)


class SinceQuery(Query):
    """``since``: where the window begins, with a time zone; a day ago without it."""

    since: AwareDatetime | None = None


class RepliesView(BaseModel):
    """Our messages planned in the window: ``sent`` the server took, ``unknown`` may be out and are
    looked up, ``cancelled`` were taken back (see `admin/reasons.py` for why)."""

    planned: int
    sent: int
    waiting: int
    unknown: int
    dead: int
    cancelled: int


class AccountView(BaseModel):
    """``received`` messages of customers are ``answered``, ``skipped`` (by reason), ``waiting`` or
    ``dead``; ``repaired`` of them were found after an absence. Nothing is missing from the sum."""

    since: datetime
    until: datetime
    received: int
    answered: int
    skipped: dict[str, int]
    waiting: int
    dead: int
    repaired: int
    replies: RepliesView
    connected_s: float
    wanted_s: float


class TenantAccountView(AccountView):
    """The books of one tenant."""

    tenant_id: UUID


class TotalAccountView(AccountView):
    """The sum over ``tenants`` tenants."""

    tenants: int


async def tenant_account(call: Call[NoBody, SinceQuery]) -> TenantAccountView:
    books = await call.deps.store.fetch_account(call.tenant_id, _since(call))
    return TenantAccountView(
        tenant_id=call.tenant_id, **_figures(books, books.tenants[call.tenant_id])
    )


async def total_account(call: Call[NoBody, SinceQuery]) -> TotalAccountView:
    books = await call.deps.store.fetch_accounts(_since(call))
    return TotalAccountView(tenants=len(books.tenants), **_figures(books, books.total()))


def _since(call: Call[NoBody, SinceQuery]) -> datetime:
    now = call.deps.clock.now()
    since = call.query.since or now - DEFAULT
    if since > now:
        raise InvalidInputError("must not be in the future.", field="since")
    if since < now - LONGEST:
        raise InvalidInputError(f"must be within the last {LONGEST.days} days.", field="since")
    return since


def _figures(books: Books, account: Account) -> dict[str, Any]:
    return {
        "since": books.since,
        "until": books.until,
        "received": account.received,
        "answered": account.answered,
        "skipped": dict(sorted(account.skipped.items())),
        "waiting": account.waiting,
        "dead": account.dead,
        "repaired": account.repaired,
        "replies": RepliesView(
            planned=account.replies.total(),
            sent=account.sent,
            waiting=account.under_way,
            unknown=account.replies[OutboxState.UNKNOWN],
            dead=account.replies[OutboxState.DEAD],
            cancelled=account.replies[OutboxState.CANCELLED],
        ),
        "connected_s": round(account.connected_s, 1),
        "wanted_s": round(account.wanted_s, 1),
    }


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/accounting",
        "tenant_accounting",
        "What came to the tenant, what became of it, and how long it was connected",
        tenant_account,
        body=NoBody,
        query=SinceQuery,
        answer=TenantAccountView,
        needs=Scope.STATUS_READ,
    ),
    Route(
        "GET",
        "/admin/accounting",
        "total_accounting",
        "The same for all tenants together",
        total_account,
        body=NoBody,
        query=SinceQuery,
        answer=TotalAccountView,
        needs=Scope.STATUS_READ,
    ),
)
