"""Signing in with a browser, and out again: what is kept is a random cookie's sum.

A sign-in always gets a new secret: one that was in the browser before, whoever put it there, is
worth nothing afterwards.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.cookies import (
    clear_cookie,
    csrf_of,
    digest,
    new_secret,
    read_cookie,
    set_cookie,
)
from flowhq.admin.identities import of_user, own_name
from flowhq.admin.inputs import Input, NoBody, NoQuery, Query, read_path_id
from flowhq.admin.problems import (
    NOT_FOUND,
    TOO_MANY_ATTEMPTS,
    UNAUTHORIZED,
    UNAVAILABLE,
    WRONG_STATE,
)
from flowhq.admin.routes import AUTHENTICATOR, SESSION, Call, Route, reply
from flowhq.admin.scopes import Principal, Scope
from flowhq.db.adminsessions import LONGEST, AdminSession, NewSession
from flowhq.errors import WrongStateError
from flowhq.password import MAX_CHARS

PAGE_DEFAULT = 100
PAGE_MAX = 500


class LogIn(Input):
    """``user`` is the name in any case."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS)]


class SessionsQuery(Query):
    """``after`` is the ``next`` of the page before this one."""

    limit: int = Field(default=PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class AdminSessionView(BaseModel):
    """One signed-in browser; it ends at ``expires_at``, or 30 minutes after its last use, which is
    exact to a minute. ``current``: the one that asks."""

    id: UUID
    user: str
    address: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class IdentityView(BaseModel):
    """Who asks, and what he may; ``tenants`` null are all. ``session`` and ``csrf_token`` are those
    of a browser: every change carries the latter in X-CSRF-Token."""

    principal: str
    scopes: list[Scope]
    tenants: list[UUID] | None
    session: AdminSessionView | None
    csrf_token: str | None


class SessionPageView(BaseModel):
    """Newest first; ``next`` goes into ``after``, null on the last page."""

    items: list[AdminSessionView]
    next: str | None


async def log_in(call: Call[LogIn, NoQuery]) -> web.Response:
    request = call.request
    user = await request.app[AUTHENTICATOR].log_in(call.body.user, call.body.password, call.address)
    principal = of_user(user.name, user.role)
    call.acts_as(principal.name)
    secret, before = new_secret(), read_cookie(request)
    new = NewSession(
        secret_sha256=digest(secret),
        user_name=user.name,
        mark=user.mark,
        address=call.address,
        user_agent=request.headers.get("User-Agent", "").encode("ascii", "replace").decode(),
    )
    instead_of = None if before is None else digest(before)
    session = await call.deps.credentials.begin_session(new, instead_of=instead_of)
    response = reply(_identity(principal, session, secret), HTTPStatus.CREATED)
    set_cookie(response, secret, LONGEST)
    return response


async def who_am_i(call: Call[NoBody, NoQuery]) -> IdentityView:
    session = call.request.get(SESSION)
    secret = None if session is None else read_cookie(call.request)
    return _identity(call.principal, session, secret)


async def log_out(call: Call[NoBody, NoQuery]) -> web.Response:
    session = call.request.get(SESSION)
    if session is None:
        raise WrongStateError(
            "These credentials are no session.", next_step="A token is revoked, a session ended."
        )
    await call.deps.credentials.end_session(session.session_id, user_name=session.user_name)
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    clear_cookie(response)
    return response


async def list_sessions(call: Call[NoBody, SessionsQuery]) -> SessionPageView:
    page = await call.deps.credentials.list_sessions(
        user_name=_whose(call.principal), limit=call.query.limit, after=call.query.after
    )
    current = call.request.get(SESSION)
    items = [session_view(row, current) for row in page.rows]
    return SessionPageView(items=items, next=page.next)


async def end_session(call: Call[NoBody, NoQuery]) -> web.Response:
    session_id = read_path_id(call.request, "session")
    await call.deps.credentials.end_session(session_id, user_name=_whose(call.principal))
    return web.Response(status=HTTPStatus.NO_CONTENT)


def session_view(row: AdminSession, current: AdminSession | None) -> AdminSessionView:
    return AdminSessionView(
        id=row.session_id,
        user=row.user_name,
        address=row.address,
        user_agent=row.user_agent,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        current=current is not None and current.session_id == row.session_id,
    )


def _identity(
    principal: Principal, session: AdminSession | None, secret: str | None
) -> IdentityView:
    return IdentityView(
        principal=principal.name,
        scopes=sorted(principal.scopes),
        tenants=None if principal.tenants is None else sorted(principal.tenants),
        session=None if session is None else session_view(session, session),
        csrf_token=None if secret is None else csrf_of(secret),
    )


def _whose(principal: Principal) -> str | None:
    """Whose sessions somebody may see and end: everybody's with the scope admin, else his own; of
    a token without it, nobody's."""
    if Scope.ADMIN in principal.scopes and principal.tenants is None:
        return None
    return own_name(principal) or ""


ROUTES = (
    Route(
        "POST",
        "/admin/session",
        "log_in",
        "Sign in with a browser: sets the session's cookie",
        log_in,
        body=LogIn,
        query=NoQuery,
        answer=IdentityView,
        needs=None,
        status=HTTPStatus.CREATED,
        problems=(UNAUTHORIZED, TOO_MANY_ATTEMPTS, UNAVAILABLE),
    ),
    Route(
        "GET",
        "/admin/session",
        "who_am_i",
        "Who asks, and what he may",
        who_am_i,
        body=NoBody,
        query=NoQuery,
        answer=IdentityView,
        needs=Scope.STATUS_READ,
        fleet_wide=False,
    ),
    Route(
        "DELETE",
        "/admin/session",
        "log_out",
        "Sign out: the session ends, the cookie goes",
        log_out,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        status=HTTPStatus.NO_CONTENT,
        problems=(WRONG_STATE,),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/admin/sessions",
        "list_admin_sessions",
        "Browsers that are signed in: one's own, with the scope admin everybody's",
        list_sessions,
        body=NoBody,
        query=SessionsQuery,
        answer=SessionPageView,
        needs=Scope.STATUS_READ,
        fleet_wide=False,
    ),
    Route(
        "DELETE",
        "/admin/sessions/{session}",
        "end_admin_session",
        "End a session",
        end_session,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        status=HTTPStatus.NO_CONTENT,
        problems=(NOT_FOUND,),
        fleet_wide=False,
    ),
)
