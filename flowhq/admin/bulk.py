"""One verb over many tenants: what would happen, what happens, and what became of each.

A run goes on in the background, a few tenants at a time; one tenant's failure touches no other.
It lives as long as the daemon: an end of the daemon cuts it off, it is not taken up again, and its
results say which tenants were done, which were under way and which were never begun. What the
verbs wish (running, stopped, paused) is stored with each tenant and outlives the daemon by itself.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin import problems
from flowhq.admin.inputs import NAME_MAX, Input, NoBody, NoQuery, read_path_id
from flowhq.admin.polling import CLOSING
from flowhq.admin.ports import AdminDeps, BulkStore, Fleet
from flowhq.admin.problems import NOT_FOUND, WRONG_STATE
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.db.bulk import BulkItem, BulkRun, Outcome
from flowhq.db.tenantlists import TenantFilter
from flowhq.db.tenants import TenantRow
from flowhq.errors import (
    FlowHQError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    StoreError,
    WrongStateError,
)
from flowhq.model import (
    DesiredState,
    Reason,
    TemplateType,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

# A start opens a browser: the fleet paces those by itself, this bounds what waits on it.
AT_ONCE = 8
TENANTS_MAX = 1000
RUNS_MAX = 4
# A verb in progress at the stop of the daemon gets its answer within this.
CLOSE_LIMIT_S = 5.0

log = structlog.get_logger(__name__)


class BulkVerb(StrEnum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    PAUSE = "pause"
    RESUME = "resume"


Verb = Callable[[Fleet, TenantId], Awaitable[TenantSnapshot]]
VERBS: Mapping[BulkVerb, Verb] = MappingProxyType(
    {
        BulkVerb.START: lambda fleet, tenant_id: fleet.start(tenant_id),
        BulkVerb.STOP: lambda fleet, tenant_id: fleet.stop(tenant_id),
        BulkVerb.RESTART: lambda fleet, tenant_id: fleet.restart(tenant_id),
        BulkVerb.PAUSE: lambda fleet, tenant_id: fleet.pause(tenant_id),
        BulkVerb.RESUME: lambda fleet, tenant_id: fleet.resume(tenant_id),
    }
)

# In strict models an enum or an id would only take its own kind, which JSON does not have.
LooseId = Annotated[UUID, Field(strict=False)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=NAME_MAX)]


class BulkFilter(Input):
    """As the list of tenants takes it; {} is every tenant."""

    status: Annotated[TenantStatus, Field(strict=False)] | None = None
    reason: Annotated[Reason, Field(strict=False)] | None = None
    desired_state: Annotated[DesiredState, Field(strict=False)] | None = None
    template_type: Annotated[TemplateType, Field(strict=False)] | None = None
    q: Text | None = None


class BulkRequest(Input):
    """``tenants`` or ``filter`` says which; ``dry_run`` only tells what would happen."""

    verb: Annotated[BulkVerb, Field(strict=False)]
    tenants: Annotated[list[LooseId], Field(min_length=1, max_length=TENANTS_MAX)] | None = None
    filter: BulkFilter | None = None
    dry_run: bool = False


class BulkState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"
    INTERRUPTED = "interrupted"  # the daemon ended; it is not taken up again


class BulkItemView(BaseModel):
    """One tenant. ``problem``, ``detail`` and ``next_step`` are those of the refusal, or empty."""

    tenant_id: UUID
    outcome: Outcome
    problem: str
    detail: str
    next_step: str
    at: datetime | None


class BulkView(BaseModel):
    """A run: how many tenants came to which ``outcomes``, and each of them in ``items``."""

    id: UUID
    verb: str
    dry_run: bool
    state: BulkState
    tenants: int
    outcomes: dict[Outcome, int]
    items: list[BulkItemView]
    created_at: datetime
    ended_at: datetime | None


class BulkRunner:
    """The runs in progress. `close` ends them; what waits then is not begun."""

    def __init__(self, fleet: Fleet, store: BulkStore, closing: asyncio.Event) -> None:
        self._fleet = fleet
        self._store = store
        self._closing = closing
        self._running: dict[UUID, asyncio.Task[None]] = {}

    def is_live(self, run_id: UUID) -> bool:
        return run_id in self._running

    def refuse_more(self) -> None:
        """WrongStateError if there are as many runs as there may be."""
        if len(self._running) >= RUNS_MAX:
            raise WrongStateError(
                f"{RUNS_MAX} bulk runs are in progress.", next_step="Wait until one has ended."
            )

    def begin(self, run: BulkRun, rows: Mapping[TenantId, TenantRow]) -> None:
        """The run goes on in the background from now on; ``rows`` are what is stored."""
        task = asyncio.create_task(self._go(run, rows), name="bulk")
        self._running[run.run_id] = task
        task.add_done_callback(lambda _: self._running.pop(run.run_id, None))

    async def close(self) -> None:
        tasks = list(self._running.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_LIMIT_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go(self, run: BulkRun, rows: Mapping[TenantId, TenantRow]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        # What one raises, whatever it is, is only its own outcome.
        results = await asyncio.gather(
            *(self._one(run, rows[tenant_id], slots) for tenant_id in run.tenants),
            return_exceptions=True,
        )
        for tenant_id, error in zip(run.tenants, results, strict=True):
            if isinstance(error, BaseException):
                log.error("bulk: verb broke off", tenant_id=str(tenant_id), exc_info=error)
        if any(begun is False for begun in results):
            return  # cut off by the stop of the daemon, and to be told as such
        try:
            await self._store.end_run(run.run_id)
        except StoreError as error:
            log.warning("end of a bulk run not stored", why=str(error))

    async def _one(self, run: BulkRun, row: TenantRow, slots: asyncio.Semaphore) -> bool:
        """Whether it was begun, which it is not once the daemon stops."""
        async with slots:
            if self._closing.is_set():
                return False
            await self._store.begin_item(run.run_id, row.tenant_id)
            verb = BulkVerb(run.verb)
            if run.dry_run:
                item = _foresee(verb, row, self._fleet.snapshot(row.tenant_id))
            else:
                item = await self._act(verb, row.tenant_id)
            await self._store.end_item(run.run_id, item)
            return True

    async def _act(self, verb: BulkVerb, tenant_id: TenantId) -> BulkItem:
        try:
            await VERBS[verb](self._fleet, tenant_id)
        except FlowHQError as error:
            refused = isinstance(error, (WrongStateError, MisconfiguredError, NotFoundError))
            problem = problems.of_error(error)
            if not refused:
                log.warning("bulk: tenant not done", tenant_id=str(tenant_id), why=str(error))
            return BulkItem(
                tenant_id,
                Outcome.REFUSED if refused else Outcome.FAILED,
                problem.kind.name,
                problem.message,
                problem.next_step,
            )
        return BulkItem(tenant_id, Outcome.DONE)


BULK = web.AppKey("bulk", BulkRunner)


def set_up(app: web.Application, deps: AdminDeps) -> None:
    """Gives the application its runner, and ends it with the application."""
    app[BULK] = BulkRunner(deps.fleet, deps.store, app[CLOSING])

    async def close(app: web.Application) -> None:
        await app[BULK].close()

    app.on_cleanup.append(close)


def _foresee(verb: BulkVerb, row: TenantRow, seen: TenantSnapshot | None) -> BulkItem:
    """What the verb would do to a tenant in this state."""
    running = (seen.worker if seen else row.worker_status) is WorkerStatus.RUNNING
    wanted = (seen.desired if seen else row.desired) is DesiredState.RUNNING
    paused = seen.paused if seen else row.paused_at is not None
    idle = {
        BulkVerb.START: running,
        BulkVerb.STOP: not running and not wanted,
        BulkVerb.RESTART: False,
        BulkVerb.PAUSE: paused,
        BulkVerb.RESUME: not paused,
    }[verb]
    return BulkItem(row.tenant_id, Outcome.WOULD_CHANGE_NOTHING if idle else Outcome.WOULD_BE_DONE)


# -- handlers --------------------------------------------------------------------------------------


async def begin_bulk(call: Call[BulkRequest, NoQuery]) -> web.Response:
    runner = call.request.app[BULK]
    runner.refuse_more()
    rows = await _chosen(call)
    run = await call.deps.store.create_run(
        call.principal.name, call.body.verb.value, tuple(rows), dry_run=call.body.dry_run
    )
    call.changed({}, {"verb": run.verb, "dry_run": run.dry_run, "tenants": len(rows)})
    runner.begin(run, rows)
    items = [BulkItem(tenant_id, Outcome.WAITING) for tenant_id in run.tenants]
    location = {"Location": f"/admin/bulk/{run.run_id}"}
    return reply(_view(run, items, live=True), HTTPStatus.ACCEPTED, location)


async def get_bulk(call: Call[NoBody, NoQuery]) -> BulkView:
    run_id = read_path_id(call.request, "run")
    # Asked first: a run that ends in between is told as ended, with all its results.
    live = call.request.app[BULK].is_live(run_id)
    run = await call.deps.store.find_run(run_id)
    limited = call.principal.tenants is not None
    if run is None or (limited and run.principal != call.principal.name):
        raise NotFoundError(
            f"There is no bulk run {run_id}.", next_step="Runs are kept for 30 days."
        )
    # What broke off is unknown as soon as the run has ended, though its task may not be gone yet.
    live = live and run.ended_at is None
    items = await call.deps.store.list_items(run, live=live)
    reached = [item for item in items if call.principal.reaches(item.tenant_id)]
    return _view(run, reached, live=live)


async def _chosen(call: Call[BulkRequest, NoQuery]) -> dict[TenantId, TenantRow]:
    """The tenants asked for, all within reach; InvalidInputError for any that is none."""
    body, reach = call.body, call.principal.tenants
    if (body.tenants is None) == (body.filter is None):
        raise InvalidInputError("give either tenants or filter.", field="tenants")
    if body.filter is not None:
        return await _found(call, body.filter)
    wanted = list(dict.fromkeys(TenantId(each) for each in body.tenants or ()))
    among = [each for each in wanted if call.principal.reaches(each)]
    page = await call.deps.store.list_tenants(
        TenantFilter(among=among), limit=TENANTS_MAX, after=None
    )
    rows = {row.tenant_id: row for row in page.rows}
    if unknown := [str(each) for each in wanted if each not in rows]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        scope = "" if reach is None else " within the credential's reach"
        raise InvalidInputError(f"there is no tenant {unknown[0]}{more}{scope}.", field="tenants")
    return {each: rows[each] for each in wanted}


async def _found(call: Call[BulkRequest, NoQuery], given: BulkFilter) -> dict[TenantId, TenantRow]:
    chosen = TenantFilter(
        status=given.status,
        reason=given.reason,
        desired=given.desired_state,
        template=given.template_type,
        text=given.q or "",
        among=call.principal.tenants,
    )
    page = await call.deps.store.list_tenants(chosen, limit=TENANTS_MAX, after=None)
    if page.next is not None:
        raise InvalidInputError(f"chooses more than {TENANTS_MAX} tenants.", field="filter")
    return {row.tenant_id: row for row in page.rows}


def _view(run: BulkRun, items: list[BulkItem], *, live: bool) -> BulkView:
    if run.ended_at is not None:
        state = BulkState.ENDED
    else:
        state = BulkState.RUNNING if live else BulkState.INTERRUPTED
    return BulkView(
        id=run.run_id,
        verb=run.verb,
        dry_run=run.dry_run,
        state=state,
        tenants=len(items),
        outcomes=dict(sorted(Counter(item.outcome for item in items).items())),
        items=[
            BulkItemView(
                tenant_id=item.tenant_id,
                outcome=item.outcome,
                problem=item.problem,
                detail=item.detail,
                next_step=item.next_step,
                at=item.at,
            )
            for item in items
        ],
        created_at=run.created_at,
        ended_at=run.ended_at,
    )


ROUTES = (
    Route(
        "POST",
        "/admin/bulk",
        "begin_bulk",
        "One verb over many tenants, in the background; or what it would do",
        begin_bulk,
        body=BulkRequest,
        query=NoQuery,
        answer=BulkView,
        needs=Scope.TENANTS_OPERATE,
        status=HTTPStatus.ACCEPTED,
        problems=(WRONG_STATE,),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/admin/bulk/{run}",
        "get_bulk",
        "How far a bulk run is, and what became of each tenant",
        get_bulk,
        body=NoBody,
        query=NoQuery,
        answer=BulkView,
        needs=Scope.TENANTS_OPERATE,
        problems=(NOT_FOUND,),
        fleet_wide=False,
    ),
)
