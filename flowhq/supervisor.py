"""Wanted state against observed state: keeps every tenant that should run running.

Each tenant is a task of its own with a restart loop (keeper.py); no two share a task group, so that
nothing that happens to one reaches another. Here are the operator's verbs, under a lock per tenant,
and what goes round all of them. The wish (`DesiredState`) changes by a verb only.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import structlog

from flowhq.bot.lifecycle import Event, Lifecycle, State
from flowhq.bot.restart import RestartPolicy
from flowhq.brake import Brake, Incident
from flowhq.clock import Clock
from flowhq.config import SupervisorSettings
from flowhq.errors import NotFoundError, WrongStateError
from flowhq.keeper import Keeper, RunnerDesk
from flowhq.model import ChatKey, DesiredState, TenantId, TenantSnapshot

log = structlog.get_logger(__name__)

T = TypeVar("T")

# One round over all tenants: some write to a database that does not answer, some are killed.
ROUND_MAX_S = 120.0


class Desk(RunnerDesk, Protocol):
    """What the supervisor needs done by the floors it may not know; the daemon provides it.

    ``log_out`` unlinks at the server if it can; ``forget`` deletes profile and pairing.
    """

    async def wanted(self) -> Sequence[Lifecycle]: ...

    async def find(self, tenant_id: TenantId) -> Lifecycle | None: ...

    async def reload(self, tenant_id: TenantId) -> None: ...

    async def log_out(self, tenant_id: TenantId) -> None: ...

    async def forget(self, tenant_id: TenantId) -> None: ...

    def drop_log(self, tenant_id: TenantId) -> None: ...


class Supervisor:
    """All tenants of the daemon. `open` returns at once; the tenants come up staggered."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        settings: SupervisorSettings,
        *,
        dice: random.Random | None = None,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._settings = settings
        self._dice = dice or random.Random()  # noqa: S311 - jitter, not a secret
        self._keepers: dict[TenantId, Keeper] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._works: set[asyncio.Future[Any]] = set()
        """What is done while tenants rest."""
        self._closing = False
        self._brake = Brake(
            clock,
            self._dice,
            running=lambda: sum(keeper.alive for keeper in self._every()),
            starting=lambda: sum(keeper.starting for keeper in self._every()),
            offline=lambda: sum(keeper.offline for keeper in self._every()),
            reviving=lambda: sum(keeper.reviving for keeper in self._every()),
        )
        self._went_round_s = clock.monotonic()

    # -- the daemon's side ----------------------------------------------------------------------

    async def open(self) -> None:
        """Take up every tenant that is wanted running."""
        lifecycles = await self._desk.wanted()
        keepers = [self._keeper(lifecycle) for lifecycle in lifecycles]
        self._chore(self._come_back(keepers), "come back")
        self._went_round_s = self._clock.monotonic()
        self._chore(self._go_round(), "rounds")

    async def close(self) -> None:
        """Stop every tenant, at the same time; their wish to run stays. What is done while one
        rests is broken off. Safe to call twice."""
        self._closing = True
        for task in (*self._chores, *self._works):
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.gather(*(self._alone(keeper, self._shut(keeper)) for keeper in self._every()))

    def hurry(self) -> None:
        """Give up draining: go straight to closing the browsers."""
        for keeper in self._every():
            keeper.hurry()

    @property
    def overdue_s(self) -> float:
        """For how long its rounds over all tenants have been late; 0 when all is well."""
        due_s = self._went_round_s + self._settings.stale_check_s + ROUND_MAX_S
        return max(0.0, self._clock.monotonic() - due_s)

    # -- what the admin floor asks ----------------------------------------------------------------

    def snapshot(self, tenant_id: TenantId) -> TenantSnapshot | None:
        keeper = self._keepers.get(tenant_id)
        return keeper.lifecycle.snapshot if keeper is not None else None

    def snapshots(self) -> Mapping[TenantId, TenantSnapshot]:
        return {tenant_id: keeper.lifecycle.snapshot for tenant_id, keeper in self._keepers.items()}

    def wake(self, tenant_id: TenantId, chat_key: ChatKey) -> None:
        """Work was put back for this chat: a running tenant looks after it now, another when it
        starts."""
        keeper = self._keepers.get(tenant_id)
        if keeper is not None:
            keeper.wake(chat_key)

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        """The snapshot after its next change, or the present one after ``timeout_s``."""
        keeper = self._keepers.get(tenant_id)
        if keeper is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await keeper.lifecycle.changed()
        except TimeoutError:
            return keeper.lifecycle.snapshot

    async def health(self) -> Mapping[str, object]:
        """Tenants by worker status, what waits in their queues, and the present incident: what
        many of them have in common."""
        workers = Counter[str](keeper.lifecycle.snapshot.worker for keeper in self._every())
        return {
            "tenants": len(self._keepers),
            "workers": dict(workers),
            "waiting_messages": sum(keeper.waiting() for keeper in self._every()),
            "incidents": self._brake.incidents,
            "incident": self.incident(),
        }

    def incident(self) -> Mapping[str, object] | None:
        """What many tenants have in common at present: since when, how many, why; None if all is
        well."""
        return _incident_view(self._brake.incident())

    async def start(self, tenant_id: TenantId) -> TenantSnapshot:
        async with self._held(tenant_id) as keeper:
            if keeper.alive:
                raise WrongStateError(
                    f"The worker of tenant {tenant_id} is running already.",
                    next_step="Use restart to start it afresh.",
                )
            return await keeper.launch()

    async def stop(self, tenant_id: TenantId) -> TenantSnapshot:
        """Stop it and keep it stopped; stopping what is stopped changes nothing."""
        async with self._held(tenant_id) as keeper:
            await keeper.halt()
            return await keeper.lifecycle.apply(
                Event.STOP, actor="admin", desired=DesiredState.STOPPED
            )

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot:
        """Close the browser cleanly and start again, whatever state it is in."""
        async with self._held(tenant_id) as keeper:
            await keeper.halt()
            return await keeper.launch()

    async def force_restart(self, tenant_id: TenantId) -> TenantSnapshot:
        """Kill the tenant's browser tree and start again, for what a restart cannot end."""
        async with self._held(tenant_id) as keeper:
            await self._desk.kill(tenant_id)
            await keeper.halt(drain=False)
            return await keeper.launch()

    async def pause(self, tenant_id: TenantId) -> TenantSnapshot:
        """Receive and record, but answer nothing; planned replies still go out."""
        async with self._held(tenant_id) as keeper:
            return await keeper.lifecycle.apply(Event.PAUSE, actor="admin")

    async def resume(self, tenant_id: TenantId) -> TenantSnapshot:
        async with self._held(tenant_id) as keeper:
            return await keeper.lifecycle.apply(Event.RESUME, actor="admin")

    async def log_out(self, tenant_id: TenantId) -> TenantSnapshot:
        """Unlink the device and forget its profile; a worker that is wanted shows a new code. What
        fails half-way leaves a stopped tenant, and can be asked for again."""
        async with self._held(tenant_id) as keeper:
            if keeper.alive:
                await self._desk.log_out(tenant_id)
            wanted = keeper.lifecycle.snapshot.desired is DesiredState.RUNNING
            await keeper.halt(drain=False)
            await keeper.lifecycle.apply(Event.STOP, actor="admin")
            await self._desk.forget(tenant_id)
            await keeper.lifecycle.apply(Event.UNLINK, actor="admin")
            return await keeper.launch() if wanted else keeper.lifecycle.snapshot

    async def forget(self, tenant_id: TenantId, delete: Callable[[], Awaitable[None]]) -> None:
        """The end of a tenant: unlink its device if it runs, stop it, forget its profile,
        ``delete`` its rows, drop its log, let go of its place. A verb that comes meanwhile waits,
        and finds no tenant. What fails half-way leaves a stopped tenant without a pairing, and can
        be asked for again."""
        async with self._held(tenant_id) as keeper:
            if keeper.alive:
                await self._desk.log_out(tenant_id)
            await keeper.halt(drain=False)
            await keeper.lifecycle.apply(Event.STOP, actor="admin", desired=DesiredState.STOPPED)
            await self._desk.forget(tenant_id)
            await keeper.lifecycle.apply(Event.UNLINK, actor="admin")
            await delete()
            self._desk.drop_log(tenant_id)
            del self._keepers[tenant_id]

    async def rest(self, tenant_id: TenantId, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` gives while the tenant does not run; one that ran is started again
        afterwards, whatever became of the work. The wish to run stays. A stop of the daemon breaks
        the work off: WrongStateError."""
        async with self._held(tenant_id) as keeper:
            ran = keeper.alive
            await keeper.halt()
            if ran:
                await keeper.lifecycle.apply(
                    Event.SHUTDOWN, actor="admin", detail="It is stopped while a backup is taken."
                )
            try:
                return await self._unless_closing(work)
            finally:
                if ran and not self._closing:
                    await keeper.launch()

    async def _unless_closing(self, work: Callable[[], Awaitable[T]]) -> T:
        self._refuse_if_closing()
        task = asyncio.ensure_future(work())
        self._works.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or not caller.cancelling():
                self._refuse_if_closing()
            raise
        finally:
            self._works.discard(task)

    async def reload(self, tenant_id: TenantId) -> None:
        """The tenant's configuration changed: it holds from the next message on."""
        await self._desk.reload(tenant_id)

    # -- one tenant -------------------------------------------------------------------------------

    def _keeper(self, lifecycle: Lifecycle) -> Keeper:
        tenant_id = lifecycle.snapshot.tenant_id
        keeper = Keeper(
            lifecycle,
            self._desk,
            self._clock,
            self._settings,
            policy=RestartPolicy(self._settings, dice=self._dice),
            brake=self._brake,
        )
        return self._keepers.setdefault(tenant_id, keeper)

    @asynccontextmanager
    async def _held(self, tenant_id: TenantId) -> AsyncIterator[Keeper]:
        """The tenant's keeper under its lock; NotFoundError without such a tenant."""
        while True:
            self._refuse_if_closing()  # before it waits for a lock that a draining holds
            keeper = self._keepers.get(tenant_id) or await self._found(tenant_id)
            async with keeper.lock:
                if self._keepers.get(tenant_id) is not keeper:
                    continue  # forgotten while this verb waited for its turn
                self._refuse_if_closing()
                with structlog.contextvars.bound_contextvars(tenant_id=str(tenant_id)):
                    yield keeper
                return

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise WrongStateError("The daemon is stopping.", next_step="Try again when it is back.")

    async def _found(self, tenant_id: TenantId) -> Keeper:
        lifecycle = await self._desk.find(tenant_id)
        if lifecycle is None:
            raise NotFoundError(f"There is no tenant {tenant_id}.")
        return self._keeper(lifecycle)

    def _every(self) -> Sequence[Keeper]:
        return list(self._keepers.values())

    async def _shut(self, keeper: Keeper) -> None:
        async with keeper.lock:
            await keeper.halt()
            if keeper.parked_for_a_person:
                await keeper.lifecycle.flush()
            else:
                await keeper.lifecycle.apply(Event.SHUTDOWN)

    # -- chores -----------------------------------------------------------------------------------

    def _chore(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("supervision stopped", chore=task.get_name(), exc_info=task.exception())

    async def _alone(self, keeper: Keeper, work: Awaitable[object]) -> None:
        """One tenant's part of a chore: what goes wrong with it holds up no other."""
        try:
            await work
        except Exception as error:
            log.error(
                "supervision of a tenant failed", tenant_id=str(keeper.tenant_id), exc_info=error
            )

    async def _come_back(self, keepers: Sequence[Keeper]) -> None:
        """None waits for another that a verb holds at the time."""
        for keeper in keepers:
            self._chore(self._alone(keeper, self._take_up(keeper)), "take up")
            await self._clock.sleep(self._settings.stagger_s)

    async def _take_up(self, keeper: Keeper) -> None:
        """Unless it was parked for what a person must mend: a start of the daemon mends nothing."""
        async with keeper.lock:
            lifecycle = keeper.lifecycle
            wanted = lifecycle.snapshot.desired is DesiredState.RUNNING
            known = self._keepers.get(keeper.tenant_id) is keeper
            if known and wanted and not keeper.alive and lifecycle.state is not State.PARKED:
                await keeper.launch(actor="daemon")

    async def _go_round(self) -> None:
        while True:
            await self._clock.sleep(self._settings.stale_check_s)
            await asyncio.gather(*(self._alone(one, self._check(one)) for one in self._every()))
            self._brake.incident()
            self._went_round_s = self._clock.monotonic()

    async def _check(self, keeper: Keeper) -> None:
        """Store what an outage kept from being stored, recover a tenant that went stale or stays
        without a connection, and try one again that was parked for failing too often. A tenant with
        a verb at work is left to it."""
        await keeper.lifecycle.flush()
        if keeper.lock.locked() or not (keeper.stale or keeper.reload_due or keeper.trial_due):
            return
        async with keeper.lock:
            with structlog.contextvars.bound_contextvars(tenant_id=str(keeper.tenant_id)):
                await keeper.recover()
                keeper.reload()
                if keeper.trial_due:
                    log.info("parked tenant is tried again")
                    await keeper.launch(actor="daemon", on_trial=True)


def _incident_view(incident: Incident | None) -> Mapping[str, object] | None:
    if incident is None:
        return None
    return {
        "since": incident.began_at.isoformat(),
        "tenants": len(incident.tenants),
        "reason": incident.reason,
    }
