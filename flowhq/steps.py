"""One step of the bot as types: a message that was recorded, what the responder sees of its chat,
what it decided. Nothing here does anything."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from flowhq.model import ChatKey, InboxKey, InboxState, Reply


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one inbound message at the durable edge.

    ``state`` is NEW for a message to process, SKIPPED for one that was only recorded; ``fresh`` is
    False for one that the inbox knew already. ``chat_key`` is resolved through the aliases.
    ``by_person``: an outgoing message that is not ours; ``cancelled`` of our planned ones were
    taken back for it. ``differs``: known already, with another content; told once a message.
    ``merged``: chats that turned out to be this one, and are no chats any more.
    """

    key: InboxKey
    chat_key: ChatKey
    fresh: bool
    state: InboxState
    ord: int
    by_person: bool = False
    cancelled: int = 0
    differs: bool = False
    merged: tuple[ChatKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversationView:
    """The conversation as the responder sees it, read under the inbox row's lock.

    ``bot_state`` is the responder's own JSON of the last turn. ``opted_out``: the contact said
    stop. ``paused_until``: a person took over. ``muted_until``: two bots were answering each other.
    ``now``: the time by the same clock as those, the database's.
    """

    chat_key: ChatKey
    now: datetime
    contact_name: str
    phone: str
    opted_out: bool
    bot_state: dict[str, Any]
    paused_until: datetime | None
    last_outgoing_at: datetime | None
    last_person_at: datetime | None
    muted_until: datetime | None = None
    requeued: bool = False
    """A person asked for this message again: its age is no reason any more."""

    @property
    def with_person(self) -> bool:
        """Whether a person has the chat now."""
        return self.paused_until is not None and self.now < self.paused_until

    @property
    def muted(self) -> bool:
        return self.muted_until is not None and self.now < self.muted_until


@dataclass(frozen=True, slots=True)
class Trail:
    """What a step looked at, kept with its message: why there was an answer, or none.

    ``owner``: bot or person. ``open``: the business's hours then, None when nobody looked.
    ``intent``: what the responder made of it. ``limit``: now, later or refused, "" when no reply
    was asked for; ``wait_s`` how long it had to wait.
    """

    owner: str = "bot"
    open: bool | None = None
    intent: str = ""
    limit: str = ""
    limit_scope: str = ""
    wait_s: float = 0.0


class Outcome(StrEnum):
    DONE = "done"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one step decided: stored whole, in one transaction, or not at all.

    ``reason``: why skipped, or the intent answered. ``opted_out``: None leaves it as it is.
    ``mute_s``: seconds in which the chat gets no answer any more, from now on.
    """

    outcome: Outcome
    reason: str
    replies: tuple[Reply, ...] = ()
    bot_state: dict[str, Any] | None = None
    opted_out: bool | None = None
    mute_s: float = 0.0
    trail: Trail = field(default_factory=Trail)
