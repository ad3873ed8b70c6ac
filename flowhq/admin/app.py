"""The admin API as one aiohttp application: the route table joined, the gates around it."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from flowhq.admin import (
    accounting,
    audit,
    backups,
    bulk,
    chats,
    data,
    deliveries,
    docs,
    health,
    logs,
    messages,
    metrics,
    owner_pages,
    pairing,
    pairing_links,
    portal,
    portal_keys,
    portal_signin,
    retention,
    sending,
    sessions,
    setup_requests,
    stream,
    tenants,
    tokens,
    users,
    webhooks,
    workers,
)
from flowhq.admin.auth import Authenticator
from flowhq.admin.idempotency import ONCE, Once
from flowhq.admin.inputs import BODY_MAX_BYTES, NoBody, NoQuery
from flowhq.admin.limits import RequestLimits, of_credentials
from flowhq.admin.middleware import LIMITS, MIDDLEWARES, PROXIES, add_headers
from flowhq.admin.openapi import document
from flowhq.admin.openid import OpenIdClient
from flowhq.admin.polling import CLOSING
from flowhq.admin.portal_auth import PORTAL_GATE, PortalGate
from flowhq.admin.portal_signin import OPENID
from flowhq.admin.ports import AdminDeps
from flowhq.admin.proxies import Proxies
from flowhq.admin.routes import AUTHENTICATOR, DEPS, AnyRoute, Call, Route, bind
from flowhq.admin.scopes import Scope

DESCRIPTION = web.AppKey("description", bytes)


class OpenApiView(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")

    openapi: str


async def describe(call: Call[NoBody, NoQuery]) -> web.Response:
    return web.Response(
        body=call.request.app[DESCRIPTION], content_type="application/json", status=HTTPStatus.OK
    )


ROUTES: Sequence[AnyRoute] = (
    *health.ROUTES,
    *tenants.ROUTES,
    *workers.ROUTES,
    *bulk.ROUTES,
    *data.ROUTES,
    *pairing.ROUTES,
    *logs.ROUTES,
    *chats.ROUTES,
    *messages.ROUTES,
    *accounting.ROUTES,
    *audit.ROUTES,
    *docs.ROUTES,
    *metrics.ROUTES,
    *retention.ROUTES,
    *sessions.ROUTES,
    *tokens.ROUTES,
    *backups.ROUTES,
    *portal_keys.ROUTES,
    *setup_requests.ROUTES,
    *portal.ROUTES,
    *portal_signin.ROUTES,
    *pairing_links.ROUTES,
    *owner_pages.ROUTES,
    *stream.ROUTES,
    *webhooks.ROUTES,
    *deliveries.ROUTES,
    *sending.ROUTES,
    *users.ROUTES,
    Route(
        "GET",
        "/openapi.json",
        "openapi",
        "This API, described",
        describe,
        body=NoBody,
        query=NoQuery,
        answer=OpenApiView,
        needs=Scope.STATUS_READ,
        fleet_wide=False,
    ),
)


async def _end_passwords(app: web.Application) -> None:
    app[AUTHENTICATOR].passwords.close()


def create_app(deps: AdminDeps) -> web.Application:
    """A new application on these dependencies; MisconfiguredError without an admin password."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=BODY_MAX_BYTES)
    app[DEPS] = deps
    app[CLOSING] = asyncio.Event()
    app[metrics.GATHERING] = metrics.Gathering(deps)
    app[ONCE] = Once(deps.store)
    app[docs.ASSETS] = docs.load_assets()
    bulk.set_up(app, deps)
    app[AUTHENTICATOR] = Authenticator(
        deps.settings.password_hash.get_secret_value(), deps.credentials, deps.clock
    )
    app.on_cleanup.append(_end_passwords)
    app[PROXIES] = Proxies(deps.settings)
    app[LIMITS] = RequestLimits(of_credentials(deps.settings), deps.clock)
    app[pairing_links.LIMITS] = pairing_links.PairLimits(deps.clock)
    app[PORTAL_GATE] = PortalGate(deps.portal, app[AUTHENTICATOR].throttle)
    app[OPENID] = OpenIdClient(deps.portal_settings, deps.egress, deps.clock)
    app[DESCRIPTION] = orjson.dumps(document(ROUTES, deps.version))
    app.on_response_prepare.append(add_headers)
    bind(app, ROUTES)
    return app
