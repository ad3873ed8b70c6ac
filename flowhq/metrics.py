"""The daemon's figures for Prometheus: counted as things happen, or read at the moment of asking.

One `Metrics` a daemon, with a registry of its own. Ids of tenants are labels; their names, numbers
and texts never are. What each series means stands in docs/metrics.md.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flowhq.figures import Figures, Usage
from flowhq.model import TenantId

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Own time is some ten milliseconds; a limit or a busy page makes it seconds.
HAND_OVER_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ACK_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one daemon. Its methods never fail and never wait: any stage may call them."""

    def __init__(self, version: str = "", *, per_tenant: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.usage: Mapping[TenantId, Usage] = {}
        """The last measurement of the browsers; replaced whole."""
        self._messages = Counter(
            "flowhq_messages",
            "Messages, by what became of them at which stage",
            ("stage", "outcome"),
            registry=self.registry,
        )
        self._spans = {
            "hand_over": _histogram(
                self.registry,
                "flowhq_hand_over_seconds",
                "From the event of a message to its reply in the page's hands",
                HAND_OVER_BUCKETS_S,
            ),
            "ack": _histogram(
                self.registry,
                "flowhq_ack_seconds",
                "From the page's hands to the server's acknowledgement",
                ACK_BUCKETS_S,
            ),
        }
        build = Info("flowhq_build", "The program that runs", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
        ProcessCollector(registry=self.registry)
        self._swept = Counter(
            "flowhq_swept_rows",
            "Rows that were old enough to go",
            ("kind",),
            registry=self.registry,
        )
        self._sweep_at = self._settable(
            "flowhq_sweep_success_timestamp_seconds", "When everything old was gone last"
        )
        self._sweep_failed = self._settable("flowhq_sweep_failed", "1 if the last sweep failed")
        self._sweeps_held = self._settable(
            "flowhq_sweeps_held", "1 while nothing is deleted, since the clock jumped"
        )
        self._looked_at = _LookedAt(per_tenant=per_tenant)
        self.registry.register(self._looked_at)

    def _settable(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self.registry)

    def count(self, stage: str, outcome: str) -> None:
        self._messages.labels(stage, outcome).inc()

    def took(self, span: str, seconds: float) -> None:
        self._spans[span].observe(seconds)

    def swept(self, kind: str, number: int) -> None:
        self._swept.labels(kind).inc(number)

    def sweep_ended(self, *, at: datetime, done: bool) -> None:
        self._sweep_failed.set(not done)
        if done:
            self._sweep_at.set(at.timestamp())

    def sweeps_held(self, held: bool) -> None:
        self._sweeps_held.set(held)

    def text(self, figures: Figures) -> bytes:
        """Everything in Prometheus' text format."""
        self._looked_at.figures, self._looked_at.usage = figures, self.usage
        return generate_latest(self.registry)


def _histogram(
    registry: CollectorRegistry, name: str, about: str, buckets_s: Sequence[float]
) -> Histogram:
    return Histogram(name, about, buckets=buckets_s, registry=registry)


class _LookedAt(Collector):
    """The series that are made anew for each reading."""

    def __init__(self, *, per_tenant: bool) -> None:
        self.figures = Figures()
        self.usage: Mapping[TenantId, Usage] = {}
        self._per_tenant = per_tenant

    def collect(self) -> Iterator[Metric]:
        figures = self.figures
        yield from _fleet(figures, self.usage)
        yield from _machinery(figures)
        if self._per_tenant:
            yield from _of_each_tenant(figures, self.usage)


def _fleet(figures: Figures, usage: Mapping[TenantId, Usage]) -> Iterator[Metric]:
    tenants = GaugeMetricFamily(
        "flowhq_tenants", "Tenants by state", labels=("status", "session", "worker")
    )
    for labels, number in figures.tenants.items():
        tenants.add_metric(labels, number)
    yield tenants
    yield _gauge("flowhq_tenants_by_reason", "Tenants by reason", "reason", figures.reasons)
    yield CounterMetricFamily(
        "flowhq_restarts", "Restarts of all tenants' workers", value=figures.restarts
    )
    yield GaugeMetricFamily(
        "flowhq_incident_tenants",
        "Tenants in the present incident",
        value=figures.incident_tenants,
    )
    yield _gauge("flowhq_queue_messages", "Messages that wait", "queue", figures.queues)
    yield _gauge(
        "flowhq_queue_oldest_seconds", "How long the oldest has waited", "queue", figures.oldest_s
    )
    yield GaugeMetricFamily(
        "flowhq_browsers_memory_bytes",
        "Memory of all browsers",
        value=sum(one.memory_bytes for one in usage.values()),
    )
    yield GaugeMetricFamily("flowhq_browsers", "Browsers that run", value=len(usage))


def _machinery(figures: Figures) -> Iterator[Metric]:
    yield _gauge(
        "flowhq_loop_lag_seconds",
        "How late the event loop was in the last minute",
        "quantile",
        figures.lag_s,
    )
    yield GaugeMetricFamily(
        "flowhq_database_up", "1 if the database answers", value=int(figures.database_up)
    )
    pool = figures.pool
    connections = {"in_use": pool.size - pool.idle, "idle": pool.idle}
    yield _gauge("flowhq_database_connections", "Open connections", "state", connections)
    yield GaugeMetricFamily(
        "flowhq_database_connections_limit", "Connections at most", value=pool.limit
    )
    yield GaugeMetricFamily(
        "flowhq_database_waiting", "Transactions that wait for a connection", value=pool.waiting
    )


def _of_each_tenant(figures: Figures, usage: Mapping[TenantId, Usage]) -> Iterator[Metric]:
    each = figures.per_tenant
    yield _by_tenant(
        GaugeMetricFamily("flowhq_tenant_connected", "1 if connected", labels=("tenant",)),
        ((tenant, int(one.connected)) for tenant, one in each.items()),
    )
    yield _by_tenant(
        CounterMetricFamily("flowhq_tenant_restarts", "Restarts", labels=("tenant",)),
        ((tenant, one.restarts) for tenant, one in each.items()),
    )
    queued = GaugeMetricFamily(
        "flowhq_tenant_queue_messages", "Messages that wait", labels=("tenant", "queue")
    )
    for tenant, one in each.items():
        depths = {"inbox": one.inbox_waiting, "outbox": one.outbox_unsettled, "dead": one.dead}
        for queue, depth in depths.items():
            if depth:
                queued.add_metric((str(tenant), queue), depth)
    yield queued
    yield _by_tenant(
        GaugeMetricFamily(
            "flowhq_tenant_memory_bytes", "Memory of the browser", labels=("tenant",)
        ),
        ((tenant, used.memory_bytes) for tenant, used in usage.items()),
    )
    yield _by_tenant(
        CounterMetricFamily(
            "flowhq_tenant_cpu_seconds", "CPU time of the browser", labels=("tenant",)
        ),
        ((tenant, used.cpu_s) for tenant, used in usage.items()),
    )


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _by_tenant(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[TenantId, float]]
) -> Metric:
    for tenant, value in values:
        family.add_metric((str(tenant),), value)
    return family
