"""docs/tenant-configuration.md is true: its examples are accepted, its settings are all there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flowhq.bot.hours import parse_hours
from flowhq.bot.profile import BusinessProfile, LocalText, parse_profile
from flowhq.steps import Outcome
from tests.unit.bot.talking import customer_of

TEXT = (Path(__file__).parents[3] / "docs" / "tenant-configuration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json (hours|details)\n(.*?)```", TEXT, re.DOTALL)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for inner in getattr(annotation, "__args__", ()):
        yield from models_in(inner)


@pytest.mark.parametrize(("kind", "example"), EXAMPLES)
def test_every_example_is_accepted(kind: str, example: str) -> None:
    value = json.loads(example)
    if kind == "hours":
        assert not parse_hours(value, timezone="Africa/Nairobi").always_open
    else:
        assert parse_profile(value) != BusinessProfile()


def test_there_are_examples_of_both_forms_and_every_template() -> None:
    assert [kind for kind, _ in EXAMPLES] == ["hours"] * 2 + ["details"] * 3


def test_every_setting_is_in_the_table_and_in_an_example() -> None:
    examples = "\n".join(example for kind, example in EXAMPLES if kind == "details")
    for model in set(models_in(BusinessProfile)):
        if issubclass(model, LocalText):
            continue
        for name in model.model_fields:
            assert re.search(rf"`{name}(\[\])?`", TEXT), f"{model.__name__}.{name}"
            assert f'"{name}"' in examples, f"{model.__name__}.{name}"


def test_what_customers_can_ask_is_understood() -> None:
    table = TEXT.partition("| to get | for example |")[2].partition("\n\n")[0]
    asked = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    assert len(asked) > 10
    for phrases in asked:
        first = phrases.split(",")[0].strip()
        if first.startswith("the keywords"):
            continue
        decision = customer_of().says(first)
        assert decision.outcome is Outcome.DONE, first
        assert decision.reason not in ("unknown", "greeting") or "mambo" in first, first
