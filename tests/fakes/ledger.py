"""A ledger in memory, with outages to switch on.

It outlives the runners that use it, as a database does, and keeps to the same contract as the real
one (tests/contract/ledger/contract.py runs over both). Every call gives the loop a turn
before and after its transaction, so that a cancellation can strike at either place.
"""

import hashlib
from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from flowhq.attempts import ATTEMPT_WAITS_S, ATTEMPTS_MAX
from flowhq.bot.ports import Decide
from flowhq.clock import Clock
from flowhq.errors import StoreUnavailableError
from flowhq.model import (
    Ack,
    ChatKey,
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxId,
    OutboxState,
    Reply,
    TenantId,
)
from flowhq.steps import ConversationView, Outcome, Recorded
from tests.fakes.outages import Outages
from tests.fakes.rows import Conversation, InboxRow, OutboxRow

TENANT = TenantId(UUID("00000000-0000-4000-8000-000000000001"))
_WAITING = (InboxState.NEW, InboxState.RETRY)
_UNSETTLED = (OutboxState.PLANNED, OutboxState.SENDING, OutboxState.UNKNOWN)
_RANK = {OutboxState.ACCEPTED: 1, OutboxState.DELIVERED: 2, OutboxState.READ: 3}
_STATE_OF_ACK = {
    Ack.SERVER: OutboxState.ACCEPTED,
    Ack.DELIVERED: OutboxState.DELIVERED,
    Ack.READ: OutboxState.READ,
    Ack.PLAYED: OutboxState.READ,
}


class FakeLedger:
    """``inbox`` and ``outbox`` are there for a test to look at."""

    def __init__(self, clock: Clock, tenant_id: TenantId = TENANT) -> None:
        self.tenant_id = tenant_id
        self.outages = Outages()
        self.inbox: dict[InboxKey, InboxRow] = {}
        self.outbox: dict[OutboxId, OutboxRow] = {}
        self.conversations: dict[ChatKey, Conversation] = {}
        self.aliases: dict[Jid, ChatKey] = {}
        self.cursors: dict[ChatKey, datetime] = {}
        self.mark: datetime | None = None
        self._doubts: set[Hashable] = set()
        """Steps whose commit was never answered: repeated, they answer as the first should."""
        self.qr = ""
        self.identity: tuple[str, str] | None = None
        self._last_identity: tuple[str, str] | None = None
        self.paired_at: datetime | None = None
        self.last_seen_at: datetime | None = None
        self.touches = 0
        self._clock = clock

    # -- what a test asks -----------------------------------------------------------------------

    def states(self) -> dict[str, InboxState]:
        """Incoming messages by id."""
        return {key.message_id: row.state for key, row in self.inbox.items() if not key.from_me}

    def reasons(self) -> dict[str, str]:
        return {key.message_id: row.reason for key, row in self.inbox.items()}

    def replies(self, cause: str) -> list[OutboxRow]:
        return [row for row in self.outbox.values() if row.cause == cause]

    def know(self, chat: Jid) -> None:
        """There is such a chat, though no message in it was recorded."""
        self.conversations.setdefault(self.aliases.setdefault(chat, ChatKey(chat)), Conversation())

    # -- Ledger: the inbox ------------------------------------------------------------------------

    async def record(
        self,
        message: InboundMessage,
        *,
        state: InboxState,
        reason: str = "",
        person_pause_s: float = 0.0,
    ) -> Recorded:
        async with self._step("record", message.from_me, message.message_id) as repeated:
            while (row := self._in_a_step(self._keys_of(message)[1:])) is not None:
                async with row.lock:
                    pass
            recorded = self._record(message, state, reason, person_pause_s)
        if recorded.fresh or not repeated:
            return recorded
        recorded = replace(recorded, fresh=True)
        return self._with_names(recorded) if recorded.ord else recorded

    async def are_recorded(self, messages: Sequence[InboundMessage]) -> Sequence[bool]:
        await self.outages.enter("are_recorded")
        return [self._is_recorded(message) for message in messages]

    def _is_recorded(self, message: InboundMessage) -> bool:
        known = self.inbox.get(InboxKey(message.from_me, message.message_id))
        if known is not None and not _differs(known, message):
            return True
        return message.from_me and self._own(message.message_id) is not None

    def _with_names(self, recorded: Recorded) -> Recorded:
        key = self.aliases.get(Jid(recorded.chat_key), recorded.chat_key)
        names = [ChatKey(jid) for jid, chat in self.aliases.items() if chat == key]
        return replace(recorded, chat_key=key, merged=tuple(one for one in names if one != key))

    def _record(
        self, message: InboundMessage, state: InboxState, reason: str, person_pause_s: float
    ) -> Recorded:
        key = InboxKey(message.from_me, message.message_id)
        known = self.inbox.get(key)
        if known is not None:
            differs = _differs(known, message)
            known.differed = known.differed or differs
            return Recorded(key, known.chat_key, False, known.state, known.ord, differs=differs)
        own = self._own(message.message_id) if message.from_me else None
        if own is not None:
            self._advance(own.chat_key, message.at)
            return Recorded(key, own.chat_key, False, InboxState.DONE, 0)
        chat, merged = self._chat_of(message)
        row = InboxRow(message, chat, len(self.inbox) + 1, state, reason)
        self.inbox[key] = row
        self._advance(chat, message.at)
        conversation = self.conversations.setdefault(chat, Conversation())
        if message.from_me:
            conversation.last_outgoing_at = _later(conversation.last_outgoing_at, message.at)
            conversation.last_person_at = _later(conversation.last_person_at, message.at)
            cancelled = self._take_over(chat, conversation, message.at, person_pause_s)
            return Recorded(key, chat, True, state, row.ord, True, cancelled, merged=merged)
        conversation.contact_name = message.push_name or conversation.contact_name
        conversation.phone = message.phone or conversation.phone
        return Recorded(key, chat, True, state, row.ord, merged=merged)

    def _take_over(
        self, chat: ChatKey, conversation: Conversation, at: datetime, pause_s: float
    ) -> int:
        if not pause_s:
            return 0
        now = self._clock.now()
        until = min(at, now) + timedelta(seconds=pause_s)
        conversation.paused_until = _later(conversation.paused_until, until)
        cancelled = 0
        for row in self.outbox.values():
            due = until > now or row.planned_at <= at
            if row.chat_key == chat and row.state in _UNSETTLED and due:
                row.reason = "person"
                if row.state is OutboxState.PLANNED:
                    row.state = OutboxState.CANCELLED
                    cancelled += 1
        return cancelled

    async def process(self, key: InboxKey, decide: Decide) -> Sequence[OutboundMessage]:
        async with self._step("process", key) as repeated:
            planned = await self._process(key, decide)
            if repeated and not planned:
                planned = self._planned_for(key.message_id)
        return planned

    async def _process(self, key: InboxKey, decide: Decide) -> list[OutboundMessage]:
        row = self.inbox.get(key)
        if row is None:
            return []
        async with row.lock:
            return await self._stepped(key, row, decide)

    async def _stepped(self, key: InboxKey, row: InboxRow, decide: Decide) -> list[OutboundMessage]:
        if row.state not in _WAITING:
            return []
        row.begun = True
        chat = self.conversations[row.chat_key]
        decision = decide(row.message, self._view(row.chat_key, chat))
        await self.outages.turn("commit")
        if self.outages.breaks("commit"):
            raise StoreUnavailableError("The database went away before the commit.")
        done = decision.outcome is Outcome.DONE
        row.state = InboxState.DONE if done else InboxState.SKIPPED
        row.reason = decision.reason
        if decision.bot_state is not None:
            chat.bot_state = dict(decision.bot_state)
        if decision.opted_out is not None:
            chat.opted_out = decision.opted_out
        if decision.mute_s:
            chat.muted_until = self._clock.now() + timedelta(seconds=decision.mute_s)
        return self._plan(row.chat_key, row.message.chat, key.message_id, decision.replies)

    async def postpone(self, key: InboxKey, *, error: str) -> float | None:
        await self.outages.enter("postpone")
        row, wait_s = self.inbox.get(key), None
        if row is not None and row.state in _WAITING:
            row.attempts += 1
            row.begun = False
            row.error = error
            dead = row.attempts >= ATTEMPTS_MAX
            row.state = InboxState.DEAD if dead else InboxState.RETRY
            if not dead:
                wait_s = float(ATTEMPT_WAITS_S[row.attempts - 1])
        await self.outages.leave("postpone")
        return wait_s

    async def count_interrupted(self) -> Sequence[InboxKey]:
        await self.outages.enter("count_interrupted")
        dead = []
        for key, row in self.inbox.items():
            if row.state not in _WAITING or not row.begun:
                continue
            row.attempts += 1
            row.begun = False
            if row.attempts >= ATTEMPTS_MAX:
                row.state, row.error = InboxState.DEAD, "the daemon ended during each attempt"
                dead.append(key)
        await self.outages.leave("count_interrupted")
        return dead

    async def waiting(self, chat_key: ChatKey | None, *, limit: int) -> Sequence[Recorded]:
        await self.outages.enter("waiting")
        found = [
            Recorded(key, row.chat_key, False, row.state, row.ord)
            for key, row in self.inbox.items()
            if row.state in _WAITING and chat_key in (None, row.chat_key)
        ]
        await self.outages.leave("waiting")
        return found[:limit]

    # -- Ledger: the outbox -----------------------------------------------------------------------

    async def notify(
        self, chat_key: ChatKey, to: Jid, *, cause: str, reply: Reply
    ) -> Sequence[OutboundMessage]:
        async with self._step("notify", cause) as repeated:
            chat = self.aliases.get(Jid(chat_key), chat_key)
            planned = self._plan(chat, to, cause, [reply]) if self._may_tell(chat) else []
            if repeated and not planned:
                planned = self._planned_for(cause)
        return planned

    async def unsettled(
        self, chat_key: ChatKey | None = None, *, limit: int | None = None
    ) -> Sequence[OutboundMessage]:
        await self.outages.enter("unsettled")
        found = [
            row.outbound()
            for row in self.outbox.values()
            if row.state in _UNSETTLED and chat_key in (None, row.chat_key)
        ]
        await self.outages.leave("unsettled")
        return found[:limit]

    async def mark_sending(self, outbox_id: OutboxId, *, max_age_s: float | None = None) -> bool:
        await self.outages.enter("mark_sending")
        row = self.outbox.get(outbox_id)
        going = row is not None and row.state in _UNSETTLED
        if row is not None and going and max_age_s is not None and not row.reason:
            late_s = self._clock.monotonic() - row.due_at_monotonic
            row.reason = "too_old" if late_s > max_age_s else ""
        if row is not None and going and row.reason:
            row.state, going = OutboxState.CANCELLED, False
        if row is not None and going:
            row.state = OutboxState.SENDING
            row.attempts += 1
            row.sendings += 1
        await self.outages.leave("mark_sending")
        return going

    async def mark_accepted(self, outbox_id: OutboxId, ack: Ack) -> None:
        await self.outages.enter("mark_accepted")
        self._raise(self.outbox[outbox_id], _STATE_OF_ACK.get(ack, OutboxState.ACCEPTED))
        await self.outages.leave("mark_accepted")

    async def mark_unknown(self, outbox_id: OutboxId, *, error: str) -> None:
        await self.outages.enter("mark_unknown")
        row = self.outbox[outbox_id]
        if row.state in _UNSETTLED:
            row.state, row.error = OutboxState.UNKNOWN, error
        await self.outages.leave("mark_unknown")

    async def mark_failed(self, outbox_id: OutboxId, *, error: str, retry: bool) -> float | None:
        await self.outages.enter("mark_failed")
        row, wait_s = self.outbox[outbox_id], None
        if row.state in _UNSETTLED:
            row.error = error
            again = retry and row.attempts < ATTEMPTS_MAX
            row.state = OutboxState.PLANNED if again else OutboxState.DEAD
            if again and row.reason:
                row.state, again = OutboxState.CANCELLED, False
            if again:
                wait_s = float(ATTEMPT_WAITS_S[max(row.attempts, 1) - 1])
                row.due_at_monotonic = self._clock.monotonic() + wait_s
        await self.outages.leave("mark_failed")
        return wait_s

    async def acknowledge(self, ids: Sequence[MessageId], ack: Ack) -> None:
        await self.outages.enter("acknowledge")
        state = _STATE_OF_ACK.get(ack)
        for message_id in ids:
            row = self._own(message_id)
            if row is not None and state is not None:
                self._raise(row, state)
        await self.outages.leave("acknowledge")

    async def known_own(self, message_id: MessageId) -> OutboxId | None:
        await self.outages.enter("known_own")
        row = self._own(message_id)
        return row.outbox_id if row is not None else None

    # -- Ledger: cursors, pairing, life -----------------------------------------------------------

    async def save_qr(self, *, text: str, data_url: str, expires_at: datetime | None) -> None:
        await self.outages.enter("save_qr")
        self.qr = text
        await self.outages.leave("save_qr")

    async def save_identity(self, *, phone: str, lid: str) -> datetime:
        await self.outages.enter("save_identity")
        before = self.identity or self._last_identity or ("", "")
        known = zip(before, (phone, lid), strict=True)
        first = next(((was, now) for was, now in known if was and now), ("", ""))
        if first[0] != first[1]:
            self._begin_anew()
            before, self.paired_at = ("", ""), None
        self.identity, self.qr = (phone or before[0], lid or before[1]), ""
        if self.paired_at is None:
            self.mark, self.paired_at = None, self._clock.now()
        await self.outages.leave("save_identity")
        return self.paired_at

    async def forget_pairing(self) -> None:
        await self.outages.enter("forget_pairing")
        self._last_identity = self.identity or self._last_identity
        self.identity = self.paired_at = None
        await self.outages.leave("forget_pairing")

    async def now(self) -> datetime:
        await self.outages.enter("now")
        return self._clock.now()

    async def caught_up_to(self) -> datetime | None:
        await self.outages.enter("caught_up_to")
        return self.mark

    async def touch(self, *, caught_up: bool = False) -> datetime:
        await self.outages.enter("touch")
        self.touches += 1
        self.last_seen_at = self._clock.now()
        if caught_up and self.cursors:
            self.mark = max(self.cursors.values())
        await self.outages.leave("touch")
        return self.last_seen_at

    # -- inside ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _step(self, method: str, *step: Hashable) -> AsyncIterator[bool]:
        repeated = (method, *step) in self._doubts
        try:
            await self.outages.enter(method)
            yield repeated
            await self.outages.leave(method)
        except StoreUnavailableError:
            self._doubts.add((method, *step))
            raise
        self._doubts.discard((method, *step))

    def _begin_anew(self) -> None:
        """Another number: nothing of the old one is answered or sent."""
        for row in self.inbox.values():
            if row.state in _WAITING:
                row.state, row.reason = InboxState.SKIPPED, "number_changed"
        for reply in self.outbox.values():
            if reply.state in _UNSETTLED:
                reply.state, reply.reason = OutboxState.CANCELLED, "number_changed"

    def _may_tell(self, chat: ChatKey) -> bool:
        """There is such a chat, and the bot is not silent in it."""
        there, now = self.conversations.get(chat), self._clock.now()
        if there is None or there.opted_out:
            return False
        return all(at is None or at <= now for at in (there.paused_until, there.muted_until))

    def _planned_for(self, cause: str) -> list[OutboundMessage]:
        rows = self.replies(cause)
        return [row.outbound() for row in rows if row.state is OutboxState.PLANNED]

    def _plan(
        self, chat_key: ChatKey, to: Jid, cause: str, replies: Sequence[Reply]
    ) -> list[OutboundMessage]:
        planned: list[OutboundMessage] = []
        now = self._clock.now()
        taken = {(row.cause, row.part) for row in self.outbox.values()}
        for part, reply in enumerate(replies):
            if (cause, part) in taken:
                continue
            row = OutboxRow(
                outbox_id=OutboxId(len(self.outbox) + 1),
                chat_key=chat_key,
                to=to,
                cause=cause,
                part=part,
                client_id=_client_id(self.tenant_id, cause, part),
                text=reply.text,
                intent=reply.intent,
                due_at_monotonic=self._clock.monotonic() + reply.wait_s,
                planned_at=now,
            )
            self.outbox[row.outbox_id] = row
            conversation = self.conversations.setdefault(chat_key, Conversation())
            conversation.last_outgoing_at = _later(conversation.last_outgoing_at, now)
            planned.append(row.outbound())
        return planned

    def _chat_of(self, message: InboundMessage) -> tuple[ChatKey, tuple[ChatKey, ...]]:
        """Its chat, made or merged as it takes, and the chats that are gone for that."""
        kept, *gone = self._keys_of(message) or [ChatKey(message.chat)]
        for key in gone:
            self._merge(kept, key)
        for jid in _addresses(message):
            self.aliases.setdefault(Jid(jid), kept)
        return kept, tuple(gone)

    def _keys_of(self, message: InboundMessage) -> list[ChatKey]:
        """The chats that its addresses lead to, the oldest first."""
        found = {self.aliases.get(Jid(jid)) for jid in _addresses(message)}
        return [key for key in self.conversations if key in found]

    def _in_a_step(self, keys: Sequence[ChatKey]) -> InboxRow | None:
        rows = self.inbox.values()
        return next((row for row in rows if row.chat_key in keys and row.lock.locked()), None)

    def _merge(self, kept: ChatKey, gone: ChatKey) -> None:
        for row in self.inbox.values():
            if row.chat_key == gone and row.state in _WAITING:
                row.chat_key = kept
        for reply in self.outbox.values():
            if reply.chat_key == gone and reply.state in _UNSETTLED:
                reply.chat_key = kept
        for jid, key in self.aliases.items():
            self.aliases[jid] = kept if key == gone else key
        if gone in self.cursors:
            self._advance(kept, self.cursors.pop(gone))
        one, other = self.conversations[kept], self.conversations.pop(gone)
        one.contact_name = one.contact_name or other.contact_name
        one.phone = one.phone or other.phone
        one.opted_out = one.opted_out or other.opted_out
        one.bot_state = one.bot_state or other.bot_state
        for name in ("paused_until", "last_outgoing_at", "last_person_at", "muted_until"):
            times = [at for at in (getattr(one, name), getattr(other, name)) if at is not None]
            setattr(one, name, max(times, default=None))

    def _view(self, chat_key: ChatKey, chat: Conversation) -> ConversationView:
        return ConversationView(
            chat_key=chat_key,
            now=self._clock.now(),
            contact_name=chat.contact_name,
            phone=chat.phone,
            opted_out=chat.opted_out,
            bot_state=dict(chat.bot_state),
            paused_until=chat.paused_until,
            last_outgoing_at=chat.last_outgoing_at,
            last_person_at=chat.last_person_at,
            muted_until=chat.muted_until,
        )

    def _advance(self, chat: ChatKey, at: datetime) -> None:
        at = min(at, self._clock.now())
        self.cursors[chat] = max(self.cursors.get(chat, at), at)

    def _own(self, message_id: MessageId) -> OutboxRow | None:
        return next((row for row in self.outbox.values() if row.client_id == message_id), None)

    def _raise(self, row: OutboxRow, state: OutboxState) -> None:
        if row.state in _UNSETTLED or _RANK.get(state, 0) > _RANK.get(row.state, 9):
            row.state = state


def _differs(known: InboxRow, message: InboundMessage) -> bool:
    """Told once."""
    first = known.message
    said = message.kind, message.text, message.content
    return not known.differed and (first.kind, first.text, first.content) != said


def _addresses(message: InboundMessage) -> list[ChatKey]:
    """Every address under which the chat shows in this message; each may be a chat's key."""
    found = [str(message.chat)]
    found += [f"{message.phone}@c.us"] if message.phone else []
    found += [f"{message.lid}@lid"] if message.lid else []
    return [ChatKey(jid) for jid in dict.fromkeys(found)]


def _client_id(tenant_id: TenantId, cause: str, part: int) -> MessageId:
    digest = hashlib.sha256(f"{tenant_id}|{cause}|{part}".encode()).hexdigest()
    return MessageId("3EB0" + digest[:18].upper())


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)
