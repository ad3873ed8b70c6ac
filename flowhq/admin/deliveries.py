"""Deliveries: what became of each event at a webhook endpoint, and sending it once more.

Under the two addresses of the endpoint, as in webhooks.py.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from flowhq.admin.inputs import Input, NoBody, NoQuery, Query
from flowhq.admin.problems import NOT_FOUND, FieldError, ProblemError
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.admin.webhooks import ONE, also_of_tenants, endpoint_of, owner_of
from flowhq.db.deliveries import DeliveryRow
from flowhq.db.events import EVENT_ID_PATTERN, event_id, read_event_id
from flowhq.model import DeliveryState, EventType

DELIVERIES_DEFAULT = 100
DELIVERIES_MAX = 500

EventRef = Annotated[str, StringConstraints(pattern=f"^{EVENT_ID_PATTERN}$")]


class ReplayWebhook(Input):
    """Every kept event from this time on."""

    since: Annotated[AwareDatetime, Field(strict=False)]


class DeliveriesQuery(Query):
    """``before`` is the ``next`` of the page before this one."""

    state: DeliveryState | None = None
    limit: int = Field(default=DELIVERIES_DEFAULT, ge=1, le=DELIVERIES_MAX)
    before: EventRef | None = None


class DeliveryView(BaseModel):
    """One event at this endpoint. ``event_at``: when it happened; ``queued_at``: when it was to be
    told; ``next_at``: when it is tried again; ``status`` and ``error`` are of the last attempt."""

    id: str
    tenant_id: UUID | None
    type: EventType
    event_at: datetime
    state: DeliveryState
    attempts: int
    status: int | None
    error: str
    queued_at: datetime
    next_at: datetime | None
    attempted_at: datetime | None
    done_at: datetime | None


class DeliveryPageView(BaseModel):
    """The newest event first; ``next`` goes into ``before``, null on the last page."""

    items: list[DeliveryView]
    next: str | None


class ReplayedView(BaseModel):
    """How many events were queued. ``next_since``: there are more, to be asked for from then on."""

    queued: int
    next_since: datetime | None


async def list_deliveries(call: Call[NoBody, DeliveriesQuery]) -> DeliveryPageView:
    before = call.query.before
    page = await call.deps.outward.webhooks.list_deliveries(
        await owner_of(call),
        endpoint_of(call),
        state=call.query.state,
        limit=call.query.limit,
        before=None if before is None else read_event_id(before),
    )
    return DeliveryPageView(
        items=[_delivery(row) for row in page.rows],
        next=None if page.next is None else event_id(page.next),
    )


async def deliver_again(call: Call[NoBody, NoQuery]) -> web.Response:
    seq = read_event_id(call.request.match_info["event"])
    if seq is None:
        raise ProblemError(
            NOT_FOUND,
            "There is no such event.",
            errors=[FieldError("event", "is not the id of an event.")],
        )
    await call.deps.outward.webhooks.deliver_again(await owner_of(call), endpoint_of(call), seq)
    return web.Response(status=HTTPStatus.ACCEPTED)


async def replay_webhook(call: Call[ReplayWebhook, NoQuery]) -> ReplayedView:
    replayed = await call.deps.outward.webhooks.replay(
        await owner_of(call), endpoint_of(call), call.body.since
    )
    return ReplayedView(queued=replayed.count, next_since=replayed.until)


def _delivery(row: DeliveryRow) -> DeliveryView:
    waits = row.state is DeliveryState.PENDING
    return DeliveryView(
        id=event_id(row.seq),
        tenant_id=row.tenant_id,
        type=row.type,
        event_at=row.at,
        state=row.state,
        attempts=row.attempts,
        status=row.status,
        error=row.error,
        queued_at=row.queued_at,
        next_at=row.next_at if waits else None,
        attempted_at=row.attempted_at,
        done_at=row.done_at,
    )


ROUTES = also_of_tenants(
    Route(
        "GET",
        f"{ONE}/deliveries",
        "list_deliveries",
        "What became of each event here; state=dead are those that were given up",
        list_deliveries,
        body=NoBody,
        query=DeliveriesQuery,
        answer=DeliveryPageView,
        needs=Scope.WEBHOOKS_WRITE,
        problems=(NOT_FOUND,),
    ),
    Route(
        "POST",
        f"{ONE}/deliveries/{{event}}/replay",
        "replay_delivery",
        "Send one event once more",
        deliver_again,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.WEBHOOKS_WRITE,
        status=HTTPStatus.ACCEPTED,
        problems=(NOT_FOUND,),
    ),
    Route(
        "POST",
        f"{ONE}/replay",
        "replay_webhook",
        "Send every kept event from a time on once more, in order",
        replay_webhook,
        body=ReplayWebhook,
        query=NoQuery,
        answer=ReplayedView,
        needs=Scope.WEBHOOKS_WRITE,
        status=HTTPStatus.ACCEPTED,
        problems=(NOT_FOUND,),
    ),
)
