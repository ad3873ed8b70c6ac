"""Owners sign in at an OpenID Connect issuer and get a session of their own in the browser.

The browser keeps the one secret of its attempt in a cookie: an answer that this browser did not ask
for is refused. A sign-in always gets a new session and ends the one that was there before.
"""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints

from flowhq.admin.cookies import (
    SameSite,
    clear_cookie,
    csrf_of,
    new_secret,
    read_cookie,
    set_cookie,
)
from flowhq.admin.inputs import NoBody, NoQuery, Query
from flowhq.admin.openid import Attempt, OpenIdClient, failed
from flowhq.admin.portal import OwnerView, owner_view
from flowhq.admin.portal_auth import CALLER, SESSION_COOKIE, public_address
from flowhq.admin.problems import (
    ISSUER_UNAVAILABLE,
    NOT_FOUND,
    SIGN_IN_FAILED,
    UNAVAILABLE,
    WRONG_STATE,
)
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.adminsessions import LONGEST
from flowhq.db.portal import NewOwner
from flowhq.errors import WrongStateError

OPENID = web.AppKey("openid", OpenIdClient)
ATTEMPT_COOKIE = "__Host-flowhq-signin"
# From the first click to the way back: a password is looked for, a second factor is typed.
ATTEMPT_LASTS = timedelta(minutes=10)
CALLBACK = "/portal/oidc/callback"
# Cookies must come along when the issuer sends the browser back, which is another site's doing.
SAME_SITE: SameSite = "Lax"

Text = Annotated[str, StringConstraints(max_length=4000)]


class CallbackQuery(Query):
    """What an issuer adds to the address: ``code`` and ``state``, or ``error``; ``iss`` is its own
    name. Whatever else it adds is left alone."""

    model_config = ConfigDict(extra="ignore")

    code: Text = ""
    state: Text = ""
    error: Text = ""
    iss: Text = ""


class PortalSessionView(BaseModel):
    """Who is signed in in this browser, until when at the most; each change carries ``csrf_token``
    in X-CSRF-Token."""

    user: OwnerView
    expires_at: datetime
    csrf_token: str


async def start(call: Call[NoBody, NoQuery]) -> web.Response:
    attempt = Attempt(new_secret())
    address = await call.request.app[OPENID].address(attempt, _redirect_uri(call))
    response = _go(address)
    set_cookie(response, attempt.secret, ATTEMPT_LASTS, ATTEMPT_COOKIE, samesite=SAME_SITE)
    return response


async def come_back(call: Call[NoBody, CallbackQuery]) -> web.Response:
    """The session begins; the first sign-in of an address makes its tenant."""
    openid = call.request.app[OPENID]
    secret = read_cookie(call.request, ATTEMPT_COOKIE)
    if secret is None:
        raise failed("This browser has not asked for a sign-in, or too long ago.")
    attempt = Attempt(secret)
    if not attempt.is_state(call.query.state):
        raise failed("The answer is not for this browser.")
    if call.query.iss and not openid.expects(call.query.iss):
        raise failed("The answer comes from another issuer.")
    if call.query.error or not call.query.code:
        raise failed("The issuer did not let you in.")
    who = await openid.identity(attempt, call.query.code, _redirect_uri(call))
    user, created = await call.deps.portal.sign_in(NewOwner(email=who.email, name=who.name))
    call.acts_as(f"portal:{user.user_id}")
    if created:
        call.changed({}, {"tenant": str(user.tenant_id), "user": str(user.user_id)})
    await _end_earlier(call)
    session = await call.deps.portal.begin_session(user)
    response = _go(call.deps.portal_settings.after_sign_in)
    set_cookie(response, session, LONGEST, SESSION_COOKIE, samesite=SAME_SITE)
    clear_cookie(response, ATTEMPT_COOKIE)
    return response


async def _end_earlier(call: Call[NoBody, CallbackQuery]) -> None:
    """The session that was in the browser before, if any."""
    secret = read_cookie(call.request, SESSION_COOKIE)
    session = None if secret is None else await call.deps.portal.find_session(secret)
    if session is not None:
        await call.deps.portal.end_session(session)


async def get_session(call: Call[NoBody, NoQuery]) -> PortalSessionView:
    session = call.request[CALLER].session
    secret = read_cookie(call.request, SESSION_COOKIE)
    if session is None or secret is None:
        raise _no_session()
    return PortalSessionView(
        user=owner_view(session.user), expires_at=session.expires_at, csrf_token=csrf_of(secret)
    )


async def sign_out(call: Call[NoBody, NoQuery]) -> web.Response:
    session = call.request[CALLER].session
    if session is None:
        raise _no_session()
    await call.deps.portal.end_session(session)
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    clear_cookie(response, SESSION_COOKIE)
    return response


def _redirect_uri(call: Call[NoBody, NoQuery] | Call[NoBody, CallbackQuery]) -> str:
    return public_address(call.request, call.deps.portal_settings) + CALLBACK


def _go(address: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": address})


def _no_session() -> WrongStateError:
    return WrongStateError(
        "These credentials are no session.", next_step="GET /portal/oidc/start begins one."
    )


ROUTES = (
    Route(
        "GET",
        "/portal/oidc/start",
        "portal_oidc_start",
        "Send the owner's browser to the issuer to sign in",
        start,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=None,
        status=HTTPStatus.SEE_OTHER,
        problems=(NOT_FOUND, ISSUER_UNAVAILABLE),
    ),
    Route(
        "GET",
        CALLBACK,
        "portal_oidc_callback",
        "Where the issuer sends the browser back; the session begins",
        come_back,
        body=NoBody,
        query=CallbackQuery,
        answer=None,
        needs=None,
        status=HTTPStatus.SEE_OTHER,
        problems=(NOT_FOUND, SIGN_IN_FAILED, ISSUER_UNAVAILABLE, UNAVAILABLE),
        entered=True,
    ),
    Route(
        "GET",
        "/portal/session",
        "portal_session",
        "Who is signed in in this browser",
        get_session,
        body=NoBody,
        query=NoQuery,
        answer=PortalSessionView,
        needs=Scope.PORTAL,
        problems=(WRONG_STATE,),
        fleet_wide=False,
    ),
    Route(
        "DELETE",
        "/portal/session",
        "portal_sign_out",
        "Sign out: the session ends, the cookie goes",
        sign_out,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.PORTAL,
        status=HTTPStatus.NO_CONTENT,
        problems=(WRONG_STATE,),
        fleet_wide=False,
    ),
)
