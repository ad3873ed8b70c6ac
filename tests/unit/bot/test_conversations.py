"""Scripted conversations: what a customer writes, the intent found and what the answer says."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowhq.model import MessageKind
from flowhq.steps import Outcome
from tests.unit.bot.talking import CONVERSATIONS, MONDAY, Customer, customer_of

SCRIPTS = sorted(path for path in CONVERSATIONS.glob("*.toml") if path.stem != "businesses")


def replay(script: dict[str, Any], customer: Customer) -> None:
    """Say every turn and hold the answer against the script."""
    for number, turn in enumerate(script["turn"], start=1):
        customer.waits(hours=turn.get("after_hours", 0))
        text = turn.get("says", "")
        place = f"turn {number}: {text or turn['kind']}"
        decision = customer.says(text, MessageKind(turn.get("kind", "text")))
        if "silent" in turn:
            assert decision.outcome is Outcome.SKIPPED, place
            assert decision.replies == (), place
            assert decision.reason == turn["silent"], place
            continue
        heard = "\n".join(reply.text for reply in decision.replies)
        assert decision.outcome is Outcome.DONE, place
        assert decision.reason == turn["intent"], f"{place}\n{heard}"
        assert {reply.intent for reply in decision.replies} == {turn["intent"]}, place
        for fragment in turn.get("has", []):
            assert fragment in heard, f"{place}\n{heard}"
        for fragment in turn.get("hasnt", []):
            assert fragment not in heard, f"{place}\n{heard}"


def read_script(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_a_conversation_goes_as_written(path: Path) -> None:
    script = read_script(path)
    now = datetime.fromisoformat(script["now"]) if "now" in script else MONDAY
    replay(
        script,
        customer_of(script["business"], script["template"], script["language"], now=now),
    )


def test_the_scripts_cover_every_template_and_language() -> None:
    scripts = [read_script(path) for path in SCRIPTS]
    assert len(scripts) >= 12
    covered = {(script["template"], script["language"]) for script in scripts}
    assert {template for template, _ in covered} == {"BOOKING", "ECOMMERCE", "SUPPORT"}
    assert {language for _, language in covered} == {"SW", "EN"}
