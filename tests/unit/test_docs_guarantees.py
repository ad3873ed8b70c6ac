"""The document of the guarantees names every reason for silence, as the code has them."""

import re
from pathlib import Path

from flowhq.admin.reasons import REASONS
from flowhq.bot.replies.conversation import NOTHING_SAID, UNANSWERED
from flowhq.model import ChatEvent

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "flowhq/bot").glob("*.py"))
)
SKIPPED = re.compile(
    r'(?:Outcome|InboxState)\.SKIPPED, "(\w+)"|why_not = (?:why_not or )?"(\w+)"'
    r'|_silent\(decision, "(\w+)"'
)


def test_every_reason_has_its_row_and_its_sentence() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", TEXT, re.MULTILINE))
    assert set(rows) == set(REASONS)
    for reason, words in REASONS.items():
        assert rows[reason].startswith(words), reason


def test_every_reason_that_the_bot_gives_is_known() -> None:
    given = {next(filter(None, found)) for found in SKIPPED.findall(CODE)}
    given |= {NOTHING_SAID, UNANSWERED, "tenant_limit", "contact_limit", "fleet"}
    assert len(given) > 10
    assert given <= set(REASONS)


def test_every_event_of_a_chat_is_documented() -> None:
    for event in ChatEvent:
        assert f"`{event}`" in API, event


def test_every_proof_exists() -> None:
    proofs = set(re.findall(r"`((?:tests|bench)/[\w/]+\.py)`", TEXT))
    assert len(proofs) > 10
    assert [proof for proof in sorted(proofs) if not (ROOT / proof).is_file()] == []


def test_every_test_of_faults_is_named() -> None:
    tests = {path.name for path in (ROOT / "tests/faults").glob("test_*.py")}
    assert {name for name in tests if f"tests/faults/{name}" not in TEXT} == set()
