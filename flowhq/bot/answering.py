"""One recorded message through the responder: one transaction, then its replies are lined up."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from flowhq.bot.chats import QueuedMessage
from flowhq.bot.deciding import Deciding, Guards, Responder, Step
from flowhq.bot.ports import Decide, Ledger, Stage
from flowhq.bot.retry import proved, until_stored
from flowhq.bot.trace import Traces
from flowhq.bot.turns import Turns
from flowhq.clock import Clock
from flowhq.errors import ChannelError, StoreTimeoutError, StoreUnavailableError
from flowhq.model import ChatKey, InboxKey, OutboundMessage

log = structlog.get_logger(__name__)

# No wait between two attempts is longer (300 s); a clock that was set must not make it so.
LONGEST_WAIT_S = 300.0
# What has waited longer since it came in waits for its turn like what was read.
LIVE_S = 600.0


class _NotDoneError(Exception):
    """The store is well, and did not get done with one message's step: it is counted."""

    def __init__(self, cause: StoreTimeoutError, wait_s: float | None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait_s = wait_s


class Answering:
    """The handler of a chat's lane. ``send`` lines up what this chat's lane planned, though it may
    have another key by now."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        guards: Guards,
        traces: Traces,
        *,
        responder: Callable[[], Responder],
        paused: Callable[[], bool],
        max_age_s: float,
        send: Callable[[ChatKey, Sequence[OutboundMessage]], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limits = guards.limits
        self._turns = Turns(guards.limits, clock)
        self._traces = traces
        self._deciding = Deciding(
            clock, guards, responder=responder, paused=paused, max_age_s=max_age_s
        )
        self._send = send

    async def handle(self, chat: ChatKey, queued: QueuedMessage) -> None:
        """Answer one message to its end: answered, skipped, or dead after its last attempt. What
        did not just come in takes its turn first, and waits for it in the inbox."""
        key = queued.key
        self._traces.mark(key.message_id, "queue")
        step = Step()
        try:
            if not self._is_live(queued):
                # Before the step: one that had begun would count as an attempt if the process
                # ended meanwhile.
                step.waited_s = await self._turns.take()
            while not await self._attempted(chat, key, step):
                pass
        finally:
            if step.spared:
                self._limits.give_back()

    async def refill(self, chat: ChatKey, limit: int) -> Sequence[QueuedMessage]:
        """What waits in the inbox of a chat whose lane was full."""
        rows = await until_stored(self._clock, lambda: self._ledger.waiting(chat, limit=limit))
        return [QueuedMessage(row.key) for row in rows]

    def _is_live(self, queued: QueuedMessage) -> bool:
        return queued.seen_at is not None and self._clock.monotonic() - queued.seen_at < LIVE_S

    async def _attempted(self, chat: ChatKey, key: InboxKey, step: Step) -> bool:
        """True when nothing more is to be done for this message."""
        decide = partial(self._deciding.decide, step)
        try:
            rows = await until_stored(self._clock, lambda: self._processed(key, decide))
        except _NotDoneError as late:
            return await self._failed(key, late.cause, late.wait_s)
        except (ChannelError, StoreUnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - a chat's boundary: the tenant goes on
            return await self._postponed(key, error)
        self._traces.mark(key.message_id, "respond")
        if step.outcome:
            self._traces.count(Stage.ANSWERED, step.outcome)
        if step.muted:
            log.warning("chat muted: two bots seem to answer each other", message_id=key.message_id)
        for row in rows:
            self._traces.follow(row.outbox_id, key.message_id)
        self._send(chat, rows)
        return True

    async def _processed(self, key: InboxKey, decide: Decide) -> Sequence[OutboundMessage]:
        """The step. One that is not ended in time is an attempt like any other if the store stores
        at once that it was one: then it is this message, else the store is away."""
        try:
            return await self._ledger.process(key, decide)
        except StoreTimeoutError as error:
            why = type(error).__name__
            wait_s = await proved(lambda: self._ledger.postpone(key, error=why), error)
            raise _NotDoneError(error, wait_s) from error

    async def _postponed(self, key: InboxKey, error: Exception) -> bool:
        why = type(error).__name__
        wait_s = await until_stored(self._clock, lambda: self._ledger.postpone(key, error=why))
        return await self._failed(key, error, wait_s)

    async def _failed(self, key: InboxKey, error: Exception, wait_s: float | None) -> bool:
        """True when it was the last attempt; else when the next one is due."""
        self._traces.count(Stage.ANSWERED, "failed")
        log.error("message not answered", message_id=key.message_id, exc_info=error)
        if wait_s is None:
            self._traces.count(Stage.ANSWERED, "dead")
            log.error("message given up", message_id=key.message_id, why=type(error).__name__)
            return True
        await self._clock.sleep(min(wait_s, LONGEST_WAIT_S))
        return False
