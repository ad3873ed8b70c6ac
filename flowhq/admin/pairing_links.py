"""Pairing links: the operator makes one, an owner without an account scans the code on its page.

The token stands in the fragment of the address, which a browser sends nowhere; the page posts it.
Whoever has it can do one thing: link a phone to this tenant, until the link expires, is revoked or
a phone is connected.
"""

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin import pairing
from flowhq.admin.inputs import Input, NoBody, NoQuery, read_path_id
from flowhq.admin.limits import Rate, RequestLimits
from flowhq.admin.portal_auth import public_address
from flowhq.admin.problems import (
    LINK_GONE,
    MISCONFIGURED,
    NOT_FOUND,
    TOO_MANY_REQUESTS,
    UNAVAILABLE,
    WRONG_STATE,
    ProblemError,
)
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.clock import Clock
from flowhq.db.pairinglinks import PairingLink
from flowhq.db.scopedtokens import TOKEN_CHARS
from flowhq.errors import WrongStateError
from flowhq.model import Reason, SessionState, TenantId, TenantSnapshot, WorkerStatus

MINUTES_DEFAULT = 30
MINUTES_MAX = 24 * 60
# A page asks every two seconds: a few tabs of one link, and some dozen owners behind one address.
LINK_RATE = Rate(per_s=2, burst=20, whose="This pairing link")
ADDRESS_RATE = Rate(per_s=10, burst=100, whose="This address")

Token = Annotated[str, StringConstraints(min_length=1, max_length=TOKEN_CHARS)]


class CreatePairingLink(Input):
    """``minutes`` that the link is good for."""

    minutes: int = Field(default=MINUTES_DEFAULT, ge=1, le=MINUTES_MAX)


class PairingToken(Input):
    """What stands behind the ``#`` of the link."""

    token: Token


class PairingLinkView(BaseModel):
    """A link without its token. ``opened_at``: its page asked for the code; ``used_at``: a phone
    was connected."""

    id: UUID
    tenant_id: UUID
    created_by: str
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


class NewPairingLinkView(PairingLinkView):
    """``url`` holds the token: it is not stored and not shown again."""

    url: str


class PairingLinksView(BaseModel):
    """The newest 50, newest first."""

    items: list[PairingLinkView]


class PairState(StrEnum):
    """What the page tells its reader."""

    WAIT = "wait"  # the code is being made, or the phone is being linked
    SCAN = "scan"  # a code is on show
    AGAIN = "again"  # the codes ran out, or nothing runs: ask for a new code
    TROUBLE = "trouble"  # a person at our side must act
    CONNECTED = "connected"


class PairView(BaseModel):
    """``qr`` is a PNG as a data URL while the state is ``scan``, else null."""

    state: PairState
    qr: str | None
    business_name: str
    expires_at: datetime


# -- the operator's side ---------------------------------------------------------------------------


async def create_link(call: Call[CreatePairingLink, NoQuery]) -> web.Response:
    """Also starts the worker, so that there is a code to scan."""
    tenant = await call.deps.store.fetch_tenant(call.tenant_id)
    if tenant.phone_number is None:
        raise WrongStateError(
            "The tenant has no phone number yet.",
            next_step="Approve its owner's setup request, or set phone_number.",
        )
    seen = call.deps.fleet.snapshot(call.tenant_id)
    if (seen.session if seen else tenant.session_state) is SessionState.CONNECTED:
        raise WrongStateError(
            "The tenant's phone is connected.", next_step="Use session/logout to unlink it first."
        )
    made = await call.deps.portal.create_link(
        call.tenant_id, by=call.principal.name, lifetime_s=call.body.minutes * 60
    )
    link = {"id": str(made.link.link_id), "expires_at": made.link.expires_at.isoformat()}
    call.changed({}, link)
    await _bring_up(call, call.tenant_id)
    url = f"{public_address(call.request, call.deps.portal_settings)}/pair#{made.token}"
    view = NewPairingLinkView(**_view(made.link).model_dump(), url=url)
    return reply(view, HTTPStatus.CREATED)


async def list_links(call: Call[NoBody, NoQuery]) -> PairingLinksView:
    await call.deps.store.fetch_tenant(call.tenant_id)
    links = await call.deps.portal.list_links(call.tenant_id)
    return PairingLinksView(items=[_view(link) for link in links])


async def revoke_link(call: Call[NoBody, NoQuery]) -> PairingLinkView:
    link_id = read_path_id(call.request, "pairing_link")
    link = await call.deps.portal.revoke_link(call.tenant_id, link_id)
    call.changed({"revoked": False}, {"revoked": True})
    return _view(link)


# -- the page's side -------------------------------------------------------------------------------


async def show_code(call: Call[PairingToken, NoQuery]) -> PairView:
    link = await _good_link(call)
    return await _look(call, link)


async def renew_code(call: Call[PairingToken, NoQuery]) -> PairView:
    """A new code if they ran out; otherwise things are as they are."""
    link = await _good_link(call)
    call.acts_as(f"pairing-link:{link.link_id}")
    view = await _look(call, link)
    if view.state is not PairState.AGAIN:
        return view
    await _bring_up(call, link.tenant_id)
    return await _look(call, link)


class PairLimits:
    """How often the pages may ask: counted by address before a token is looked up, and by link when
    it turned out to be one."""

    def __init__(self, clock: Clock) -> None:
        self.by_address = RequestLimits(ADDRESS_RATE, clock)
        self.by_link = RequestLimits(LINK_RATE, clock)


LIMITS = web.AppKey("pair_limits", PairLimits)


async def _good_link(call: Call[PairingToken, NoQuery]) -> PairingLink:
    """The link, good or used: the page still tells that the phone is connected."""
    limits = call.request.app[LIMITS]
    limits.by_address.admit(call.address)
    link = await call.deps.portal.open_link(call.body.token)
    limits.by_link.admit(str(link.link_id))
    if link.used_at is None and (link.expired or link.revoked_at is not None):
        word = "was revoked" if link.revoked_at is not None else "has expired"
        raise ProblemError(LINK_GONE, f"The pairing link {word}.", next_step="Ask for a new one.")
    return link


async def _look(call: Call[PairingToken, NoQuery], link: PairingLink) -> PairView:
    """A used link never shows a code again."""
    tenant = await call.deps.store.fetch_tenant(link.tenant_id)
    state, qr = PairState.CONNECTED, None
    if link.used_at is None:
        session = await pairing.present_session(_of_tenant(call, link.tenant_id))
        qr = session.last_qr
        seen = call.deps.fleet.snapshot(link.tenant_id)
        state = PairState.SCAN if qr is not None else _without_code(session.state, seen)
    return PairView(
        state=state,
        qr=qr,
        business_name=tenant.business_name or tenant.name,
        expires_at=link.expires_at,
    )


def _without_code(session: SessionState, seen: TenantSnapshot | None) -> PairState:
    if session is SessionState.CONNECTED:
        return PairState.CONNECTED
    if _is_idle(seen):
        return PairState.AGAIN
    return PairState.TROUBLE if seen and seen.worker is WorkerStatus.ERROR else PairState.WAIT


def _is_idle(seen: TenantSnapshot | None) -> bool:
    """Nothing runs that could show a code."""
    if seen is None or seen.worker is WorkerStatus.STOPPED:
        return True
    return seen.reason is Reason.PAIRING_EXPIRED


async def _bring_up(call: Call[Any, Any], tenant_id: TenantId) -> None:
    if _is_idle(call.deps.fleet.snapshot(tenant_id)):
        # Restart, not start: two pages may ask at the same moment.
        await call.deps.fleet.restart(tenant_id)


def _of_tenant(call: Call[Any, Any], tenant_id: TenantId) -> Call[Any, Any]:
    return replace(call, path_tenant=tenant_id)


def _view(link: PairingLink) -> PairingLinkView:
    return PairingLinkView(
        id=link.link_id,
        tenant_id=link.tenant_id,
        created_by=link.created_by,
        created_at=link.created_at,
        expires_at=link.expires_at,
        opened_at=link.opened_at,
        used_at=link.used_at,
        revoked_at=link.revoked_at,
    )


ROUTES = (
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/pairing-links",
        "create_pairing_link",
        "A link with which the owner pairs the phone; those before it are revoked",
        create_link,
        body=CreatePairingLink,
        query=NoQuery,
        answer=NewPairingLinkView,
        needs=Scope.TENANTS_OPERATE,
        answer_kept=False,
        status=HTTPStatus.CREATED,
        problems=(WRONG_STATE, MISCONFIGURED),
    ),
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/pairing-links",
        "list_pairing_links",
        "The tenant's links, without their tokens",
        list_links,
        body=NoBody,
        query=NoQuery,
        answer=PairingLinksView,
        needs=Scope.TENANTS_OPERATE,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/pairing-links/{pairing_link}/revoke",
        "revoke_pairing_link",
        "Refuse this link from now on",
        revoke_link,
        body=NoBody,
        query=NoQuery,
        answer=PairingLinkView,
        needs=Scope.TENANTS_OPERATE,
    ),
    Route(
        "POST",
        "/pair/code",
        "pair_code",
        "The code for the owner of a pairing link",
        show_code,
        body=PairingToken,
        query=NoQuery,
        answer=PairView,
        needs=None,
        problems=(NOT_FOUND, LINK_GONE, TOO_MANY_REQUESTS, UNAVAILABLE),
        audited=False,
    ),
    Route(
        "POST",
        "/pair/renew",
        "pair_renew",
        "A new code for the owner of a pairing link, if the codes ran out",
        renew_code,
        body=PairingToken,
        query=NoQuery,
        answer=PairView,
        needs=None,
        problems=(
            NOT_FOUND,
            LINK_GONE,
            TOO_MANY_REQUESTS,
            UNAVAILABLE,
            WRONG_STATE,
            MISCONFIGURED,
        ),
    ),
)
