"""Admit or drop, with a reason: echo, kind, dedup; then the message is in the ledger.

Nothing is answered here: an admitted message waits in the inbox and in its chat's lane.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog
from cachetools import TTLCache

from flowhq.bot.chats import Place
from flowhq.bot.ports import Ledger, Stage
from flowhq.bot.retry import LONGEST_WAIT_S, proved, until_stored
from flowhq.bot.trace import Traces
from flowhq.clock import Clock
from flowhq.config import LimitSettings
from flowhq.errors import InvalidInputError, StoreRefusedError, StoreTimeoutError
from flowhq.model import (
    ChatKey,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageKind,
    Recorded,
)

log = structlog.get_logger(__name__)

NOT_A_CHAT = ("@g.us", "@newsletter", "@broadcast")
CHAT = re.compile(r"[0-9A-Za-z._:-]{1,64}@(c\.us|lid)")
"""The address of one person, under their number or their LID."""
NOT_A_MESSAGE = frozenset(
    {"gp2", "e2e_notification", "notification_template", "call_log", "protocol", "revoked"}
)
"""Types of WhatsApp Web that are events dressed as messages (wa-js 4.6.0)."""


# Why a message was recorded without what it says.
UNRECORDABLE = "unrecordable"
# So many in a row of which nothing at all could be stored: something else is wrong.
MISTAKES_MAX = 3
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
class Verdict:
    """``state`` None: drop, nothing is stored. SKIPPED: record only. NEW: answer."""

    state: InboxState | None
    reason: str = ""


ANSWER = Verdict(InboxState.NEW)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to record a message, and how often it may not end in time."""

    message: InboundMessage
    state: InboxState
    reason: str
    tries: int


def judge(message: InboundMessage, *, paused: bool) -> Verdict:
    """What a message deserves by itself, before anybody asks whether it is known."""
    if message.chat.endswith(NOT_A_CHAT):
        return Verdict(None, "not_a_contact")
    if not CHAT.fullmatch(message.chat):
        return Verdict(None, "not_a_chat")
    if message.raw_type in NOT_A_MESSAGE:
        return Verdict(None, "not_a_message")
    if message.from_me:
        return Verdict(InboxState.SKIPPED, "own")
    if message.kind is MessageKind.REACTION:
        return Verdict(InboxState.SKIPPED, "reaction")
    if paused:
        return Verdict(InboxState.SKIPPED, "paused")
    return ANSWER


class Inbound:
    """The door of one tenant. ``line_up`` hands a recorded message to its chat's lane; before that,
    ``merged`` is told which other chats the message showed to be the same one."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        limits: LimitSettings,
        traces: Traces,
        *,
        paused: Callable[[], bool],
        line_up: Callable[[ChatKey, InboxKey], Place],
        lined_up: Callable[[Recorded, InboundMessage, Place], None],
        merged: Callable[[ChatKey, Sequence[ChatKey]], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._traces = traces
        self._paused = paused
        self._line_up = line_up
        self._lined_up = lined_up
        self._merged = merged
        self._person_pause_s = limits.person_pause_s
        self._entries, self._ttl_s = limits.dedup_entries, limits.dedup_ttl_s
        self._known = self._nothing_known()
        """What each live one said: one that says something else is for the ledger to compare. Not
        what is read back from the page's history, which is told once."""
        self._mistakes = 0
        self._apart: TTLCache[Jid, bool] = TTLCache(APART_MAX, APART_S, timer=clock.monotonic)
        """Chats that could not be made one with their contact's other address in time."""

    async def admit(self, message: InboundMessage, *, seen_at: float) -> None:
        """Take a live message; waits while the store is away."""
        verdict = judge(message, paused=self._paused())
        if verdict.state is None:
            self._traces.count(Stage.RECEIVED, verdict.reason)
            if verdict.reason == "not_a_chat":
                log.warning("message refused", why="its chat is no address of a contact")
            return
        key = InboxKey(message.from_me, message.message_id)
        if self._known.get(key) == _said(message):
            self._traces.count(Stage.RECEIVED, "duplicate")
            return
        if verdict.state is InboxState.NEW:
            self._traces.begin(message.message_id, seen_at)
            self._traces.mark(message.message_id, "admit")
        if await self.store(message, verdict.state, verdict.reason):
            self._known.setdefault(key, _said(message))

    def forget(self) -> None:
        """The run is over: what came in is told apart by the ledger alone."""
        while self._known:  # clear() would leave the entries holding each other
            self._known.popitem()
        # Emptied it would keep its tables, which are as large as they ever were.
        self._known = self._nothing_known()

    def _nothing_known(self) -> TTLCache[InboxKey, int]:
        return TTLCache(self._entries, self._ttl_s, timer=self._clock.monotonic)

    async def store(
        self, message: InboundMessage, state: InboxState, reason: str, *, line_up: bool = True
    ) -> bool:
        """Record in this state and, if it is NEW, line it up. Whether the ledger has it now."""
        key = InboxKey(message.from_me, message.message_id)
        # A reaction is no message: who reacts does not take over.
        pause_s = 0.0 if message.kind is MessageKind.REACTION else self._person_pause_s
        try:
            recorded, reason = await self._record(message, state, reason, pause_s)
        except InvalidInputError as error:
            self._traces.count(Stage.RECEIVED, "refused")
            log.warning("message refused", field=error.field, why=error.message)
            return False
        except Exception as error:
            self._traces.count(Stage.RECEIVED, UNRECORDABLE)
            log.error("message not recorded", message_id=message.message_id, exc_info=error)
            await self._set_aside(message, pause_s)
            return False
        self._mistakes = 0
        self._traces.mark(message.message_id, "record")
        if not recorded.fresh:
            self._repeated(recorded)
            return True
        self._traces.count(Stage.RECEIVED, reason or "admitted")
        if recorded.by_person:
            log.info("a person wrote", chat=recorded.chat_key, taken_back=recorded.cancelled)
        if recorded.state is InboxState.NEW and line_up:
            place = self._line_up(recorded.chat_key, key)
            self._lined_up(recorded, message, place)
        return True

    async def _record(
        self, message: InboundMessage, state: InboxState, reason: str, pause_s: float
    ) -> tuple[Recorded, str]:
        """As it is; what the store, being well, never gets done with as it is, with less of it.
        With the reason that it has now. While not even that it came can be stored, it is not the
        message that is at fault, and all of it is tried again."""
        while True:
            for way in self._ways(message, state, reason):
                recorded = await self._tried(way, pause_s)
                if recorded is not None:
                    if way.reason == reason and way.message != message:
                        self._apart.setdefault(message.chat, True)
                    if recorded.merged:
                        self._merged(recorded.chat_key, recorded.merged)
                    return recorded, way.reason
                log.error("message not recorded in time", message_id=message.message_id)

    def _ways(self, message: InboundMessage, state: InboxState, reason: str) -> Iterator[_Way]:
        alone = _alone(message)
        if alone != message and message.chat not in self._apart:
            yield _Way(message, state, reason, TIMEOUTS_MAX)
        yield _Way(alone, state, reason, PATIENT_TRIES)
        if reason != UNRECORDABLE:
            yield _Way(_bare(alone), InboxState.SKIPPED, UNRECORDABLE, 1)

    async def _tried(self, way: _Way, pause_s: float) -> Recorded | None:
        """None: so often not ended in time, while the store was well. Waits while it is away."""
        for _ in range(way.tries):
            recorded = await until_stored(self._clock, partial(self._in_time, way, pause_s))
            if recorded is not None:
                return recorded
            await self._clock.sleep(random.uniform(0.0, LONGEST_WAIT_S))  # noqa: S311 - jitter
        return None

    async def _in_time(self, way: _Way, pause_s: float) -> Recorded | None:
        """None: not ended in time, and the store is well."""
        try:
            return await self._ledger.record(
                way.message, state=way.state, reason=way.reason, person_pause_s=pause_s
            )
        except StoreTimeoutError as late:
            # What the page tells shows as well as a probe that it is alive.
            await proved(self._ledger.touch, late)
            return None

    async def _set_aside(self, message: InboundMessage, pause_s: float) -> None:
        """One message that cannot be stored costs none of the others: that it came is stored
        without what it says. Where not even that can be, it is not the message that is wrong:
        raises then, at once if the database refuses, after a few if it is something else."""
        try:
            await self._record(_bare(message), InboxState.SKIPPED, UNRECORDABLE, pause_s)
        except InvalidInputError as error:
            log.warning("message refused", field=error.field, why=error.message)
        except StoreRefusedError:
            raise
        except Exception as error:
            self._mistakes += 1
            self._traces.count(Stage.RECEIVED, "lost")
            log.error("message lost", message_id=message.message_id, exc_info=error)
            if self._mistakes >= MISTAKES_MAX:
                raise

    def _repeated(self, recorded: Recorded) -> None:
        self._traces.count(Stage.RECEIVED, "duplicate")
        if recorded.differs:
            self._traces.count(Stage.RECEIVED, "differed")
            log.warning(
                "known message with another content: the first one stays",
                message_id=recorded.key.message_id,
            )


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


def _said(message: InboundMessage) -> int:
    """The same for the same content; what cannot be told is for the ledger to compare."""
    try:
        return hash((message.kind, message.text, repr(message.content)))
    except RecursionError:
        return hash((message.kind, message.text))
