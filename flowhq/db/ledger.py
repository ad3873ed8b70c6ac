"""The durable memory of one tenant, as the bot's port Ledger asks for it, on PostgreSQL.

Each method is one transaction. A StoreUnavailableError may hide a commit that did happen; this
class remembers which steps are in doubt, so that repeating the call gives what the first one would
have given: nothing is dropped as a duplicate of itself.
"""

import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime

from cachetools import LRUCache

from flowhq.db import inbox, outbox, sessions
from flowhq.db.pool import Database, Tx
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
    Reply,
    TenantId,
)
from flowhq.steps import ConversationView, Decision, Recorded

# Steps in doubt at one time: a lane of 50 for a few chats, and the pump. Forgetting one costs a
# message its answer until the next start.
DOUBTS_MAX = 1_000

Decide = Callable[[InboundMessage, ConversationView], Decision]


class PostgresLedger:
    """Bound to one tenant: no method takes another's id, and row-level security holds it too.

    ``key`` is the tenant's own (installation.tenant_key). ``monotonic`` is the clock of the
    runner, for due times.
    """

    def __init__(
        self,
        database: Database,
        tenant_id: TenantId,
        key: bytes,
        *,
        monotonic: outbox.Monotonic = time.monotonic,
    ) -> None:
        self.tenant_id = tenant_id
        self._database = database
        self._secret = key
        self._monotonic = monotonic
        self._doubts: LRUCache[Hashable, None] = LRUCache(DOUBTS_MAX)

    # -- incoming -------------------------------------------------------------------------------

    async def record(
        self,
        message: InboundMessage,
        *,
        state: InboxState,
        reason: str = "",
        person_pause_s: float = 0.0,
    ) -> Recorded:
        step = ("record", message.from_me, message.message_id)
        how = inbox.Recording(state, reason, person_pause_s)
        with self._in_doubt(step) as repeated:
            recorded = await inbox.record(self._database, self.tenant_id, message, how)
            if recorded.fresh or not repeated:
                return recorded
            recorded = replace(recorded, fresh=True)
            # An echo of ours has no row, and merges none.
            if recorded.ord:
                async with self._tx() as tx:
                    recorded = await inbox.with_names(tx, self.tenant_id, recorded)
        return recorded

    async def are_recorded(self, messages: Sequence[InboundMessage]) -> Sequence[bool]:
        async with self._tx() as tx:
            return await inbox.are_recorded(tx, self.tenant_id, messages)

    async def process(self, key: InboxKey, decide: Decide) -> Sequence[OutboundMessage]:
        async with self._step(("process", key)) as (tx, repeated):
            planned = await inbox.process(
                tx, self.tenant_id, self._secret, key, decide, self._monotonic
            )
            if repeated and not planned:
                planned = await outbox.planned_for(
                    tx, self.tenant_id, key.message_id, self._monotonic
                )
        return planned

    async def postpone(self, key: InboxKey, *, error: str) -> float | None:
        async with self._tx() as tx:
            return await inbox.postpone(tx, self.tenant_id, key, error)

    async def count_interrupted(self) -> Sequence[InboxKey]:
        async with self._tx() as tx:
            return await inbox.count_interrupted(tx, self.tenant_id)

    async def waiting(self, chat_key: ChatKey | None, *, limit: int) -> Sequence[Recorded]:
        async with self._tx() as tx:
            return await inbox.waiting(tx, self.tenant_id, chat_key, limit)

    # -- outgoing -------------------------------------------------------------------------------

    async def notify(
        self, chat_key: ChatKey, to: Jid, *, cause: str, reply: Reply
    ) -> Sequence[OutboundMessage]:
        wanted = outbox.Plan(chat_key, to, cause, (reply,))
        async with self._step(("notify", cause)) as (tx, repeated):
            planned = await outbox.plan_notice(
                tx, self.tenant_id, self._secret, wanted, self._monotonic
            )
            if repeated and not planned:
                planned = await outbox.planned_for(tx, self.tenant_id, cause, self._monotonic)
        return planned

    async def unsettled(
        self, chat_key: ChatKey | None = None, *, limit: int | None = None
    ) -> Sequence[OutboundMessage]:
        async with self._tx() as tx:
            return await outbox.unsettled(tx, self.tenant_id, chat_key, limit, self._monotonic)

    async def mark_sending(self, outbox_id: OutboxId, *, max_age_s: float | None = None) -> bool:
        return await outbox.mark_sending(self._database, self.tenant_id, outbox_id, max_age_s)

    async def mark_accepted(self, outbox_id: OutboxId, ack: Ack) -> None:
        await outbox.mark_accepted(self._database, self.tenant_id, outbox_id, ack)

    async def mark_unknown(self, outbox_id: OutboxId, *, error: str) -> None:
        async with self._tx() as tx:
            await outbox.mark_unknown(tx, self.tenant_id, outbox_id, error)

    async def mark_failed(self, outbox_id: OutboxId, *, error: str, retry: bool) -> float | None:
        async with self._tx() as tx:
            return await outbox.mark_failed(tx, self.tenant_id, outbox_id, error, retry=retry)

    async def acknowledge(self, ids: Sequence[MessageId], ack: Ack) -> None:
        await outbox.acknowledge(self._database, self.tenant_id, ids, ack)

    async def known_own(self, message_id: MessageId) -> OutboxId | None:
        async with self._tx() as tx:
            return await outbox.find_own(tx, self.tenant_id, message_id)

    # -- the pairing ----------------------------------------------------------------------------

    async def save_qr(self, *, text: str, data_url: str, expires_at: datetime | None) -> None:
        async with self._tx() as tx:
            await sessions.save_qr(tx, self.tenant_id, text, data_url, expires_at)

    async def save_identity(self, *, phone: str, lid: str) -> datetime:
        async with self._tx() as tx:
            return await sessions.save_identity(tx, self.tenant_id, phone, lid)

    async def forget_pairing(self) -> None:
        async with self._tx() as tx:
            await sessions.forget_pairing(tx, self.tenant_id)

    async def touch(self, *, caught_up: bool = False) -> datetime:
        async with self._tx() as tx:
            return await sessions.touch(tx, self.tenant_id, caught_up=caught_up)

    async def now(self) -> datetime:
        async with self._tx() as tx:
            now: datetime = await tx.fetchval("SELECT now()")
        return now

    async def caught_up_to(self) -> datetime | None:
        async with self._tx() as tx:
            return await sessions.caught_up_to(tx, self.tenant_id)

    @asynccontextmanager
    async def _tx(self) -> AsyncIterator[Tx]:
        async with self._database.tenant(self.tenant_id) as tx:
            yield tx

    @asynccontextmanager
    async def _step(self, step: Hashable) -> AsyncIterator[tuple[Tx, bool]]:
        """A transaction whose commit may be uncertain, and whether it was so the last time."""
        with self._in_doubt(step) as repeated:
            async with self._tx() as tx:
                yield tx, repeated

    @contextmanager
    def _in_doubt(self, step: Hashable) -> Iterator[bool]:
        """Whether this step's commit was uncertain the last time; remembers if it is so now."""
        repeated = step in self._doubts
        try:
            yield repeated
        except StoreUnavailableError:
            self._doubts[step] = None
            raise
        self._doubts.pop(step, None)
