"""How fast the API answers with a large installation behind it, and with what plans.

    .venv/bin/python -m bench.api [--tenants 500] [--messages 2000000] [--days 400]

Fills a throwaway PostgreSQL, serves the admin API on it from this process, and asks it from another
one. Times are taken at the server: from the request's head to the answer handed to the socket.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import aiohttp
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from argon2 import PasswordHasher
from asyncpg import Record
from pydantic import SecretStr

from bench.filling import Server, throwaway_server
from flowhq.admin.app import create_app
from flowhq.admin.credentials import PostgresCredentials
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.ports import AdminDeps
from flowhq.admin.server import AdminServer
from flowhq.admin.store import PostgresAudit, PostgresStore
from flowhq.clock import SystemClock
from flowhq.config import AdminSettings
from flowhq.db import logs, tenantlists
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.figures import Usage
from flowhq.metrics import Metrics
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.pulse import Pulse
from flowhq.webhooks.feed import Feed
from tests.fakes.admin import FakeBackups, FakeFleet
from tests.fakes.outward import unused_outward

PASSWORD = "a bench's password"  # noqa: S105 - of a server that lives for minutes
PAGE_AIM_MS = 50.0
METRICS_AIM_MS = 50.0
STREAMS = 50
STREAMS_AIM = 0.05
STREAMS_S = 20.0
STREAMS_OPEN_S = 4.0
CHANGES_PER_S = 10
ROUNDS = 300
DAY = re.compile(r"message_logs_\d{8}(?:_\d+)?( message_logs_\d+)?")
NODE = re.compile(r"\s*(?:->\s+(?!\s|Result)|Limit|Planning Time|Execution Time)")


@dataclass
class Watch:
    """Milliseconds at the server, by the route's path."""

    ms: dict[str, list[float]] = field(default_factory=dict)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await handler(request)
        resource = request.match_info.route.resource
        took = (time.perf_counter() - began) * 1000
        self.ms.setdefault(resource.canonical if resource else "", []).append(took)
        return response


@dataclass(frozen=True)
class Bench:
    server: Server
    database: Database
    watch: Watch
    port: int
    paths: frozenset[str]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tenants", type=int, default=500)
    options.add_argument("--messages", type=int, default=2_000_000)
    options.add_argument("--days", type=int, default=400)
    options.add_argument("--client", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.client:
        asyncio.run(ask(json.loads(given.client)))
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with tempfile.TemporaryDirectory(prefix="flowhq-api-") as folder:
        Path(folder).chmod(0o755)
        asyncio.run(measure(Path(folder), given.tenants, given.messages, given.days))
    return 0


async def measure(home: Path, tenants_: int, messages: int, days: int) -> None:
    async with throwaway_server(home) as server:
        began = time.monotonic()
        await fill(server, tenants_, messages, days)
        print(f"{tenants_} tenants, {messages:,} messages in {days} days, ", end="")
        print(f"filled in {time.monotonic() - began:.0f} s")
        async with serving(server) as bench:
            await pages(bench)
            await metrics(bench)
            await streams(bench)
            await plans(bench)


async def fill(server: Server, tenants_: int, messages: int, days: int) -> None:
    await server.add_tenants(tenants_)
    today = datetime.now(UTC).date()
    for back in range(days, 0, -1):
        await server.fill_day(today - timedelta(days=back), messages // days, queues=True)
    await server.settle()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Bench]:
    """The API as the daemon serves it, with a fleet that is connected throughout."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    fleet, pulse, watch, figures = FakeFleet(), Pulse(), Watch(), Metrics("bench")
    for tenant_id in server.tenants:
        fleet.seen[TenantId(tenant_id)] = connected(TenantId(tenant_id))
    figures.usage = {tenant_id: Usage(300_000_000, 12.5, 8) for tenant_id in fleet.seen}
    async with Database(server.url) as database:
        feed = Feed(
            database, SystemClock(), keep_days=7, streams_max=2 * STREAMS, queued=lambda _, __: None
        )
        deps = AdminDeps(
            store=PostgresStore(database),
            fleet=fleet,
            settings=AdminSettings(
                port=0,
                password_hash=SecretStr(hashed),
                requests_per_s=10_000,
                requests_burst=100_000,
            ),
            clock=SystemClock(),
            version="bench",
            started_at=datetime.now(UTC),
            audit=PostgresAudit(database),
            credentials=PostgresCredentials(database),
            portal=PortalStore(database),
            outward=replace(unused_outward(), feed=feed),
            pulse=pulse,
            metrics=figures,
            backups=FakeBackups(),
        )
        app = create_app(deps)
        app.middlewares.insert(0, watch.middleware)
        api = AdminServer(app, "127.0.0.1", 0)
        await api.open()
        feeding = asyncio.create_task(feed.run())
        try:
            paths = frozenset(resource.canonical for resource in app.router.resources())
            yield Bench(server, database, watch, api.port, paths)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
            await api.close()


def connected(tenant_id: TenantId) -> TenantSnapshot:
    return TenantSnapshot(
        tenant_id=tenant_id,
        status=TenantStatus.ACTIVE,
        session=SessionState.CONNECTED,
        worker=WorkerStatus.RUNNING,
        desired=DesiredState.RUNNING,
        reason=Reason.CONNECTED,
        next_action="",
        last_seen_at=datetime.now(UTC),
        restarts=1,
    )


# -- what is measured ------------------------------------------------------------------------------


async def pages(bench: Bench) -> None:
    """The first page and those after it, of all tenants and of many tenants' logs."""
    chosen = [str(tenant_id) for tenant_id in bench.server.tenants[:: max(1, ROUNDS // 100)]]
    await client(bench, {"do": "pages", "tenants": chosen[:ROUNDS]})
    for path, what in {
        "/admin/tenants": "tenants page (100)",
        "/admin/tenants/{tenant_id}/logs": "logs page (200)",
        "/admin/tenants/{tenant_id}/chats": "chats page (100)",
        "/admin/tenants/{tenant_id}/events": "events page (200)",
    }.items():
        told(what, bench.watch.ms.pop(path), PAGE_AIM_MS)


async def metrics(bench: Bench) -> None:
    """Each reading gathered anew: the pause is longer than figures are kept."""
    await client(bench, {"do": "metrics", "rounds": 12})
    told("/metrics", bench.watch.ms.pop("/metrics"), METRICS_AIM_MS)


async def streams(bench: Bench) -> None:
    """What open event streams cost: the server's CPU with them less that without, while tenants
    change their state."""
    without = await core_share(bench, (Reason.PAGE_HUNG, Reason.STALE))
    order = {"do": "streams", "seconds": int(STREAMS_S + 2 * STREAMS_OPEN_S)}
    asking = asyncio.create_task(client(bench, order))
    await asyncio.sleep(STREAMS_OPEN_S)
    share = await core_share(bench, (Reason.BROWSER_GONE, Reason.PAGE_CRASHED)) - without
    await asking
    verdict = "met" if share <= STREAMS_AIM else "missed"
    print(
        f"{STREAMS} event streams, {CHANGES_PER_S} changes a second: {share:.1%} of a core, "
        f"aim {STREAMS_AIM:.0%}: {verdict}"
    )


async def core_share(bench: Bench, reasons: tuple[Reason, Reason]) -> float:
    """CPU seconds of this process a second, while one tenant after the other changes."""
    book = PostgresStatusBook(bench.database)
    began, used, changes = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < STREAMS_S:
        tenant_id = TenantId(bench.server.tenants[changes % len(bench.server.tenants)])
        reason = reasons[changes // len(bench.server.tenants) % 2]
        snapshot = replace(connected(tenant_id), reason=reason)
        await book.save(snapshot, event="stale", actor="bench")
        changes += 1
        await asyncio.sleep(began + changes / CHANGES_PER_S - time.monotonic())
    return (time.process_time() - used) / (time.monotonic() - began)


async def plans(bench: Bench) -> None:
    async with bench.database.ops() as tx:
        sql, arguments = tenantlists.find_statement(tenantlists.TenantFilter())
        rows = await tx.fetch(explained(sql), 101, *arguments)
        show("tenants page", rows)
    tenant_id = bench.server.tenants[0]
    async with bench.database.tenant(TenantId(tenant_id)) as tx:
        sql, arguments = logs.log_statement(logs.LogFilter())
        show("logs page", await tx.fetch(explained(sql), tenant_id, 201, *arguments))
        place = (datetime.now(UTC) - timedelta(days=3), uuid4())
        sql, arguments = logs.log_statement(logs.LogFilter(), place)
        rows = await tx.fetch(explained(sql), tenant_id, 201, *arguments)
        show("logs page, three days back", rows)


def explained(sql: str) -> str:
    return f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}"


def show(what: str, rows: Sequence[Record]) -> None:
    """The plan's nodes; those that differ by the day alone are one line."""
    print(f"\nplan of the {what}:")
    days: Counter[str] = Counter()
    for row in rows:
        line = re.sub(r" \(actual time=\S+ ", " (", str(row[0]).rstrip())
        node = DAY.sub("message_logs_DAY", line.split(" (")[0])
        if node != line.split(" (")[0]:
            days["opened" if "never executed" not in line else "not opened"] += 1
            if days.total() > 1:
                continue
            line = node
        if NODE.match(line):
            print(f"    {line}")
    if days:
        print(f"    days: {dict(days)}")


def told(what: str, ms: list[float], aim_ms: float) -> None:
    twentieths = quantiles(ms, n=20, method="inclusive")
    p50, p95 = twentieths[9], twentieths[18]
    verdict = "met" if p95 <= aim_ms else "missed"
    print(
        f"{what:22} n {len(ms):4}  p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  max {max(ms):6.1f} ms  "
        f"aim {aim_ms:g} ms: {verdict}"
    )


# -- the other process -----------------------------------------------------------------------------


async def client(bench: Bench, order: dict[str, object]) -> None:
    """Another process does the asking, so that its work is not the server's."""
    order = order | {"port": bench.port}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.api", "--client", json.dumps(order), env=dict(os.environ)
    )
    if await process.wait():
        raise SystemExit("the client failed")


async def ask(order: dict[str, object]) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}
    base = f"http://127.0.0.1:{order['port']}"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def get(path: str) -> str:
            async with session.get(base + path) as response:
                text = await response.text()
                if response.status != 200:
                    raise SystemExit(f"{path}: {response.status} {text[:300]}")
                return text

        jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "pages": lambda: ask_pages(get, list(order["tenants"])),  # type: ignore[call-overload]
            "streams": lambda: ask_streams(session, base, order["seconds"]),
            "metrics": lambda: ask_metrics(get, int(order["rounds"])),  # type: ignore[call-overload]
        }
        await jobs[str(order["do"])]()


async def ask_pages(get: Callable[[str], Awaitable[str]], chosen: list[str]) -> None:
    after = ""
    for _ in range(ROUNDS):
        page = json.loads(await get(f"/admin/tenants?limit=100{after}"))
        after = f"&after={page['next']}" if page["next"] else ""
    for tenant in chosen:
        before = ""
        for _ in range(3):
            page = json.loads(await get(f"/admin/tenants/{tenant}/logs?limit=200{before}"))
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        await get(f"/admin/tenants/{tenant}/chats")
        await get(f"/admin/tenants/{tenant}/events")


async def ask_streams(session: aiohttp.ClientSession, base: str, seconds: object) -> None:
    async def read() -> int:
        url = f"{base}/admin/events?seconds={seconds}"
        async with session.get(url, timeout=aiohttp.ClientTimeout(None)) as response:
            return sum([line.startswith(b"id:") async for line in response.content])

    seen = await asyncio.gather(*(read() for _ in range(STREAMS)))
    if len(set(seen)) != 1 or seen[0] < STREAMS_S * CHANGES_PER_S * 0.9:
        raise SystemExit(f"streams saw {sorted(set(seen))} events")


async def ask_metrics(get: Callable[[str], Awaitable[str]], rounds: int) -> None:
    for _ in range(rounds):
        await get("/metrics")
        await asyncio.sleep(5.1)


if __name__ == "__main__":
    raise SystemExit(main())
