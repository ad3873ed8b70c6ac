"""The rows of the ledger in memory."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowhq.model import (
    ChatKey,
    InboundMessage,
    InboxState,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxId,
    OutboxState,
)


@dataclass
class InboxRow:
    message: InboundMessage
    chat_key: ChatKey
    ord: int
    state: InboxState
    reason: str
    attempts: int = 0
    begun: bool = False
    """A step began, and nothing was written since."""
    error: str = ""
    differed: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the step: another one waits for it, and so does a merge of its chat."""


@dataclass
class OutboxRow:
    outbox_id: OutboxId
    chat_key: ChatKey
    to: Jid
    cause: str
    part: int
    client_id: MessageId
    text: str
    intent: str
    due_at_monotonic: float
    planned_at: datetime
    state: OutboxState = OutboxState.PLANNED
    attempts: int = 0
    error: str = ""
    sendings: int = 0
    """How often an attempt was committed."""
    reason: str = ""
    """Why it was taken back, or is not to be sent once more."""

    def outbound(self) -> OutboundMessage:
        return OutboundMessage(
            self.outbox_id,
            self.chat_key,
            self.to,
            self.client_id,
            self.text,
            self.state,
            self.attempts,
            self.due_at_monotonic,
            self.planned_at,
            asked_for=self.cause.startswith("api:"),
        )


@dataclass
class Conversation:
    contact_name: str = ""
    phone: str = ""
    opted_out: bool = False
    bot_state: dict[str, Any] = field(default_factory=dict)
    paused_until: datetime | None = None
    last_outgoing_at: datetime | None = None
    last_person_at: datetime | None = None
    muted_until: datetime | None = None
