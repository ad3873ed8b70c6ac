"""Numbers, jids and message ids."""

import re

import pytest

from flowhq.simulator import ids


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("255700000001", "255700000001"),
        ("+255 (700) 000-001", "255700000001"),
        ("255700000001@c.us", "255700000001"),
        ("255700000001@s.whatsapp.net", "255700000001"),
        ("1234", None),
        ("", None),
        ("+", None),
        ("255700000001@lid", None),
        ("٢٥٥٧٠٠٠٠٠", None),
        ("255700x00001", None),
        ("1" * 21, None),
        ("255\x00700000", None),
    ],
)
def test_a_phone_number_is_its_digits(text: str, phone: str | None) -> None:
    assert ids.normalise_phone(text) == phone


@pytest.mark.parametrize(
    ("text", "jid"),
    [
        ("120363041234567890", "120363041234567890@g.us"),
        ("255700000001-1600000000", "255700000001-1600000000@g.us"),
        ("1@g.us", "1@g.us"),
        ("1@newsletter", "1@newsletter"),
        ("status@broadcast", "status@broadcast"),
        ("1@c.us", None),
        ("family", None),
        ("", None),
    ],
)
def test_a_group_is_digits_or_a_jid_of_many(text: str, jid: str | None) -> None:
    assert ids.normalise_group(text) == jid


@pytest.mark.parametrize(("text", "lid"), [("1@lid", "1"), ("12", "12"), ("x", None), ("", None)])
def test_a_lid_is_digits(text: str, lid: str | None) -> None:
    assert ids.normalise_lid(text) == lid


def test_a_made_up_lid_is_fifteen_digits_and_stays_the_same() -> None:
    lid = ids.made_up_lid("255700000001")
    assert re.fullmatch(r"1\d{14}", lid)
    assert lid == ids.made_up_lid("255700000001") != ids.made_up_lid("255700000002")


def test_message_ids_look_like_a_phones_and_refs_fit_into_a_code() -> None:
    assert re.fullmatch(r"AC[0-9A-F]{30}", ids.new_phone_message_id())
    assert "," not in ids.new_ref()
    assert ids.new_ref() != ids.new_ref()


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("3EB0AB", "3EB0AB"),
        ("true_255700000001@c.us_3EB0AB", "3EB0AB"),
        ("true_1@g.us_3EB0AB_255700000001@c.us", "3EB0AB"),
        ("my_own_id", "my_own_id"),
    ],
)
def test_the_bare_id_is_found_in_the_serialized_one(text: str, bare: str) -> None:
    assert ids.bare_message_id(text) == bare
