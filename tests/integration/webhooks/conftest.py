"""Two shops on a real database, a receiver that can be down, and a clock that is moved by hand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from flowhq.config import EgressSettings
from flowhq.db import events
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.egress.client import Answer, EgressClient, Request
from flowhq.metrics import Metrics
from flowhq.model import Ack, InboxKey, InboxState
from flowhq.webhooks.desk import WebhookDesk
from flowhq.webhooks.dispatcher import Dispatcher
from flowhq.webhooks.feed import Feed
from tests.fakes.clock import PATIENCE_S, FakeClock, until
from tests.integration.db.conftest import Shop, open_shop
from tests.integration.db.messages import message, say
from tests.pg import database, pg_home, pg_server, postgres_url
from tests.ports import free_port

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]

PENDING = "SELECT count(*) FROM ops_deliveries WHERE state = 'pending' AND enabled"
LOOPBACK = EgressSettings(allow_http=True, allow_networks=("127.0.0.0/8",))


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes
    port: int

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """A web server on one port, up or down; ``answer`` says what it answers."""

    port: int = field(default_factory=free_port)
    seen: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Awaitable[int]] | None = None
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def up(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(headers, await request.read(), self.port)
        status = 200 if self.answer is None else await self.answer(received)
        if status < 300:
            self.seen.append(received)
        return web.Response(status=status)


@dataclass
class Wire:
    """The way out, which knows whether a request is under way."""

    client: EgressClient
    under_way: int = 0

    async def send(self, request: Request) -> Answer:
        self.under_way += 1
        try:
            return await self.client.send(request)
        finally:
            self.under_way -= 1


@dataclass
class Office:
    """All parts that tell events outward, on one database and one clock."""

    database: Database
    clock: FakeClock
    wire: Wire
    dispatcher: Dispatcher
    feed: Feed
    desk: WebhookDesk
    metrics: Metrics

    def outcome(self, name: str) -> float:
        """How many attempts came to this."""
        labels = {"outcome": name}
        series = "flowhq_webhook_deliveries_total"
        return self.metrics.registry.get_sample_value(series, labels) or 0.0

    async def tell(self) -> None:
        """Number what is new and queue it."""
        while await self.feed.step():
            pass

    async def settled(self) -> None:
        """Nothing is under way any more: what arrived is stored as such."""

        async def idle() -> bool:
            async with self.database.ops() as tx:
                return not await tx.fetchval(PENDING)

        await until(idle)

    async def until(self, condition: Callable[[], object], *, step_s: float = 1.0) -> None:
        """Let time pass in steps until the condition holds; none passes during a request, however
        long a busy machine takes over it."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            if not self.wire.under_way:
                await self.clock.advance(step_s)
            await asyncio.sleep(0.002)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime.now(UTC))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.up()
    yield receiver
    await receiver.down()


def open_office(database: Database, clock: FakeClock, client: EgressClient) -> Office:
    wire, metrics = Wire(client), Metrics()
    dispatcher = Dispatcher(database, wire, clock, metrics, at_once=32)
    feed = Feed(database, clock, keep_days=7, streams_max=3, queued=dispatcher.queued)
    desk = WebhookDesk(database, client, dispatcher, clock)
    return Office(database, clock, wire, dispatcher, feed, desk, metrics)


@pytest.fixture
async def client() -> AsyncIterator[EgressClient]:
    async with EgressClient(LOOPBACK) as client:
        yield client


@pytest.fixture
async def office(
    database: Database, clock: FakeClock, client: EgressClient
) -> AsyncIterator[Office]:
    """With the deliveries at work; the feed is moved on by the test."""
    office = open_office(database, clock, client)
    await office.tell()
    running = asyncio.create_task(office.dispatcher.run())
    yield office
    running.cancel()
    await asyncio.wait({running})


@pytest.fixture
async def shop(database: Database, postgres_url: str) -> Shop:
    return await open_shop(database, await load_installation(postgres_url), "+255700000001")


@pytest.fixture
async def other_shop(database: Database, postgres_url: str) -> Shop:
    return await open_shop(database, await load_installation(postgres_url), "+255700000002")


async def receive(shop: Shop, number: int, text: str = "Habari", **changes: Any) -> None:
    """A customer's message, recorded."""
    await shop.ledger.record(message(f"3A{number:06d}", text=text, **changes), state=InboxState.NEW)


async def answer(shop: Shop, number: int, text: str = "Karibu") -> None:
    """It is answered, and the answer is read."""
    key = InboxKey(False, message(f"3A{number:06d}").message_id)
    [row] = await shop.ledger.process(key, say(text))
    await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    await shop.ledger.acknowledge([row.client_id], Ack.READ)


async def stored(database: Database, shop: Shop | None = None) -> list[events.OutwardEvent]:
    """Every numbered event, or those of one shop, in order."""
    rows = await events.fetch_feed(database, 0, limit=10_000)
    found = []
    for row in rows:
        if shop is None or row.tenant_id == shop.tenant_id:
            found += await events.load_events(database, row.tenant_id, [row.seq])
    return found
