"""Into the ledger, whatever it takes: one recording that PostgreSQL never ends must not hold up its
tenant for ever, and an absence of PostgreSQL must not cost a message a word.

What the ledger, being well, does not end in time is tried again as it is, then with less of it. A
lock that somebody holds is over in minutes; two chats that are too large to be made one, or a
content that some query never gets done with, are not.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from cachetools import TTLCache

from flowhq.bot.ports import Ledger
from flowhq.bot.retry import LONGEST_WAIT_S, proved, until_stored
from flowhq.clock import Clock
from flowhq.errors import StoreTimeoutError
from flowhq.model import ChatKey, InboundMessage, InboxState, Jid, MessageKind
from flowhq.steps import Recorded

log = structlog.get_logger(__name__)

# Why a message was recorded without what it says.
UNRECORDABLE = "unrecordable"
# Recordings of one message that a store which is well did not end in time, until its contact's
# other address is left out.
TIMEOUTS_MAX = 5
# And until what it says is left out: some eight minutes with the default settings, in which whoever
# locked a table or a chat is done.
PATIENT_TRIES = 60
# Contacts whose other address is left alone, and for how long: until it is worth another try.
APART_MAX = 1000
APART_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to record a message, and how often it may not end in time."""

    message: InboundMessage
    state: InboxState
    reason: str
    pause_s: float
    tries: int


class Recording:
    """Records the messages of one tenant. ``merged`` is told which other chats a message showed to
    be the same one, before anybody else hears of that message."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        person_pause_s: float,
        merged: Callable[[ChatKey, Sequence[ChatKey]], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._person_pause_s = person_pause_s
        self._merged = merged
        self._apart: TTLCache[Jid, bool] = TTLCache(APART_MAX, APART_S, timer=clock.monotonic)
        """Chats that could not be made one with their contact's other address in time."""

    async def record(
        self, message: InboundMessage, state: InboxState, reason: str
    ) -> tuple[Recorded, str]:
        """As it is; what the store, being well, never gets done with as it is, with less of it.
        With the reason that it has now. While not even that it came can be stored, it is not the
        message that is at fault, and all of it is tried again.

        Raises what the ledger raises for other causes than an absence.
        """
        return await self._record(message, state, reason, self._pause_s(message))

    async def record_bare(self, message: InboundMessage) -> None:
        """Only that it came. Raises as `record` does."""
        pause_s = self._pause_s(message)
        await self._record(_bare(message), InboxState.SKIPPED, UNRECORDABLE, pause_s)

    def _pause_s(self, message: InboundMessage) -> float:
        """A reaction is no message: who reacts does not take over."""
        return 0.0 if message.kind is MessageKind.REACTION else self._person_pause_s

    async def _record(
        self, message: InboundMessage, state: InboxState, reason: str, pause_s: float
    ) -> tuple[Recorded, str]:
        while True:
            for way in self._ways(message, state, reason, pause_s):
                recorded = await self._tried(way)
                if recorded is not None:
                    if way.reason == reason and way.message != message:
                        self._apart.setdefault(message.chat, True)
                    if recorded.merged:
                        self._merged(recorded.chat_key, recorded.merged)
                    return recorded, way.reason
                log.error("message not recorded in time", message_id=message.message_id)

    def _ways(
        self, message: InboundMessage, state: InboxState, reason: str, pause_s: float
    ) -> Iterator[_Way]:
        alone = _alone(message)
        if alone != message and message.chat not in self._apart:
            yield _Way(message, state, reason, pause_s, TIMEOUTS_MAX)
        yield _Way(alone, state, reason, pause_s, PATIENT_TRIES)
        if reason != UNRECORDABLE:
            yield _Way(_bare(alone), InboxState.SKIPPED, UNRECORDABLE, pause_s, 1)

    async def _tried(self, way: _Way) -> Recorded | None:
        """None: so often not ended in time, while the store was well. Waits while it is away."""
        for _ in range(way.tries):
            recorded = await until_stored(self._clock, partial(self._in_time, way))
            if recorded is not None:
                return recorded
            await self._clock.sleep(random.uniform(0.0, LONGEST_WAIT_S))  # noqa: S311 - jitter
        return None

    async def _in_time(self, way: _Way) -> Recorded | None:
        """None: not ended in time, and the store is well."""
        try:
            return await self._ledger.record(
                way.message, state=way.state, reason=way.reason, person_pause_s=way.pause_s
            )
        except StoreTimeoutError as late:
            # What the page tells shows as well as a probe that it is alive.
            await proved(self._ledger.touch, late)
            return None


def _bare(message: InboundMessage) -> InboundMessage:
    """That it came, without what it says."""
    return replace(
        message,
        kind=MessageKind.UNSUPPORTED,
        text="",
        content={},
        push_name="",
        raw_type="",
    )


def _alone(message: InboundMessage) -> InboundMessage:
    """Without the contact's other address, by which two chats may turn out to be one: to make them
    one may be more than ends in time."""
    if message.chat.endswith("@lid"):
        return replace(message, phone="")
    return replace(message, lid="")
