"""Times per stage, of those messages that went through all of them."""

from flowhq.bot.ports import Span, Stage
from flowhq.bot.trace import ENTRIES, STAGES, TTL_S, Traces
from flowhq.model import MessageId, OutboxId
from tests.fakes.clock import FakeClock
from tests.fakes.meter import FakeMeter

QUESTION, REPLY = MessageId("3A01"), OutboxId(1)


async def whole(traces: Traces, clock: FakeClock) -> None:
    traces.begin(QUESTION, clock.monotonic())
    for number, stage in enumerate(STAGES[:4], start=1):
        await clock.advance(number / 1000)
        traces.mark(QUESTION, stage)
    traces.follow(REPLY, QUESTION)
    for number, stage in enumerate(STAGES[4:], start=5):
        await clock.advance(number / 1000)
        traces.mark_reply(REPLY, stage)


async def test_each_stage_has_its_milliseconds_and_own_is_until_the_hand_over() -> None:
    clock = FakeClock()
    traces = Traces(clock)
    await whole(traces, clock)
    spans = traces.finish(REPLY)
    assert [spans[stage] for stage in STAGES] == [1, 2, 3, 4, 5, 6, 7]
    assert spans["own"] == 21


async def test_the_meter_is_told_of_the_time_to_the_hand_over_and_of_the_ack() -> None:
    clock, meter = FakeClock(), FakeMeter()
    traces = Traces(clock, meter)
    await whole(traces, clock)
    traces.finish(REPLY)
    traces.finish(REPLY)
    assert meter.spans == [(Span.HAND_OVER, 0.021), (Span.ACK, 0.007)]


def test_what_is_counted_goes_to_the_meter() -> None:
    meter = FakeMeter()
    Traces(FakeClock(), meter).count(Stage.RECEIVED, "own")
    assert meter.received == {"own": 1}


async def test_a_trace_is_told_once() -> None:
    clock = FakeClock()
    traces = Traces(clock)
    await whole(traces, clock)
    assert traces.finish(REPLY)
    assert traces.finish(REPLY) == {}


async def test_marks_of_what_never_began_are_ignored() -> None:
    traces = Traces(FakeClock())
    traces.mark(QUESTION, "queue")
    traces.mark_reply(REPLY, "line")
    traces.follow(REPLY, QUESTION)
    assert traces.finish(REPLY) == {}


async def test_a_message_that_skipped_a_stage_has_no_times() -> None:
    traces = Traces(FakeClock())
    traces.begin(QUESTION, 0.0)
    traces.follow(REPLY, QUESTION)
    assert traces.finish(REPLY) == {}


async def test_what_is_never_sent_is_forgotten() -> None:
    clock = FakeClock()
    traces = Traces(clock)
    await whole(traces, clock)
    await clock.advance(TTL_S + 1)
    assert traces.finish(REPLY) == {}


async def test_the_memory_is_bounded() -> None:
    clock = FakeClock()
    traces = Traces(clock)
    await whole(traces, clock)
    for number in range(ENTRIES):
        traces.begin(MessageId(str(number)), 0.0)
    assert traces.finish(REPLY) == {}
