"""The supervisor's desk with scripted runners: what it was asked for, in order, per tenant."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.clock import Clock
from flowhq.model import ChatKey, DesiredState, Reason, Rung, TenantId
from tests.fakes.statusbook import FakeStatusBook


def tenant(number: int) -> TenantId:
    return TenantId(UUID(int=number))


class FakeRunner:
    """Runs until told to ``end`` or ``fail``, or cancelled. Connects at once if ``connects``.
    ``rungs`` has how it was told to run."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        clock: Clock,
        *,
        connects: bool,
        before: "FakeRunner | None" = None,
    ) -> None:
        self.lifecycle = lifecycle
        self._before = before
        self.ended = False
        self.rungs: list[Rung] = []
        self.drains = 0
        self.woken: list[ChatKey] = []
        self.cancelled = False
        self._cancelled_inside = False
        self.closed = True
        """Nothing of it is open: before it runs, after its closing, or when the next one took
        over what it had left open."""
        self.drained = asyncio.Event()
        """A drain waits for it."""
        self.drained.set()
        self.may_close = asyncio.Event()
        """The end waits for it, whatever is cancelled meanwhile."""
        self.may_close.set()
        self.swallows_cancel = False
        self.close_error: Exception | None = None
        self._clock = clock
        self._connects = connects
        self._fate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, rung: Rung) -> None:
        self.rungs.append(rung)
        self.closed = False
        if self._before is not None and self._before.ended:
            self._before.closed = True
        try:
            if self._connects:
                await self.connect()
            await self._work()
            if self._cancelled_inside:
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            self.cancelled = True
            if self.swallows_cancel:
                raise RuntimeError("an error in the way of the cancellation") from None
            raise
        finally:
            self.ended = True

    async def _work(self) -> None:
        """In a task group like the real one, which may leave traces on the task that runs it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._meet_its_fate())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _meet_its_fate(self) -> None:
        await asyncio.shield(self._fate)

    async def connect(self) -> None:
        self.lifecycle.seen(self._clock.now(), at_monotonic=self._clock.monotonic())
        await self.lifecycle.apply(Event.READY)

    async def drain(self) -> None:
        self.drains += 1
        if not self._fate.done():
            await self.drained.wait()

    def depths(self) -> dict[str, int]:
        return {"answer": 1, "send": 2}

    def wake(self, chat_key: ChatKey) -> None:
        self.woken.append(chat_key)

    def cancel_from_inside(self) -> None:
        """Something in it is cancelled, and nobody asked for that."""
        self._cancelled_inside = True
        self.end()

    def fail(self, error: Exception) -> None:
        if not self._fate.done():
            self._fate.set_exception(error)
            self._fate.exception()  # a fate that nobody meets any more is no fault

    def end(self) -> None:
        if not self._fate.done():
            self._fate.set_result(None)

    async def close(self) -> None:
        interrupted = False
        while not self.may_close.is_set():
            try:
                await self.may_close.wait()
            except asyncio.CancelledError:
                interrupted = True
        self.closed = True
        if self.close_error is not None:
            raise self.close_error
        if interrupted:
            raise asyncio.CancelledError


class FakeDesk:
    """Tenants are ``known``; ``runners`` has every runner opened for one, in order.

    ``open_errors`` are raised by the next opens of a tenant, one each; None lets one through.
    """

    def __init__(self, clock: Clock) -> None:
        self.book = FakeStatusBook()
        self.known: dict[TenantId, Lifecycle] = {}
        self.runners: dict[TenantId, list[FakeRunner]] = {}
        self.calls: list[tuple[str, TenantId]] = []
        self.open_errors: dict[TenantId, list[Exception | None]] = {}
        self.kill_error: Exception | None = None
        self.connects = True
        self._clock = clock

    def add(
        self,
        tenant_id: TenantId,
        *,
        desired: DesiredState = DesiredState.STOPPED,
        paired: bool = True,
        paused: bool = False,
        parked: Reason | None = None,
    ) -> Lifecycle:
        lifecycle = Lifecycle(
            tenant_id, self.book, desired=desired, paired=paired, paused=paused, parked=parked
        )
        self.known[tenant_id] = lifecycle
        return lifecycle

    def runner(self, tenant_id: TenantId) -> FakeRunner:
        """The latest."""
        return self.runners[tenant_id][-1]

    def opened(self, tenant_id: TenantId) -> int:
        return self.calls.count(("open", tenant_id))

    def asked(self, *names: str) -> list[tuple[str, TenantId]]:
        return [call for call in self.calls if call[0] in names]

    def fail_opens(self, tenant_id: TenantId, errors: Iterable[Exception | None]) -> None:
        self.open_errors.setdefault(tenant_id, []).extend(errors)

    # -- Desk -----------------------------------------------------------------------------------

    async def wanted(self) -> Sequence[Lifecycle]:
        await asyncio.sleep(0)
        return [one for one in self.known.values() if one.snapshot.desired is DesiredState.RUNNING]

    async def find(self, tenant_id: TenantId) -> Lifecycle | None:
        await asyncio.sleep(0)
        return self.known.get(tenant_id)

    async def open(self, lifecycle: Lifecycle) -> FakeRunner:
        tenant_id = lifecycle.snapshot.tenant_id
        self.calls.append(("open", tenant_id))
        await asyncio.sleep(0)
        errors = self.open_errors.get(tenant_id)
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error
        runners = self.runners.setdefault(tenant_id, [])
        before = runners[-1] if runners else None
        runner = FakeRunner(lifecycle, self._clock, connects=self.connects, before=before)
        runners.append(runner)
        return runner

    async def reload(self, tenant_id: TenantId) -> None:
        self.calls.append(("reload", tenant_id))

    async def kill(self, tenant_id: TenantId) -> None:
        self.calls.append(("kill", tenant_id))
        await asyncio.sleep(0)
        if self.kill_error is not None:
            raise self.kill_error

    async def log_out(self, tenant_id: TenantId) -> None:
        self.calls.append(("log_out", tenant_id))
        await asyncio.sleep(0)

    async def forget(self, tenant_id: TenantId) -> None:
        self.calls.append(("forget", tenant_id))
        await asyncio.sleep(0)

    def drop_log(self, tenant_id: TenantId) -> None:
        self.calls.append(("drop_log", tenant_id))
