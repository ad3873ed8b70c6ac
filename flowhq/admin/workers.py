"""The verbs: start, stop and restart a worker, pause and resume a tenant, unlink its phone.

What a verb means, and when it does not fit, is decided by the fleet; here they only get routes.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.ports import Fleet
from flowhq.admin.problems import MISCONFIGURED, WRONG_STATE
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)


class WorkerView(BaseModel):
    """What became of a tenant through a verb: observed state, reason, and what to do next."""

    tenant_id: UUID
    status: TenantStatus
    session_state: SessionState
    worker_status: WorkerStatus
    desired_state: DesiredState
    paused: bool
    paired: bool
    reason: Reason
    next_action: str
    detail: str
    restarts: int
    last_seen_at: datetime | None


def worker_view(snapshot: TenantSnapshot) -> WorkerView:
    return WorkerView(
        tenant_id=snapshot.tenant_id,
        status=snapshot.status,
        session_state=snapshot.session,
        worker_status=snapshot.worker,
        desired_state=snapshot.desired,
        paused=snapshot.paused,
        paired=snapshot.paired,
        reason=snapshot.reason,
        next_action=snapshot.next_action,
        detail=snapshot.detail,
        restarts=snapshot.restarts,
        last_seen_at=snapshot.last_seen_at,
    )


def _wish(snapshot: TenantSnapshot) -> dict[str, Any]:
    """What a verb changes by itself; what the tenant makes of it is in its history."""
    return {
        "desired_state": snapshot.desired,
        "paused": snapshot.paused,
        "paired": snapshot.paired,
    }


Verb = Callable[[Fleet, TenantId], Awaitable[TenantSnapshot]]


def _verb(path: str, name: str, summary: str, verb: Verb) -> Route[Any, Any]:
    async def handle(call: Call[NoBody, NoQuery]) -> WorkerView:
        before = call.deps.fleet.snapshot(call.tenant_id)
        after = await verb(call.deps.fleet, call.tenant_id)
        call.changed({} if before is None else _wish(before), _wish(after))
        return worker_view(after)

    return Route(
        "POST",
        f"/admin/tenants/{{tenant_id}}/{path}",
        name,
        summary,
        handle,
        body=NoBody,
        query=NoQuery,
        answer=WorkerView,
        needs=Scope.TENANTS_OPERATE,
        problems=(WRONG_STATE, MISCONFIGURED),
        repeatable=True,
    )


ROUTES = (
    _verb(
        "worker/start",
        "start_worker",
        "Start the worker; the state then leads to a code or to a connection",
        lambda fleet, tenant_id: fleet.start(tenant_id),
    ),
    _verb(
        "worker/stop",
        "stop_worker",
        "Stop the worker cleanly; the pairing is kept",
        lambda fleet, tenant_id: fleet.stop(tenant_id),
    ),
    _verb(
        "worker/restart",
        "restart_worker",
        "Stop cleanly and start again; a new code if the codes ran out",
        lambda fleet, tenant_id: fleet.restart(tenant_id),
    ),
    _verb(
        "worker/force-restart",
        "force_restart_worker",
        "Kill the tenant's browser and start again",
        lambda fleet, tenant_id: fleet.force_restart(tenant_id),
    ),
    _verb(
        "pause",
        "pause_tenant",
        "Keep receiving and recording, answer nobody",
        lambda fleet, tenant_id: fleet.pause(tenant_id),
    ),
    _verb(
        "resume",
        "resume_tenant",
        "Answer again",
        lambda fleet, tenant_id: fleet.resume(tenant_id),
    ),
    _verb(
        "session/logout",
        "log_out_session",
        "Unlink this device from the phone and forget the pairing",
        lambda fleet, tenant_id: fleet.log_out(tenant_id),
    ),
)
