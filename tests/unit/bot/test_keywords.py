"""Words, phrases, languages and numbers found in what customers write."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bot.keywords import (
    PhraseIndex,
    Spoken,
    Vocabulary,
    choose_language,
    normalise,
    read_words,
)
from flowhq.bot.replies.catalogue import Catalogues
from flowhq.model import Language

VOCABULARY: Vocabulary = Catalogues.load().vocabulary


def intents(text: str) -> list[str]:
    return [hit.payload for hit in VOCABULARY.intents(read_words(text))]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  BEI   Gani?! ", "bei gani"),
        ("Café", "cafe"),
        ("ng'ombe", "ngombe"),
        ("ng\u2019ombe", "ngombe"),
        ("m-pesa", "m pesa"),
        ("haloooo", "haloo"),
        ("1000", "1000"),
        ("2\ufe0f\u20e3", "2"),
        ("\uff13", "3"),
        ("\u0663", "3"),
        ("\U0001d41b\U0001d41e\U0001d422", "bei"),
        ("\U0001f44d\U0001f3fe", "ok"),
        ("\U0001f602 ...", ""),
        ("", ""),
    ],
)
def test_a_text_is_reduced_to_its_words(text: str, normal: str) -> None:
    assert normalise(text) == normal


@given(st.text(max_size=200))
def test_a_normal_text_has_single_spaces_and_stays_as_it_is(text: str) -> None:
    once = normalise(text)
    assert once.split(" ") == (once.split() or [""])
    if once.isascii():
        assert normalise(once) == once


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("bei gani", "prices"),
        ("beiii ganiii", "prices"),
        ("How much is it?", "prices"),
        ("Naomba lokeshen yenu", "location"),
        ("whre is your locaton", "location"),
        ("Mnafungua saa ngapi kesho", "hours"),
        ("usafirshaji mpaka arusha", "delivery"),
        ("natak kuweka mihadi, nafasi ipo?", "booking"),
        ("i want to make an apointmnt", "booking"),
        ("nataka kuagiz shati", "order"),
        ("simu yangu haifanyi kazi", "problem"),
        ("nataka kuongea na muhudumu", "person"),
        ("asantee sanaaa", "thanks"),
        ("Nalipaje kwa M-PESA?", "payment"),
        ("Hujamboo", "greeting"),
        ("Habari za asubuhi", "greeting"),
        ("namba ya simu yenu", "contact"),
    ],
)
def test_intents_are_found_in_both_languages_and_misspelt(text: str, intent: str) -> None:
    assert intents(text)[0] == intent


def test_a_question_goes_before_the_greeting_in_front_of_it() -> None:
    assert intents("Habari, bei ya kunyoa ni ngapi?") == ["prices", "greeting"]
    assert intents("how much is delivery")[0] == "delivery"


@pytest.mark.parametrize("text", ["rice", "your", "hii ni nini", "kuku", "0712345678", "???"])
def test_words_alike_are_not_taken_for_keywords(text: str) -> None:
    assert intents(text) == []


def test_a_short_word_is_never_taken_for_a_misspelt_one() -> None:
    index = PhraseIndex([("menu", "menu"), ("bei", "prices")])
    assert index.find(read_words("mena")) == []
    assert index.find(read_words("beo")) == []
    assert [hit.payload for hit in index.find(read_words("bei"))] == ["prices"]


def test_a_word_of_its_own_is_never_a_misspelling() -> None:
    index = PhraseIndex([("nauli", "delivery")], known=frozenset({"nauliza"}))
    assert index.find(read_words("nauliza")) == []
    assert [hit.payload for hit in index.find(read_words("naulii"))] == ["delivery"]


def test_the_short_words_of_a_phrase_must_be_there_letter_for_letter() -> None:
    index = PhraseIndex([("ongea na mtu", "person")])
    assert index.find(read_words("ongea na watu")) == []
    assert index.find(read_words("onge na mtu")) == []
    assert index.find(read_words("naongea na mtu"))[0].payload == "person"


def test_fillers_do_not_keep_a_message_from_being_a_phrase() -> None:
    assert VOCABULARY.intents(read_words("menyu tafadhali"))[0].whole
    assert intents("naomba kuona menyu ya chakula") == []


# -- stop and start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["STOP", "stop!", "Acha.", "ondoa", "Sitisha", "unsubscribe", "opt-out", "OPT OUT"]
)
def test_stop_words_are_commands(text: str) -> None:
    assert VOCABULARY.command(read_words(text)) == "opt_out"


@pytest.mark.parametrize("text", ["start", "ANZA", "Subscribe!", "jiunge"])
def test_start_words_are_commands(text: str) -> None:
    assert VOCABULARY.command(read_words(text)) == "opt_in"


@pytest.mark.parametrize(
    "text",
    ["achana nayo", "achaa", "stopp", "acha basi", "where is the bus stop", "usiache", "stat", ""],
)
def test_nothing_near_a_stop_word_is_one(text: str) -> None:
    assert VOCABULARY.command(read_words(text)) is None


# -- language --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("nataka kujua bei", Spoken.SW),
        ("what are your prices", Spoken.EN),
        ("natka kuweka oda", Spoken.SW),
        ("price ya nguo gani", Spoken.SW),
        ("nataka kubook appointment for tomorrow", Spoken.EN),
        ("nataka appointment", Spoken.MIXED),
        ("hi", Spoken.UNKNOWN),
        ("ok", Spoken.UNKNOWN),
        ("3", Spoken.UNKNOWN),
        ("", Spoken.UNKNOWN),
    ],
)
def test_the_language_is_told_by_its_words(text: str, spoken: Spoken) -> None:
    assert VOCABULARY.spoken(read_words(text)) is spoken


def test_an_unclear_message_keeps_the_language_of_the_conversation() -> None:
    for unclear in (Spoken.UNKNOWN, Spoken.MIXED):
        assert choose_language(unclear, sticky=None, default=Language.SW) is Language.SW
        assert choose_language(unclear, sticky=Language.EN, default=Language.SW) is Language.EN
    assert choose_language(Spoken.SW, sticky=Language.EN, default=Language.EN) is Language.SW


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("1.", 1),
        ("(2)", 2),
        ("namba 3", 3),
        ("Nambari ya 3 tafadhali", 3),
        ("number four", 4),
        ("moja", 1),
        ("MBILI", 2),
        ("one", 1),
        ("chaguo la 2", 2),
        ("2\ufe0f\u20e3", 2),
        ("0", 0),
        ("12", 12),
        ("0712345678", None),
        ("1 2", None),
        ("nina 3 watoto", None),
        ("", None),
        ("namba", None),
    ],
)
def test_a_message_that_is_a_number(text: str, number: int | None) -> None:
    assert VOCABULARY.number(read_words(text)) == number


@pytest.mark.parametrize(
    ("text", "quantity"),
    [("nataka 3 tu", 3), ("mbili", 2), ("2 au 3", None), ("nyingi", None), ("3 pcs 3", 3)],
)
def test_a_quantity_is_the_only_number_in_a_message(text: str, quantity: int | None) -> None:
    assert VOCABULARY.quantity(read_words(text)) == quantity


def test_the_longest_message_costs_no_more_than_its_first_words() -> None:
    text = "lorem ipsumdolor nataka kuagizaa kituu " * 3000
    started = time.thread_time()
    words = read_words(text)
    VOCABULARY.intents(words)
    VOCABULARY.spoken(words)
    assert len(words.loose) <= 60
    assert time.thread_time() - started < 0.25


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    words = read_words(text)
    assert len(words.loose) == len(words.tight) <= 60
    VOCABULARY.intents(words)
    VOCABULARY.spoken(words)
    VOCABULARY.number(words)
    VOCABULARY.command(words)
