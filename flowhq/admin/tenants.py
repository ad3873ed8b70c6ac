"""Tenants: create, list, show, change, delete.

A view joins what is stored with what the fleet observes; the observed side wins, because it is
newer. Everything is checked before anything is stored.
"""

from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import (
    NAME_MAX,
    Input,
    Name,
    NoBody,
    NoQuery,
    Query,
    checked,
    converted,
    optional,
)
from flowhq.admin.phone import to_e164
from flowhq.admin.problems import ALREADY_EXISTS
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.admin.versions import etag, is_known, read_if_match
from flowhq.bot.hours import parse_hours, parse_timezone
from flowhq.bot.lifecycle import NEXT_ACTION
from flowhq.bot.profile import parse_profile
from flowhq.db.tenantlists import TenantFilter
from flowhq.db.tenants import NewTenant, TenantRow, refuse_unseen, version_of
from flowhq.model import (
    DesiredState,
    Language,
    Reason,
    SessionState,
    TemplateType,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

PAGE_DEFAULT = 100
PAGE_MAX = 500
DEFAULT_TIMEZONE = "Africa/Dar_es_Salaam"
# The API's names of what the rest of the daemon calls otherwise.
RENAMED = {"template_type": "template", "hours_json": "hours"}


# -- input -----------------------------------------------------------------------------------------

PhoneNumber = Annotated[str, StringConstraints(max_length=40), converted(to_e164)]
Timezone = Annotated[str, checked(partial(parse_timezone, field_name="timezone"))]
# Which zone the hours are read in makes no difference to whether they can be read.
Hours = Annotated[dict[str, Any] | None, checked(partial(parse_hours, timezone="UTC"))]
Details = Annotated[dict[str, Any], checked(parse_profile)]
# In strict models an enum would only take its own members, which JSON does not have.
Template = Annotated[TemplateType, Field(strict=False)]
TwoLanguages = Annotated[Language, Field(strict=False)]


class Retention(Input):
    """Days that this tenant's messages are kept; null and what is missing are as the installation
    has it."""

    text_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    metadata_days: Annotated[int, Field(ge=30, le=3650)] | None = None
    payload_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class CreateTenant(Input):
    """A new tenant. ``business_name`` is the name unless given; hours null are always open."""

    name: Name
    phone_number: PhoneNumber
    template_type: Template = TemplateType.BOOKING
    business_name: Name | None = None
    language: TwoLanguages = Language.SW
    timezone: Timezone = DEFAULT_TIMEZONE
    hours_json: Hours = None
    details: Details = Field(default_factory=dict)
    retention: Retention = Field(default_factory=Retention)


class ChangeTenant(Input):
    """What is not given stays."""

    # The defaults only stand for "not given": which fields were is asked of the model.
    name: Name = optional(default="")
    phone_number: PhoneNumber = optional(default="")
    template_type: Template = optional(default=TemplateType.BOOKING)
    business_name: Name = optional(default="")
    language: TwoLanguages = optional(default=Language.SW)
    timezone: Timezone = optional(default="")
    hours_json: Hours = optional(default=None)
    details: Details = optional(default_factory=dict)
    retention: Retention = optional(default_factory=Retention)


class TenantsQuery(Query):
    """``after`` is the ``next`` of the page before this one. The rest chooses tenants by what is
    stored of them; ``q`` is part of a name, or digits of the number."""

    status: TenantStatus | None = None
    reason: Reason | None = None
    desired_state: DesiredState | None = None
    template_type: TemplateType | None = None
    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=NAME_MAX)] | None = None
    limit: int = Field(default=PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


# -- views -----------------------------------------------------------------------------------------


class RetentionView(BaseModel):
    """Days of the tenant's own; null is as the installation has it."""

    text_days: int | None = None
    metadata_days: int | None = None
    payload_days: int | None = None


class ConfigView(BaseModel):
    template_type: TemplateType
    business_name: str
    language: Language
    timezone: str
    hours_json: dict[str, Any] | None
    details: dict[str, Any]
    retention: RetentionView


class SessionView(BaseModel):
    """The pairing with the phone."""

    state: SessionState
    paired_at: datetime | None
    last_seen_at: datetime | None


class WorkerStateView(BaseModel):
    name: str
    status: WorkerStatus
    last_error: str | None
    restarts: int


class TenantView(BaseModel):
    """One tenant: what was set, what is wanted, what is observed, and what to do next.

    ``phone_number`` is null until an owner's first setup request is approved; ``config`` is null
    only if its row was removed by hand.
    """

    id: UUID
    name: str
    phone_number: str | None
    status: TenantStatus
    desired_state: DesiredState
    paused: bool
    reason: Reason
    next_action: str
    detail: str
    config: ConfigView | None
    session: SessionView
    worker: WorkerStateView
    created_at: datetime
    updated_at: datetime


class TenantPageView(BaseModel):
    """Newest first; ``next`` goes into ``after``, null on the last page."""

    items: list[TenantView]
    next: str | None


def tenant_view(row: TenantRow, seen: TenantSnapshot | None) -> TenantView:
    """The view of a tenant; ``seen`` is what the fleet observes, None for one never started."""
    reason = seen.reason if seen else row.reason
    return TenantView(
        id=row.tenant_id,
        name=row.name,
        phone_number=row.phone_number,
        status=seen.status if seen else row.status,
        desired_state=seen.desired if seen else row.desired,
        paused=seen.paused if seen else row.paused_at is not None,
        reason=reason,
        next_action=seen.next_action if seen else NEXT_ACTION[reason],
        detail=seen.detail if seen else row.detail,
        config=_config_view(row),
        session=SessionView(
            state=seen.session if seen else row.session_state,
            paired_at=row.paired_at,
            last_seen_at=(seen.last_seen_at if seen else None) or row.last_seen_at,
        ),
        worker=WorkerStateView(
            name=row.worker_name,
            status=seen.worker if seen else row.worker_status,
            last_error=row.last_error,
            restarts=seen.restarts if seen else row.restarts,
        ),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _config_view(row: TenantRow) -> ConfigView | None:
    if row.template is None or row.language is None:
        return None
    return ConfigView(
        template_type=row.template,
        business_name=row.business_name or "",
        language=row.language,
        timezone=row.timezone or "",
        hours_json=None if row.hours is None else dict(row.hours),
        details=dict(row.details or {}),
        retention=RetentionView(**row.retention),
    )


def _set_by_people(row: TenantRow) -> dict[str, Any]:
    """What an admin sets, by the API's names, for the audit."""
    config = _config_view(row)
    shown = {} if config is None else config.model_dump(mode="json")
    return {"name": row.name, "phone_number": row.phone_number} | shown


# -- handlers --------------------------------------------------------------------------------------


async def create_tenant(call: Call[CreateTenant, NoQuery]) -> web.Response:
    body = call.body
    row = await call.deps.store.create_tenant(
        NewTenant(
            name=body.name,
            phone_number=body.phone_number,
            template=body.template_type,
            business_name=body.business_name or body.name,
            language=body.language,
            timezone=body.timezone,
            hours=body.hours_json,
            details=body.details,
            retention=_own_days(body.retention),
        )
    )
    call.changed({}, _set_by_people(row) | {"id": str(row.tenant_id)})
    answer = _answer(call, row, HTTPStatus.CREATED)
    answer.headers["Location"] = f"/admin/tenants/{row.tenant_id}"
    return answer


def _own_days(retention: Retention) -> dict[str, int]:
    return retention.model_dump(exclude_none=True)


async def list_tenants(call: Call[NoBody, TenantsQuery]) -> TenantPageView:
    query = call.query
    chosen = TenantFilter(
        status=query.status,
        reason=query.reason,
        desired=query.desired_state,
        template=query.template_type,
        text=query.q or "",
        among=call.principal.tenants,
    )
    page = await call.deps.store.list_tenants(chosen, limit=query.limit, after=query.after)
    seen = call.deps.fleet.snapshots()
    items = [tenant_view(row, seen.get(row.tenant_id)) for row in page.rows]
    return TenantPageView(items=items, next=page.next)


async def get_tenant(call: Call[NoBody, NoQuery]) -> web.Response:
    answer = _answer(call, await call.deps.store.fetch_tenant(call.tenant_id))
    if not is_known(call.request, answer.headers["ETag"]):
        return answer
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": answer.headers["ETag"]})


async def change_tenant(call: Call[ChangeTenant, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    given = call.body.model_dump(exclude_unset=True)
    changes = {RENAMED.get(name, name): value for name, value in given.items()}
    if "retention" in changes:
        changes["retention"] = _own_days(call.body.retention)
    before = _set_by_people(await call.deps.store.fetch_tenant(call.tenant_id))
    row = await call.deps.store.update_tenant(call.tenant_id, changes, seen=seen)
    if changes:
        call.changed(before, _set_by_people(row))
        await call.deps.fleet.reload(call.tenant_id)
    return _answer(call, row)


def _answer(
    call: Call[Any, NoQuery], row: TenantRow, status: HTTPStatus = HTTPStatus.OK
) -> web.Response:
    """The tenant with its ETag."""
    view = tenant_view(row, call.deps.fleet.snapshot(row.tenant_id))
    tag = etag(version_of(row), view.model_dump_json().encode())
    return reply(view, status, {"ETag": tag})


async def delete_tenant(call: Call[NoBody, NoQuery]) -> web.Response:
    """Profile first, rows last: what fails half-way can be asked for again."""
    row = await call.deps.store.fetch_tenant(call.tenant_id)
    refuse_unseen(row, read_if_match(call.request))
    await call.deps.fleet.forget(
        call.tenant_id, partial(call.deps.store.delete_tenant, call.tenant_id)
    )
    call.changed({"name": row.name}, {})
    return web.Response(status=HTTPStatus.NO_CONTENT)


ROUTES = (
    Route(
        "POST",
        "/admin/tenants",
        "create_tenant",
        "Create a tenant",
        create_tenant,
        body=CreateTenant,
        query=NoQuery,
        answer=TenantView,
        needs=Scope.TENANTS_WRITE,
        status=HTTPStatus.CREATED,
        problems=(ALREADY_EXISTS,),
        repeatable=True,
    ),
    Route(
        "GET",
        "/admin/tenants",
        "list_tenants",
        "All tenants, newest first",
        list_tenants,
        body=NoBody,
        query=TenantsQuery,
        answer=TenantPageView,
        needs=Scope.TENANTS_READ,
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/admin/tenants/{tenant_id}",
        "get_tenant",
        "One tenant",
        get_tenant,
        body=NoBody,
        query=NoQuery,
        answer=TenantView,
        needs=Scope.TENANTS_READ,
        versioned=True,
    ),
    Route(
        "PATCH",
        "/admin/tenants/{tenant_id}",
        "change_tenant",
        "Change what is given; it holds from the next message on",
        change_tenant,
        body=ChangeTenant,
        query=NoQuery,
        answer=TenantView,
        needs=Scope.TENANTS_WRITE,
        problems=(ALREADY_EXISTS,),
        versioned=True,
    ),
    Route(
        "DELETE",
        "/admin/tenants/{tenant_id}",
        "delete_tenant",
        "Unlink the device, stop the worker, delete the profile and every row of the tenant",
        delete_tenant,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.TENANTS_WRITE,
        status=HTTPStatus.NO_CONTENT,
        versioned=True,
    ),
)
