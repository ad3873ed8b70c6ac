"""The model's platform, and the journal that it keeps of what it showed and in which order.

The tenant is held to this journal and not to what it says of itself.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from flowhq.events import ChannelEvent, MessageSeen, Ready
from flowhq.model import Ack, InboundMessage, Jid, MessageId, OutboundMessage, Rung
from tests.fakes.channel import FakeChannel

# What a page needs at least to read a chat: time for something else to come in between.
READING_S = 0.002


@dataclass(frozen=True, slots=True)
class Reading:
    """One look of the tenant into the past of a chat, as the page gave it."""

    at: datetime
    ids: Sequence[MessageId]
    """Of the customer's messages, oldest first."""
    of_the_past: bool
    """The page had become ready, and the tenant had taken nothing of it since."""
    taken: frozenset[MessageId]
    """What it had taken of this page before."""


class Platform(FakeChannel):
    """Counts what reaches the customers, repeats included, and keeps a journal of what it showed.
    ``came``, ``shown`` and ``began`` count the journal's steps."""

    def __init__(self) -> None:
        super().__init__(buffer=10_000)
        self.arrivals: list[OutboundMessage] = []
        self.came: dict[MessageId, int] = {}
        """When a message came into the platform's own store."""
        self.shown: dict[MessageId, int] = {}
        """When its first event was told, if one was."""
        self.began: list[int] = []
        """When the pages began, each with all that had come before in its store."""
        self.readings: dict[Jid, list[Reading]] = {}
        self._taken: set[MessageId] = set()
        self._past = False
        self._steps = 0

    def behave(self) -> None:
        """From now on every send ends well, and what was held goes out."""
        self._planned.clear()
        self.send_mode = "ok"
        self.release()

    def showed_before(self, one: InboundMessage, other: InboundMessage) -> bool:
        """Whether a reader that reads all of a page's past before anything that it tells live, and
        takes events in their order, has the one before the other."""
        live = self.shown.get(other.message_id, inf)
        return self.shown.get(one.message_id, inf) < live or any(
            self.came[one.message_id] < page < live for page in self.began
        )

    def reading_before(self, chat: Jid, moment: datetime) -> Reading | None:
        """The last one of this chat."""
        readings = [one for one in self.readings.get(chat, ()) if one.at <= moment]
        return readings[-1] if readings else None

    def emit(self, event: ChannelEvent) -> None:
        if isinstance(event, MessageSeen):
            self.shown.setdefault(event.message.message_id, self._step())
        super().emit(event)

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        await super().open(rung)
        self.began.append(self._step())
        self._taken, self._past = set(), False

    async def events(self) -> AsyncIterator[ChannelEvent]:
        async for event in super().events():
            self._past = isinstance(event, Ready)
            if isinstance(event, MessageSeen):
                self._taken.add(event.message.message_id)
            yield event

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        found = await super().history(chat, since=since, limit=limit)
        ids = [message.message_id for message in found if not message.from_me]
        reading = Reading(datetime.now(UTC), ids, self._past, frozenset(self._taken))
        self.readings.setdefault(chat, []).append(reading)
        await asyncio.sleep(READING_S)
        return found

    def _keep(self, message: InboundMessage, ack: Ack) -> None:
        self.came.setdefault(message.message_id, self._step())
        super()._keep(message, ack)

    def _reach(self, message: OutboundMessage) -> None:
        self.arrivals.append(message)
        super()._reach(message)

    def _step(self) -> int:
        self._steps += 1
        return self._steps


class Told:
    """What a customer and the owner wrote to each other, in the platform's order."""

    def __init__(self, *jids: Jid) -> None:
        self.jids = jids
        self.said: list[InboundMessage] = []
        self.asked: list[InboundMessage] = []
        """The customer's part of it."""
        self.taken_over = False
        """What the owner wrote was seen to be recorded."""
        self.after: dict[MessageId, tuple[InboundMessage, ...]] = {}
        """What the owner had written before a question, since the bot was told to go on."""
        self.silent: set[MessageId] = set()
        """Asked when the takeover was seen to be recorded."""
        self.contested: set[MessageId] = set()
        """Asked before the owner wrote, and not settled then: either may have answered."""
        self._owner: list[InboundMessage] = []

    def ask(self, message: InboundMessage) -> None:
        self.said.append(message)
        self.asked.append(message)
        self.after[message.message_id] = tuple(self._owner)
        if self.taken_over:
            self.silent.add(message.message_id)

    def take_over(self, message: InboundMessage, settled: set[MessageId]) -> None:
        """``settled``: with which the tenant was done by then."""
        self.contested |= {asked.message_id for asked in self.asked} - settled
        self.said.append(message)
        self._owner.append(message)

    def resume(self) -> None:
        self._owner.clear()
        self.taken_over = False


def repeated(arrivals: list[OutboundMessage]) -> list[str]:
    counts = Counter(message.client_id for message in arrivals)
    return [message_id for message_id, count in counts.items() if count > 1]
