"""docs/runbook.md has a way out for each reason, each failure of the server, each alarming line."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from flowhq.admin import problems
from flowhq.model import Reason

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
ALARMING = {"error", "critical", "exception"}
# Programs beside the daemon; who runs them sits before them.
APART = {"simulator", "demo.py", "doctor.py", "cli.py"}


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: the first cell's word, and the other cells."""
    section = RUNBOOK.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = {}
    for line in re.findall(r"^\| `.*\|$", section, re.MULTILINE):
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        assert first.strip("`") not in found, first
        found[first.strip("`")] = others
    return found


def alarming_events() -> Iterator[str]:
    for path in sorted((ROOT / "flowhq").rglob("*.py")):
        if APART & set(path.relative_to(ROOT / "flowhq").parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ALARMING
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                event = node.args[0]
                assert isinstance(event, ast.Constant), f"{path}:{node.lineno}"
                yield str(event.value)


def test_each_reason_says_what_it_means_and_what_to_do() -> None:
    table = rows("A tenant's reason")
    assert list(table) == [reason.value for reason in Reason]
    for reason, (means, _, do) in table.items():
        assert means, reason
        assert do, reason


def test_each_failure_of_the_server_is_there_and_every_problem_exists() -> None:
    table = rows("A refusal of the API")
    assert {kind.name for kind in problems.KINDS if kind.status >= 500} <= set(table)
    assert set(table) <= {kind.name for kind in problems.KINDS}


def test_each_alarming_line_of_the_log_is_there_and_no_other() -> None:
    assert set(rows("A line of the log")) == set(alarming_events())


def test_every_link_within_leads_somewhere() -> None:
    headings = re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK)) <= anchors


def test_each_alert_is_there_and_no_other() -> None:
    metrics = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", metrics)
    assert alerts
    assert sorted(rows("An alert")) == sorted(alerts)
