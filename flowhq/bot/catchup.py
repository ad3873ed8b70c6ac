"""What came while we were away: read from the page's own store, recorded before live events go on.

One reply a chat is due for a backlog, to its newest message, if that is young enough and nobody
answered since. The caller holds the live events back until `run` returns.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from flowhq.bot.inbound import CHAT, Inbound, judge
from flowhq.bot.memory import Memory
from flowhq.bot.ports import Channel, Ledger
from flowhq.bot.retry import until_stored
from flowhq.clock import Clock
from flowhq.errors import PageReadError
from flowhq.model import InboundMessage, InboxState, Jid, MessageKind

log = structlog.get_logger(__name__)

# Read again what lies around the mark: timestamps have whole seconds and may come out of order.
OVERLAP = timedelta(minutes=10)
# What the platform kept for a page comes a little after its connection is back.
ARRIVAL_PAUSE_S = 2.0
ARRIVAL_LOOKS = 10
# Messages asked for of one chat: few chats missed more than the first step holds, and reading
# costs the page by the message. The last step is the most that a page gives back of a chat; of a
# longer backlog only the newest are recorded.
CHAT_LIMITS = (100, 1000, 5000)
# An answer this full of what was asked for may leave older ones out: kinds that are no messages
# are counted by the page and not handed over.
FULL_SHARE = 0.5
# Messages that the ledger is asked about at once: also on a slow disk answered in time.
LOOK_AT_ONCE = 500
# Runs that end because the page cannot tell one chat's past; then the others go on without it.
UNREADABLE_RUNS = 2
# Clocks differ by minutes. A time further ahead is nonsense, and would make its message the newest
# of the chat for ever: it says nothing about what came before or after.
AHEAD = timedelta(hours=1)


class CatchUp:
    """Reads every chat with something newer than the last time when nothing was missing.
    ``paired_at`` bounds the first time."""

    def __init__(
        self,
        channel: Channel,
        ledger: Ledger,
        inbound: Inbound,
        clock: Clock,
        *,
        max_age_s: float,
        memory: Memory,
    ) -> None:
        self._channel = channel
        self._ledger = ledger
        self._inbound = inbound
        self._clock = clock
        self._max_age = timedelta(seconds=max_age_s)
        self._unreadable = memory.unreadable
        self._left_out: set[Jid] = set()

    @property
    def is_whole(self) -> bool:
        """The last reading left out no chat."""
        return not self._left_out

    async def await_arrivals(self) -> None:
        """Returns when no chat of the page gets anything more, or after a while all the same."""
        before: dict[Jid, datetime | None] | None = None
        for _ in range(ARRIVAL_LOOKS):
            now = {head.chat: head.last_at for head in await self._channel.chats()}
            if now == before:
                return
            before = now
            await self._clock.sleep(ARRIVAL_PAUSE_S)

    async def run(
        self,
        *,
        paired_at: datetime,
        paused: bool,
        unsure_since: datetime | None = None,
        line_up: bool = True,
    ) -> int:
        """Record what is new; returns how many messages were read. ``unsure_since``: older than
        the mark, if something may be missing from then on. ``line_up`` False: what is due only
        waits in the inbox.

        A chat that the page cannot tell makes the run fail when the others are read, in the hope
        for a better page; after UNREADABLE_RUNS it is left out, and read when it can be: see
        `is_whole`.

        Chats are left alone in which nothing was written since all of them were caught up with. A
        chat's own cursor does not tell: with two addresses it may stand behind one of them.
        """
        # WhatsApp's times have whole seconds: one of the pairing's own second came after it.
        paired_at = paired_at.replace(microsecond=0)
        mark = await until_stored(self._clock, self._ledger.caught_up_to)
        if mark is not None and unsure_since is not None:
            mark = min(mark, unsure_since)
        since = paired_at if mark is None else max(mark - OVERLAP, paired_at)
        heads = [head for head in await self._channel.chats() if head.last_at is not None]
        heads = [head for head in heads if CHAT.fullmatch(head.chat)]
        due = [head.chat for head in reversed(heads) if head.last_at and head.last_at >= since]
        read, unread = 0, list[PageReadError]()
        now = await until_stored(self._clock, self._ledger.now)
        self._left_out.clear()
        for chat in due:
            try:
                read += await self._read(chat, since, now, paused=paused, line_up=line_up)
            except PageReadError as error:
                if not self._leaves_out(chat, error):
                    # Without the frames, which would hold this one and with it the whole run.
                    unread.append(error.with_traceback(None))
        if unread:
            raise unread.pop()
        log.info("caught up", chats=len(heads), chats_read=len(due), messages=read)
        return read

    def _leaves_out(self, chat: Jid, error: PageReadError) -> bool:
        """Count that the page could not tell this chat; whether it was tried often enough."""
        self._unreadable[chat] = runs = self._unreadable.get(chat, 0) + 1
        if runs <= UNREADABLE_RUNS:
            return False
        self._left_out.add(chat)
        log.error("a chat's past cannot be read", chat=chat, why=error.message)
        return True

    async def _read(
        self, chat: Jid, since: datetime, now: datetime, *, paused: bool, line_up: bool
    ) -> int:
        messages = await self._history(chat, since)
        self._unreadable.pop(chat, None)
        sorted_out = await self._sorted_out(messages, now, paused=paused)
        shown = [message for message, _, _ in sorted_out]
        recorded = await self._are_recorded(shown)
        for (message, state, reason), is_recorded in zip(sorted_out, recorded, strict=True):
            if not is_recorded:
                await self._inbound.store(message, state, reason, line_up=line_up)
        return len(messages)

    async def _are_recorded(self, messages: Sequence[InboundMessage]) -> list[bool]:
        told = list[bool]()
        for first in range(0, len(messages), LOOK_AT_ONCE):
            told += await self._look(messages[first : first + LOOK_AT_ONCE])
        return told

    async def _look(self, messages: Sequence[InboundMessage]) -> Sequence[bool]:
        """Where they cannot be asked about, none is taken to be known: they are recorded one by
        one, and the one at fault is set aside alone."""
        try:
            return await until_stored(self._clock, lambda: self._ledger.are_recorded(messages))
        except Exception as error:
            log.error("messages not looked up", messages=len(messages), exc_info=error)
            return [False] * len(messages)

    async def _history(self, chat: Jid, since: datetime) -> Sequence[InboundMessage]:
        messages: Sequence[InboundMessage] = ()
        for limit in CHAT_LIMITS:
            messages = await self._channel.history(chat, since=since, limit=limit)
            if len(messages) < limit * FULL_SHARE:
                return messages
        if len(messages) >= CHAT_LIMITS[-1]:
            log.warning("a chat's backlog is longer than can be read", messages=len(messages))
        return messages

    async def _sorted_out(
        self, messages: Sequence[InboundMessage], now: datetime, *, paused: bool
    ) -> list[tuple[InboundMessage, InboxState, str]]:
        """Oldest first. Only the newest incoming message of the chat can be due."""
        sorted_out: list[tuple[InboundMessage, InboxState, str]] = []
        why_not = ""
        for message in reversed(messages):
            verdict = judge(message, paused=paused)
            if verdict.state is None:
                continue
            state, reason = verdict.state, verdict.reason
            if message.at - now > AHEAD:
                pass
            elif state is InboxState.NEW:
                if not why_not and now - message.at > self._max_age:
                    why_not = "too_old"
                if why_not:
                    state, reason = InboxState.SKIPPED, why_not
                why_not = why_not or "backlog"
            elif not why_not and await self._by_a_person(message):
                why_not = "answered"
            sorted_out.append((message, state, reason))
        return sorted_out[::-1]

    async def _by_a_person(self, message: InboundMessage) -> bool:
        """An outgoing message that the outbox does not know was typed on the phone. A reaction
        answers nothing."""
        if not message.from_me or message.kind is MessageKind.REACTION:
            return False
        ours = await until_stored(self._clock, lambda: self._ledger.known_own(message.message_id))
        return ours is None
