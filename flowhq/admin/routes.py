"""The route table's vocabulary: one `Route` says all there is to know about an operation.

From the table come the handlers (`bind`), the validation of body and query, and the OpenAPI
document (openapi.py). An area module exports ``ROUTES``; app.py joins them.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from flowhq.admin.auth import Authenticator
from flowhq.admin.idempotency import ONCE, Terms, read_key
from flowhq.admin.inputs import Input, Query, read_body, read_query, read_tenant_id
from flowhq.admin.ports import AdminDeps
from flowhq.admin.problems import Kind
from flowhq.admin.proxies import client_of
from flowhq.admin.recording import Trace, record_change, record_success, target_of
from flowhq.admin.scopes import Principal, Scope
from flowhq.admin.versions import refuse_if_match
from flowhq.db.adminsessions import AdminSession
from flowhq.db.audit import NewEntry
from flowhq.model import TenantId

BodyT = TypeVar("BodyT", bound=Input)
QueryT = TypeVar("QueryT", bound=Query)
TENANT_PATH = "{tenant_id}"
JSON_ALONE = ("application/json",)
PLACEHOLDER = re.compile(r"{(\w+)}")

DEPS = web.AppKey("deps", AdminDeps)
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
SESSION: web.RequestKey[AdminSession] = web.RequestKey("session", AdminSession)
AUTHENTICATOR = web.AppKey("authenticator", Authenticator)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT]):
    """One request, checked. ``tenant_id`` is that of the path; asking without one is a bug."""

    request: web.Request
    deps: AdminDeps
    body: BodyT
    query: QueryT
    path_tenant: TenantId | None
    signed_in: Principal | None = None
    trace: Trace = field(default_factory=Trace)

    def changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Enters the fields that differ into the audit; empty stands for what did not exist."""
        self.trace.add(before, after)

    def acts_as(self, name: str) -> None:
        """Who it turned out to be, for the audit of a route that is open to all."""
        self.trace.principal = name

    @property
    def address(self) -> str:
        """Where the request comes from, for slowing down and for the audit."""
        return client_of(self.request).address

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

    @property
    def idempotency_key(self) -> str:
        """The key that the client gave the request, "" if none."""
        return read_key(self.request)


Handler = Callable[[Call[BodyT, QueryT]], Awaitable[BaseModel | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route(Generic[BodyT, QueryT]):
    """One operation. ``answer`` None is an empty answer, or with ``media`` a file; ``also`` are
    further statuses with the same answer; ``problems`` are those beside the ones that come from the
    route's shape; ``needs`` is the scope that a credential must have, None for whoever comes;
    ``fleet_wide`` is of a route without a tenant in its path that answers about all tenants:
    credentials that reach only some are refused, unless the handler looks at ``Call.principal``;
    ``audited`` is looked at for methods that change things: False for those that do not after
    all; ``entered`` for the others: True for a GET that belongs into the audit too.

    Of repeats under one Idempotency-Key: ``answer_kept`` False keeps an answer with a secret or a
    person's words in it out of the database; ``repeatable`` says that a second run does no harm, so
    that one that was cut off is run again; ``reads_only`` is of a POST that changes nothing and
    takes no key; ``own_keys`` of one that looks after keys itself. ``versioned`` is of a route
    whose answer has an ETag: it takes If-None-Match (GET) or If-Match (changes)."""

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
    media: Sequence[str] = JSON_ALONE
    also: Sequence[HTTPStatus] = ()
    fleet_wide: bool = True
    audited: bool = True
    entered: bool = False
    answer_kept: bool = True
    repeatable: bool = False
    reads_only: bool = False
    own_keys: bool = False
    versioned: bool = False

    @property
    def public(self) -> bool:
        return self.needs is None

    @property
    def keyed(self) -> bool:
        """Whether it takes an Idempotency-Key: a key is somebody's, and a portal speaks for many
        with one credential."""
        own = self.needs not in (None, Scope.PORTAL)
        return self.method == "POST" and own and not (self.reads_only or self.own_keys)


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
    terms = Terms(f"{route.method} {route.path}", route.answer_kept, route.repeatable)
    audited = route.entered or (route.audited and route.method not in ("GET", "HEAD"))

    async def handle(request: web.Request) -> web.StreamResponse:
        if not route.versioned:
            refuse_if_match(request)
        call = Call(
            request=request,
            deps=request.app[DEPS],
            path_tenant=read_tenant_id(request) if TENANT_PATH in route.path else None,
            query=read_query(request, route.query),
            body=await read_body(request, route.body),
            signed_in=request.get(PRINCIPAL),
        )
        perform = partial(_audited if audited else _perform, route, call)
        if not route.keyed:
            return await perform()
        return await request.app[ONCE].run(
            request,
            principal=call.principal.name,
            terms=terms,
            about=call.path_tenant,
            work=perform,
        )

    return handle


async def _perform(route: AnyRoute, call: Call[Any, Any]) -> web.StreamResponse:
    result = await route.handler(call)
    return result if isinstance(result, web.StreamResponse) else reply(result, route.status)


async def _audited(route: AnyRoute, call: Call[Any, Any]) -> web.StreamResponse:
    """Inside of what keeps repeats away: a repeat that is not run again changes nothing."""
    book, work = call.deps.audit, partial(_perform, route, call)
    make_entry = partial(_entry, route, call)
    if call.signed_in is None:
        return await record_success(book, make_entry, call.trace, work)
    return await record_change(book, make_entry(call.signed_in.name), call.trace, work)


def _entry(route: AnyRoute, call: Call[Any, Any], principal: str) -> NewEntry:
    return NewEntry(
        principal=principal,
        address=call.address,
        request_id=call.request[REQUEST_ID],
        method=route.method,
        route=route.name,
        tenant_id=call.path_tenant,
        target=target_of(call.request.match_info),
    )
