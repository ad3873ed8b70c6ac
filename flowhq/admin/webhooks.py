"""Webhook endpoints: where events are sent, of one tenant or (without a tenant) of all of them.

The same operations stand under two addresses; whose endpoint it is comes from the path.
"""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints
from yarl import URL

from flowhq.admin.identities import require_reach
from flowhq.admin.inputs import Input, NoBody, NoQuery, read_path_id
from flowhq.admin.problems import NOT_FOUND, WRONG_STATE
from flowhq.admin.routes import AnyRoute, Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.admin.versions import etag, is_known, read_if_match
from flowhq.db.versions import digest_of, version_at
from flowhq.db.webhooks import EndpointRow
from flowhq.model import EventType, TenantId

BASE = "/admin/webhooks"
TENANTS_BASE = "/admin/tenants/{tenant_id}/webhooks"
ONE = f"{BASE}/{{webhook}}"
DISABLED_BY_ADMIN = "Disabled over the API."
# What an endpoint is told: whoever sets one up could read it there.
TOLD = frozenset({Scope.EVENTS_READ, Scope.MESSAGES_READ})

Url = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Types = Annotated[list[Annotated[EventType, Field(strict=False)]], Field(max_length=len(EventType))]


class CreateWebhook(Input):
    """``types`` empty: every type, also those that come later."""

    url: Url
    types: Types = Field(default_factory=list)


class ChangeWebhook(Input):
    """What is not named stays. ``enabled`` true takes up what still waits."""

    url: Url | None = None
    types: Types | None = None
    enabled: bool | None = None


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


async def list_webhooks(call: Call[NoBody, NoQuery]) -> WebhooksView:
    rows = await call.deps.outward.webhooks.list_endpoints(await owner_of(call))
    return WebhooksView(items=[_view(row) for row in rows])


async def create_webhook(call: Call[CreateWebhook, NoQuery]) -> NewWebhookView:
    owner = await owner_of(call)
    require_reach(call.principal, TOLD, ())
    row, secret = await call.deps.outward.webhooks.create(owner, call.body.url, call.body.types)
    call.changed({}, {"id": str(row.endpoint_id)} | _shown(row))
    return _with_secret(row, secret)


async def get_webhook(call: Call[NoBody, NoQuery]) -> web.Response:
    answer = _answer(
        await call.deps.outward.webhooks.fetch(await owner_of(call), endpoint_of(call))
    )
    if not is_known(call.request, answer.headers["ETag"]):
        return answer
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": answer.headers["ETag"]})


async def change_webhook(call: Call[ChangeWebhook, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    changes = call.body.model_dump(exclude_none=True)
    if changes.get("enabled") is False:
        changes["disabled_reason"] = DISABLED_BY_ADMIN
    owner = await owner_of(call)
    require_reach(call.principal, TOLD, ())
    before, row = await call.deps.outward.webhooks.update(owner, endpoint_of(call), changes, seen)
    call.changed(_shown(before), _shown(row))
    return _answer(row)


async def delete_webhook(call: Call[NoBody, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    before = await call.deps.outward.webhooks.delete(await owner_of(call), endpoint_of(call), seen)
    call.changed(_shown(before), {})
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def rotate_webhook(call: Call[NoBody, NoQuery]) -> NewWebhookView:
    row, secret = await call.deps.outward.webhooks.rotate(await owner_of(call), endpoint_of(call))
    call.changed({"secret": "before"}, {"secret": "after"})
    return _with_secret(row, secret)


async def test_webhook(call: Call[NoBody, NoQuery]) -> TrialView:
    trial = await call.deps.outward.webhooks.test(await owner_of(call), endpoint_of(call))
    return TrialView(delivered=trial.delivered, status=trial.status, error=trial.error, ms=trial.ms)


async def owner_of(call: Call[Any, Any]) -> TenantId | None:
    """Whose endpoints the path speaks of; NotFoundError for an unknown tenant."""
    if call.path_tenant is None:
        return None
    return (await call.deps.store.fetch_tenant(call.path_tenant)).tenant_id


def endpoint_of(call: Call[Any, Any]) -> UUID:
    """The endpoint that the path names."""
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


def also_of_tenants(*routes: AnyRoute) -> tuple[AnyRoute, ...]:
    """The operations, and each once more on a tenant's own endpoints."""
    return (*routes, *(_of_tenant(route) for route in routes))


def _of_tenant(route: AnyRoute) -> AnyRoute:
    return replace(
        route, path=route.path.replace(BASE, TENANTS_BASE, 1), name=f"{route.name}_of_tenant"
    )


ROUTES = also_of_tenants(
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
)
