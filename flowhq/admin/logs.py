"""A tenant's messages and its history of states, newest first, page by page."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from flowhq.admin.inputs import NoBody, Query, converted
from flowhq.admin.phone import to_contact
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.logs import LogFilter, LogRow
from flowhq.db.states import EventRow
from flowhq.model import (
    Direction,
    MessageKind,
    MessageStatus,
    Reason,
    SessionState,
    TenantStatus,
    WorkerStatus,
)

LOGS_DEFAULT = 200
LOGS_MAX = 1000

Place = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ContactNumber = Annotated[str, StringConstraints(max_length=80), converted(to_contact)]


class PageQuery(Query):
    """``before`` is the ``next`` of the page before this one."""

    limit: int = Field(default=LOGS_DEFAULT, ge=1, le=LOGS_MAX)
    before: Place | None = None


class LogsQuery(PageQuery):
    """Of the messages recorded ``since`` and before ``until`` (with a time zone), in one
    ``direction``, with the contact of this ``number`` (or of the id that the log shows instead)."""

    direction: Direction | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    number: ContactNumber | None = None


class LogView(BaseModel):
    """One message: IN from a customer, OUT from the bot or from a person on the phone.

    ``wa_timestamp`` is WhatsApp's time of it, ``created_at`` ours.
    """

    id: UUID
    direction: Direction
    from_number: str
    to_number: str
    type: MessageKind
    message_text: str
    status: MessageStatus
    wa_message_id: str | None
    wa_timestamp: datetime | None
    conversation_id: UUID | None
    created_at: datetime


class LogPageView(BaseModel):
    """Newest first; ``next`` goes into ``before``, null on the last page."""

    tenant_id: UUID
    items: list[LogView]
    next: str | None


class EventView(BaseModel):
    """One change of state, why, and through whom."""

    id: str
    event: str
    from_status: TenantStatus
    to_status: TenantStatus
    session_state: SessionState
    worker_status: WorkerStatus
    reason: Reason
    detail: str
    actor: str
    created_at: datetime


class EventPageView(BaseModel):
    """Newest first; ``next`` goes into ``before``, null on the last page."""

    tenant_id: UUID
    items: list[EventView]
    next: str | None


async def list_logs(call: Call[NoBody, LogsQuery]) -> LogPageView:
    query = call.query
    chosen = LogFilter(
        direction=query.direction, since=query.since, until=query.until, contact=query.number
    )
    page = await call.deps.store.list_logs(
        call.tenant_id, chosen, limit=query.limit, before=query.before
    )
    return LogPageView(
        tenant_id=call.tenant_id, items=[_log_view(row) for row in page.rows], next=page.next
    )


async def list_events(call: Call[NoBody, PageQuery]) -> EventPageView:
    page = await call.deps.store.list_events(
        call.tenant_id, limit=call.query.limit, before=call.query.before
    )
    return EventPageView(
        tenant_id=call.tenant_id, items=[_event_view(row) for row in page.rows], next=page.next
    )


def _log_view(row: LogRow) -> LogView:
    return LogView(
        id=row.log_id,
        direction=row.direction,
        from_number=row.from_number,
        to_number=row.to_number,
        type=row.kind,
        message_text=row.text,
        status=row.status,
        wa_message_id=row.wa_message_id,
        wa_timestamp=row.sent_at,
        conversation_id=row.conversation_id,
        created_at=row.created_at,
    )


def _event_view(row: EventRow) -> EventView:
    return EventView(
        id=str(row.event_id),
        event=row.event,
        from_status=row.from_status,
        to_status=row.to_status,
        session_state=row.session,
        worker_status=row.worker,
        reason=row.reason,
        detail=row.detail,
        actor=row.actor,
        created_at=row.at,
    )


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/logs",
        "list_logs",
        "The tenant's messages, newest first",
        list_logs,
        body=NoBody,
        query=LogsQuery,
        answer=LogPageView,
        needs=Scope.MESSAGES_READ,
    ),
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/events",
        "list_events",
        "The tenant's changes of state, newest first",
        list_events,
        body=NoBody,
        query=PageQuery,
        answer=EventPageView,
        needs=Scope.TENANTS_READ,
    ),
)
