"""A supervisor over tenants that are made for the test, and what many tests do with it."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from flowhq import keeper as keeper_module
from flowhq.bot.lifecycle import State
from flowhq.config import SupervisorSettings
from flowhq.errors import ChannelRestartError
from flowhq.model import Reason, TenantId, TenantSnapshot
from flowhq.supervisor import Supervisor
from tests.fakes.clock import PATIENCE_S, FakeClock, settle
from tests.fakes.desk import FakeDesk, FakeRunner, tenant

ONE, TWO, THREE = tenant(1), tenant(2), tenant(3)
CRASH = ChannelRestartError("The page crashed.", reason=Reason.PAGE_CRASHED)
Verb = Callable[[Supervisor, TenantId], Awaitable[object]]


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.desk = FakeDesk(self.clock)
        # Less than the settings allow, so that a drain that never ends costs the test nothing.
        self.settings = SupervisorSettings().model_copy(update={"stop_grace_s": 0.05})
        self.supervisor = Supervisor(self.desk, self.clock, self.settings, dice=random.Random(7))
        for tenant_id in (ONE, TWO, THREE):
            self.desk.add(tenant_id)

    def snapshot(self, tenant_id: TenantId = ONE) -> TenantSnapshot:
        return self.desk.known[tenant_id].snapshot

    def state(self, tenant_id: TenantId = ONE) -> State:
        return self.desk.known[tenant_id].state

    async def start(self, *tenants: TenantId) -> None:
        for tenant_id in tenants or (ONE,):
            await self.supervisor.start(tenant_id)
        await settle()

    async def delete(self, tenant_id: TenantId) -> None:
        async def rows() -> None:
            await asyncio.sleep(0)
            del self.desk.known[tenant_id]

        await self.supervisor.forget(tenant_id, rows)

    async def fail(self, error: Exception, tenant_id: TenantId = ONE) -> FakeRunner:
        """The present attempt fails; the supervisor has dealt with it."""
        runner = self.desk.runner(tenant_id)
        runner.fail(error)
        await settle()
        return runner


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(keeper_module, "STOP_SLACK_S", PATIENCE_S)
    bench = Bench()
    yield bench
    for runners in bench.desk.runners.values():
        for runner in runners:
            runner.drained.set()
            runner.may_close.set()
    await bench.supervisor.close()


@pytest.fixture
def impatient(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not end costs the test next to nothing."""
    monkeypatch.setattr(keeper_module, "STOP_SLACK_S", 0.05)


async def nothing_more() -> None:
    """The rows stay: as if the tenant were made anew at once."""


VERBS: dict[str, Verb] = {
    "start": lambda supervisor, tenant_id: supervisor.start(tenant_id),
    "stop": lambda supervisor, tenant_id: supervisor.stop(tenant_id),
    "restart": lambda supervisor, tenant_id: supervisor.restart(tenant_id),
    "force_restart": lambda supervisor, tenant_id: supervisor.force_restart(tenant_id),
    "pause": lambda supervisor, tenant_id: supervisor.pause(tenant_id),
    "resume": lambda supervisor, tenant_id: supervisor.resume(tenant_id),
    "log_out": lambda supervisor, tenant_id: supervisor.log_out(tenant_id),
    "forget": lambda supervisor, tenant_id: supervisor.forget(tenant_id, nothing_more),
    "rest": lambda supervisor, tenant_id: supervisor.rest(tenant_id, nothing_more),
}
