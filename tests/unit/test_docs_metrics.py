"""docs/metrics.md names every series, its kind and its labels, and nothing that is not exported."""

import re
from pathlib import Path
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from flowhq.figures import Figures, TenantFigures, Usage
from flowhq.metrics import Metrics
from flowhq.model import TenantId

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
TENANT = TenantId(UUID(int=1))


def everything() -> str:
    """A reading in which every series has a value."""
    metrics = Metrics("1.0")
    metrics.count("sent", "accepted")
    metrics.took("hand_over", 0.02)
    metrics.took("ack", 0.2)
    metrics.swept("texts", 1)
    metrics.delivered("failed")
    metrics.usage = {TENANT: Usage(1, 2.0, 3)}
    figures = Figures(
        tenants={("ACTIVE", "CONNECTED", "RUNNING"): 1},
        reasons={"CONNECTED": 1},
        queues={"inbox": 1},
        oldest_s={"inbox": 1.0},
        per_tenant={TENANT: TenantFigures(connected=True, restarts=1, queues={"inbox": 1})},
        lag_s={"0.5": 0.001},
        as_of={"daemon": 1.0},
        webhooks={"waiting": 1},
    )
    return metrics.text(figures).decode()


def exported() -> dict[str, tuple[str, set[str]]]:
    """By name as it is queried: kind and labels. How a reading tells when a counter was made goes
    without saying."""
    found = {}
    for family in text_string_to_metric_families(everything()):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(DOCUMENT)
    }


def test_the_document_and_the_reading_say_the_same() -> None:
    assert documented() == exported()


def test_the_rules_ask_for_series_that_are_there() -> None:
    rules = DOCUMENT.partition("## What to be woken for")[2].partition("\n```\n")[0]
    asked = set(re.findall(r"\bflowhq_\w+", rules))
    assert len(asked) > 5
    assert asked <= set(exported())
    [dead] = [line for line in rules.splitlines() if "FlowHQDead" in line]
    assert 'flowhq_queue_messages{queue="dead"}' in dead, "it must outlive a restart"


def test_a_tenant_is_known_by_its_id_alone() -> None:
    for name, (_, labels) in exported().items():
        assert not labels & {"name", "phone", "phone_number", "chat", "contact"}, name
    assert f'tenant="{TENANT}"' in everything()
