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
# Stages in which a message is given up: there from the start, at 0. A series that is born with the
# first of them never rises for whoever asks by how much it has.
GIVES_UP = ("answered", "sent")
ACK_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one daemon. Its methods never fail and never wait: any stage may call them."""

    def __init__(self, version: str = "", *, per_tenant: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.usage: Mapping[TenantId, Usage] = {}
        """The last measurement of the browsers; replaced whole."""
        self._messages = self._counted(
            "flowhq_messages", "Messages, by what became of them at which stage", "stage", "outcome"
        )
        for stage in GIVES_UP:
            self._messages.labels(stage, "dead")
        self._spans = {
            "hand_over": self._timed(
                "flowhq_hand_over_seconds",
                "From the event of a message to its reply in the page's hands",
                HAND_OVER_BUCKETS_S,
            ),
            "ack": self._timed(
                "flowhq_ack_seconds",
                "From the page's hands to the server's acknowledgement",
                ACK_BUCKETS_S,
            ),
        }
        build = Info("flowhq_build", "The program that runs", registry=self.registry)
        build.info({"version": version, "python": platform.python_version()})
        ProcessCollector(registry=self.registry)
        self._deliveries = self._counted(
            "flowhq_webhook_deliveries",
            "Attempts to deliver an event to a webhook, by what came of them",
            "outcome",
        )
        self._swept = self._counted("flowhq_swept_rows", "Rows that were old enough to go", "kind")
        self._sweep_at = self._settable(
            "flowhq_sweep_success_timestamp_seconds", "When everything old was gone last"
        )
        self._sweep_failed = self._settable("flowhq_sweep_failed", "1 if the last sweep failed")
        self._sweeps_held = self._settable(
            "flowhq_sweeps_held", "1 while nothing is deleted, since the clock jumped"
        )
        self._per_tenant = per_tenant
        self._looked_at = _LookedAt()
        self.registry.register(self._looked_at)

    def _counted(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _timed(self, name: str, about: str, buckets_s: Sequence[float]) -> Histogram:
        return Histogram(name, about, buckets=buckets_s, registry=self.registry)

    def _settable(self, name: str, about: str) -> Gauge:
        return Gauge(name, about, registry=self.registry)

    def count(self, stage: str, outcome: str) -> None:
        self._messages.labels(stage, outcome).inc()

    def took(self, span: str, seconds: float) -> None:
        self._spans[span].observe(seconds)

    def delivered(self, outcome: str) -> None:
        self._deliveries.labels(outcome).inc()

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
        text = generate_latest(self.registry)
        return text + _of_each_tenant(figures, self.usage) if self._per_tenant else text


class _LookedAt(Collector):
    """The series of the whole that are made anew for each reading."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.usage: Mapping[TenantId, Usage] = {}

    def collect(self) -> Iterator[Metric]:
        yield from _fleet(self.figures, self.usage)
        yield from _outward(self.figures)
        yield from _machinery(self.figures)


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


def _outward(figures: Figures) -> Iterator[Metric]:
    yield _gauge("flowhq_webhook_events", "Events at webhooks, by state", "state", figures.webhooks)
    yield GaugeMetricFamily(
        "flowhq_webhook_oldest_seconds",
        "How long the oldest event that waits for a webhook has",
        value=figures.webhooks_oldest_s,
    )
    yield GaugeMetricFamily("flowhq_event_streams", "Open streams", value=figures.streams)


def _machinery(figures: Figures) -> Iterator[Metric]:
    yield _gauge(
        "flowhq_figures_timestamp_seconds",
        "When the figures that are not counted were looked at",
        "source",
        figures.as_of,
    )
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


def _of_each_tenant(figures: Figures, usage: Mapping[TenantId, Usage]) -> bytes:
    """The series with the label ``tenant``, written without the library: of hundreds of tenants it
    makes thousands of objects, for tens of milliseconds in which the loop does nothing else."""
    each = figures.per_tenant
    label = {tenant: f'tenant="{tenant}"' for tenant in {**each, **usage}}
    connected = [(label[tenant], one.connected) for tenant, one in each.items()]
    restarts = [(label[tenant], one.restarts) for tenant, one in each.items()]
    depths = [
        (f'{label[tenant]},queue="{queue}"', depth)
        for tenant, one in each.items()
        for queue, depth in one.queues.items()
    ]
    memory = [(label[tenant], used.memory_bytes) for tenant, used in usage.items()]
    cpu = [(label[tenant], used.cpu_s) for tenant, used in usage.items()]
    families = (
        _written("flowhq_tenant_connected", "gauge", "1 if connected", connected),
        _written("flowhq_tenant_restarts_total", "counter", "Restarts", restarts),
        _written("flowhq_tenant_queue_messages", "gauge", "Messages that wait", depths),
        _written("flowhq_tenant_memory_bytes", "gauge", "Memory of the browser", memory),
        _written("flowhq_tenant_cpu_seconds_total", "counter", "CPU time of the browser", cpu),
    )
    return "".join(families).encode()


def _written(name: str, kind: str, about: str, samples: Iterable[tuple[str, float]]) -> str:
    """One family in the text format. ``samples`` are labels, which need no escaping, and values."""
    head = f"# HELP {name} {about}\n# TYPE {name} {kind}\n"
    return head + "".join([f"{name}{{{labels}}} {float(value)!r}\n" for labels, value in samples])


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family
