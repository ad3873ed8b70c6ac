"""How long one message spent in each stage, from the event in Python to the page's answer, and how
many messages came how far."""

from cachetools import TTLCache

from flowhq.bot.ports import Meter, Span, Stage
from flowhq.clock import Clock
from flowhq.model import MessageId, OutboxId

# Bounds for messages whose reply is never sent; a reply usually leaves within a second.
ENTRIES = 10_000
TTL_S = 600.0

STAGES = ("admit", "record", "queue", "respond", "line", "commit", "send")
"""admit: event to the dedup's verdict. record: inbox commit. queue: waiting in the chat's lane.
respond: responder and plan, to its commit. line: waiting to send. commit: ``sending`` written.
send: handed to the page until the server's ack. All in ms."""


class Unmetered:
    """A meter that nobody reads."""

    def count(self, stage: Stage, outcome: str) -> None:
        """Nothing comes of it."""

    def took(self, span: Span, seconds: float) -> None:
        """Nothing comes of it."""


class Traces:
    """Marks of the messages under way; missing ones are simply not reported."""

    def __init__(self, clock: Clock, meter: Meter | None = None) -> None:
        self._clock = clock
        self._meter = meter or Unmetered()
        self.forget()

    def forget(self) -> None:
        """The run is over: nothing is under way."""
        self._marks: TTLCache[MessageId, dict[str, float]] = TTLCache(
            ENTRIES, TTL_S, timer=self._clock.monotonic
        )
        self._causes: TTLCache[OutboxId, MessageId] = TTLCache(
            ENTRIES, TTL_S, timer=self._clock.monotonic
        )

    def begin(self, message_id: MessageId, seen_at_monotonic: float) -> None:
        self._marks[message_id] = {"seen": seen_at_monotonic}

    def mark(self, message_id: MessageId, stage: str) -> None:
        marks = self._marks.get(message_id)
        if marks is not None:
            marks[stage] = self._clock.monotonic()

    def count(self, stage: Stage, outcome: str) -> None:
        """One more message to which this happened."""
        self._meter.count(stage, outcome)

    def follow(self, outbox_id: OutboxId, cause: MessageId) -> None:
        """From now on the trace of the cause goes on under the reply's id."""
        if cause in self._marks:
            self._causes[outbox_id] = cause

    def mark_reply(self, outbox_id: OutboxId, stage: str) -> None:
        cause = self._causes.get(outbox_id)
        if cause is not None:
            self.mark(cause, stage)

    def finish(self, outbox_id: OutboxId) -> dict[str, float]:
        """Milliseconds per stage of STAGES and ``own``: event to hand-over; {} if unknown."""
        cause = self._causes.pop(outbox_id, None)
        marks = self._marks.pop(cause, None) if cause is not None else None
        if marks is None or any(stage not in marks for stage in STAGES):
            return {}
        spans: dict[str, float] = {}
        before = marks["seen"]
        for stage in STAGES:
            spans[stage] = round((marks[stage] - before) * 1000, 3)
            before = marks[stage]
        own_s = marks["commit"] - marks["seen"]
        spans["own"] = round(own_s * 1000, 3)
        self._meter.took(Span.HAND_OVER, own_s)
        self._meter.took(Span.ACK, marks["send"] - marks["commit"])
        return spans
