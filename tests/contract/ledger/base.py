"""What the parts of the ledger's contract share: messages, decisions, and what a subclass gives."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flowhq.bot.ports import Ledger
from flowhq.model import (
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    Reply,
    Source,
)
from flowhq.steps import ConversationView, Decision, Outcome

CUSTOMER = Jid("255711111111@c.us")
OTHER = Jid("255722222222@c.us")
LID = Jid("100000000000009@lid")
WAITS_S = (2, 10, 60, 300)
SLACK = timedelta(seconds=30)
SLACK_S = SLACK.total_seconds()
# Some time before any clock that the suite may run on.
LONG_AGO = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)

Now = Callable[[], Awaitable[datetime]]
Monotonic = Callable[[], float]
Decide = Callable[[InboundMessage, ConversationView], Decision]


def message(number: int = 1, **changes: Any) -> InboundMessage:
    plain = InboundMessage(
        message_id=MessageId(f"3A{number:018X}"),
        chat=CUSTOMER,
        from_me=False,
        kind=MessageKind.TEXT,
        text=f"text {number}",
        at=LONG_AGO + timedelta(seconds=number),
        source=Source.LIVE,
        sender=CUSTOMER,
        phone="255711111111",
        push_name="Amina",
        raw_type="chat",
    )
    return replace(plain, **changes)


def key_of(one: InboundMessage) -> InboxKey:
    return InboxKey(one.from_me, one.message_id)


def answering(*texts: str, **changes: Any) -> Decide:
    replies = tuple(Reply(text, "test") for text in texts)
    return lambda message, view: Decision(Outcome.DONE, "test", replies=replies, **changes)


def refusing(message: InboundMessage, view: ConversationView) -> Decision:
    raise AssertionError("nothing was to be decided")


def ids(rows: Any) -> list[str]:
    return [row.key.message_id for row in rows]


class Contract(ABC):
    """A subclass gives ``ledger``, of one fresh tenant, and its clocks: ``now``, ``monotonic``."""

    async def planned(self, ledger: Ledger, *texts: str, number: int = 1) -> list[OutboundMessage]:
        one = message(number)
        await ledger.record(one, state=InboxState.NEW)
        return list(await ledger.process(key_of(one), answering(*texts or ("habari",))))

    async def row(self, ledger: Ledger, row: OutboundMessage) -> OutboundMessage | None:
        """The outbox row as it stands, None once it is settled."""
        found = [one for one in await ledger.unsettled() if one.outbox_id == row.outbox_id]
        return found[0] if found else None

    async def shown(self, ledger: Ledger, key: InboxKey) -> InboundMessage:
        """The message as it is shown to the responder, who has nothing to say."""
        seen: list[InboundMessage] = []

        def look(message: InboundMessage, view: ConversationView) -> Decision:
            seen.append(message)
            return Decision(Outcome.SKIPPED, "test")

        await ledger.process(key, look)
        return seen[0]

    @abstractmethod
    async def lose_answer(self, ledger: Ledger, one: InboundMessage) -> None:
        """The message is recorded, and whoever asked for it never hears of that."""
