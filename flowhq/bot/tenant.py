"""One tenant at work: builds the stages, joins them, runs until it is cancelled or one fails.

The only module that wires the bot's stages. They run in one task group and fail together; what to
do about a failure is the supervisor's business.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import structlog

from flowhq.bot.acks import AckWatch
from flowhq.bot.answering import Answering
from flowhq.bot.catchup import CatchUp
from flowhq.bot.chats import Lanes, QueuedMessage
from flowhq.bot.courtesy import Courtesy
from flowhq.bot.deciding import Guards, Responder
from flowhq.bot.finishing import finish
from flowhq.bot.heartbeat import Heartbeat
from flowhq.bot.inbound import Inbound
from flowhq.bot.lifecycle import Lifecycle
from flowhq.bot.memory import Memory
from flowhq.bot.outbound import Outbound
from flowhq.bot.pleasewait import PleaseWait
from flowhq.bot.ports import Channel, Ledger, Meter, Stage
from flowhq.bot.pump import Pump
from flowhq.bot.recording import Recording
from flowhq.bot.retry import until_stored
from flowhq.bot.trace import Traces, Unmetered
from flowhq.bot.turns import Turns
from flowhq.clock import Clock
from flowhq.config import LimitSettings, SupervisorSettings
from flowhq.errors import ChannelError, ChannelRestartError, FlowHQError, LoginRequiredError
from flowhq.model import ChatKey, InboundMessage, OutboundMessage, Reason, Rung, TenantId
from flowhq.steps import Recorded

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Time for a browser to write its profile and go; beyond it the channel kills what is left.
CLOSE_S = 15.0
# For closing, and killing what would not close. Less than the supervisor's patience.
CLOSED_S = 20.0
# Rows asked for at a start, first; doubled until it is all of them. The lanes keep no more than
# fits and read the rest of their chats.
RESTORE_FIRST = 10_000


@dataclass(frozen=True, slots=True)
class TenantParts:
    """What one tenant is made of. ``responder`` gives the present one: a changed configuration
    takes effect with the next message."""

    channel: Channel
    ledger: Ledger
    lifecycle: Lifecycle
    responder: Callable[[], Responder]
    guards: Guards
    clock: Clock
    limits: LimitSettings
    supervision: SupervisorSettings
    memory: Memory
    meter: Meter = field(default_factory=Unmetered)

    @property
    def tenant_id(self) -> TenantId:
        return self.ledger.tenant_id


class TenantRunner:
    """Runs one tenant once; each attempt gets a new one. The channel is the tenant's own and
    outlives it: whoever gives up the tenant calls ``close``."""

    def __init__(self, parts: TenantParts) -> None:
        self._parts = parts
        self._stages: _Stages | None = None

    async def run(self, rung: Rung = Rung.BROWSER) -> None:
        """Until cancelled, or until a stage fails: then the error that tells why. ``rung``: how
        much of what the attempt before it left open is not to be used again."""
        failure = await self._run(rung)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it holds this frame

    async def _run(self, rung: Rung) -> BaseException | None:
        """The failure to act on, not raised: a task group and what is raised past it hold each
        other (CPython 3.11 and 3.12), and the whole run with them, until a rare full collection."""
        try:
            await self._parts.channel.open(rung)
            async with asyncio.TaskGroup() as group:
                self._stages = _Stages(self._parts, group)
        except BaseExceptionGroup as failures:
            failures.__traceback__ = None
            return _cause(failures)
        finally:
            if self._stages is not None:
                self._stages.forget()
            self._stages = None
        return None

    async def close(self) -> None:
        """The channel is closed: cleanly if it can, within CLOSE_S. A cancellation during the
        closing waits for it."""
        await finish(self._close(), within_s=CLOSED_S)

    async def drain(self) -> None:
        """Begin no new send; return when what was handed to the page is settled."""
        if self._stages is not None:
            await self._stages.outbound.drain()

    def fail(self, failure: ChannelError) -> None:
        """End the present run with this failure, as if one of its stages had met it."""
        if self._stages is not None:
            self._stages.fail(failure)

    def wake(self, chat_key: ChatKey) -> None:
        """Look after what was put back for this chat; what does not run does so at its start."""
        if self._stages is not None:
            self._stages.wake(chat_key)

    def depths(self) -> dict[str, int]:
        """Waiting messages per stage, for status."""
        return self._stages.depths() if self._stages is not None else {}

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._parts.channel.close()
        except (TimeoutError, ChannelError) as error:
            log.warning("browser did not close, killing it", why=str(error))
            await self._parts.channel.kill()


class _Stages:
    """The stages of one run, joined: pump -> inbound -> lanes -> answering -> outbound."""

    def __init__(self, parts: TenantParts, group: asyncio.TaskGroup) -> None:
        self._parts = parts
        self._group = group
        self._put_back: set[ChatKey] = set()
        self._woken = asyncio.Event()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        traces = self._traces = Traces(parts.clock, parts.meter)
        online = asyncio.Event()
        self.outbound = self._sender(traces, online)
        self._courtesy = Courtesy(parts.channel)
        self._answering = self._answerer(traces)
        self._lanes: Lanes[QueuedMessage] = Lanes(
            group,
            self._answering.handle,
            self._answering.refill,
            name="answer",
            capacity=parts.limits.chat_queue,
        )
        self._please_wait = PleaseWait(
            parts.limits.chat_queue,
            waiting=lambda chat: self._lanes.waiting(chat) + self.outbound.waiting(chat),
            say=self._ask_to_wait,
        )
        self._inbound = self._receiver(traces)
        pump = self._pump(online)
        heartbeat = self._heartbeat(pump)
        group.create_task(self._failed(), name="failure")
        self._begin(self._receive(pump), "pump")
        self._begin(heartbeat.run(), "heartbeat")
        self._begin(self._courtesy.run(), "courtesy")
        self._begin(self._look_again(), "look again")

    def _sender(self, traces: Traces, online: asyncio.Event) -> Outbound:
        """What hands each planned message to the page, and settles it."""
        parts = self._parts
        return Outbound(
            self._group,
            parts.channel,
            parts.ledger,
            parts.clock,
            parts.limits,
            traces,
            online,
            AckWatch(parts.channel, parts.memory),
            Turns(parts.guards.limits, parts.clock),
            parts.memory.dedup,
        )

    def _receiver(self, traces: Traces) -> Inbound:
        """What records each message, and hands on to the lanes what is to be answered."""
        parts = self._parts
        recording = Recording(
            parts.ledger,
            parts.clock,
            person_pause_s=parts.limits.person_pause_s,
            merged=self._follow,
        )
        return Inbound(
            recording,
            parts.memory.dedup,
            traces,
            paused=self._paused,
            line_up=self._lanes.put,
            lined_up=self._please_wait.lined_up,
        )

    def _pump(self, online: asyncio.Event) -> Pump:
        """What comes in, up to the lanes."""
        parts, clock, limits = self._parts, self._parts.clock, self._parts.limits
        catchup = CatchUp(
            parts.channel,
            parts.ledger,
            self._inbound,
            clock,
            max_age_s=limits.catchup_max_age_s,
            memory=parts.memory,
        )
        return Pump(
            parts.channel,
            parts.ledger,
            parts.lifecycle,
            clock,
            inbound=self._inbound,
            catchup=catchup,
            online=online,
            acknowledged=self.outbound.note_ack,
            paired=partial(parts.guards.own_numbers.learn, parts.tenant_id),
            restore=self._restore,
            memory=parts.memory,
        )

    def forget(self) -> None:
        """The run is over. What is large goes at once, and this lets go of the stages: they hold
        each other through it, and the garbage collector looks for such ones rarely."""
        self._traces.forget()
        self._lanes.forget()
        self.outbound.forget()
        vars(self).clear()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """A stage without which the tenant is nothing. A task group does not mind one that is
        cancelled from inside; the tenant would be deaf, and look well."""

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():
                why = f"The stage {name!r} was cancelled."
                self.fail(ChannelRestartError(why, reason=Reason.INTERNAL_ERROR))

        self._group.create_task(work, name=name).add_done_callback(ended)

    def fail(self, failure: ChannelError) -> None:
        if not self._failure.done():
            self._failure.set_exception(failure)

    async def _failed(self) -> None:
        await self._failure

    def wake(self, chat: ChatKey) -> None:
        """Safe from any task: the lanes belong to the tenant's own."""
        self._put_back.add(chat)
        self._woken.set()

    async def _look_again(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._put_back:
                chat = self._put_back.pop()
                self._lanes.wake(chat)
                self.outbound.wake(chat)

    def _follow(self, chat: ChatKey, others: Sequence[ChatKey]) -> None:
        """Chats turned out to be one: their messages and replies go on in one order."""
        log.info("chats merged", chat=chat, merged=len(others))
        self._lanes.follow(chat, others)
        self.outbound.follow(chat, others)
        self._please_wait.follow(chat, others)

    def _answerer(self, traces: Traces) -> Answering:
        """What takes each message through its step, and hands on what is planned by that."""
        parts = self._parts
        return Answering(
            parts.ledger,
            parts.clock,
            parts.guards,
            traces,
            responder=parts.responder,
            paused=self._paused,
            max_age_s=parts.limits.answer_max_age_s,
            send=self._send,
        )

    def _heartbeat(self, pump: Pump) -> Heartbeat:
        parts = self._parts
        return Heartbeat(
            parts.channel,
            parts.ledger,
            parts.lifecycle,
            parts.clock,
            parts.supervision,
            caught_up=lambda: pump.caught_up,
        )

    def depths(self) -> dict[str, int]:
        return {"answer": self._lanes.depth(), "send": self.outbound.depth()}

    def _paused(self) -> bool:
        return self._parts.lifecycle.snapshot.paused

    def _send(self, chat: ChatKey, rows: Sequence[OutboundMessage]) -> None:
        """Line up what a step in this chat's lane planned, behind what that chat has in hand."""
        if rows:
            due_in_s = rows[-1].due_at_monotonic - self._parts.clock.monotonic()
            self._courtesy.offer(rows[0].to, due_in_s=due_in_s)
            kept = self._lanes.kept(rows[0].chat_key)
            if kept != self._lanes.kept(chat):  # merged already, and nobody was told yet
                self._follow(kept, [chat])
        self.outbound.put(self._kept(rows))

    def _kept(self, rows: Sequence[OutboundMessage]) -> Sequence[OutboundMessage]:
        """Under the key that their chat has now: they may have been planned just before a merge."""
        return [replace(row, chat_key=self._lanes.kept(row.chat_key)) for row in rows]

    def _ask_to_wait(self, recorded: Recorded, message: InboundMessage) -> None:
        self._group.create_task(self._notify(recorded, message), name="please wait")

    async def _notify(self, recorded: Recorded, message: InboundMessage) -> None:
        try:
            reply = self._parts.responder().please_wait()
            rows = await until_stored(
                self._parts.clock,
                lambda: self._parts.ledger.notify(
                    recorded.chat_key,
                    message.chat,
                    cause=f"wait:{message.message_id}",
                    reply=reply,
                ),
            )
        except Exception as error:  # a courtesy: the tenant goes on without it
            log.error("notice not planned", message_id=message.message_id, exc_info=error)
            return
        self.outbound.put_first(self._kept(rows))

    async def _receive(self, pump: Pump) -> None:
        """First what the process before may have died of is counted, then the events are read."""
        memory = self._parts.memory
        if not memory.counted:
            count = self._parts.ledger.count_interrupted
            for key in await until_stored(self._parts.clock, count):
                self._traces.count(Stage.ANSWERED, "dead")
                log.error("message given up: the daemon ended during each attempt", key=str(key))
            memory.counted = True
        await pump.run()

    async def _restore(self) -> None:
        """Look after what is left: first what was planned, then what waits."""
        ledger = self._parts.ledger
        planned = await self._all(lambda limit: ledger.unsettled(limit=limit))
        waiting = await self._all(lambda limit: ledger.waiting(None, limit=limit))
        self.outbound.put(planned)
        for recorded in waiting:
            self._lanes.put(recorded.chat_key, QueuedMessage(recorded.key))
        if planned or waiting:
            log.info("restored", planned=len(planned), waiting=len(waiting))

    async def _all(self, read: Callable[[int], Awaitable[Sequence[T]]]) -> Sequence[T]:
        """Every row: of a chat that is left out nobody would look after what it has."""
        limit = RESTORE_FIRST
        while True:
            rows = await until_stored(self._parts.clock, partial(read, limit))
            if len(rows) < limit:
                return rows
            limit *= 2


def _cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to act on: what a person must mend before others, a channel's before the rest;
    of equals the first. The others are told."""
    cause, *others = sorted(_leaves(failures), key=_weight)
    for other in others:
        log.warning("failed as well", why=type(other).__name__, exc_info=other)
    return cause


def _weight(error: BaseException) -> int:
    kinds = (LoginRequiredError, ChannelError, FlowHQError, BaseException)
    return next(place for place, kind in enumerate(kinds) if isinstance(error, kind))


def _leaves(failures: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    flat: list[BaseException] = []
    for error in failures.exceptions:
        flat.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return flat
