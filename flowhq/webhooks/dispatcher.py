"""Deliveries: each queue in order by a task of its own, few at a time, each endpoint by itself.

A queue is one endpoint's events of one tenant. All that must not be lost stands in the database: a
task may end at any moment, and the next one sends the head of its queue again under the same id.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from flowhq.bot.retry import until_stored
from flowhq.clock import Clock
from flowhq.db import deliveries, webhooks
from flowhq.db.deliveries import Attempt, Due, Queue
from flowhq.db.events import event_id
from flowhq.db.pool import Database
from flowhq.db.webhooks import OpenEndpoint
from flowhq.egress.client import Answer, Request
from flowhq.errors import EgressError, FlowHQError, StoreRefusedError
from flowhq.model import DeliveryState
from flowhq.webhooks import schedule
from flowhq.webhooks.signing import sign

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Read at a time from one queue.
BATCH = 20
# Of one endpoint at the same time while it answers; while it does not, one.
AT_ONCE = 4
# A receiver has this long to take an event and say so.
TIMEOUT_S = 10.0
# What it says besides is not kept.
ANSWER_MAX_BYTES = 16_384
# Between two looks at what needs a person.
TROUBLE_S = 60.0
AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
GONE = "The receiver answered 410 Gone."


class DeliveryMeter(Protocol):
    """Counts attempts by what came of them. Never fails, never waits."""

    def delivered(self, outcome: str) -> None: ...


class Sender(Protocol):
    """The guarded way out: EgressClient, or a test's."""

    async def send(self, request: Request) -> Answer: ...


@dataclass(slots=True)
class _Post:
    """What the queues of one endpoint share while there are any. ``narrow`` is the gate while it
    does not answer; ``back`` is set, and replaced, when it answers again."""

    wide: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    narrow: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    failing: bool = False
    back: asyncio.Event = field(default_factory=asyncio.Event)
    endpoint: OpenEndpoint | None = None
    queues: int = 0

    def note(self, *, failed: bool) -> None:
        if self.failing and not failed:
            self.back.set()
            self.back = asyncio.Event()
        self.failing = failed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request; ``status`` None without an answer, ``error`` "" if it was taken."""

    status: int | None
    error: str

    @property
    def nobody_there(self) -> bool:
        """It says something about the receiver as a whole, not about this event."""
        return self.status is None or self.status in AWAY


class Dispatcher:
    """One for the daemon; `run` works until it is cancelled."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        clock: Clock,
        meter: DeliveryMeter,
        *,
        at_once: int,
        dice: random.Random | None = None,
    ) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock
        self._meter = meter
        self._dice = dice or random.Random()  # noqa: S311 - jitter, not a secret
        self._slots = asyncio.Semaphore(at_once)
        self._posts: dict[UUID, _Post] = {}
        self._tasks: dict[Queue, asyncio.Task[None]] = {}
        self._again: set[Queue] = set()
        self._changed: set[UUID] = set()
        self._span: tuple[int, int] | None = None
        self._everything = True
        self._news = asyncio.Event()
        self._news.set()

    async def run(self) -> None:
        """Take up every queue that has work, then those that get some."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    await self._look()
                except StoreRefusedError as error:
                    log.error("webhooks cannot be looked up", why=str(error))
                    self._everything = True
                    await self._clock.sleep(TROUBLE_S)
                    self._news.set()
        finally:
            await self._end(list(self._tasks.values()))

    def queued(self, after: int, until: int) -> None:
        """Events with these numbers were queued; for whom is found out by `run`."""
        self._span = (after if self._span is None else self._span[0], until)
        self._news.set()

    def changed(self, endpoint_id: UUID) -> None:
        """An endpoint, or what is queued for it, was changed by somebody: look at it anew."""
        self._changed.add(endpoint_id)
        self._news.set()

    async def try_out(self, endpoint: OpenEndpoint, message_id: str, body: bytes) -> Outcome:
        """One request outside of every queue."""
        return await self._send(endpoint, message_id, body)

    async def _look(self) -> None:
        while self._changed:
            endpoint_id = self._changed.pop()
            await self._end(
                [task for queue, task in self._tasks.items() if queue.endpoint_id == endpoint_id]
            )
            self._wake(
                await self._stored(partial(deliveries.list_queues_of, self._database, endpoint_id))
            )
        span, everything = self._span, self._everything
        self._span, self._everything = None, False
        if everything:
            self._wake(await self._stored(partial(deliveries.list_queues, self._database)))
        elif span is not None:
            self._wake(
                await self._stored(partial(deliveries.list_queues_between, self._database, *span))
            )

    async def _end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """What they were sending is sent again by the next ones."""
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _wake(self, queues: Sequence[Queue]) -> None:
        for queue in queues:
            if queue in self._tasks:
                self._again.add(queue)
                continue
            post = self._posts.setdefault(queue.endpoint_id, _Post())
            post.queues += 1
            task = asyncio.create_task(self._work(queue, post), name=f"webhook {queue.endpoint_id}")
            self._tasks[queue] = task
            task.add_done_callback(partial(self._ended, queue, post))

    def _ended(self, queue: Queue, post: _Post, task: asyncio.Task[None]) -> None:
        del self._tasks[queue]
        post.queues -= 1
        if not post.queues and self._posts.get(queue.endpoint_id) is post:
            del self._posts[queue.endpoint_id]
        if task.cancelled():
            self._again.discard(queue)
            return
        if task.exception() is not None:
            log.critical("webhook queue ended", exc_info=task.exception())
        if queue in self._again:
            self._again.discard(queue)
            self._wake([queue])

    async def _work(self, queue: Queue, post: _Post) -> None:
        """A queue to its end. What cannot be helped here (a secret that does not open, a right
        that is missing) is tried again now and then."""
        while True:
            try:
                return await self._drain(queue, post)
            except FlowHQError as error:
                log.error("webhook stuck", endpoint=str(queue.endpoint_id), why=str(error))
                post.endpoint = None
                await self._clock.sleep(TROUBLE_S)

    async def _drain(self, queue: Queue, post: _Post) -> None:
        failures, at_once = 0, False
        while True:
            self._again.discard(queue)
            batch = await self._stored(
                partial(deliveries.pending, self._database, queue, limit=BATCH)
            )
            if not batch:
                return
            for due in batch:
                if due.next_at is not None and not at_once:
                    await self._wait_until(due.next_at)
                endpoint = await self._endpoint(queue, post)
                if endpoint is None or not endpoint.enabled:
                    return
                outcome = await self._deliver(post, endpoint, due)
                if outcome.status == HTTPStatus.GONE:
                    self._meter.delivered("gone")
                    await self._stop(queue, post)
                    return
                failures = max(failures, due.attempts) + 1 if outcome.error else 0
                wait_s = await self._record(queue, due, outcome, failures)
                at_once = bool(outcome.error)
                if outcome.error:
                    await self._pause(wait_s, post if outcome.nobody_there else None)
                    break

    async def _deliver(self, post: _Post, endpoint: OpenEndpoint, due: Due) -> Outcome:
        """One attempt, when it is this queue's turn."""
        body, message_id = due.event.document(whole=True), event_id(due.event.seq)
        async with AsyncExitStack() as gates:
            await gates.enter_async_context(post.wide)
            if post.failing:
                await gates.enter_async_context(post.narrow)
            await gates.enter_async_context(self._slots)
            outcome = await self._send(endpoint, message_id, body)
        post.note(failed=bool(outcome.error))
        return outcome

    async def _send(self, endpoint: OpenEndpoint, message_id: str, body: bytes) -> Outcome:
        headers = sign(message_id, self._clock.now(), body, endpoint.secrets)
        request = Request(
            "POST",
            endpoint.url,
            {**headers, "Content-Type": "application/json"},
            body,
            timeout_s=TIMEOUT_S,
            redirects=0,
            max_bytes=ANSWER_MAX_BYTES,
            cut=True,
        )
        try:
            answer = await self._sender.send(request)
        except EgressError as error:
            return Outcome(None, error.message)
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return Outcome(answer.status, "")
        return Outcome(answer.status, f"It answered {answer.status}.")

    async def _record(self, queue: Queue, due: Due, outcome: Outcome, failures: int) -> float:
        """Store what came of an attempt; seconds until the queue goes on."""
        now = self._clock.now()
        state, wait_s = DeliveryState.DELIVERED, 0.0
        if outcome.error:
            over = schedule.is_over((now - due.queued_at).total_seconds())
            state = DeliveryState.DEAD if over else DeliveryState.PENDING
            wait_s = schedule.wait_s(failures, self._dice)
            log.warning(
                "webhook not delivered",
                endpoint=str(queue.endpoint_id),
                event_id=event_id(due.event.seq),
                status=outcome.status,
                why=outcome.error,
                state=state,
            )
        next_at = now + timedelta(seconds=wait_s)
        attempt = Attempt(state, now, next_at, outcome.status, outcome.error)
        await self._stored(partial(deliveries.mark, self._database, queue, due, attempt))
        self._meter.delivered("failed" if state is DeliveryState.PENDING else state.value)
        return wait_s

    async def _stop(self, queue: Queue, post: _Post) -> None:
        """Nobody wants events there any more: disabled until a person enables it again."""
        log.warning("webhook disabled", endpoint=str(queue.endpoint_id), why=GONE)
        changes = {"enabled": False, "disabled_reason": GONE}
        await self._stored(
            partial(
                webhooks.update_endpoint, self._database, queue.owner, queue.endpoint_id, changes
            )
        )
        post.endpoint = None

    async def _endpoint(self, queue: Queue, post: _Post) -> OpenEndpoint | None:
        """Read once while there is work; `changed` begins anew."""
        if post.endpoint is None:
            post.endpoint = await self._stored(
                partial(
                    webhooks.open_endpoint,
                    self._database,
                    queue.owner,
                    queue.endpoint_id,
                )
            )
        return post.endpoint

    async def _wait_until(self, at: datetime) -> None:
        """What an earlier run left; never longer than any wait, however the clock was set."""
        wait_s = (at - self._clock.now()).total_seconds()
        if wait_s > 0:
            await self._clock.sleep(min(wait_s, schedule.LONGEST_WAIT_S))

    async def _pause(self, wait_s: float, post: _Post | None) -> None:
        """So long, or until the endpoint answers another queue if ``post`` is given."""
        if post is None:
            await self._clock.sleep(wait_s)
            return
        waiting = asyncio.ensure_future(self._clock.sleep(wait_s))
        back = asyncio.ensure_future(post.back.wait())
        try:
            await asyncio.wait((waiting, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            back.cancel()

    async def _stored(self, call: Callable[[], Awaitable[T]]) -> T:
        return await until_stored(self._clock, call)
