"""Reading the audit. Writing it is the route machinery's (recording.py)."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import NoBody, Query
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.audit import EntryFilter, EntryRow
from flowhq.model import TenantId

ENTRIES_DEFAULT = 100
ENTRIES_MAX = 500

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class AuditQuery(Query):
    """``before`` is the ``next`` of the page before this one; filters that are given all hold."""

    tenant: UUID | None = None
    principal: Word | None = None
    route: Word | None = None
    limit: int = Field(default=ENTRIES_DEFAULT, ge=1, le=ENTRIES_MAX)
    before: Word | None = None


class ChangeView(BaseModel):
    """One field by its path; null where there was or is nothing. Secrets are hidden."""

    field: str
    before: Any
    after: Any


class AuditEntryView(BaseModel):
    """One change that was asked for. ``status`` is that of the answer; null: begun, the end is not
    known. ``target`` are the ids in the path beside the tenant's."""

    id: UUID
    at: datetime
    done_at: datetime | None
    principal: str
    address: str
    request_id: str
    method: str
    route: str
    tenant_id: UUID | None
    target: dict[str, str]
    status: int | None
    changes: list[ChangeView]


class AuditPageView(BaseModel):
    """Newest first; ``next`` goes into ``before``, null on the last page."""

    items: list[AuditEntryView]
    next: str | None


async def list_audit(call: Call[NoBody, AuditQuery]) -> AuditPageView:
    query = call.query
    wanted = EntryFilter(
        tenant_id=None if query.tenant is None else TenantId(query.tenant),
        principal=query.principal,
        route=query.route,
    )
    page = await call.deps.audit.list_entries(wanted, limit=query.limit, before=query.before)
    return AuditPageView(items=[_view(row) for row in page.rows], next=page.next)


def _view(row: EntryRow) -> AuditEntryView:
    entry = row.entry
    return AuditEntryView(
        id=row.entry_id,
        at=row.at,
        done_at=row.done_at,
        principal=entry.principal,
        address=entry.address,
        request_id=entry.request_id,
        method=entry.method,
        route=entry.route,
        tenant_id=entry.tenant_id,
        target=dict(entry.target),
        status=row.status,
        changes=[ChangeView(field=c.field, before=c.before, after=c.after) for c in row.changes],
    )


ROUTES = (
    Route(
        "GET",
        "/admin/audit",
        "list_audit",
        "Who changed what, newest first",
        list_audit,
        body=NoBody,
        query=AuditQuery,
        answer=AuditPageView,
        needs=Scope.ADMIN,
    ),
)
