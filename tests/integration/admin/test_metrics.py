"""GET /metrics: gathered seldom, true in an outage, and not for everybody."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
import pytest

from flowhq.admin.metrics import KEPT_S
from flowhq.db.figures import Depth, Undelivered
from flowhq.errors import StoreUnavailableError
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from tests.fakes.admin import FakeFleet, FakeStore
from tests.integration.admin.conftest import Api, QuickClock

AS_OF_DAEMON = 'flowhq_figures_timestamp_seconds{source="daemon"}'
AS_OF_DATABASE = 'flowhq_figures_timestamp_seconds{source="database"}'


class Steps(QuickClock):
    """A clock that a test moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return self.ahead_s


@pytest.fixture
def clock() -> Steps:
    return Steps()


async def read(api: Api) -> list[str]:
    answer = await api.call("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.raw.decode().splitlines()


def value(told: list[str], series: str) -> float:
    [line] = [line for line in told if line.startswith(f"{series} ")]
    return float(line.rsplit(" ", 1)[1])


async def test_nobody_reads_the_figures_without_credentials(api: Api) -> None:
    async with aiohttp.ClientSession() as session, session.get(api.base + "/metrics") as response:
        assert response.status == 401


async def test_tenants_are_told_as_the_fleet_sees_them_and_those_it_never_saw_as_stored(
    api: Api, fleet: FakeFleet
) -> None:
    running = TenantId(UUID(await api.create("+255700000001")))
    await api.create("+255700000002")
    fleet.observe(
        TenantSnapshot(
            tenant_id=running,
            status=TenantStatus.ACTIVE,
            session=SessionState.CONNECTED,
            worker=WorkerStatus.RUNNING,
            desired=DesiredState.RUNNING,
            reason=Reason.CONNECTED,
            next_action="",
            restarts=4,
        )
    )
    told = await read(api)
    assert 'flowhq_tenants{session="CONNECTED",status="ACTIVE",worker="RUNNING"} 1.0' in told
    assert 'flowhq_tenants{session="DISCONNECTED",status="NEW",worker="STOPPED"} 1.0' in told
    assert 'flowhq_tenants_by_reason{reason="CONNECTED"} 1.0' in told
    assert f'flowhq_tenant_connected{{tenant="{running}"}} 1.0' in told
    assert "flowhq_restarts_total 4.0" in told
    assert 'flowhq_database_connections{state="in_use"} 1.0' in told


async def test_queues_are_summed_and_the_oldest_is_the_oldest_of_all(
    api: Api, store: FakeStore
) -> None:
    one, two = [TenantId(UUID(await api.create(f"+25570000000{n}"))) for n in (1, 2)]
    now = datetime.now(UTC)
    store.depths = [
        Depth(one, "inbox", 3, now - timedelta(seconds=90)),
        Depth(two, "inbox", 2, now - timedelta(seconds=10)),
        Depth(two, "dead", 1, now),
        Depth(two, "dead", 1, now),
    ]
    told = await read(api)
    assert 'flowhq_queue_messages{queue="inbox"} 5.0' in told
    assert 'flowhq_queue_messages{queue="dead"} 2.0' in told
    assert 'flowhq_queue_messages{queue="outbox"} 0.0' in told
    assert f'flowhq_tenant_queue_messages{{tenant="{two}",queue="inbox"}} 2.0' in told
    assert 90 <= value(told, 'flowhq_queue_oldest_seconds{queue="inbox"}') < 120


async def test_events_at_webhooks_are_told_by_state_and_the_oldest_of_those_that_wait(
    api: Api, store: FakeStore
) -> None:
    now = datetime.now(UTC)
    store.undelivered = [
        Undelivered("waiting", 4, now - timedelta(seconds=40)),
        Undelivered("disabled", 7, now - timedelta(days=3)),
    ]
    told = await read(api)
    assert 'flowhq_webhook_events{state="waiting"} 4.0' in told
    assert 'flowhq_webhook_events{state="disabled"} 7.0' in told
    assert 'flowhq_webhook_events{state="dead"} 0.0' in told
    assert 40 <= value(told, "flowhq_webhook_oldest_seconds") < 70


async def test_readings_in_quick_succession_ask_the_database_once(
    api: Api, store: FakeStore, clock: Steps
) -> None:
    gathered = {value(await read(api), AS_OF_DAEMON) for _ in range(3)}
    assert (store.stocks_taken, len(gathered)) == (1, 1)
    clock.ahead_s += KEPT_S
    assert value(await read(api), AS_OF_DAEMON) > max(gathered)
    assert store.stocks_taken == 2


async def test_in_an_outage_the_last_figures_stand_and_the_outage_is_told(
    api: Api, store: FakeStore, clock: Steps
) -> None:
    await api.create()
    before = await read(api)
    assert "flowhq_database_up 1.0" in before
    store.failure = StoreUnavailableError("gone")
    clock.ahead_s += KEPT_S
    told = await read(api)
    assert "flowhq_database_up 0.0" in told
    assert value(told, AS_OF_DATABASE) == value(before, AS_OF_DATABASE)
    assert value(told, AS_OF_DAEMON) > value(before, AS_OF_DAEMON)
    assert 'flowhq_tenants_by_reason{reason="NOT_STARTED"} 1.0' in told


async def test_a_daemon_that_never_reached_its_database_answers_all_the_same(
    api: Api, store: FakeStore
) -> None:
    store.failure = StoreUnavailableError("gone")
    assert "flowhq_database_up 0.0" in await read(api)
