"""What the page's answers mean: a send, a health call."""

from typing import Any

import pytest

from flowhq.channel.web.convert import NEWEST, to_chat
from flowhq.channel.web.page import read_sent, readable, to_health
from flowhq.errors import SendRefusedError, SendUnknownError
from flowhq.model import Ack
from tests.fakes.ledger import TENANT


def answered(result: str, ack: int) -> dict[str, Any]:
    return {"outcome": "answered", "id": "3EB0", "result": result, "ack": ack}


@pytest.mark.parametrize(
    ("result", "ack", "level"),
    [("OK", 1, Ack.SERVER), ("OK", 0, Ack.SERVER), ("OK", 3, Ack.READ), ("", 2, Ack.DELIVERED)],
)
def test_an_accepted_message_has_at_least_the_servers_ack(
    result: str, ack: int, level: Ack
) -> None:
    receipt = read_sent(answered(result, ack))
    assert (receipt.message_id, receipt.ack) == ("3EB0", level)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"error": "unexpected"},
        {"outcome": "unknown", "code": "no answer within 3000 ms"},
        answered("", 0),
        answered("ERROR_NETWORK", 0),
    ],
)
def test_what_may_be_out_is_unknown(answer: dict[str, Any] | None) -> None:
    with pytest.raises(SendUnknownError):
        read_sent(answer)


@pytest.mark.parametrize(
    ("answer", "retry"),
    [
        (answered("ERROR_UNKNOWN", 0), True),
        (answered("ERROR_EXPIRED", -1), True),
        (answered("ERROR_NETWORK", -1), True),
        (answered("ERROR_CANCELLED", 0), False),
        (answered("ERROR_OF_TOMORROW", 0), True),
        ({"outcome": "not_sent", "code": "invalid_wid"}, False),
        ({"outcome": "not_sent", "code": "chat_not_found"}, False),
        ({"outcome": "not_sent", "code": "no answer within 3000 ms"}, True),
        ({"outcome": "not_sent", "code": "not_ready"}, True),
    ],
)
def test_a_refusal_says_whether_to_try_again(answer: dict[str, Any], retry: bool) -> None:
    with pytest.raises(SendRefusedError) as refused:
        read_sent(answer)
    assert refused.value.retry is retry


def test_health_is_connected_only_when_usable_and_names_what_was_dropped() -> None:
    answer = {
        "mode": "MAIN",
        "info": "NORMAL",
        "socket": "CONNECTED",
        "usable": True,
        "waiting": 0,
        "drops": {"group": 4},
    }
    health = to_health(answer, unreadable=2)
    assert (health.connected, health.mode) == (True, "MAIN")
    assert health.detail == (
        "info=NORMAL socket=CONNECTED waiting=0 dropped_group=4 dropped_unreadable_here=2"
    )
    assert not to_health({**answer, "usable": False}, unreadable=0).connected
    assert not to_health({"error": "TypeError"}, unreadable=0).connected


def test_a_chat_of_another_shape_costs_no_other_and_one_without_a_time_is_read_to_be_sure() -> None:
    raws: list[dict[str, Any]] = [
        {"chat": 5, "t": 1_795_222_333},
        {"chat": "1@c.us", "t": 1_795_222_333_000},
        {"chat": "2@c.us", "t": "never"},
        {"chat": "3@c.us", "t": None},
    ]
    heads = readable(raws, to_chat, TENANT)
    assert [(head.chat, head.last_at) for head in heads] == [
        ("1@c.us", NEWEST),
        ("2@c.us", NEWEST),
        ("3@c.us", None),
    ]
