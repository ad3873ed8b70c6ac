"""Webhook endpoints: where events are sent, of one tenant or (without a tenant) of all of them.

The same operations stand under two addresses; whose endpoint it is comes from the path.
"""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints
from yarl import URL

from flowhq.admin.identities import require_reach
from flowhq.admin.inputs import Input, NoBody, NoQuery, Query, read_path_id
from flowhq.admin.problems import NOT_FOUND, WRONG_STATE, FieldError, ProblemError
from flowhq.admin.routes import AnyRoute, Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.admin.versions import etag, is_known, read_if_match
from flowhq.db.deliveries import DeliveryRow
from flowhq.db.events import EVENT_ID_PATTERN, event_id, read_event_id
from flowhq.db.versions import digest_of, version_at
from flowhq.db.webhooks import EndpointRow
from flowhq.model import DeliveryState, EventType, TenantId

DELIVERIES_DEFAULT = 100
DELIVERIES_MAX = 500
BASE = "/admin/webhooks"
TENANTS_BASE = "/admin/tenants/{tenant_id}/webhooks"
ONE = f"{BASE}/{{webhook}}"
DISABLED_BY_ADMIN = "Disabled over the API."
# What an endpoint is told: whoever sets one up could read it there.
TOLD = frozenset({Scope.EVENTS_READ, Scope.MESSAGES_READ})

Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Types = Annotated[list[Annotated[EventType, Field(strict=False)]], Field(max_length=len(EventType))]
EventRef = Annotated[str, StringConstraints(pattern=f"^{EVENT_ID_PATTERN}$")]


class CreateWebhook(Input):
    """``types`` empty: every type, also those that come later."""

    url: Url
    types: Types = Field(default_factory=list)


class ChangeWebhook(Input):
    """What is not named stays. ``enabled`` true takes up what still waits."""

    url: Url | None = None
    types: Types | None = None
    enabled: bool | None = None


class ReplayWebhook(Input):
    """Every kept event from this time on."""

    since: Annotated[AwareDatetime, Field(strict=False)]


class DeliveriesQuery(Query):
    """``before`` is the ``next`` of the page before this one."""

    state: DeliveryState | None = None
    limit: int = Field(default=DELIVERIES_DEFAULT, ge=1, le=DELIVERIES_MAX)
    before: EventRef | None = None


class WebhookView(BaseModel):
    """One endpoint. ``tenant_id`` null: it gets the events of all tenants. ``types`` empty: every
    type. ``old_secret_until``: until then the secret before signs too."""

    id: UUID
    tenant_id: UUID | None
    url: str
    types: list[EventType]
    enabled: bool
    disabled_reason: str
    disabled_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class NewWebhookView(WebhookView):
    """With the secret that signs, ``whsec_...``: it is shown this once."""

    secret: str


class WebhooksView(BaseModel):
    """The oldest first; there are ten at most."""

    items: list[WebhookView]


class TrialView(BaseModel):
    """What the receiver answered to a ``webhook.test``: ``status`` null without an answer."""

    delivered: bool
    status: int | None
    error: str
    ms: int


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


async def list_webhooks(call: Call[NoBody, NoQuery]) -> WebhooksView:
    rows = await call.deps.outward.webhooks.list_endpoints(await _owner(call))
    return WebhooksView(items=[_view(row) for row in rows])


async def create_webhook(call: Call[CreateWebhook, NoQuery]) -> NewWebhookView:
    owner = await _owner(call)
    require_reach(call.principal, TOLD, ())
    row, secret = await call.deps.outward.webhooks.create(owner, call.body.url, call.body.types)
    call.changed({}, {"id": str(row.endpoint_id)} | _shown(row))
    return _with_secret(row, secret)


async def get_webhook(call: Call[NoBody, NoQuery]) -> web.Response:
    answer = _answer(await call.deps.outward.webhooks.fetch(await _owner(call), _endpoint(call)))
    if not is_known(call.request, answer.headers["ETag"]):
        return answer
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": answer.headers["ETag"]})


async def change_webhook(call: Call[ChangeWebhook, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    changes = call.body.model_dump(exclude_none=True)
    if changes.get("enabled") is False:
        changes["disabled_reason"] = DISABLED_BY_ADMIN
    owner = await _owner(call)
    require_reach(call.principal, TOLD, ())
    before, row = await call.deps.outward.webhooks.update(owner, _endpoint(call), changes, seen)
    call.changed(_shown(before), _shown(row))
    return _answer(row)


async def delete_webhook(call: Call[NoBody, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    before = await call.deps.outward.webhooks.delete(await _owner(call), _endpoint(call), seen)
    call.changed(_shown(before), {})
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def rotate_webhook(call: Call[NoBody, NoQuery]) -> NewWebhookView:
    row, secret = await call.deps.outward.webhooks.rotate(await _owner(call), _endpoint(call))
    call.changed({"secret": "before"}, {"secret": "after"})
    return _with_secret(row, secret)


async def test_webhook(call: Call[NoBody, NoQuery]) -> TrialView:
    trial = await call.deps.outward.webhooks.test(await _owner(call), _endpoint(call))
    return TrialView(delivered=trial.delivered, status=trial.status, error=trial.error, ms=trial.ms)


async def list_deliveries(call: Call[NoBody, DeliveriesQuery]) -> DeliveryPageView:
    before = call.query.before
    page = await call.deps.outward.webhooks.list_deliveries(
        await _owner(call),
        _endpoint(call),
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
    await call.deps.outward.webhooks.deliver_again(await _owner(call), _endpoint(call), seq)
    return web.Response(status=HTTPStatus.ACCEPTED)


async def replay_webhook(call: Call[ReplayWebhook, NoQuery]) -> ReplayedView:
    replayed = await call.deps.outward.webhooks.replay(
        await _owner(call), _endpoint(call), call.body.since
    )
    return ReplayedView(queued=replayed.count, next_since=replayed.until)


async def _owner(call: Call[Any, Any]) -> TenantId | None:
    """Whose endpoints the path speaks of; NotFoundError for an unknown tenant."""
    if call.path_tenant is None:
        return None
    return (await call.deps.store.fetch_tenant(call.path_tenant)).tenant_id


def _endpoint(call: Call[Any, Any]) -> UUID:
    return read_path_id(call.request, "webhook")


def _view(row: EndpointRow) -> WebhookView:
    return WebhookView(
        id=row.endpoint_id,
        tenant_id=row.owner,
        url=row.url,
        types=list(row.types),
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        disabled_at=row.disabled_at,
        old_secret_until=row.old_secret_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _answer(row: EndpointRow) -> web.Response:
    """The endpoint with its ETag."""
    view = _view(row)
    tag = etag(version_at(row.updated_at), view.model_dump_json().encode())
    return reply(view, headers={"ETag": tag})


def _shown(row: EndpointRow) -> dict[str, Any]:
    """For the audit: where the events go, without what may be a secret in the address."""
    origin = str(URL(row.url).origin())
    where = f"{origin}/… ({digest_of(row.url.encode())[:8]})"
    return {"url": where, "types": list(row.types), "enabled": row.enabled}


def _with_secret(row: EndpointRow, secret: str) -> NewWebhookView:
    return NewWebhookView(**_view(row).model_dump(), secret=secret)


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


def _of_tenant(route: AnyRoute) -> AnyRoute:
    """The same operation on a tenant's own endpoints."""
    return replace(
        route, path=route.path.replace(BASE, TENANTS_BASE, 1), name=f"{route.name}_of_tenant"
    )


OF_ALL: tuple[AnyRoute, ...] = (
    Route(
        "GET",
        BASE,
        "list_webhooks",
        "Where events are sent",
        list_webhooks,
        body=NoBody,
        query=NoQuery,
        answer=WebhooksView,
        needs=Scope.WEBHOOKS_WRITE,
    ),
    Route(
        "POST",
        BASE,
        "create_webhook",
        "Send events to a URL; the answer holds the secret, once",
        create_webhook,
        body=CreateWebhook,
        query=NoQuery,
        answer=NewWebhookView,
        needs=Scope.WEBHOOKS_WRITE,
        answer_kept=False,
        status=HTTPStatus.CREATED,
        problems=(WRONG_STATE,),
    ),
    Route(
        "GET",
        ONE,
        "get_webhook",
        "One endpoint",
        get_webhook,
        body=NoBody,
        query=NoQuery,
        answer=WebhookView,
        needs=Scope.WEBHOOKS_WRITE,
        problems=(NOT_FOUND,),
        versioned=True,
    ),
    Route(
        "PATCH",
        ONE,
        "change_webhook",
        "Another URL, other types, off or on again",
        change_webhook,
        body=ChangeWebhook,
        query=NoQuery,
        answer=WebhookView,
        needs=Scope.WEBHOOKS_WRITE,
        problems=(NOT_FOUND,),
        versioned=True,
    ),
    Route(
        "DELETE",
        ONE,
        "delete_webhook",
        "Take an endpoint away, with what waits for it",
        delete_webhook,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.WEBHOOKS_WRITE,
        status=HTTPStatus.NO_CONTENT,
        problems=(NOT_FOUND,),
        versioned=True,
    ),
    Route(
        "POST",
        f"{ONE}/rotate",
        "rotate_webhook",
        "A new secret, shown once; the one before signs beside it for a day",
        rotate_webhook,
        body=NoBody,
        query=NoQuery,
        answer=NewWebhookView,
        needs=Scope.WEBHOOKS_WRITE,
        answer_kept=False,
        problems=(NOT_FOUND,),
    ),
    Route(
        "POST",
        f"{ONE}/test",
        "test_webhook",
        "Send a test event now and say what came back",
        test_webhook,
        body=NoBody,
        query=NoQuery,
        answer=TrialView,
        needs=Scope.WEBHOOKS_WRITE,
        problems=(NOT_FOUND,),
    ),
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
ROUTES = (*OF_ALL, *(_of_tenant(route) for route in OF_ALL))
