"""What memory says about a message, and what it leaves to the ledger."""

from typing import Any

import pytest

from flowhq.model import InboundMessage, Jid, MessageId, MessageKind, Source
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.memory import dedup

CHAT = Jid("255700000001@c.us")


def message(**changes: Any) -> InboundMessage:
    plain: dict[str, Any] = {
        "message_id": MessageId("3A0001"),
        "chat": CHAT,
        "from_me": False,
        "kind": MessageKind.TEXT,
        "text": "habari",
        "at": EPOCH,
        "source": Source.LIVE,
        "sender": CHAT,
    }
    return InboundMessage(**(plain | changes))


def nested(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(depth):
        content = {"in": content}
    return content


async def test_what_was_noted_is_known_for_as_long_as_it_is_kept() -> None:
    clock = FakeClock()
    known = dedup(clock)
    assert not known.knows(message())
    known.note(message())
    assert known.knows(message())
    await clock.advance(301)
    assert not known.knows(message())


@pytest.mark.parametrize(
    "changes",
    [
        {"from_me": True},
        {"kind": MessageKind.REACTION},
        {"text": "kwaheri"},
        {"content": {"a": 1}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_something_else_under_a_known_id_is_for_the_ledger(changes: dict[str, Any]) -> None:
    known = dedup(FakeClock())
    known.note(message())
    assert not known.knows(message(**changes))
    known.note(message(**changes))
    assert known.knows(message())


def test_the_echo_of_a_message_of_ours_is_known_however_the_page_shows_it() -> None:
    known = dedup(FakeClock())
    known.note_own(MessageId("3EB001"))
    echo = message(message_id=MessageId("3EB001"), from_me=True, text="*habari*")
    assert known.knows(echo)
    assert not known.knows(message(message_id=MessageId("3EB001")))
    assert not known.knows(message(message_id=MessageId("3EB002"), from_me=True))


def test_of_a_content_nested_too_deep_memory_says_nothing() -> None:
    known = dedup(FakeClock())
    deep = message(content=nested(100_000))
    known.note(deep)
    assert not known.knows(deep)
