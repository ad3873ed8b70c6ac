"""`GET /metrics`: the daemon's figures for Prometheus.

A reading costs three queries, whatever the number of tenants, and what was gathered is used again
for a few seconds: several scrapers cost no more than one.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from aiohttp import web

from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.ports import AdminDeps
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.figures import Depth, Stock
from flowhq.errors import StoreError
from flowhq.figures import Figures, TenantFigures
from flowhq.metrics import CONTENT_TYPE
from flowhq.model import SessionState, TenantId, TenantSnapshot

KEPT_S = 5.0
STOCK_LIMIT_S = 2.0
QUEUES = ("inbox", "outbox", "dead")
AT_WEBHOOKS = ("waiting", "disabled", "dead")
NOTHING: Mapping[str, int] = MappingProxyType({})


class Gathering:
    """One for an application: the last figures, and who gathers new ones."""

    def __init__(self, deps: AdminDeps) -> None:
        self._deps = deps
        self._lock = asyncio.Lock()
        self._stock: Stock | None = None
        self._text = b""
        self._gathered_s = float("-inf")

    async def text(self) -> bytes:
        """As of KEPT_S ago at most. Without a database: the last stored figures, and
        ``flowhq_database_up`` 0."""
        async with self._lock:
            if self._deps.clock.monotonic() - self._gathered_s >= KEPT_S:
                self._text = self._deps.metrics.text(await self._gather())
                self._gathered_s = self._deps.clock.monotonic()
            return self._text

    async def _gather(self) -> Figures:
        deps = self._deps
        pool = deps.store.pool()
        database_up = True
        try:
            async with asyncio.timeout(STOCK_LIMIT_S):
                self._stock = await deps.store.take_stock()
        except (StoreError, TimeoutError):
            database_up = False
        stock = self._stock
        figures = figures_of(stock, deps.fleet.snapshots()) if stock is not None else Figures()
        incident: Any = (await deps.fleet.health()).get("incident")
        lag = deps.pulse.figures_ms()
        return replace(
            figures,
            as_of={"daemon": deps.clock.now().timestamp(), **figures.as_of},
            streams=deps.outward.feed.open,
            database_up=database_up,
            pool=pool,
            incident_tenants=incident["tenants"] if incident else 0,
            lag_s={"0.5": lag["p50"] / 1000, "0.99": lag["p99"] / 1000, "1": lag["max"] / 1000},
        )


def figures_of(stock: Stock, seen: Mapping[TenantId, TenantSnapshot]) -> Figures:
    """What is stored, under what the fleet observes: that is newer, above all in an outage."""
    states: Counter[tuple[str, str, str]] = Counter()
    reasons: Counter[str] = Counter()
    waiting = _by_tenant(stock.depths)
    per_tenant = {}
    for stored in stock.tenants:
        now = seen.get(stored.tenant_id) or stored
        states[str(now.status), str(now.session), str(now.worker)] += 1
        reasons[str(now.reason)] += 1
        per_tenant[stored.tenant_id] = TenantFigures(
            connected=now.session == SessionState.CONNECTED,
            restarts=now.restarts,
            queues=waiting.get(stored.tenant_id, NOTHING),
        )
    undelivered = {one.state: one for one in stock.webhooks}
    return Figures(
        as_of={"database": stock.at.timestamp()},
        tenants=states,
        reasons=reasons,
        queues={name: sum(one.get(name, 0) for one in waiting.values()) for name in QUEUES},
        oldest_s={
            name: _age_s((one.oldest_at for one in stock.depths if one.queue == name), stock.at)
            for name in QUEUES
        },
        per_tenant=per_tenant,
        restarts=sum(one.restarts for one in per_tenant.values()),
        webhooks={
            name: undelivered[name].events if name in undelivered else 0 for name in AT_WEBHOOKS
        },
        webhooks_oldest_s=_age_s(
            (one.oldest_at for one in stock.webhooks if one.state == "waiting"), stock.at
        ),
    )


def _by_tenant(depths: tuple[Depth, ...]) -> dict[TenantId, Counter[str]]:
    waiting: dict[TenantId, Counter[str]] = {}
    for depth in depths:
        waiting.setdefault(depth.tenant_id, Counter())[depth.queue] += depth.messages
    return waiting


def _age_s(times: Iterable[datetime], at: datetime) -> float:
    """Of the oldest of them; 0.0 without any."""
    return max(0.0, (at - min(times, default=at)).total_seconds())


GATHERING = web.AppKey("gathering", Gathering)


async def metrics(call: Call[NoBody, NoQuery]) -> web.Response:
    text = await call.request.app[GATHERING].text()
    # The content type as it stands: aiohttp takes no charset apart from it.
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


ROUTES = (
    Route(
        "GET",
        "/metrics",
        "metrics",
        "Figures for Prometheus",
        metrics,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        media=("text/plain",),
    ),
)
