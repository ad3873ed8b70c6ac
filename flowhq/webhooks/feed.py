"""The shared reader: numbers new events, hands them to the open streams and to the deliveries.

One task reads for all; what a tenant's events say is loaded once, and only if a stream wants it.
A stream that does not keep up is ended, not waited for.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from flowhq.clock import Clock
from flowhq.db import events
from flowhq.db.events import FeedRow, OutwardEvent
from flowhq.db.pool import Database
from flowhq.errors import StoreError
from flowhq.model import EventType, TenantId

log = structlog.get_logger(__name__)

# An event is told this much later at most; shorter only asks an idle database more often.
POLL_S = 0.5
BATCH = 500
# What one stream may lag behind; about 1 MB.
BUFFER = 1_000
# Between two attempts at a database that is away or refuses.
RETRY_S = 2.0
PRUNE_EVERY_S = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream shows: of these types (None: all), of these tenants (None: all, with the
    installation's own)."""

    types: frozenset[EventType] | None = None
    tenants: frozenset[TenantId] | None = None

    def takes(self, row: FeedRow) -> bool:
        if self.types is not None and row.type not in self.types:
            return False
        return self.tenants is None or row.tenant_id in self.tenants


class Subscription:
    """One stream's place: what came before ``position`` is read from the database (`Feed.past`),
    the rest comes through `next`."""

    def __init__(self, wanted: Wanted, position: int) -> None:
        self.wanted = wanted
        self.position = position
        self._waiting: deque[OutwardEvent] = deque()
        self._news = asyncio.Event()
        self.lost = False
        """It did not keep up: to be ended."""

    def offer(self, event: OutwardEvent) -> None:
        if len(self._waiting) >= BUFFER:
            self.lost = True
        else:
            self._waiting.append(event)
        self._news.set()

    async def next(self) -> list[OutwardEvent]:
        """Waits for events; none when the stream is lost."""
        while not self._waiting and not self.lost:
            self._news.clear()
            await self._news.wait()
        if self.lost:
            return []
        found = list(self._waiting)
        self._waiting.clear()
        return found


class Feed:
    """One for the daemon. ``queued`` is told of the numbers from one (excluded) to another."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        keep_days: int,
        streams_max: int,
        queued: Callable[[int, int], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._keep = timedelta(days=keep_days)
        self._streams_max = streams_max
        self._queued = queued
        self._position: int | None = None
        self._streams: set[Subscription] = set()
        self._pruned_s: float | None = None

    async def run(self) -> None:
        """Until cancelled, whatever the database does meanwhile."""
        troubled = False
        while True:
            try:
                full = await self.step()
                await self._prune()
            except StoreError as error:
                if not troubled:
                    log.warning("events are not told for now", why=str(error))
                troubled = True
                await self._clock.sleep(RETRY_S)
                continue
            if troubled:
                log.info("events are told again")
            troubled = False
            if not full:
                await self._clock.sleep(POLL_S)

    async def step(self) -> bool:
        """One look: number what is new and hand it on. Whether there may be more at once."""
        if self._position is None:
            self._position = await events.last_number(self._database)
        numbered = await events.number(self._database)
        rows = await events.fetch_feed(self._database, self._position, limit=BATCH)
        if rows:
            before, self._position = self._position, rows[-1].seq
            # Who comes from here on reads all of these from the database.
            streams = tuple(self._streams)
            self._queued(before, self._position)
            await self._tell(streams, rows)
        return len(rows) == BATCH or numbered == events.NUMBER_MAX

    def subscribe(
        self, types: frozenset[EventType] | None, tenants: frozenset[TenantId] | None
    ) -> Subscription:
        """A new stream's place; to be given back by `leave`. None: all types; all tenants, and
        what is of the installation."""
        stream = Subscription(Wanted(types, tenants), self._position or 0)
        self._streams.add(stream)
        return stream

    def leave(self, stream: Subscription) -> None:
        self._streams.discard(stream)

    @property
    def open(self) -> int:
        return len(self._streams)

    @property
    def full(self) -> bool:
        return self.open >= self._streams_max

    async def past(
        self, stream: Subscription, after: int
    ) -> AsyncGenerator[Sequence[OutwardEvent]]:
        """What the stream shows of the events after this number up to its position, in order, a
        batch at a time."""
        while after < stream.position:
            rows = await events.fetch_feed(self._database, after, limit=BATCH)
            rows = [row for row in rows if row.seq <= stream.position]
            if not rows:
                return
            after = rows[-1].seq
            taken = [row for row in rows if stream.wanted.takes(row)]
            loaded = await self._load(taken)
            yield [loaded[row.seq] for row in taken if row.seq in loaded]

    async def oldest(self) -> int:
        """The number of the oldest event that is kept."""
        return await events.first_number(self._database)

    async def _tell(self, streams: Sequence[Subscription], rows: Sequence[FeedRow]) -> None:
        taken = [row for row in rows if any(one.wanted.takes(row) for one in streams)]
        if not taken:
            return
        loaded = await self._load(taken)
        for row in taken:
            event = loaded.get(row.seq)
            if event is None:
                continue
            for stream in streams:
                if stream.wanted.takes(row):
                    stream.offer(event)

    async def _load(self, rows: Sequence[FeedRow]) -> dict[int, OutwardEvent]:
        by_tenant: defaultdict[TenantId | None, list[int]] = defaultdict(list)
        for row in rows:
            by_tenant[row.tenant_id].append(row.seq)
        loaded = {}
        for tenant_id, numbers in by_tenant.items():
            for event in await events.load_events(self._database, tenant_id, numbers):
                loaded[event.seq] = event
        return loaded

    async def _prune(self) -> None:
        """Now and then drop what is too old, whatever its endpoints did."""
        now_s = self._clock.monotonic()
        if self._pruned_s is not None and now_s - self._pruned_s < PRUNE_EVERY_S:
            return
        dropped = await events.prune(self._database, self._clock.now() - self._keep)
        if dropped < events.PRUNE_MAX:
            self._pruned_s = now_s
