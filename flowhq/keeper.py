"""One tenant's place under the supervisor: its task, its attempts, the waits between them, its end.

Whoever changes what runs holds ``lock``; nothing here takes it. What does not belong here: what the
operator wants of a tenant, and what is common to all of them (supervisor.py).
"""

import asyncio
from contextvars import Context
from typing import Protocol

import structlog

from flowhq.bot.lifecycle import Event, Lifecycle, State
from flowhq.bot.restart import FOR_A_PERSON, OUTSIDE, Again, RestartPolicy, verdict
from flowhq.brake import Brake
from flowhq.clock import Clock
from flowhq.config import SupervisorSettings
from flowhq.errors import ChannelError, ChannelRestartError, FlowHQError, WrongStateError
from flowhq.model import ChatKey, DesiredState, Reason, Rung, TenantId, TenantSnapshot

log = structlog.get_logger(__name__)

# A tenant's whole stop: draining, closing the browser, killing what is left of it.
STOP_SLACK_S = 25.0
# A tenant that is not up so long after its start is not waited for by others.
TURN_S = 60.0
# A page gets its connection back by itself, as a rule. Without one for so long it is loaded anew,
# and, as long as that does not help, after these times again, the last of them for ever.
OFFLINE_WAITS_S = (300.0, 600.0, 1200.0, 2400.0, 3600.0)


class Runner(Protocol):
    """One attempt at one tenant (bot/tenant.py). What it opened stays open when it ends, for the
    next attempt, until ``close``."""

    async def run(self, rung: Rung) -> None: ...

    async def drain(self) -> None: ...

    async def close(self) -> None: ...

    def fail(self, failure: ChannelError) -> None: ...

    def wake(self, chat_key: ChatKey) -> None: ...

    def depths(self) -> dict[str, int]: ...


class RunnerDesk(Protocol):
    """``open`` builds a runner from the tenant's present configuration; ``kill`` ends its browser
    tree."""

    async def open(self, lifecycle: Lifecycle) -> Runner: ...

    async def kill(self, tenant_id: TenantId) -> None: ...


class Keeper:
    """Keeps one tenant running from `launch` to `halt`, or until a person must act."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        desk: RunnerDesk,
        clock: Clock,
        settings: SupervisorSettings,
        *,
        policy: RestartPolicy,
        brake: Brake,
    ) -> None:
        self.lifecycle = lifecycle
        self.lock = asyncio.Lock()
        self._desk = desk
        self._clock = clock
        self._settings = settings
        self._policy = policy
        self._brake = brake
        self._task: asyncio.Task[None] | None = None
        self._runner: Runner | None = None
        self._started_s = float("-inf")
        self._reloads = 0
        self._reloaded_s = float("-inf")
        self._parked_s: float | None = None
        """Since when it is parked for failing too often."""

    @property
    def tenant_id(self) -> TenantId:
        return self.lifecycle.snapshot.tenant_id

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def starting(self) -> bool:
        recently = self._clock.monotonic() - self._started_s < TURN_S
        return self.alive and recently and self.lifecycle.state is State.STARTING

    @property
    def stale(self) -> bool:
        """It claims to be there, and was not seen for too long."""
        if not self.alive or self.lifecycle.state not in (State.CONNECTED, State.OFFLINE):
            return False
        silent_s = self._clock.monotonic() - self.lifecycle.seen_at_monotonic
        return silent_s > self._settings.stale_s

    @property
    def offline(self) -> bool:
        """It cannot reach WhatsApp, whatever is being done about it."""
        return self.alive and self.lifecycle.snapshot.reason is Reason.CONNECTION_LOST

    @property
    def reviving(self) -> bool:
        """It failed, or was made to, and is not up yet."""
        underway = self.lifecycle.state in (State.RECOVERING, State.STARTING)
        return self.alive and (underway or self._reloaded_s > self._started_s)

    @property
    def reload_due(self) -> bool:
        """Its page lives, and has had no connection for too long."""
        if not self.offline or self.lifecycle.state not in (State.OFFLINE, State.STALE):
            return False
        since_s = max(self.lifecycle.seen_at_monotonic, self._started_s)
        wait_s = OFFLINE_WAITS_S[min(self._reloads_in_vain, len(OFFLINE_WAITS_S) - 1)]
        return self._reloaded_s <= since_s < self._clock.monotonic() - wait_s

    @property
    def _reloads_in_vain(self) -> int:
        return 0 if self.lifecycle.seen_at_monotonic > self._reloaded_s else self._reloads

    @property
    def trial_due(self) -> bool:
        """It is parked for failing too often, and was left alone for long enough."""
        if self.alive or self._parked_s is None or self.lifecycle.state is not State.PARKED:
            return False
        return self._clock.monotonic() - self._parked_s >= self._settings.parked_probe_s

    @property
    def parked_for_a_person(self) -> bool:
        snapshot = self.lifecycle.snapshot
        return self.lifecycle.state is State.PARKED and snapshot.reason in FOR_A_PERSON

    def waiting(self) -> int:
        """Messages in its queues."""
        return sum(self._runner.depths().values()) if self._runner is not None else 0

    def wake(self, chat_key: ChatKey) -> None:
        """Work was put back for this chat."""
        if self._runner is not None:
            self._runner.wake(chat_key)

    # -- its life ---------------------------------------------------------------------------------

    async def launch(self, *, actor: str = "admin", on_trial: bool = False) -> TenantSnapshot:
        """Start it. ``on_trial``: one attempt, after which it is parked again."""
        if on_trial:
            self._policy.try_once()
        else:
            self._policy.reset()
        self._parked_s = None
        self._reloads = 0
        snapshot = await self._begin(actor=actor, desired=DesiredState.RUNNING)
        # A context of its own: what the verb's request bound for the logs is not the tenant's.
        self._task = asyncio.create_task(
            self._keep(), name=f"tenant {self.tenant_id}", context=Context()
        )
        return snapshot

    async def halt(self, *, drain: bool = True) -> None:
        """End its task: drained if there is time, closed, killed if it must be.

        WrongStateError for one that survives even that: it keeps its place, since a second
        browser on its profile would do worse.
        """
        task, runner = self._task, self._runner
        if task is not None and not task.done():
            try:
                if drain and runner is not None:
                    await self._drain(runner, task)
            finally:
                task.cancel()
            await self._await_end(task)
        self._task = None

    def hurry(self) -> None:
        """Give up draining."""
        if self._task is not None:
            self._task.cancel()

    def reload(self) -> None:
        """A page that stays without a connection is loaded anew, one of many only when it is its
        turn: the network's absence is no reason to tear down what comes back by itself."""
        if self._runner is None or not self.reload_due or not self._brake.may_reload():
            return
        self._reloads = self._reloads_in_vain + 1
        self._reloaded_s = self._clock.monotonic()
        message = "The page got no connection to WhatsApp for too long."
        self._runner.fail(ChannelRestartError(message, reason=Reason.CONNECTION_LOST))

    async def recover(self) -> None:
        """A page that claims to be connected but does not answer is restarted. One that lost the
        network shows it: `reload` is for it. One of many with the same trouble is left as it is and
        looked at again."""
        if not self.stale:
            return
        offline = self.lifecycle.state is State.OFFLINE
        if not offline and self._brake.failed(self.tenant_id, Reason.STALE):
            return
        await self.lifecycle.apply(Event.STALE, reason=Reason.CONNECTION_LOST if offline else None)
        if not offline:
            await self._desk.kill(self.tenant_id)

    # -- attempts ---------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Attempts until one ends on purpose, or until the failure is one for a person."""
        structlog.contextvars.bind_contextvars(tenant_id=str(self.tenant_id))
        rung = Rung.BROWSER
        try:
            while True:
                began_s = self._clock.monotonic()
                # By no name: an error holds all that was there when it was raised, and this frame
                # lives as long as the next run.
                again = await self._after(await self._attempt(rung), began_s)
                if again is None:
                    return
                rung = again.rung
                if rung is Rung.BROWSER:
                    await self._close()
                await self._clock.sleep(again.wait_s)
                await self._brake.turn()
                await self._begin()
        except Exception as error:
            log.critical("tenant not supervised any more", exc_info=error)
            await self._park(type(error).__name__)
        finally:
            await self._close()

    async def _begin(
        self, *, actor: str = "daemon", desired: DesiredState | None = None
    ) -> TenantSnapshot:
        self._started_s = self._clock.monotonic()
        return await self.lifecycle.apply(Event.START, actor=actor, desired=desired)

    async def _attempt(self, rung: Rung) -> Exception:
        try:
            self._runner = await self._desk.open(self.lifecycle)
            # In a task of its own, since a task group leaves its cancellations on its task.
            await asyncio.create_task(self._runner.run(rung))
        except FlowHQError as error:
            return error
        except asyncio.CancelledError as error:
            _go_on_if_cancelled()  # else it came from inside, and is a crash like any other
            log.error("tenant crashed", exc_info=error)
            return RuntimeError("The run was cancelled from inside.")
        except Exception as error:
            log.error("tenant crashed", exc_info=error)
            return error
        return ChannelRestartError("The channel ended.", reason=Reason.BROWSER_GONE)

    async def _after(self, failure: Exception, began_s: float) -> Again | None:
        """How to go on; None when a person must act first."""
        _go_on_if_cancelled()
        event, reason = verdict(failure)
        detail = failure.message if isinstance(failure, FlowHQError) else type(failure).__name__
        if event is Event.PARK:
            await self.lifecycle.apply(Event.PARK, reason=reason, detail=detail)
            return None
        common = self._brake.failed(self.tenant_id, reason)
        now_s = self._clock.monotonic()
        decision = self._policy.failed(
            reason,
            now_s=now_s,
            # Up to the last proof of life: one that hung since was well until then.
            healthy_s=max(0.0, self.lifecycle.seen_at_monotonic - began_s),
            counted=reason not in OUTSIDE and not common,
        )
        if decision is None:
            await self._park(detail)
            return None
        await self.lifecycle.apply(Event.FAILED, reason=reason, detail=detail)
        log.warning(
            "tenant restarts",
            why=reason,
            wait_s=round(decision.wait_s, 1),
            throws_away=decision.rung.name.lower(),
        )
        return decision

    async def _park(self, detail: str) -> None:
        """Left alone but for a trial each hour, also if that cannot be stored."""
        self._parked_s = self._clock.monotonic()
        try:
            await self.lifecycle.apply(Event.PARK, reason=Reason.CRASH_LOOP, detail=detail)
        except Exception as error:
            log.error("parking not stored", exc_info=error)

    async def _close(self) -> None:
        """What the attempts left open is closed, or killed; the runner sees to it that a
        cancellation waits for that."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            await runner.close()
        except Exception as error:
            log.error("browser not ended", exc_info=error)

    # -- stopping ---------------------------------------------------------------------------------

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

    async def _await_end(self, task: asyncio.Task[None]) -> None:
        _, pending = await asyncio.wait({task}, timeout=STOP_SLACK_S)
        if pending:
            log.error("tenant does not end, killing its browser")
            await self._desk.kill(self.tenant_id)
            _, pending = await asyncio.wait({task}, timeout=STOP_SLACK_S)
        if pending:
            raise WrongStateError(
                f"The worker of tenant {self.tenant_id} does not end.",
                next_step="Try again; if that does not help, restart the daemon.",
            )


def _go_on_if_cancelled() -> None:
    """A task group that fails while it is cancelled tells its failure and drops the cancellation
    (CPython 3.11 and 3.12); nobody who was told to stop may go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
