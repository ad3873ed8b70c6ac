"""From planned to accepted: pace, commit the intent, hand over, settle.

A message goes to the page only after ``sending`` is committed. Whatever is in doubt afterwards is
looked up under its id in the page's own store before anything is sent again, with the same id.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import structlog

from flowhq.attempts import ATTEMPTS_MAX
from flowhq.bot.acks import AckWatch
from flowhq.bot.chats import Lanes
from flowhq.bot.dedup import Dedup
from flowhq.bot.finishing import finish
from flowhq.bot.ports import Channel, Ledger, Stage
from flowhq.bot.retry import until_stored
from flowhq.bot.trace import Traces
from flowhq.bot.turns import Turns
from flowhq.clock import Clock
from flowhq.config import LimitSettings
from flowhq.errors import PageReadError, SendRefusedError, SendUnknownError, UnlinkedError
from flowhq.model import Ack, ChatKey, MessageId, OutboundMessage, OutboxState

log = structlog.get_logger(__name__)

# WhatsApp Web delivers what it holds by itself after a reconnect: time to let it, before asking
# again. Shorter asks in vain, longer delays the repeat of what was really lost.
SETTLE_S = 60.0
# A head of line that cannot be settled blocks its chat no longer than this, then it is dead. Also
# the longest that anything waits for its time, whatever was done to the machine's clock.
BLOCK_S = 600.0
# A message that is out gets its record even when the tenant is stopped meanwhile.
RECORD_S = 5.0
# Hand-overs of one tenant at a time: the page works through them one by one anyway, and a send
# whose ack stays out must not hold up the other chats.
AT_ONCE = 4

_IN_DOUBT = (OutboxState.SENDING, OutboxState.UNKNOWN)


class _Patience:
    """How long a head of line may still block its chat. Waiting until it is due or the page is
    online does not count: nothing can be settled then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline = clock.monotonic() + BLOCK_S

    async def outlast(self, waiting: Coroutine[Any, Any, object]) -> None:
        began = self._clock.monotonic()
        await waiting
        self._deadline += self._clock.monotonic() - began

    @property
    def over(self) -> bool:
        return self._clock.monotonic() >= self._deadline


class Outbound:
    """The sender of one tenant. ``online`` gates every use of the page; ``turns`` are for what was
    asked for by a program; ``dedup`` is told under which ids it sends."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        channel: Channel,
        ledger: Ledger,
        clock: Clock,
        limits: LimitSettings,
        traces: Traces,
        online: asyncio.Event,
        acks: AckWatch,
        turns: Turns,
        dedup: Dedup,
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._clock = clock
        self._pace_s = limits.pace_ms / 1000
        self._max_age_s = limits.answer_max_age_s
        self._traces = traces
        self._online = online
        self._acks = acks
        self._page = asyncio.Semaphore(AT_ONCE)
        self._turns = turns
        self._dedup = dedup
        self._acked: dict[MessageId, asyncio.Event] = {}
        self._draining = False
        self._handed_over = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes = Lanes(
            group, self._deliver, self._refill, name="send", capacity=limits.chat_queue
        )

    def put(self, rows: Sequence[OutboundMessage]) -> None:
        """Line planned rows up; what does not fit is read from the outbox later."""
        for row in rows:
            self._lanes.put(row.chat_key, row)

    def put_first(self, rows: Sequence[OutboundMessage]) -> None:
        """A notice goes before the replies that wait already."""
        for row in reversed(rows):
            self._lanes.put_first(row.chat_key, row)

    def waiting(self, chat: ChatKey) -> int:
        return self._lanes.waiting(chat)

    def wake(self, chat: ChatKey) -> None:
        """Look after what is unsettled in this chat again."""
        self._lanes.wake(chat)

    def follow(self, chat: ChatKey, others: Iterable[ChatKey]) -> None:
        """``others`` were merged into ``chat``: what each has in hand is settled first."""
        self._lanes.follow(chat, others)

    def note_ack(self, ids: Sequence[MessageId]) -> None:
        """The page told of these own messages: whoever waits for one looks again."""
        for message_id in ids:
            waiting = self._acked.get(message_id)
            if waiting is not None:
                waiting.set()

    async def drain(self) -> None:
        """Begin nothing new; return when what was handed over is settled."""
        self._draining = True
        await self._idle.wait()

    def depth(self) -> int:
        return self._lanes.depth()

    def forget(self) -> None:
        """See `Lanes.forget`."""
        self._lanes.forget()

    async def _refill(self, chat: ChatKey, limit: int) -> Sequence[OutboundMessage]:
        if self._draining:
            return ()
        return await until_stored(self._clock, lambda: self._ledger.unsettled(chat, limit=limit))

    async def _deliver(self, chat: ChatKey, row: OutboundMessage) -> None:
        """One row to its end: accepted, dead, or left as it is because the daemon stops."""
        patience = _Patience(self._clock)
        following: OutboundMessage | None = row
        needs_turn = row.asked_for
        while following is not None and not self._draining:
            await patience.outlast(self._wait_until_due(following))
            await patience.outlast(self._online.wait())
            if following.state in _IN_DOUBT and await self._settled(following, patience):
                break
            if needs_turn and not following.attempts:
                await patience.outlast(self._turns.take())
                needs_turn = False
            following = await self._attempt(following)
        if self._pace_s and not self._draining:
            await self._clock.sleep(self._pace_s)

    async def _wait_until_due(self, row: OutboundMessage) -> None:
        wait_s = row.due_at_monotonic - self._clock.monotonic()
        if wait_s > 0:
            await self._clock.sleep(min(wait_s, BLOCK_S))

    async def _attempt(self, row: OutboundMessage) -> OutboundMessage | None:
        """Commit the intent, hand over, record. The row to go on with, None when it is over. A page
        that went offline meanwhile gets nothing: it would send by itself when it is back, before
        it is known whether a person answered."""
        async with self._page:
            if self._draining:
                return None
            if not self._online.is_set():
                return row
            self._hold_the_door()
            try:
                return await self._begun(row)
            finally:
                self._release_the_door()

    async def _begun(self, row: OutboundMessage) -> OutboundMessage | None:
        self._traces.mark_reply(row.outbox_id, "line")
        if not await until_stored(self._clock, lambda: self._mark_sending(row)):
            return None
        self._traces.mark_reply(row.outbox_id, "commit")
        if not self._online.is_set():
            return replace(row, state=OutboxState.SENDING, attempts=row.attempts + 1)
        return await self._hand_over(row)

    async def _mark_sending(self, row: OutboundMessage) -> bool:
        """What a program asked for goes out however late; a late answer confuses."""
        max_age_s = None if row.asked_for else self._max_age_s
        return await self._ledger.mark_sending(row.outbox_id, max_age_s=max_age_s)

    async def _hand_over(self, row: OutboundMessage) -> OutboundMessage | None:
        self._dedup.note_own(row.client_id)
        try:
            receipt = await self._channel.send(row)
        except SendRefusedError as error:
            return await self._refused(row, error)
        except SendUnknownError as error:
            why = error.message
            await until_stored(
                self._clock, lambda: self._ledger.mark_unknown(row.outbox_id, error=why)
            )
            self._traces.count(Stage.SENT, "unknown")
            log.warning("send without an answer", outbox_id=row.outbox_id, why=why)
            return replace(row, state=OutboxState.UNKNOWN, attempts=row.attempts + 1)
        self._traces.mark_reply(row.outbox_id, "send")
        await self._accepted(row, receipt.ack)
        return None

    async def _accepted(self, row: OutboundMessage, ack: Ack) -> None:
        """The message is out, so a cancellation waits for its record."""
        self._acks.came()
        accept = until_stored(self._clock, lambda: self._ledger.mark_accepted(row.outbox_id, ack))
        await finish(accept, within_s=RECORD_S)
        self._traces.count(Stage.SENT, "accepted")
        stages = self._traces.finish(row.outbox_id)
        log.info("reply sent", outbox_id=row.outbox_id, message_id=row.client_id, stages=stages)

    async def _refused(
        self, row: OutboundMessage, error: SendRefusedError
    ) -> OutboundMessage | None:
        wait_s = await until_stored(
            self._clock,
            lambda: self._ledger.mark_failed(row.outbox_id, error=error.message, retry=error.retry),
        )
        self._traces.count(Stage.SENT, "dead" if wait_s is None else "refused")
        log.warning(
            "send refused", outbox_id=row.outbox_id, why=error.message, again=wait_s is not None
        )
        if wait_s is None:
            return None
        due_at = self._clock.monotonic() + wait_s
        return replace(
            row,
            state=OutboxState.PLANNED,
            attempts=row.attempts + 1,
            due_at_monotonic=due_at,
        )

    async def _settled(self, row: OutboundMessage, patience: _Patience) -> bool:
        """Find out what became of a row in doubt. False: it is not out, send it again."""
        while True:
            acked = self._acked.setdefault(row.client_id, asyncio.Event())
            acked.clear()
            try:
                ack = await self._look_up(row)
                if ack is None or ack is Ack.ERROR:
                    tried_enough = row.attempts >= ATTEMPTS_MAX or patience.over
                    return tried_enough and await self._give_up(row)
                if ack is not Ack.PENDING:
                    await self._accepted(row, ack)
                    return True
                if patience.over:
                    return await self._give_up(row)
                if not await self._came(acked) and self._online.is_set():
                    await self._acks.overdue(row.client_id)
            finally:
                self._acked.pop(row.client_id, None)
            await patience.outlast(self._online.wait())

    async def _look_up(self, row: OutboundMessage) -> Ack | None:
        """What the page's store knows of it. PENDING as well if the page cannot tell: then it
        blocks its chat for as long as any other that stays in doubt, and no other chat."""
        try:
            return await self._channel.look_up(row.to, row.client_id)
        except (PageReadError, UnlinkedError) as error:
            log.warning("a message cannot be looked up", outbox_id=row.outbox_id, why=error.message)
            return Ack.PENDING

    async def _give_up(self, row: OutboundMessage) -> bool:
        await until_stored(
            self._clock,
            lambda: self._ledger.mark_failed(row.outbox_id, error="not acknowledged", retry=False),
        )
        self._traces.count(Stage.SENT, "dead")
        log.error("message given up: not acknowledged", outbox_id=row.outbox_id)
        return True

    async def _came(self, acked: asyncio.Event) -> bool:
        """Whether the page told of the message within the time that it is given."""
        waiter = asyncio.ensure_future(acked.wait())
        timer = asyncio.ensure_future(self._clock.sleep(SETTLE_S))
        try:
            await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
            return acked.is_set()
        finally:
            waiter.cancel()
            timer.cancel()

    def _hold_the_door(self) -> None:
        self._handed_over += 1
        self._idle.clear()

    def _release_the_door(self) -> None:
        self._handed_over -= 1
        if not self._handed_over:
            self._idle.set()
