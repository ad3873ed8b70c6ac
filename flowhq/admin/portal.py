"""What business owners see and do through a portal: sign in, ask for a bot, watch it.

The tenant is always that of the user whom the portal speaks for; no id is taken from outside. Each
success leaves a row in the portal's event log.
"""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, StringConstraints

from flowhq.admin import logs, pairing
from flowhq.admin.inputs import Input, Name, NoBody, NoQuery, optional
from flowhq.admin.portal_auth import CALLER
from flowhq.admin.problems import (
    ALREADY_EXISTS,
    UNKNOWN_USER,
    WRONG_STATE,
    FieldError,
    ProblemError,
    invalid,
)
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.admin.tenants import PhoneNumber, Template, TenantView, TwoLanguages, tenant_view
from flowhq.db.portal import NewOwner, PortalEvent, PortalRole, PortalUser
from flowhq.db.setup import UNDECIDED, NewRequest, SetupRequest, SetupStatus
from flowhq.model import (
    Language,
    Reason,
    SessionState,
    TemplateType,
    TenantStatus,
    WorkerStatus,
)

NOTES_MAX = 2000

Notes = Annotated[str, StringConstraints(strip_whitespace=True, max_length=NOTES_MAX)]


# -- input -----------------------------------------------------------------------------------------


class SignIn(Input):
    """What a portal knows of its user; it counts at the first sign-in only."""

    name: Name | None = None
    business_name: Name | None = None
    phone: PhoneNumber | None = None
    language: TwoLanguages = Language.SW


class SetupRequestInput(Input):
    """Which bot on which number, and what the owner adds to it."""

    template_type: Template
    whatsapp_number: PhoneNumber
    notes: Notes = ""


class ChangeProfile(Input):
    """What is not given stays."""

    name: Name = optional(default="")
    phone: PhoneNumber | None = optional(default=None)


# -- views -----------------------------------------------------------------------------------------


class OwnerView(BaseModel):
    """Who is signed in."""

    id: UUID
    email: str
    name: str
    phone: str | None
    role: PortalRole
    created_at: datetime


class SetupRequestView(BaseModel):
    """What was asked for and how far it is; ``reason`` is why it was rejected."""

    id: UUID
    template_type: TemplateType
    whatsapp_number: str
    notes: str
    status: SetupStatus
    reason: str
    created_at: datetime
    reviewing_at: datetime | None
    approved_at: datetime | None
    active_at: datetime | None
    rejected_at: datetime | None


class OwnTenantView(BaseModel):
    """The owner's bot; ``next_action`` is what the owner can do, empty when nothing is to be
    done."""

    id: UUID
    name: str
    phone_number: str | None
    status: TenantStatus
    session_state: SessionState
    worker_status: WorkerStatus
    reason: Reason
    next_action: str
    paired_at: datetime | None
    last_seen_at: datetime | None


class StatusView(BaseModel):
    """The bot and the newest setup request, null before the first one."""

    tenant: OwnTenantView
    setup_request: SetupRequestView | None


class MeView(StatusView):
    """The same with the user."""

    user: OwnerView


class SignedInView(MeView):
    """``created``: this was the first time, and a tenant was made."""

    created: bool


def setup_request_view(request: SetupRequest) -> SetupRequestView:
    return SetupRequestView(
        id=request.request_id,
        template_type=request.template,
        whatsapp_number=request.whatsapp_number,
        notes=request.notes,
        status=request.status,
        reason=request.reason,
        created_at=request.created_at,
        reviewing_at=request.reviewing_at,
        approved_at=request.approved_at,
        active_at=request.active_at,
        rejected_at=request.rejected_at,
    )


def owner_view(user: PortalUser) -> OwnerView:
    return OwnerView(
        id=user.user_id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        created_at=user.created_at,
    )


def _tenant_view(tenant: TenantView, request: SetupRequest | None) -> OwnTenantView:
    return OwnTenantView(
        id=tenant.id,
        name=tenant.name,
        phone_number=tenant.phone_number,
        status=tenant.status,
        session_state=tenant.session.state,
        worker_status=tenant.worker.status,
        reason=tenant.reason,
        next_action=_next_action(tenant, request),
        paired_at=tenant.session.paired_at,
        last_seen_at=tenant.session.last_seen_at,
    )


def _next_action(tenant: TenantView, request: SetupRequest | None) -> str:
    """What the owner can do; what the operator must do is none of the owner's business."""
    if tenant.session.state is SessionState.CONNECTED:
        return ""
    if tenant.session.state is SessionState.QR_READY:
        return "Scan the code with the phone: WhatsApp, Linked devices, Link a device."
    if request is None and tenant.phone_number is None:
        return "Send a setup request."
    if request is not None and request.status is SetupStatus.REJECTED:
        return "Read the reason, then send a new setup request."
    if request is not None and request.status in UNDECIDED:
        return "Wait: the setup request is being looked at."
    return "Wait: it is being looked after."


# -- handlers --------------------------------------------------------------------------------------

AnyCall = Call[Any, Any]


def _owner(call: AnyCall) -> PortalUser:
    """Whom the portal speaks for; ProblemError for an address that never signed in."""
    user = call.request[CALLER].user
    if user is None:
        raise ProblemError(
            UNKNOWN_USER,
            "Nobody has signed in with this address.",
            next_step="POST /portal/sign-in first.",
        )
    return user


def _of_owner(call: AnyCall, user: PortalUser) -> AnyCall:
    """The call as if the owner's tenant stood in its path."""
    return replace(call, path_tenant=user.tenant_id)


async def _status(call: AnyCall, user: PortalUser) -> StatusView:
    row = await call.deps.store.fetch_tenant(user.tenant_id)
    request = await call.deps.portal.latest_setup(user.tenant_id)
    tenant = tenant_view(row, call.deps.fleet.snapshot(user.tenant_id))
    return StatusView(
        tenant=_tenant_view(tenant, request),
        setup_request=None if request is None else setup_request_view(request),
    )


async def _me(call: AnyCall, user: PortalUser) -> MeView:
    status = await _status(call, user)
    return MeView(user=owner_view(user), tenant=status.tenant, setup_request=status.setup_request)


async def sign_in(call: Call[SignIn, NoQuery]) -> web.Response:
    """The first time makes the tenant and its owner; afterwards the body changes nothing."""
    owner = NewOwner(
        email=call.request[CALLER].email,
        name=call.body.name or "",
        business_name=call.body.business_name or "",
        phone=call.body.phone,
        language=call.body.language,
    )
    user, created = await call.deps.portal.sign_in(owner)
    if created:
        call.changed({}, {"tenant": str(user.tenant_id), "user": str(user.user_id)})
    me = await _me(call, user)
    view = SignedInView(
        user=me.user, tenant=me.tenant, setup_request=me.setup_request, created=created
    )
    return reply(view, HTTPStatus.CREATED if created else HTTPStatus.OK)


async def get_me(call: Call[NoBody, NoQuery]) -> MeView:
    user = _owner(call)
    view = await _me(call, user)
    await call.deps.portal.note(user, PortalEvent.ME_READ)
    return view


async def change_profile(call: Call[ChangeProfile, NoQuery]) -> OwnerView:
    user = _owner(call)
    changes = call.body.model_dump(exclude_unset=True)
    if not changes:
        raise invalid(FieldError("body", "must have name, phone or both."))
    changed = await call.deps.portal.update_user(user, changes)
    call.changed(
        {"name": user.name, "phone": user.phone}, {"name": changed.name, "phone": changed.phone}
    )
    return owner_view(changed)


async def request_setup(call: Call[SetupRequestInput, NoQuery]) -> web.Response:
    user = _owner(call)
    body = call.body
    new = NewRequest(body.template_type, body.whatsapp_number, body.notes)
    request = await call.deps.portal.submit_setup(user, new)
    call.changed({}, {"id": str(request.request_id), "template_type": request.template})
    return reply(setup_request_view(request), HTTPStatus.CREATED)


async def get_status(call: Call[NoBody, NoQuery]) -> StatusView:
    user = _owner(call)
    view = await _status(call, user)
    await call.deps.portal.note(user, PortalEvent.STATUS_READ)
    return view


async def get_logs(call: Call[NoBody, logs.LogsQuery]) -> logs.LogPageView:
    user = _owner(call)
    view = await logs.list_logs(_of_owner(call, user))
    await call.deps.portal.note(user, PortalEvent.LOGS_READ)
    return view


async def get_qr(call: pairing.QrCall) -> web.Response:
    user = _owner(call)
    answer = await pairing.get_qr(_of_owner(call, user))
    await call.deps.portal.note(user, PortalEvent.QR_READ)
    return answer


ROUTES = (
    Route(
        "POST",
        "/portal/sign-in",
        "portal_sign_in",
        "Sign the portal's user in; the first time makes a tenant",
        sign_in,
        body=SignIn,
        query=NoQuery,
        answer=SignedInView,
        needs=Scope.PORTAL,
        also=(HTTPStatus.CREATED,),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/portal/me",
        "portal_me",
        "The user, the tenant and the newest setup request",
        get_me,
        body=NoBody,
        query=NoQuery,
        answer=MeView,
        needs=Scope.PORTAL,
        problems=(UNKNOWN_USER,),
        fleet_wide=False,
    ),
    Route(
        "PATCH",
        "/portal/profile",
        "change_portal_profile",
        "Change the user's name or number",
        change_profile,
        body=ChangeProfile,
        query=NoQuery,
        answer=OwnerView,
        needs=Scope.PORTAL,
        problems=(UNKNOWN_USER,),
        fleet_wide=False,
    ),
    Route(
        "POST",
        "/portal/setup-request",
        "request_setup",
        "Ask for a bot; one request at a time is open",
        request_setup,
        body=SetupRequestInput,
        query=NoQuery,
        answer=SetupRequestView,
        needs=Scope.PORTAL,
        status=HTTPStatus.CREATED,
        problems=(UNKNOWN_USER, ALREADY_EXISTS),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/portal/tenant/current/status",
        "own_status",
        "How the owner's bot is, and what the owner can do",
        get_status,
        body=NoBody,
        query=NoQuery,
        answer=StatusView,
        needs=Scope.PORTAL,
        problems=(UNKNOWN_USER,),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/portal/tenant/current/logs",
        "own_logs",
        "The messages of the owner's bot, newest first",
        get_logs,
        body=NoBody,
        query=logs.LogsQuery,
        answer=logs.LogPageView,
        needs=Scope.PORTAL,
        problems=(UNKNOWN_USER,),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/portal/tenant/current/qr",
        "own_qr",
        "The code for the owner to scan",
        get_qr,
        body=NoBody,
        query=pairing.QrQuery,
        answer=pairing.QrView,
        needs=Scope.PORTAL,
        problems=(UNKNOWN_USER, WRONG_STATE),
        media=("application/json", "image/png", "text/plain"),
        fleet_wide=False,
    ),
)
