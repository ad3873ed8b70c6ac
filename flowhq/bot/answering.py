"""One recorded message through the responder: one transaction, then its replies are lined up."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from flowhq.bot.ports import Ledger
from flowhq.bot.ratelimit import Admission, Limit, ReplyLimits
from flowhq.bot.retry import until_stored
from flowhq.bot.trace import Traces
from flowhq.clock import Clock
from flowhq.errors import ChannelError, StoreUnavailableError
from flowhq.model import (
    ChatKey,
    ConversationView,
    Decision,
    InboundMessage,
    InboxKey,
    OutboundMessage,
    Outcome,
    Reply,
)

log = structlog.get_logger(__name__)

# No wait between two attempts is longer (300 s); a clock that was set must not make it so.
LONGEST_WAIT_S = 300.0


@dataclass(slots=True)
class _Step:
    """One message's step over all its attempts: the verdict on its answer, and when it fell."""

    limit: tuple[Limit, datetime] | None = None


class Responder(Protocol):
    """Message to replies, pure: bot/responder.py today, the flow engine beside it.

    It keeps silent itself where a person took over (``paused_until``): a contact's word to stop
    counts even then.
    """

    def respond(
        self, message: InboundMessage, view: ConversationView, *, now: datetime
    ) -> Decision: ...

    def slow_down(self, view: ConversationView) -> Reply:
        """The one notice of an episode in which answers are held back."""
        ...

    def please_wait(self) -> Reply:
        """The one notice for a chat whose messages come faster than they can be answered."""
        ...


class Answering:
    """The handler of a chat's lane. ``send`` lines the planned replies up."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        limits: ReplyLimits,
        traces: Traces,
        *,
        responder: Callable[[], Responder],
        paused: Callable[[], bool],
        max_age_s: float,
        send: Callable[[Sequence[OutboundMessage]], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limits = limits
        self._traces = traces
        self._responder = responder
        self._paused = paused
        self._max_age = timedelta(seconds=max_age_s)
        self._send = send
        self.counts: Counter[str] = Counter()

    async def handle(self, chat: ChatKey, key: InboxKey) -> None:
        """Answer one message to its end: answered, skipped, or dead after its last attempt."""
        self._traces.mark(key.message_id, "queue")
        step = _Step()
        while not await self._attempted(key, step):
            pass

    async def refill(self, chat: ChatKey, limit: int) -> Sequence[InboxKey]:
        """What waits in the inbox of a chat whose lane was full."""
        rows = await until_stored(self._clock, lambda: self._ledger.waiting(chat, limit=limit))
        return [row.key for row in rows]

    async def _attempted(self, key: InboxKey, step: _Step) -> bool:
        """True when nothing more is to be done for this message."""
        decide = partial(self._decide, step)
        try:
            rows = await until_stored(self._clock, lambda: self._ledger.process(key, decide))
        except (ChannelError, StoreUnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - a chat's boundary: the tenant goes on
            return await self._postponed(key, error)
        self._traces.mark(key.message_id, "respond")
        for row in rows:
            self._traces.follow(row.outbox_id, key.message_id)
        self._send(rows)
        return True

    async def _postponed(self, key: InboxKey, error: Exception) -> bool:
        self.counts["failed"] += 1
        log.error("message not answered", message_id=key.message_id, exc_info=error)
        why = type(error).__name__
        next_at = await until_stored(self._clock, lambda: self._ledger.postpone(key, error=why))
        if next_at is None:
            self.counts["dead"] += 1
            log.error("message given up", message_id=key.message_id, why=why)
            return True
        wait_s = (next_at - self._clock.now()).total_seconds()
        await self._clock.sleep(min(max(wait_s, 0.0), LONGEST_WAIT_S))
        return False

    def _decide(self, step: _Step, message: InboundMessage, view: ConversationView) -> Decision:
        now = self._clock.now()
        if self._paused():
            return Decision(Outcome.SKIPPED, "paused")
        if now - message.at > self._max_age:
            return Decision(Outcome.SKIPPED, "too_old")
        decision = self._responder().respond(message, view, now=now)
        decision = self._within_limits(step, decision, view) if decision.replies else decision
        self.counts[decision.outcome] += 1
        return decision

    def _within_limits(self, step: _Step, decision: Decision, view: ConversationView) -> Decision:
        """One token an answer, however many messages it takes and however often it is tried."""
        if step.limit is None:
            step.limit = self._limits.admit(view.chat_key), self._clock.now()
        limit, since = step.limit
        if limit.admission is Admission.NOW:
            return decision
        notice = (self._responder().slow_down(view),) if limit.first_of_episode else ()
        if limit.admission is Admission.REFUSED:
            return Decision(
                Outcome.SKIPPED,
                f"{limit.scope}_limit",
                replies=notice,
                opted_out=decision.opted_out,
            )
        due = since + timedelta(seconds=limit.wait_s)
        later = tuple(replace(reply, not_before=due) for reply in decision.replies)
        return replace(decision, replies=notice + later)
