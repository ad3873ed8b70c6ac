"""Messages and decisions for the ledger's tests."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flowhq.model import ChatKey, InboundMessage, Jid, MessageId, MessageKind, Reply, Source
from flowhq.steps import ConversationView, Decision, Outcome

ASHA = "255712345678"
ASHA_PN = Jid(f"{ASHA}@c.us")
ASHA_LID = Jid("100200300400@lid")
# The chat that is first seen under a jid is named after it.
BY_PHONE = ChatKey(ASHA_PN)
BY_LID = ChatKey(ASHA_LID)

TEXT = InboundMessage(
    message_id=MessageId("3A000001"),
    chat=ASHA_PN,
    from_me=False,
    kind=MessageKind.TEXT,
    text="Habari",
    at=datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
    source=Source.LIVE,
    sender=ASHA_PN,
    push_name="Asha",
)


def message(message_id: str = "3A000001", **changes: Any) -> InboundMessage:
    """Asha's greeting, with changes."""
    return replace(TEXT, message_id=MessageId(message_id), **changes)


def say(*texts: str, **changes: Any) -> Callable[[InboundMessage, ConversationView], Decision]:
    """A responder that answers with these texts."""
    replies = tuple(Reply(text, "greeting") for text in texts)

    def decide(_: InboundMessage, __: ConversationView) -> Decision:
        return Decision(Outcome.DONE, "greeting", replies, **changes)

    return decide
