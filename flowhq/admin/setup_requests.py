"""Setup requests from the operator's side: who asks for a bot, and what becomes of it."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import Input, NoBody, NoQuery, Query, read_path_id
from flowhq.admin.portal import SetupRequestView, setup_request_view
from flowhq.admin.problems import ALREADY_EXISTS, MISCONFIGURED, NOT_FOUND, WRONG_STATE
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.admin.workers import WorkerView, worker_view
from flowhq.db.setup import SetupRequest, SetupStatus
from flowhq.errors import NotFoundError

PAGE_DEFAULT = 100
PAGE_MAX = 500
REASON_MAX = 500

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_MAX)
]


class SetupRequestsQuery(Query):
    """``after`` is the ``next`` of the page before this one; without ``status`` all of them."""

    status: SetupStatus | None = None
    limit: int = Field(default=PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class RejectRequest(Input):
    """``reason`` is read by the owner."""

    reason: Reason


class RequestedView(SetupRequestView):
    """A request with whose it is; ``decided_by`` is who looked at it last."""

    tenant_id: UUID
    tenant_name: str
    user_id: UUID
    user_email: str
    user_name: str
    decided_by: str


class RequestedPageView(BaseModel):
    """Newest first; ``next`` goes into ``after``, null on the last page."""

    items: list[RequestedView]
    next: str | None


class ApprovedView(BaseModel):
    """The request, and what became of the worker that was started."""

    setup_request: RequestedView
    worker: WorkerView


async def list_requests(call: Call[NoBody, SetupRequestsQuery]) -> RequestedPageView:
    reach = call.principal.tenants
    page = await call.deps.portal.list_setups(
        status=call.query.status,
        tenants=None if reach is None else sorted(reach),
        limit=call.query.limit,
        after=call.query.after,
    )
    return RequestedPageView(items=[_view(row) for row in page.rows], next=page.next)


async def get_request(call: Call[NoBody, NoQuery]) -> RequestedView:
    return _view(await _request(call))


async def review_request(call: Call[NoBody, NoQuery]) -> RequestedView:
    request = await _request(call)
    reviewing = await call.deps.portal.review_setup(request, by=call.principal.name)
    call.changed({"status": request.status}, {"status": reviewing.status})
    return _view(reviewing)


async def approve_request(call: Call[NoBody, NoQuery]) -> ApprovedView:
    """What was stored is not undone if the worker cannot be started: it is wanted running then."""
    request = await _request(call)
    approved = await call.deps.portal.approve_setup(request, by=call.principal.name)
    number = {"phone_number": approved.whatsapp_number, "template_type": approved.template}
    call.changed({"status": request.status}, {"status": approved.status} | number)
    # A worker that runs already must read its new number and template.
    snapshot = await call.deps.fleet.restart(approved.tenant_id)
    return ApprovedView(setup_request=_view(approved), worker=worker_view(snapshot))


async def reject_request(call: Call[RejectRequest, NoQuery]) -> RequestedView:
    request = await _request(call)
    rejected = await call.deps.portal.reject_setup(
        request, by=call.principal.name, reason=call.body.reason
    )
    after = {"status": rejected.status, "reason": rejected.reason}
    call.changed({"status": request.status}, after)
    return _view(rejected)


async def _request(call: Call[NoBody, NoQuery] | Call[RejectRequest, NoQuery]) -> SetupRequest:
    """The request of the path; one of a tenant out of reach is told like one that is not there."""
    request = await call.deps.portal.fetch_setup(read_path_id(call.request, "setup_request"))
    if not call.principal.reaches(request.tenant_id):
        raise NotFoundError(
            "There is no setup request with this id.",
            next_step="GET /admin/setup-requests lists them.",
        )
    return request


def _view(request: SetupRequest) -> RequestedView:
    return RequestedView(
        **setup_request_view(request).model_dump(),
        tenant_id=request.tenant_id,
        tenant_name=request.tenant_name,
        user_id=request.user_id,
        user_email=request.user_email,
        user_name=request.user_name,
        decided_by=request.decided_by,
    )


ROUTES = (
    Route(
        "GET",
        "/admin/setup-requests",
        "list_setup_requests",
        "What owners ask for, newest first",
        list_requests,
        body=NoBody,
        query=SetupRequestsQuery,
        answer=RequestedPageView,
        needs=Scope.REQUESTS_READ,
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/admin/setup-requests/{setup_request}",
        "get_setup_request",
        "One request",
        get_request,
        body=NoBody,
        query=NoQuery,
        answer=RequestedView,
        needs=Scope.REQUESTS_READ,
        problems=(NOT_FOUND,),
        fleet_wide=False,
    ),
    Route(
        "POST",
        "/admin/setup-requests/{setup_request}/review",
        "review_setup_request",
        "Tell the owner that somebody looks at it",
        review_request,
        body=NoBody,
        query=NoQuery,
        answer=RequestedView,
        needs=Scope.REQUESTS_WRITE,
        answer_kept=False,
        problems=(NOT_FOUND, WRONG_STATE),
        fleet_wide=False,
    ),
    Route(
        "POST",
        "/admin/setup-requests/{setup_request}/approve",
        "approve_setup_request",
        "Give the tenant its number and template, and start its worker",
        approve_request,
        body=NoBody,
        query=NoQuery,
        answer=ApprovedView,
        needs=Scope.REQUESTS_WRITE,
        answer_kept=False,
        problems=(NOT_FOUND, WRONG_STATE, ALREADY_EXISTS, MISCONFIGURED),
        fleet_wide=False,
    ),
    Route(
        "POST",
        "/admin/setup-requests/{setup_request}/reject",
        "reject_setup_request",
        "Reject it, with a reason that the owner reads",
        reject_request,
        body=RejectRequest,
        query=NoQuery,
        answer=RequestedView,
        needs=Scope.REQUESTS_WRITE,
        answer_kept=False,
        problems=(NOT_FOUND, WRONG_STATE),
        fleet_wide=False,
    ),
)
