"""Admit or drop, with a reason: echo, kind, dedup; then the message is in the ledger.

Nothing is answered here: an admitted message waits in the inbox and in its chat's lane.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from flowhq.bot.chats import Place, QueuedMessage
from flowhq.bot.dedup import Dedup
from flowhq.bot.ports import Stage
from flowhq.bot.recording import UNRECORDABLE, Recording
from flowhq.bot.trace import Traces
from flowhq.errors import InvalidInputError, StoreRefusedError
from flowhq.model import ChatKey, InboundMessage, InboxState, MessageKind
from flowhq.steps import Recorded

log = structlog.get_logger(__name__)

NOT_A_CHAT = ("@g.us", "@newsletter", "@broadcast")
CHAT = re.compile(r"[0-9A-Za-z._:-]{1,64}@(c\.us|lid)")
"""The address of one person, under their number or their LID."""
NOT_A_MESSAGE = frozenset(
    {"gp2", "e2e_notification", "notification_template", "call_log", "protocol", "revoked"}
)
"""Types of WhatsApp Web that are events dressed as messages (wa-js 4.6.0)."""


# So many in a row of which nothing at all could be stored: something else is wrong.
MISTAKES_MAX = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """``state`` None: drop, nothing is stored. SKIPPED: record only. NEW: answer."""

    state: InboxState | None
    reason: str = ""


ANSWER = Verdict(InboxState.NEW)


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
    """The door of one tenant. ``line_up`` hands a recorded message to its chat's lane."""

    def __init__(
        self,
        recording: Recording,
        dedup: Dedup,
        traces: Traces,
        *,
        paused: Callable[[], bool],
        line_up: Callable[[ChatKey, QueuedMessage], Place],
        lined_up: Callable[[Recorded, InboundMessage, Place], None],
    ) -> None:
        self._recording = recording
        self._dedup = dedup
        self._traces = traces
        self._paused = paused
        self._line_up = line_up
        self._lined_up = lined_up
        self._mistakes = 0

    async def admit(self, message: InboundMessage, *, seen_at: float, line_up: bool = True) -> None:
        """Take a live message; waits while the store is away. ``line_up`` False: it only waits in
        the inbox."""
        verdict = judge(message, paused=self._paused())
        if verdict.state is None:
            self._traces.count(Stage.RECEIVED, verdict.reason)
            if verdict.reason == "not_a_chat":
                log.warning("message refused", why="its chat is no address of a contact")
            return
        if self._dedup.knows(message):
            self._traces.count(Stage.RECEIVED, "duplicate")
            return
        if verdict.state is InboxState.NEW:
            self._traces.begin(message.message_id, seen_at)
            self._traces.mark(message.message_id, "admit")
        state, reason = verdict.state, verdict.reason
        if await self.store(message, state, reason, line_up=line_up, seen_at=seen_at):
            self._dedup.note(message)

    async def store(
        self,
        message: InboundMessage,
        state: InboxState,
        reason: str,
        *,
        line_up: bool = True,
        seen_at: float | None = None,
    ) -> bool:
        """Record in this state and, if it is NEW, line it up. Whether the ledger has it now.
        ``seen_at``: see `QueuedMessage`."""
        try:
            recorded, reason = await self._recording.record(message, state, reason)
        except InvalidInputError as error:
            self._traces.count(Stage.RECEIVED, "refused")
            log.warning("message refused", field=error.field, why=error.message)
            return False
        except Exception as error:
            self._traces.count(Stage.RECEIVED, UNRECORDABLE)
            log.error("message not recorded", message_id=message.message_id, exc_info=error)
            await self._set_aside(message)
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
            place = self._line_up(recorded.chat_key, QueuedMessage(recorded.key, seen_at))
            self._lined_up(recorded, message, place)
        return True

    async def _set_aside(self, message: InboundMessage) -> None:
        """One message that cannot be stored costs none of the others: that it came is stored
        without what it says. Where not even that can be, it is not the message that is wrong:
        raises then, at once if the database refuses, after a few if it is something else."""
        try:
            await self._recording.record_bare(message)
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
