"""The tenant's details: what is read from them and what is refused, with its place."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bot.profile import BusinessProfile, LocalText, parse_profile
from flowhq.errors import InvalidInputError
from flowhq.model import Language

FULL: dict[str, Any] = {
    "currency": "KES",
    "services": [
        {
            "name": " Kunyoa ",
            "price": 500,
            "duration_minutes": 30,
            "description": {"sw": "Kunyoa na kuosha", "en": "Cut and wash"},
        }
    ],
    "products": [
        {"name": "Shati", "price": 1250.5, "currency": "TZS", "available": False},
        {"name": "Kofia"},
    ],
    "contact": {
        "phone": "+254 712 345 678",
        "email": "duka@example.co.ke",
        "address": "Moi Avenue,\nNairobi",
        "map_url": "https://maps.example/x?q=1",
        "website": "http://duka.example",
    },
    "delivery": {
        "areas": ["Nairobi", "Mombasa"],
        "fee": 300,
        "free_over": 5000,
        "time": "1-2",
        "note": {"en": "Not on Sundays"},
    },
    "payment": {"methods": ["Cash", {"name": "M-Pesa", "details": "Till 123456"}], "note": "..."},
    "faq": [{"question": "Parking?", "keywords": ["parking"], "answer": {"sw": "Ipo"}}],
    "booking": {"lead": "siku 1", "note": "Njoo mapema", "url": "https://b.example"},
    "support": {"hours_note": "24/7", "escalation_phone": "112"},
    "greeting": {"sw": "Karibu ${business.name}!"},
    "closing": {"en": "Bye"},
}


def test_every_setting_is_read() -> None:
    profile = parse_profile(FULL)
    assert profile.services[0].name == "Kunyoa"
    assert profile.products[0].price == Decimal("1250.5")
    assert [product.available for product in profile.products] == [False, True]
    assert profile.payment is not None
    assert [method.name for method in profile.payment.methods] == ["Cash", "M-Pesa"]
    assert profile.delivery is not None
    assert profile.delivery.areas == ("Nairobi", "Mombasa")
    assert set(FULL) == set(BusinessProfile.model_fields)


@pytest.mark.parametrize("details", [None, {}])
def test_everything_is_optional(details: object) -> None:
    assert parse_profile(details) == BusinessProfile()


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_profile(FULL).contact.phone = "1"  # type: ignore[misc]


def test_a_text_in_one_language_serves_for_the_other() -> None:
    text = LocalText(sw="Ipo")
    assert text.said_in(Language.EN) == "Ipo"
    assert LocalText(sw="Ipo", en="Yes").said_in(Language.EN) == "Yes"
    assert LocalText.model_validate("Both").said_in(Language.SW) == "Both"


@pytest.mark.parametrize(
    ("details", "field", "says"),
    [
        (5, "details", "must be an object, not a number"),
        ({"service": []}, "details.service", "Did you mean 'services'?"),
        ({"zzz": []}, "details.zzz", "Known: currency, services"),
        ({"services": {}}, "details.services", "must be a list"),
        ({"services": [{}]}, "details.services[0].name", "is required"),
        ({"services": [{"name": "x"}, {"nam": "x"}]}, "details.services[1].name", "is required"),
        (
            {"services": [{"name": "x", "prise": 1}]},
            "details.services[0].prise",
            "Did you mean 'price'?",
        ),
        ({"services": [{"name": "  "}]}, "details.services[0].name", "must not be empty"),
        ({"services": [{"name": 5}]}, "details.services[0].name", "must be a text"),
        ({"services": [{"name": "a" * 81}]}, "details.services[0].name", "at most 80"),
        ({"services": [{"name": "a\nb"}]}, "details.services[0].name", "one line"),
        ({"services": [{"name": "a\x00"}]}, "details.services[0].name", "control characters"),
        ({"services": [{"name": "a\ud800"}]}, "details.services[0].name", ""),
        ({"services": [{"name": "x", "price": "5"}]}, "details.services[0].price", "a number"),
        ({"services": [{"name": "x", "price": True}]}, "details.services[0].price", "a number"),
        ({"services": [{"name": "x", "price": -1}]}, "details.services[0].price", "at least 0"),
        ({"services": [{"name": "x", "price": 1e13}]}, "details.services[0].price", "at most"),
        ({"services": [{"name": "x", "price": 1.234}]}, "details.services[0].price", "2 decimals"),
        (
            {"services": [{"name": "x", "price": float("nan")}]},
            "details.services[0].price",
            "finite",
        ),
        (
            {"services": [{"name": "x", "duration_minutes": 0}]},
            "details.services[0].duration_minutes",
            "at least 1",
        ),
        (
            {"services": [{"name": "x", "duration_minutes": 1.5}]},
            "details.services[0].duration_minutes",
            "whole number",
        ),
        ({"products": [{"name": "x"}] * 101}, "details.products", "at most 100 entries"),
        (
            {"products": [{"name": "x", "available": "no"}]},
            "details.products[0].available",
            "true or false",
        ),
        ({"currency": "Shilling"}, "details.currency", "2 to 4 letters"),
        ({"contact": None}, "details.contact", "must be an object"),
        ({"contact": {"phon": "1"}}, "details.contact.phon", "Did you mean 'phone'?"),
        ({"contact": {"phone": "call me"}}, "details.contact.phone", "a phone number"),
        ({"contact": {"email": "at home"}}, "details.contact.email", "an e-mail address"),
        ({"contact": {"map_url": "javascript:x"}}, "details.contact.map_url", "https://"),
        ({"contact": {"address": "a" * 1001}}, "details.contact.address", "at most 1000"),
        ({"delivery": {"areas": [""]}}, "details.delivery.areas[0]", "must not be empty"),
        ({"delivery": {"area": []}}, "details.delivery.area", "Did you mean 'areas'?"),
        (
            {"payment": {"methods": [{"name": "x", "detail": "y"}]}},
            "details.payment.methods[0].detail",
            "Did you mean 'details'?",
        ),
        ({"faq": [{"answer": "x"}]}, "details.faq[0].keywords", "is required"),
        ({"faq": [{"keywords": [], "answer": "x"}]}, "details.faq[0].keywords", "not be empty"),
        ({"faq": [{"keywords": ["x"], "answer": {}}]}, "details.faq[0].answer", "'sw', for 'en'"),
        ({"greeting": {"fr": "Bonjour"}}, "details.greeting.fr", "Known: sw, en"),
        ({"greeting": "Hi ${name}"}, "details.greeting", "unknown placeholder 'name'"),
        ({"support": {"escalation_phone": 112}}, "details.support.escalation_phone", "a text"),
    ],
)
def test_mistakes_are_refused_with_their_place(details: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_profile(details)
    assert refused.value.field == field
    assert says in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(BusinessProfile.model_fields, JSON)))
def test_any_json_is_read_or_refused_and_nothing_else(details: dict[str, Any]) -> None:
    place = "details"
    try:
        parse_profile(details)
    except InvalidInputError as refused:
        place = refused.field
    assert place.startswith("details")
