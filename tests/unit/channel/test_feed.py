"""Batches of the page as events: documents, order, acks, and nonsense."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from flowhq.channel.web.buffer import EventBuffer
from flowhq.channel.web.feed import FIRST_CODE_S, NEXT_CODE_S, Feed
from flowhq.errors import ChannelError, ChannelRestartError, LoginRequiredError
from flowhq.events import (
    AckSeen,
    ChannelEvent,
    Conflicted,
    ConnectionLost,
    EventsDropped,
    LoggedOut,
    MessageSeen,
    Pairing,
    QrIdle,
    QrShown,
    Ready,
)
from flowhq.model import Ack, Reason
from tests.fakes.clock import FakeClock

HELLO = {"k": "hello"}
MESSAGE = {
    "id": "A1",
    "chat": "255711111111@c.us",
    "type": "chat",
    "text": "Habari",
    "t": 1_795_222_333,
}


class Desk:
    """A feed with everything it reports to."""

    def __init__(self, limit: int = 100) -> None:
        self.clock = FakeClock()
        self.buffer = EventBuffer(limit)
        self.loaded: list[bool] = []
        self.faults: list[ChannelError] = []
        self.feed = Feed(
            self.clock,
            self.buffer,
            tenant_id="t1",
            on_loaded=self.loaded.append,
            on_fault=self.faults.append,
        )

    def tell(self, *events: dict[str, Any], document: str = "d1") -> None:
        self.feed.take(orjson.dumps({"d": document, "e": events}).decode())

    async def told(self) -> list[ChannelEvent]:
        self.buffer.close()
        return [event async for event in self.buffer.read()]


async def test_each_kind_becomes_its_event_in_order() -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "loaded", "page": "2.3000", "wajs": "4.6.0"})
    desk.tell({"k": "qr", "text": "code"}, {"k": "idle"}, {"k": "pairing"})
    desk.tell({"k": "ready", "phone": "255712345678", "lid": "1"}, {"k": "msg", "m": MESSAGE})
    desk.tell({"k": "lost", "detail": "OFFLINE"}, {"k": "conflict"}, {"k": "dropped", "n": 4})
    desk.tell({"k": "out", "reason": "user_initiated"})

    told = await desk.told()

    assert [type(event) for event in told] == [
        QrShown, QrIdle, Pairing, Ready, MessageSeen, ConnectionLost, Conflicted, EventsDropped,
        LoggedOut,
    ]  # fmt: skip
    assert told[3] == Ready("255712345678", "1", 1)
    assert isinstance(told[4], MessageSeen)
    assert told[4].seen_at_monotonic == desk.clock.monotonic()
    assert desk.loaded == [False, True]
    assert desk.feed.page_version == "2.3000"


async def test_the_first_code_of_a_document_lives_longer() -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "qr", "text": "1"}, {"k": "qr", "text": "2"})
    desk.tell(HELLO, {"k": "qr", "text": "3"}, document="d2")
    lives = [
        e.expires_at - desk.clock.now()
        for e in await desk.told()
        if isinstance(e, QrShown) and e.expires_at
    ]
    assert lives == [timedelta(seconds=s) for s in (FIRST_CODE_S, NEXT_CODE_S, FIRST_CODE_S)]


async def test_an_old_document_is_not_heard_any_more() -> None:
    desk = Desk()
    desk.tell(HELLO)
    desk.tell(HELLO, document="d2")
    desk.tell({"k": "lost", "detail": "late"}, document="d1")
    desk.tell({"k": "ready", "phone": "1", "lid": ""}, document="d2")
    assert await desk.told() == [Ready("1", "", 2)]


async def test_acks_that_stand_together_are_one_event_per_level() -> None:
    desk = Desk()
    acks = [
        {"k": "ack", "ack": level, "ids": [one]} for level, one in [(1, "A"), (1, "B"), (3, "A")]
    ]
    desk.tell(HELLO, *acks, {"k": "idle"}, {"k": "ack", "ack": 9, "ids": ["C"]})
    told = await desk.told()
    assert [(e.ids, e.ack) for e in told if isinstance(e, AckSeen)] == [
        (("A", "B"), Ack.SERVER),
        (("A",), Ack.READ),
        (("C",), Ack.PLAYED),
    ]
    assert isinstance(told[2], QrIdle)


@pytest.mark.parametrize(
    "bad",
    [
        {"k": "ack", "ids": ["A"]},
        {"k": "ack", "ack": None, "ids": ["A"]},
        {"k": "ack", "ack": 1},
        {"ack": 1},
        {"k": "msg", "m": []},
        "no event",
        None,
        7,
    ],
)
async def test_an_event_of_another_shape_costs_none_of_the_others(bad: Any) -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "ack", "ack": 1, "ids": ["A"]}, bad, {"k": "msg", "m": MESSAGE})
    told = await desk.told()
    assert [type(event) for event in told] == [AckSeen, MessageSeen]
    assert desk.feed.unreadable == 1


async def test_one_unreadable_event_costs_none_of_the_others() -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "msg", "m": {**MESSAGE, "t": "never"}}, {"k": "msg", "m": None})
    desk.tell({"k": "msg", "m": MESSAGE}, {"k": "of_tomorrow"}, {"k": "qr", "text": 5})
    assert len(await desk.told()) == 1
    assert desk.feed.unreadable == 3


@pytest.mark.parametrize("payload", ["", "no json", "[]", "5", '{"d": 5, "e": []}', '{"d": "d1"}'])
async def test_what_a_payload_held_that_is_none_is_looked_for_in_the_pages_store(
    payload: str,
) -> None:
    desk = Desk()
    desk.feed.take(payload)
    assert await desk.told() == [EventsDropped(1)]
    assert desk.feed.unreadable == 1


async def test_leaving_for_the_logged_out_address_is_told_once() -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "ready", "phone": "1", "lid": ""}, {"k": "out", "reason": "md_opt_out"})
    desk.feed.left("0")
    desk.tell(HELLO, {"k": "qr", "text": "1"}, document="d2")
    desk.feed.left("3")
    told = [event for event in await desk.told() if isinstance(event, LoggedOut)]
    assert told == [LoggedOut("md_opt_out"), LoggedOut("3")]


async def test_it_is_without_a_link_from_its_logout_until_it_is_ready_again() -> None:
    desk, seen = Desk(), []
    ready = {"k": "ready", "phone": "255712345678", "lid": "1"}
    out = {"k": "out", "reason": "user_initiated"}
    for told in ([HELLO, ready], [out, {"k": "qr", "text": "code"}], [{"k": "pairing"}, ready]):
        desk.tell(*told)
        seen.append(desk.feed.is_unlinked)
    assert seen == [False, True, False]


@pytest.mark.parametrize("mode", ["TOS_BLOCK", "SMB_TOS_BLOCK", "PROXYBLOCK"])
def test_a_block_needs_a_person(mode: str) -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "blocked", "mode": mode})
    (fault,) = desk.faults
    assert isinstance(fault, LoginRequiredError)
    assert (fault.reason, bool(fault.next_step)) == (Reason.BLOCKED, True)


def test_a_page_that_is_too_old_is_unusable() -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "blocked", "mode": "DEPRECATED_VERSION"})
    (fault,) = desk.faults
    assert isinstance(fault, ChannelRestartError)
    assert fault.reason == Reason.PAGE_UNUSABLE


def test_a_line_that_nobody_reads_is_a_fault() -> None:
    desk = Desk(limit=2)
    desk.tell(HELLO, *({"k": "lost", "detail": str(n)} for n in range(5)))
    assert [type(fault) for fault in desk.faults] == [ChannelRestartError]


async def test_what_a_document_that_is_gone_still_says_is_counted_and_dropped() -> None:
    desk = Desk()
    desk.tell({"k": "msg", "m": MESSAGE}, document="never begun")
    desk.tell(HELLO)
    desk.tell(HELLO, document="d2")
    desk.tell({"k": "msg", "m": MESSAGE}, {"k": "out", "reason": "x"}, document="d1")
    desk.tell({"k": "msg", "m": MESSAGE | {"id": "A2"}}, document="d2")
    assert desk.feed.late == 3
    [event] = await desk.told()
    assert isinstance(event, MessageSeen)
    assert event.message.message_id == "A2"


@pytest.mark.parametrize(
    ("seconds", "year"),
    [(-62_135_596_800, 1), (0, 1970), (-1, 1969), (253_402_300_799, 9999), (1_795_222_333.9, 2026)],
)
async def test_a_time_that_can_be_is_taken_however_odd(seconds: float, year: int) -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "msg", "m": MESSAGE | {"t": seconds}})
    [event] = await desk.told()
    assert isinstance(event, MessageSeen)
    assert event.message.at.year == year


@pytest.mark.parametrize("t", [253_402_300_800, 1_795_222_333_000, 1e300, -1e300, "1", None, True])
async def test_a_time_that_cannot_be_costs_its_message_alone(t: object) -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "msg", "m": MESSAGE | {"t": t}}, {"k": "msg", "m": MESSAGE})
    assert desk.feed.unreadable == 1
    assert len(await desk.told()) == 1


async def test_bottomless_content_costs_its_message_alone() -> None:
    desk = Desk()
    deep: Any = "x"
    for _ in range(900):
        deep = {"c": deep}
    desk.feed.take_events([HELLO, {"k": "msg", "m": MESSAGE | {"c": deep}}, {"k": "idle"}])
    assert len(await desk.told()) >= 1


async def test_a_ready_page_that_loads_anew_is_a_lost_connection_until_it_is_ready() -> None:
    desk = Desk()
    ready = {"k": "ready", "phone": "1", "lid": ""}
    desk.tell(HELLO, ready)
    desk.tell(HELLO, {"k": "msg", "m": MESSAGE}, ready, document="d2")
    desk.tell(HELLO, document="d3")
    desk.tell(HELLO, document="d4")
    told = await desk.told()
    assert [type(event) for event in told] == [
        Ready, ConnectionLost, MessageSeen, Ready, ConnectionLost,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "state", [{"k": "out", "reason": ""}, {"k": "lost", "detail": ""}, {"k": "conflict"}]
)
async def test_a_page_that_was_not_ready_loses_nothing_by_loading_anew(state: Any) -> None:
    desk = Desk()
    desk.tell(HELLO, {"k": "ready", "phone": "1", "lid": ""}, state)
    desk.tell(HELLO, {"k": "qr", "text": "code"}, document="d2")
    told = await desk.told()
    assert isinstance(told[-1], QrShown)
    assert len(told) == 3


def test_its_log_lines_name_the_tenant() -> None:
    desk = Desk()
    with capture_logs() as lines:
        desk.feed.take("no json")
        desk.tell({"k": "idle"}, document="never begun")
    assert [line["tenant_id"] for line in lines] == ["t1", "t1"]
