"""The page's JSON as messages, whatever shape it is in."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.channel.web.convert import KINDS, UnreadableError, to_chat, to_message
from flowhq.model import MessageKind, Source

RAW: Mapping[str, Any] = {
    "id": "3EB0AABB",
    "chat": "255711111111@c.us",
    "me": False,
    "type": "chat",
    "text": "Habari",
    "t": 1_795_222_333,
    "from": "255711111111@c.us",
    "name": "Amina",
    "phone": "255711111111",
    "lid": "",
    "ack": 0,
    "c": {},
}


def test_a_text_becomes_a_message() -> None:
    message = to_message(RAW, source=Source.LIVE)
    assert (message.message_id, message.chat, message.text) == (RAW["id"], RAW["chat"], "Habari")
    assert (message.kind, message.raw_type, message.from_me) == (MessageKind.TEXT, "chat", False)
    assert message.at == datetime(2026, 11, 21, 0, 52, 13, tzinfo=UTC)
    assert (message.phone, message.lid, message.push_name) == ("255711111111", "", "Amina")


@pytest.mark.parametrize("raw_type", sorted(KINDS))
def test_every_known_type_has_its_kind(raw_type: str) -> None:
    message = to_message({**RAW, "type": raw_type}, source=Source.LIVE)
    assert message.kind is KINDS[raw_type]
    assert message.kind is not MessageKind.UNSUPPORTED


def test_a_type_of_tomorrow_is_unsupported_and_keeps_its_name() -> None:
    message = to_message({**RAW, "type": "hologram"}, source=Source.LIVE)
    assert (message.kind, message.raw_type) == (MessageKind.UNSUPPORTED, "hologram")


def test_nul_which_no_database_takes_is_removed_everywhere() -> None:
    raw = {**RAW, "text": "a\0b", "name": "\0", "c": {"k\0": ["x\0y", {"z": "\0"}], "n": 1}}
    message = to_message(raw, source=Source.LIVE)
    assert (message.text, message.push_name) == ("ab", "")
    assert message.content == {"k": ["xy", {"z": ""}], "n": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 5},
        {"chat": None},
        {"t": None},
        {"t": "yesterday"},
        {"t": True},
        {"t": 1e300},
        {"t": float("nan")},
        {"text": ["no"]},
    ],
)
def test_what_is_no_message_is_unreadable(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        to_message({**RAW, **wrong}, source=Source.LIVE)


@pytest.mark.parametrize("phone", ["+255", "abc", "٢٥٥", "255 711"])
def test_a_phone_is_ascii_digits_or_nothing(phone: str) -> None:
    assert to_message({**RAW, "phone": phone}, source=Source.LIVE).phone == ""


def test_a_chat_without_messages_has_no_time() -> None:
    head = to_chat({"chat": "1@lid", "t": None, "phone": "255711111111"})
    assert (head.chat, head.last_at, head.phone) == ("1@lid", None, "255711111111")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(RAW)), JSON))
def test_no_json_does_more_than_be_unreadable(changes: dict[str, Any]) -> None:
    try:
        message = to_message({**RAW, **changes}, source=Source.LIVE)
    except UnreadableError:
        return
    assert message.at.tzinfo is not None
    assert "\0" not in message.text
