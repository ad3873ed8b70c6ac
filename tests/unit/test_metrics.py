"""Figures for Prometheus: counted and looked at, in a registry of their own."""

from uuid import UUID

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from flowhq.figures import Figures, TenantFigures, Usage
from flowhq.metrics import Metrics
from flowhq.model import TenantId

ONE, TWO = TenantId(UUID(int=1)), TenantId(UUID(int=2))


def lines(metrics: Metrics, figures: Figures) -> list[str]:
    return metrics.text(figures).decode().splitlines()


def test_two_daemons_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.count("sent", "accepted")
    accepted = 'flowhq_messages_total{outcome="accepted",stage="sent"} 1.0'
    assert accepted in lines(first, Figures())
    assert accepted not in lines(second, Figures())
    assert REGISTRY.get_sample_value("flowhq_messages_total") is None


def test_messages_given_up_are_counted_from_0_so_that_the_first_is_a_rise() -> None:
    metrics = Metrics()
    for stage in ("answered", "sent"):
        dead = f'flowhq_messages_total{{outcome="dead",stage="{stage}"}}'
        assert f"{dead} 0.0" in lines(metrics, Figures())
        metrics.count(stage, "dead")
        assert f"{dead} 1.0" in lines(metrics, Figures())


def test_a_span_falls_into_its_bucket() -> None:
    metrics = Metrics()
    metrics.took("hand_over", 0.03)
    told = lines(metrics, Figures())
    assert 'flowhq_hand_over_seconds_bucket{le="0.025"} 0.0' in told
    assert 'flowhq_hand_over_seconds_bucket{le="0.05"} 1.0' in told


def test_a_tenant_that_is_gone_leaves_no_series_behind() -> None:
    metrics = Metrics()
    metrics.usage = {ONE: Usage(1, 1.0, 1), TWO: Usage(1, 1.0, 1)}
    both = Figures(per_tenant={ONE: TenantFigures(True, 0), TWO: TenantFigures(True, 0)})
    assert str(TWO) in metrics.text(both).decode()
    metrics.usage = {ONE: Usage(1, 1.0, 1)}
    assert str(TWO) not in metrics.text(Figures(per_tenant={ONE: TenantFigures(True, 0)})).decode()


def test_the_series_of_each_tenant_can_be_left_out_and_the_sums_stay() -> None:
    metrics = Metrics(per_tenant=False)
    metrics.usage = {ONE: Usage(300, 1.0, 8), TWO: Usage(200, 1.0, 8)}
    told = lines(metrics, Figures(per_tenant={ONE: TenantFigures(True, 3)}, restarts=3))
    assert not any("tenant=" in line for line in told)
    assert "flowhq_browsers_memory_bytes 500.0" in told
    assert "flowhq_restarts_total 3.0" in told


def test_series_of_tenants_are_whole_families_without_empty_queues() -> None:
    metrics = Metrics()
    metrics.usage = {TWO: Usage(123_456_789_012, 0.5, 8)}
    text = metrics.text(
        Figures(per_tenant={ONE: TenantFigures(True, 3, {"inbox": 2, "dead": 1})})
    ).decode()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    told = {
        name: [(sample.labels, sample.value) for sample in families[name].samples]
        for name in families
        if name.startswith("flowhq_tenant_")
    }
    one, two = {"tenant": str(ONE)}, {"tenant": str(TWO)}
    assert told == {
        "flowhq_tenant_connected": [(one, 1.0)],
        "flowhq_tenant_restarts": [(one, 3.0)],
        "flowhq_tenant_queue_messages": [
            ({**one, "queue": "inbox"}, 2.0),
            ({**one, "queue": "dead"}, 1.0),
        ],
        "flowhq_tenant_memory_bytes": [(two, 123_456_789_012.0)],
        "flowhq_tenant_cpu_seconds": [(two, 0.5)],
    }
