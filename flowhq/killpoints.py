"""Named points at which the process kills itself, for proving what a crash leaves behind.

Armed by two variables of the environment, and only where no real account can be reached:
``FLOWHQ_TEST_MODE=1`` and ``FLOWHQ_TEST_KILL_POINT=name`` or ``name:nth`` (the nth time the point
is reached, counted over all tenants). The points lie around the ledger and the channel, so that
the code between them runs as it always does.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum

from flowhq.bot.ports import Channel
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database, Tx
from flowhq.desk import ChannelHost
from flowhq.errors import MisconfiguredError
from flowhq.events import ChannelEvent
from flowhq.figures import Usage
from flowhq.model import (
    Ack,
    ChatHead,
    Health,
    InboundMessage,
    InboxState,
    Jid,
    MessageId,
    OutboundMessage,
    OutboxId,
    Rung,
    SendReceipt,
    TenantId,
)
from flowhq.steps import Recorded

MODE = "FLOWHQ_TEST_MODE"
POINT = "FLOWHQ_TEST_KILL_POINT"
# Between handing a message over and dying: time for it to leave, too short for most answers.
HANDED_OVER_S = 0.05


class KillPoint(StrEnum):
    """``after_inbox``: a message is recorded, nothing was done about it. ``in_transaction``: a
    step is written whole, not committed. ``after_sending``: the intent is committed, the page not
    called. ``after_send_before_ack``: the page was called and has not answered. ``after_ack``: it
    answered, which is not recorded."""

    AFTER_INBOX = "after_inbox"
    IN_TRANSACTION = "in_transaction"
    AFTER_SENDING = "after_sending"
    AFTER_SEND_BEFORE_ACK = "after_send_before_ack"
    AFTER_ACK = "after_ack"


class Fuse:
    """Ends this process with SIGKILL when its point is reached for the nth time."""

    def __init__(self, point: KillPoint, nth: int) -> None:
        self._point = point
        self._left = nth

    def blows_next(self, point: KillPoint) -> bool:
        """Whether reaching this point now would be the end."""
        return point is self._point and self._left == 1

    def reach(self, point: KillPoint) -> None:
        if point is not self._point:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def read_fuse(environ: Mapping[str, str], *, loopback: bool) -> Fuse | None:
    """What the environment arms; None as a rule. ``loopback``: the page is on this machine.

    MisconfiguredError: armed where it must not be, or with a point that does not exist.
    """
    given = environ.get(POINT, "")
    if not given:
        return None
    if environ.get(MODE) != "1" or not loopback:
        raise MisconfiguredError(
            f"{POINT} makes the daemon kill itself and is for tests alone.",
            next_step=f"Unset it; a test sets {MODE}=1 as well and [web] url to a loopback host.",
        )
    name, _, nth = given.partition(":")
    if name not in set(KillPoint) or (nth and (not nth.isdigit() or int(nth) < 1)):
        raise MisconfiguredError(
            f"{POINT} does not name a point.",
            next_step=f"Write one of {', '.join(KillPoint)}, with :N for the Nth time.",
        )
    return Fuse(KillPoint(name), int(nth or 1))


class FusedLedger(PostgresLedger):
    """The ledger, with the points that lie behind its commits and before one of them."""

    def __init__(
        self,
        database: Database,
        tenant_id: TenantId,
        key: bytes,
        *,
        monotonic: Callable[[], float],
        fuse: Fuse,
    ) -> None:
        super().__init__(database, tenant_id, key, monotonic=monotonic)
        self._fuse = fuse

    async def record(
        self,
        message: InboundMessage,
        *,
        state: InboxState,
        reason: str = "",
        person_pause_s: float = 0.0,
    ) -> Recorded:
        recorded = await super().record(
            message, state=state, reason=reason, person_pause_s=person_pause_s
        )
        if recorded.fresh:
            self._fuse.reach(KillPoint.AFTER_INBOX)
        return recorded

    async def mark_sending(self, outbox_id: OutboxId, *, max_age_s: float | None = None) -> bool:
        going = await super().mark_sending(outbox_id, max_age_s=max_age_s)
        self._fuse.reach(KillPoint.AFTER_SENDING)
        return going

    @asynccontextmanager
    async def _step(self, step: Hashable) -> AsyncIterator[tuple[Tx, bool]]:
        async with super()._step(step) as opened:
            yield opened
            if isinstance(step, tuple) and step[0] == "process":
                self._fuse.reach(KillPoint.IN_TRANSACTION)


class FusedHost:
    """A channel host whose channels have the points around a send."""

    def __init__(self, host: ChannelHost, fuse: Fuse) -> None:
        self._host = host
        self._fuse = fuse

    async def open(self) -> None:
        await self._host.open()

    async def close(self) -> None:
        await self._host.close()

    def channel(self, tenant_id: TenantId) -> Channel:
        return _FusedChannel(self._host.channel(tenant_id), self._fuse)

    async def forget_profile(self, tenant_id: TenantId) -> None:
        await self._host.forget_profile(tenant_id)

    async def measure(self) -> Mapping[TenantId, Usage]:
        return await self._host.measure()


class _FusedChannel:
    def __init__(self, channel: Channel, fuse: Fuse) -> None:
        self._channel = channel
        self._fuse = fuse

    async def send(self, message: OutboundMessage) -> SendReceipt:
        sending = asyncio.ensure_future(self._channel.send(message))
        try:
            if self._fuse.blows_next(KillPoint.AFTER_SEND_BEFORE_ACK):
                await asyncio.wait({sending}, timeout=HANDED_OVER_S)
            self._fuse.reach(KillPoint.AFTER_SEND_BEFORE_ACK)
            receipt = await sending
        finally:
            sending.cancel()
        self._fuse.reach(KillPoint.AFTER_ACK)
        return receipt

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        await self._channel.open(rung)

    async def close(self) -> None:
        await self._channel.close()

    async def kill(self) -> None:
        await self._channel.kill()

    def events(self) -> AsyncIterator[ChannelEvent]:
        return self._channel.events()

    async def look_up(self, chat: Jid, client_id: MessageId) -> Ack | None:
        return await self._channel.look_up(chat, client_id)

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        return await self._channel.history(chat, since=since, limit=limit)

    async def chats(self) -> Sequence[ChatHead]:
        return await self._channel.chats()

    async def mark_read(self, chat: Jid) -> None:
        await self._channel.mark_read(chat)

    async def show_typing(self, chat: Jid, seconds: float) -> None:
        await self._channel.show_typing(chat, seconds)

    async def probe(self) -> Health:
        return await self._channel.probe()

    async def log_out(self) -> None:
        await self._channel.log_out()
