"""A tenant's messages and its history of states, newest first, page by page."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import NoBody, Query
from flowhq.admin.ports import EventRecord, LogRecord
from flowhq.admin.routes import Call, Route
from flowhq.model import Direction, MessageKind, MessageStatus, Reason, TenantStatus

LOGS_DEFAULT = 200
LOGS_MAX = 1000

Place = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class PageQuery(Query):
    """``before`` is the ``next`` of the page before this one."""

    limit: int = Field(default=LOGS_DEFAULT, ge=1, le=LOGS_MAX)
    before: Place | None = None


class LogView(BaseModel):
    """One message: IN from a customer, OUT from the bot or from a person on the phone."""

    id: str
    direction: Direction
    from_number: str
    to_number: str
    type: MessageKind
    message_text: str
    status: MessageStatus
    wa_message_id: str | None
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
    from_status: TenantStatus | None
    to_status: TenantStatus
    reason: Reason
    detail: str
    actor: str
    created_at: datetime


class EventPageView(BaseModel):
    """Newest first; ``next`` goes into ``before``, null on the last page."""

    tenant_id: UUID
    items: list[EventView]
    next: str | None


async def list_logs(call: Call[NoBody, PageQuery]) -> LogPageView:
    page = await call.deps.store.list_logs(
        call.tenant_id, limit=call.query.limit, before=call.query.before
    )
    return LogPageView(
        tenant_id=call.tenant_id, items=[_log_view(r) for r in page.records], next=page.next
    )


async def list_events(call: Call[NoBody, PageQuery]) -> EventPageView:
    page = await call.deps.store.list_events(
        call.tenant_id, limit=call.query.limit, before=call.query.before
    )
    return EventPageView(
        tenant_id=call.tenant_id, items=[_event_view(r) for r in page.records], next=page.next
    )


def _log_view(record: LogRecord) -> LogView:
    return LogView(
        id=record.log_id,
        direction=record.direction,
        from_number=record.from_number,
        to_number=record.to_number,
        type=record.kind,
        message_text=record.text,
        status=record.status,
        wa_message_id=record.wa_message_id,
        created_at=record.created_at,
    )


def _event_view(record: EventRecord) -> EventView:
    return EventView(
        id=record.event_id,
        event=record.event,
        from_status=record.from_status,
        to_status=record.to_status,
        reason=record.reason,
        detail=record.detail,
        actor=record.actor,
        created_at=record.at,
    )


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/logs",
        "list_logs",
        "The tenant's messages, newest first",
        list_logs,
        body=NoBody,
        query=PageQuery,
        answer=LogPageView,
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
    ),
)
