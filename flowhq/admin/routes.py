"""The route table's vocabulary: one `Route` says all there is to know about an operation.

From the table come the handlers (`bind`), the validation of body and query, and the OpenAPI
document (openapi.py). An area module exports ``ROUTES``; app.py joins them.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from flowhq.admin.inputs import Input, Query, read_body, read_query, read_tenant_id
from flowhq.admin.ports import AdminDeps
from flowhq.admin.problems import Kind
from flowhq.admin.scopes import Principal, Scope
from flowhq.model import TenantId

BodyT = TypeVar("BodyT", bound=Input)
QueryT = TypeVar("QueryT", bound=Query)
TENANT_PATH = "{tenant_id}"
PLACEHOLDER = re.compile(r"{(\w+)}")

DEPS = web.AppKey("deps", AdminDeps)
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT]):
    """One request, checked. ``tenant_id`` is that of the path; asking without one is a bug."""

    request: web.Request
    deps: AdminDeps
    body: BodyT
    query: QueryT
    path_tenant: TenantId | None
    signed_in: Principal | None = None

    @property
    def principal(self) -> Principal:
        """Who asks; asking on a public route is a bug."""
        if self.signed_in is None:
            raise LookupError("this route is open to whoever comes")
        return self.signed_in

    @property
    def tenant_id(self) -> TenantId:
        if self.path_tenant is None:
            raise LookupError("this route has no tenant in its path")
        return self.path_tenant


Handler = Callable[[Call[BodyT, QueryT]], Awaitable[BaseModel | web.Response]]


@dataclass(frozen=True, slots=True)
class Route(Generic[BodyT, QueryT]):
    """One operation. ``answer`` None is an empty answer; ``also`` are further statuses with the
    same answer; ``problems`` are those beside the ones that come from the route's shape;
    ``needs`` is the scope that a credential must have, None for whoever comes; ``fleet_wide`` is of
    a route without a tenant in its path that answers about all tenants: credentials that reach only
    some are refused, unless the handler looks at ``Call.principal``."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler[BodyT, QueryT]
    body: type[BodyT]
    query: type[QueryT]
    answer: type[BaseModel] | None
    needs: Scope | None
    status: HTTPStatus = HTTPStatus.OK
    problems: Sequence[Kind] = ()
    media: Sequence[str] = ("application/json",)
    also: Sequence[HTTPStatus] = ()
    fleet_wide: bool = True

    @property
    def public(self) -> bool:
        return self.needs is None


AnyRoute = Route[Any, Any]
TABLE = web.AppKey("routes", dict[tuple[str, str], AnyRoute])


def bind(app: web.Application, routes: Sequence[AnyRoute]) -> None:
    """Puts every route into the application's router, with HEAD beside each GET."""
    for route in routes:
        # Braces too: an id that cannot be one is told like one that does not exist.
        resource = app.router.add_resource(PLACEHOLDER.sub(r"{\1:[^/]+}", route.path))
        for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
            resource.add_route(method, _handler(route))
    app[TABLE] = {(route.method, route.path): route for route in routes}


def find_route(request: web.Request) -> AnyRoute | None:
    """The route of a request; None for an unknown address or method."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return request.app[TABLE].get((method, resource.canonical))


def reply(
    view: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The view as JSON."""
    return web.Response(
        status=status,
        body=view.model_dump_json().encode(),
        content_type="application/json",
        headers=headers,
    )


def _handler(route: AnyRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Reads what the route declares, calls its handler, writes what comes back."""

    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(
            request=request,
            deps=request.app[DEPS],
            path_tenant=read_tenant_id(request) if TENANT_PATH in route.path else None,
            query=read_query(request, route.query),
            body=await read_body(request, route.body),
            signed_in=request.get(PRINCIPAL),
        )
        result = await route.handler(call)
        if isinstance(result, web.Response):
            return result
        return reply(result, route.status)

    return handle
