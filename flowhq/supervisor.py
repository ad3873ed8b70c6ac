"""Wanted state against observed state: keeps every tenant that should run running.

Each tenant is a task of its own with a restart loop; no two share a task group, so that nothing
that happens to one reaches another. The failure's class decides what follows: restart after a
wait, park until a person acts. The wish (`DesiredState`) changes by an operator's verb only.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from flowhq.bot.lifecycle import Event, Lifecycle, State
from flowhq.bot.restart import Park, RestartPolicy, verdict
from flowhq.clock import Clock
from flowhq.config import SupervisorSettings
from flowhq.errors import (
    ChannelRestartError,
    FlowHQError,
    NotFoundError,
    WrongStateError,
)
from flowhq.model import ChatKey, DesiredState, Reason, TenantId, TenantSnapshot

log = structlog.get_logger(__name__)

# A tenant's whole stop: draining, closing the browser, killing what is left of it.
STOP_SLACK_S = 25.0


class Runner(Protocol):
    """One attempt at one tenant (bot/tenant.py)."""

    async def run(self) -> None: ...

    async def drain(self) -> None: ...

    def depths(self) -> dict[str, int]: ...

    def wake(self, chat_key: ChatKey) -> None: ...


class Desk(Protocol):
    """What the supervisor needs done by the floors it may not know; the daemon provides it.

    ``open`` builds a runner from the tenant's present configuration. ``kill`` ends its browser
    tree. ``log_out`` unlinks at the server if it can; ``forget`` deletes profile and pairing.
    """

    async def wanted(self) -> Sequence[Lifecycle]: ...

    async def find(self, tenant_id: TenantId) -> Lifecycle | None: ...

    async def open(self, lifecycle: Lifecycle) -> Runner: ...

    async def reload(self, tenant_id: TenantId) -> None: ...

    async def kill(self, tenant_id: TenantId) -> None: ...

    async def log_out(self, tenant_id: TenantId) -> None: ...

    async def forget(self, tenant_id: TenantId) -> None: ...

    def close_log(self, tenant_id: TenantId) -> None: ...


@dataclass(slots=True)
class _Slot:
    """One tenant's place: its task and the lock under which its verbs run."""

    lifecycle: Lifecycle
    policy: RestartPolicy
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None
    runner: Runner | None = None

    @property
    def alive(self) -> bool:
        return self.task is not None and not self.task.done()


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
        self._slots: dict[TenantId, _Slot] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._closing = False

    # -- the daemon's side ----------------------------------------------------------------------

    async def open(self) -> None:
        """Take up every tenant that is wanted running."""
        lifecycles = await self._desk.wanted()
        slots = [self._slot(lifecycle) for lifecycle in lifecycles]
        self._chore(self._come_back(slots), "come back")
        self._chore(self._watch_staleness(), "staleness")

    async def close(self) -> None:
        """Stop every tenant, at the same time; their wish to run stays. Safe to call twice."""
        self._closing = True
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.gather(*(self._alone(slot, self._shut(slot)) for slot in self._every()))

    def hurry(self) -> None:
        """Give up draining: go straight to closing the browsers."""
        for slot in self._slots.values():
            if slot.task is not None:
                slot.task.cancel()

    # -- what the admin floor asks ----------------------------------------------------------------

    def snapshot(self, tenant_id: TenantId) -> TenantSnapshot | None:
        slot = self._slots.get(tenant_id)
        return slot.lifecycle.snapshot if slot is not None else None

    def snapshots(self) -> Mapping[TenantId, TenantSnapshot]:
        return {tenant_id: slot.lifecycle.snapshot for tenant_id, slot in self._slots.items()}

    def wake(self, tenant_id: TenantId, chat_key: ChatKey) -> None:
        """Work was put back for this chat: a running tenant looks after it now, another when it
        starts."""
        slot = self._slots.get(tenant_id)
        if slot is not None and slot.runner is not None:
            slot.runner.wake(chat_key)

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        """The snapshot after its next change, or the present one after ``timeout_s``."""
        slot = self._slots.get(tenant_id)
        if slot is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                return await slot.lifecycle.changed()
        except TimeoutError:
            return slot.lifecycle.snapshot

    async def health(self) -> Mapping[str, object]:
        """Counts of tenants by worker status and state, and what waits in their queues."""
        workers: dict[str, int] = {}
        waiting = 0
        for slot in self._slots.values():
            worker = slot.lifecycle.snapshot.worker
            workers[worker] = workers.get(worker, 0) + 1
            waiting += sum(slot.runner.depths().values()) if slot.runner is not None else 0
        return {"tenants": len(self._slots), "workers": workers, "waiting_messages": waiting}

    async def start(self, tenant_id: TenantId) -> TenantSnapshot:
        async with self._held(tenant_id) as slot:
            if slot.alive:
                raise WrongStateError(
                    f"The worker of tenant {tenant_id} is running already.",
                    next_step="Use restart to start it afresh.",
                )
            return await self._launch(slot)

    async def stop(self, tenant_id: TenantId) -> TenantSnapshot:
        """Stop it and keep it stopped; stopping what is stopped changes nothing."""
        async with self._held(tenant_id) as slot:
            await self._halt(slot)
            return await slot.lifecycle.apply(
                Event.STOP, actor="admin", desired=DesiredState.STOPPED
            )

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot:
        """Close the browser cleanly and start again, whatever state it is in."""
        async with self._held(tenant_id) as slot:
            await self._halt(slot)
            return await self._launch(slot)

    async def force_restart(self, tenant_id: TenantId) -> TenantSnapshot:
        """Kill the tenant's browser tree and start again, for what a restart cannot end."""
        async with self._held(tenant_id) as slot:
            await self._desk.kill(tenant_id)
            await self._halt(slot, drain=False)
            return await self._launch(slot)

    async def pause(self, tenant_id: TenantId) -> TenantSnapshot:
        """Receive and record, but answer nothing; planned replies still go out."""
        async with self._held(tenant_id) as slot:
            return await slot.lifecycle.apply(Event.PAUSE, actor="admin")

    async def resume(self, tenant_id: TenantId) -> TenantSnapshot:
        async with self._held(tenant_id) as slot:
            return await slot.lifecycle.apply(Event.RESUME, actor="admin")

    async def log_out(self, tenant_id: TenantId) -> TenantSnapshot:
        """Unlink the device and forget its profile; a worker that is wanted shows a new code."""
        async with self._held(tenant_id) as slot:
            if slot.alive:
                await self._desk.log_out(tenant_id)
            wanted = slot.lifecycle.snapshot.desired is DesiredState.RUNNING
            await self._halt(slot, drain=False)
            await self._desk.forget(tenant_id)
            await slot.lifecycle.apply(Event.STOP, actor="admin")
            await slot.lifecycle.apply(Event.UNLINK, actor="admin")
            return await self._launch(slot) if wanted else slot.lifecycle.snapshot

    async def forget(self, tenant_id: TenantId) -> None:
        """Before a tenant is deleted: stop it, forget its profile, let go of its place."""
        async with self._held(tenant_id) as slot:
            await self._halt(slot, drain=False)
            await self._desk.forget(tenant_id)
            self._desk.close_log(tenant_id)
            del self._slots[tenant_id]

    async def reload(self, tenant_id: TenantId) -> None:
        """The tenant's configuration changed: it holds from the next message on."""
        await self._desk.reload(tenant_id)

    # -- one tenant -------------------------------------------------------------------------------

    def _slot(self, lifecycle: Lifecycle) -> _Slot:
        tenant_id = lifecycle.snapshot.tenant_id
        policy = RestartPolicy(self._settings, dice=self._dice)
        return self._slots.setdefault(tenant_id, _Slot(lifecycle, policy))

    @asynccontextmanager
    async def _held(self, tenant_id: TenantId) -> AsyncIterator[_Slot]:
        """The tenant's slot under its lock; NotFoundError without such a tenant."""
        while True:
            slot = self._slots.get(tenant_id) or await self._found(tenant_id)
            async with slot.lock:
                if self._slots.get(tenant_id) is not slot:
                    continue  # forgotten while this verb waited for its turn
                if self._closing:
                    raise WrongStateError(
                        "The daemon is stopping.", next_step="Try again when it is back."
                    )
                with structlog.contextvars.bound_contextvars(tenant_id=str(tenant_id)):
                    yield slot
                return

    async def _found(self, tenant_id: TenantId) -> _Slot:
        lifecycle = await self._desk.find(tenant_id)
        if lifecycle is None:
            raise NotFoundError(f"There is no tenant {tenant_id}.")
        return self._slot(lifecycle)

    def _every(self) -> Sequence[_Slot]:
        return list(self._slots.values())

    async def _launch(self, slot: _Slot, *, actor: str = "admin") -> TenantSnapshot:
        slot.policy.reset()
        snapshot = await slot.lifecycle.apply(
            Event.START, actor=actor, desired=DesiredState.RUNNING
        )
        # A context of its own: what the verb's request bound for the logs is not the tenant's.
        slot.task = asyncio.create_task(
            self._keep(slot), name=f"tenant {snapshot.tenant_id}", context=Context()
        )
        return snapshot

    async def _keep(self, slot: _Slot) -> None:
        """Attempts until one ends on purpose, or until the failure is one for a person."""
        tenant_id = slot.lifecycle.snapshot.tenant_id
        structlog.contextvars.bind_contextvars(tenant_id=str(tenant_id))
        try:
            while True:
                began_s = self._clock.monotonic()
                failure = await self._attempt(slot)
                _go_on_if_cancelled()
                wait_s = await self._after(slot, failure, began_s)
                if wait_s is None:
                    return
                await self._clock.sleep(wait_s)
                await slot.lifecycle.apply(Event.START)
        except Exception as error:
            log.critical("tenant not supervised any more", exc_info=error)
            with suppress(FlowHQError):
                detail = type(error).__name__
                await slot.lifecycle.apply(Event.PARK, reason=Reason.INTERNAL_ERROR, detail=detail)

    async def _attempt(self, slot: _Slot) -> Exception:
        try:
            slot.runner = await self._desk.open(slot.lifecycle)
            # In a task of its own, since a task group leaves its cancellations on its task.
            await asyncio.create_task(slot.runner.run())
        except FlowHQError as error:
            return error
        except Exception as error:
            log.error("tenant crashed", exc_info=error)
            return error
        finally:
            slot.runner = None
        return ChannelRestartError("The channel ended.", reason=Reason.BROWSER_GONE)

    async def _after(self, slot: _Slot, failure: Exception, began_s: float) -> float | None:
        """Seconds to wait before the next attempt; None when a person must act first."""
        event, reason = verdict(failure)
        detail = failure.message if isinstance(failure, FlowHQError) else type(failure).__name__
        if event is Event.PARK:
            await slot.lifecycle.apply(Event.PARK, reason=reason, detail=detail)
            return None
        now_s = self._clock.monotonic()
        decision = slot.policy.failed(
            now_s=now_s,
            # Up to the last proof of life: one that hung since was well until then.
            healthy_s=max(0.0, slot.lifecycle.seen_at_monotonic - began_s),
            counted=reason is not Reason.STORE_UNAVAILABLE,
        )
        if isinstance(decision, Park):
            await slot.lifecycle.apply(Event.PARK, reason=Reason.CRASH_LOOP, detail=detail)
            return None
        await slot.lifecycle.apply(Event.FAILED, reason=reason, detail=detail)
        log.warning("tenant restarts", why=reason, wait_s=round(decision.wait_s, 1))
        return decision.wait_s

    async def _halt(self, slot: _Slot, *, drain: bool = True) -> None:
        """End the tenant's task: drained if there is time, closed, killed if it must be.

        WrongStateError for one that survives even that: it keeps its place, since a second
        browser on its profile would do worse.
        """
        task, runner = slot.task, slot.runner
        if task is not None and not task.done():
            try:
                if drain and runner is not None:
                    await self._drain(runner, task)
            finally:
                task.cancel()
            await self._await_end(slot, task)
        slot.task = None

    async def _drain(self, runner: Runner, task: asyncio.Task[None]) -> None:
        """Until it is drained, until it ended by itself or in a hurry, or until time is up."""
        draining = asyncio.create_task(runner.drain())
        try:
            done, _ = await asyncio.wait(
                {draining, task},
                timeout=self._settings.stop_grace_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        if not done:
            log.warning("sends still under way: they are looked up at the next start")

    async def _await_end(self, slot: _Slot, task: asyncio.Task[None]) -> None:
        tenant_id = slot.lifecycle.snapshot.tenant_id
        _, pending = await asyncio.wait({task}, timeout=STOP_SLACK_S)
        if pending:
            log.error("tenant does not end, killing its browser")
            await self._desk.kill(tenant_id)
            _, pending = await asyncio.wait({task}, timeout=STOP_SLACK_S)
        if pending:
            raise WrongStateError(
                f"The worker of tenant {tenant_id} does not end.",
                next_step="Try again; if that does not help, restart the daemon.",
            )

    async def _shut(self, slot: _Slot) -> None:
        async with slot.lock:
            await self._halt(slot)
            await slot.lifecycle.apply(Event.SHUTDOWN)

    # -- chores -----------------------------------------------------------------------------------

    def _chore(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("supervision stopped", chore=task.get_name(), exc_info=task.exception())

    async def _alone(self, slot: _Slot, work: Awaitable[object]) -> None:
        """One tenant's part of a chore: what goes wrong with it holds up no other."""
        try:
            await work
        except Exception as error:
            tenant_id = str(slot.lifecycle.snapshot.tenant_id)
            log.error("supervision of a tenant failed", tenant_id=tenant_id, exc_info=error)

    async def _come_back(self, slots: Sequence[_Slot]) -> None:
        for slot in slots:
            await self._alone(slot, self._take_up(slot))
            await self._clock.sleep(self._settings.stagger_s)

    async def _take_up(self, slot: _Slot) -> None:
        async with slot.lock:
            wanted = slot.lifecycle.snapshot.desired is DesiredState.RUNNING
            known = self._slots.get(slot.lifecycle.snapshot.tenant_id) is slot
            if known and wanted and not slot.alive:
                await self._launch(slot, actor="daemon")

    async def _watch_staleness(self) -> None:
        while True:
            await self._clock.sleep(self._settings.stale_check_s)
            await asyncio.gather(*(self._alone(slot, self._check(slot)) for slot in self._every()))

    async def _check(self, slot: _Slot) -> None:
        """Store what an outage kept from being stored, and recover a tenant that went stale.
        A tenant with a verb at work is left to it."""
        await slot.lifecycle.flush()
        if slot.alive and self._stale(slot) and not slot.lock.locked():
            await self._recover(slot)

    def _stale(self, slot: _Slot) -> bool:
        if slot.lifecycle.state not in (State.CONNECTED, State.OFFLINE):
            return False
        silent_s = self._clock.monotonic() - slot.lifecycle.seen_at_monotonic
        return silent_s > self._settings.stale_s

    async def _recover(self, slot: _Slot) -> None:
        """A page that claims to be connected but does not answer is restarted; one that lost the
        network only shows it: a restart would not bring the network back."""
        tenant_id = slot.lifecycle.snapshot.tenant_id
        async with slot.lock:
            if not self._stale(slot):
                return
            with structlog.contextvars.bound_contextvars(tenant_id=str(tenant_id)):
                offline = slot.lifecycle.state is State.OFFLINE
                await slot.lifecycle.apply(
                    Event.STALE, reason=Reason.CONNECTION_LOST if offline else None
                )
                if not offline:
                    await self._desk.kill(tenant_id)


def _go_on_if_cancelled() -> None:
    """A task group that fails while it is cancelled tells its failure and drops the cancellation
    (CPython 3.11 and 3.12); nobody who was told to stop may go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
