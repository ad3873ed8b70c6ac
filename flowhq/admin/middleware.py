"""What surrounds every request: its id, its log line, the answer to any error, the gates.

Outermost first: `identify` (request id, access log), `refuse` (errors become problem answers),
`keep_out` (host, origin, secrets in the address), `sign_in`. This is one of the three places
where any exception is caught: it is logged with the request's id and told as 500 without details.
"""

import re
import secrets
import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from flowhq.admin import guard, problems
from flowhq.admin.auth import Sent
from flowhq.admin.cookies import read_cookie
from flowhq.admin.inputs import read_tenant_id
from flowhq.admin.limits import RequestLimits
from flowhq.admin.portal_auth import CALLER, PORTAL_GATE
from flowhq.admin.proxies import CLIENT, Proxies, client_of
from flowhq.admin.routes import (
    AUTHENTICATOR,
    DEPS,
    PRINCIPAL,
    REQUEST_ID,
    SESSION,
    TENANT_PATH,
    AnyRoute,
    find_route,
)
from flowhq.admin.scopes import Principal, Scope
from flowhq.errors import FlowHQError, NotFoundError, StoreUnusableError

PROXIES = web.AppKey("proxies", Proxies)
LIMITS = web.AppKey("limits", RequestLimits)
REQUEST_ID_HEADER = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id (the client's, if it is a harmless one) and logs the outcome.

    The log has the route, never the address: ids are bound by context, and the query may hold
    anything.
    """
    given = request.headers.get(REQUEST_ID_HEADER, "")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    request[REQUEST_ID] = request_id
    route = find_route(request)
    started = time.monotonic()
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        response = await handler(request)
        principal = request.get(PRINCIPAL)
        record = log.debug if route is not None and route.public else log.info
        record(
            "request",
            method=request.method if route is not None else "",
            route=route.path if route is not None else "",
            status=response.status,
            ms=round((time.monotonic() - started) * 1000, 1),
            principal=principal.name if principal is not None else "",
        )
    return response


@web.middleware
async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into its problem answer; nothing else leaves through here."""
    try:
        return await handler(request)
    except FlowHQError as error:
        problem = problems.of_error(error)
        if problem.kind is problems.INTERNAL:
            log.exception("request failed")
        if isinstance(error, StoreUnusableError):
            log.warning("PostgreSQL refuses a request", why=error.message)
    except web.HTTPException as error:
        problem = problems.of_http(error)
    except Exception:
        log.exception("request failed")
        problem = problems.internal()
    return problems.answer(problem, request[REQUEST_ID])


@web.middleware
async def keep_out(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what a foreign web page could send, and secrets in the address."""
    client = request.app[PROXIES].find_client(request)
    request[CLIENT] = client
    guard.check_host(client, request.app[DEPS].settings)
    guard.check_origin(request, client)
    guard.check_secret_in_url(request)
    return await handler(request)


@web.middleware
async def sign_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets only those in who may; unknown addresses are told apart only to them."""
    route = find_route(request)
    if route is None or not route.public:
        principal = await _admit(request, route)
        request[PRINCIPAL] = principal
        request.app[LIMITS].admit(principal.name)
        if route is not None:
            _require(principal, route, request)
    return await handler(request)


async def _admit(request: web.Request, route: AnyRoute | None) -> Principal:
    """Who asks. The routes of portals take a portal's credentials, and no other route does."""
    if route is not None and route.needs is Scope.PORTAL:
        caller = await request.app[PORTAL_GATE].admit(request)
        request[CALLER] = caller
        return caller.principal
    admitted = await request.app[AUTHENTICATOR].admit(
        Sent(
            authorization=request.headers.get("Authorization"),
            cookie=read_cookie(request),
            address=client_of(request).address,
            by_script=request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate",
        )
    )
    if admitted.session is not None:
        request[SESSION] = admitted.session
        guard.check_csrf(request)
    return admitted.principal


def _require(principal: Principal, route: AnyRoute, request: web.Request) -> None:
    """ProblemError if the route is not for this principal. A tenant out of reach is told like one
    that does not exist, in the same words."""
    if route.needs not in principal.scopes:
        raise problems.forbidden(f"This needs the scope {route.needs}.")
    if principal.tenants is None:
        return
    if TENANT_PATH in route.path:
        tenant_id = read_tenant_id(request)
        if not principal.reaches(tenant_id):
            raise NotFoundError(f"There is no tenant {tenant_id}.")
    elif route.fleet_wide:
        raise problems.forbidden("This answers for all tenants, and the credential is for some.")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The response signal that puts the security headers (where the handler set none)
    and the request's id on every answer."""
    for name, value in guard.SECURITY_HEADERS.items():
        if name not in guard.OWN_OF_PAGES or name not in response.headers:
            response.headers[name] = value
    request_id = request.get(REQUEST_ID)
    if request_id is not None:
        response.headers[REQUEST_ID_HEADER] = request_id


MIDDLEWARES = (identify, refuse, keep_out, sign_in)
