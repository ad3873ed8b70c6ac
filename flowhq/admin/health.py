"""Is the process alive, can it serve, and what is going on inside: three questions, three routes.

Without credentials only a word is told. Live is about the process alone, so that an outage of the
database never makes a supervisor of processes kill a healthy daemon.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from flowhq.admin.disks import DiskView, look_at
from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.polling import CLOSING
from flowhq.admin.ports import AdminDeps
from flowhq.admin.retention import LastSweepView, days_view, last_view
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.db.sweeps import Keeping
from flowhq.errors import StoreError
from flowhq.model import TenantSnapshot, TenantStatus

# A database that answers slower than this is not ready to serve.
PING_TIMEOUT_S = 2.0
# They are made two weeks ahead, twice a day.
DAYS_AHEAD_MIN = 3


class HealthStatus(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    STOPPING = "stopping"


class HealthView(BaseModel):
    """``ok``, ``unavailable`` (the database does not answer) or ``stopping``."""

    status: HealthStatus


class DatabaseHealth(BaseModel):
    reachable: bool
    answer_ms: float | None


class LoopHealth(BaseModel):
    """How late the daemon's event loop was in the last minute, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


class HealthDetailsView(BaseModel):
    """What an operator looks at first; ``warnings`` in words. ``tenants`` are the fleet's own
    figures; ``sweep`` is null before the first one, and while there is no database."""

    status: HealthStatus
    warnings: list[str]
    version: str
    uptime_s: float
    database: DatabaseHealth
    loop: LoopHealth
    tenants: dict[str, Any]
    disks: list[DiskView]
    sweep: LastSweepView | None
    days_ahead: int | None


NoCall = Call[NoBody, NoQuery]


async def live(call: NoCall) -> HealthView:
    return HealthView(status=HealthStatus.OK)


async def ready(call: NoCall) -> web.Response:
    status = _status(call, await _ping(call.deps))
    code = HTTPStatus.OK if status is HealthStatus.OK else HTTPStatus.SERVICE_UNAVAILABLE
    return reply(HealthView(status=status), code)


async def details(call: NoCall) -> HealthDetailsView:
    database = await _ping(call.deps)
    keeping = await _keeping(call.deps) if database.reachable else None
    disks = await look_at(call.deps.folders)
    today = call.deps.clock.now().astimezone(UTC).date()
    lag = call.deps.pulse.figures_ms()
    uptime_s = (call.deps.clock.now() - call.deps.started_at).total_seconds()
    fleet = await call.deps.fleet.health()
    of_tenants = _warnings_of_tenants(fleet, call.deps.fleet.snapshots().values())
    return HealthDetailsView(
        status=_status(call, database),
        warnings=[*of_tenants, *_warnings(disks, keeping, today)],
        version=call.deps.version,
        uptime_s=round(uptime_s, 1),
        database=database,
        loop=LoopHealth(p50_ms=lag["p50"], p99_ms=lag["p99"], max_ms=lag["max"]),
        tenants=dict(fleet),
        disks=disks,
        sweep=last_view(keeping) if keeping is not None else None,
        days_ahead=days_view(keeping.days, today).ahead if keeping is not None else None,
    )


def _status(call: NoCall, database: DatabaseHealth) -> HealthStatus:
    if call.request.app[CLOSING].is_set():
        return HealthStatus.STOPPING
    return HealthStatus.OK if database.reachable else HealthStatus.UNAVAILABLE


def _warnings_of_tenants(
    fleet: Mapping[str, Any], snapshots: Iterable[TenantSnapshot]
) -> list[str]:
    """As observed, so that an outage of the database hides none of it."""
    warnings = []
    if (incident := fleet.get("incident")) is not None:
        number, reason = incident["tenants"], incident["reason"]
        warnings.append(f"{number} tenants failed at once, most often with {reason}.")
    in_error = sum(one.status is TenantStatus.ERROR for one in snapshots)
    if in_error:
        warnings.append(f"Tenants in ERROR: {in_error}.")
    return warnings


def _warnings(disks: Sequence[DiskView], keeping: Keeping | None, today: date) -> list[str]:
    """What wants a person soon; docs/runbook.md says what to do."""
    warnings = [f"The disk of {disk.setting} is nearly full." for disk in disks if disk.low]
    if keeping is None:
        return [*warnings, "The database does not answer."]
    if days_view(keeping.days, today).ahead < DAYS_AHEAD_MIN:
        warnings.append("The days of the ledger are not made ahead.")
    if keeping.state.held_since is not None:
        warnings.append(f"Nothing old is deleted. {keeping.state.held_why}")
    if keeping.last is not None and keeping.last.outcome == "failed":
        warnings.append("The last daily sweep failed.")
    return warnings


async def _keeping(deps: AdminDeps) -> Keeping | None:
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            return await deps.store.fetch_keeping()
    except (StoreError, TimeoutError):
        return None


async def _ping(deps: AdminDeps) -> DatabaseHealth:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await deps.store.ping()
    except (StoreError, TimeoutError):
        return DatabaseHealth(reachable=False, answer_ms=None)
    return DatabaseHealth(
        reachable=True, answer_ms=round((time.perf_counter() - started) * 1000, 2)
    )


ROUTES = (
    Route(
        "GET",
        "/health",
        "health",
        "Can the daemon serve? 503 if not",
        ready,
        body=NoBody,
        query=NoQuery,
        answer=HealthView,
        needs=None,
        also=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Route(
        "GET",
        "/health/live",
        "health_live",
        "Is the process alive?",
        live,
        body=NoBody,
        query=NoQuery,
        answer=HealthView,
        needs=None,
    ),
    Route(
        "GET",
        "/health/ready",
        "health_ready",
        "Can the daemon serve? 503 if not",
        ready,
        body=NoBody,
        query=NoQuery,
        answer=HealthView,
        needs=None,
        also=(HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    Route(
        "GET",
        "/health/details",
        "health_details",
        "Version, database, tenants",
        details,
        body=NoBody,
        query=NoQuery,
        answer=HealthDetailsView,
        needs=Scope.STATUS_READ,
    ),
)
