"""The catalogues: complete, equal in both languages, all of it used; and how they are filled."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowhq.bot.replies.catalogue as catalogue_module
from flowhq.bot.keywords import normalise, read_words
from flowhq.bot.replies.catalogue import Catalogue, Catalogues, fill, placeholders
from flowhq.bot.responder import Responder
from flowhq.model import Language
from tests.unit.bot.talking import CATALOGUES, MONDAY, Customer, customer_of, spec_of
from tests.unit.bot.test_conversations import SCRIPTS, read_script, replay

SWAHILI = CATALOGUES.of(Language.SW).texts
ENGLISH = CATALOGUES.of(Language.EN).texts
SOURCES = Path(catalogue_module.__file__).parents[1]


def test_both_languages_have_the_same_keys() -> None:
    assert set(SWAHILI) == set(ENGLISH)


@pytest.mark.parametrize("key", sorted(SWAHILI))
def test_both_languages_say_a_text_with_the_same_values(key: str) -> None:
    assert placeholders(SWAHILI[key]) == placeholders(ENGLISH[key])


@pytest.mark.parametrize("texts", [SWAHILI, ENGLISH], ids=["sw", "en"])
def test_every_text_is_written_and_tidy(texts: Mapping[str, str]) -> None:
    for key, text in texts.items():
        assert text.strip() == text, key
        assert text, key
        assert "  " not in text, key
        assert len(text) < 600, key
        assert "$" not in re.sub(r"\$\{[a-z.]+\}", "", text), key
        assert text.count("*") % 2 == 0, key


def test_the_languages_differ_where_they_should() -> None:
    alike = {key for key in SWAHILI if SWAHILI[key] == ENGLISH[key]}
    assert alike == {
        "greeting.with_salutation",
        "item.name",
        "list.item",
        "list.item_price",
        "menu.line",
        "payment.method",
        "payment.method_details",
        "salutation.salam",
        "salutation.shikamoo",
    }


def test_every_key_named_in_the_sources_exists() -> None:
    named = {
        key
        for path in SOURCES.rglob("*.py")
        for key in re.findall(r'say\(\s*"([a-z_.]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert named <= set(SWAHILI)


# -- every text is said by somebody ----------------------------------------------------------------


class Heard(Mapping[str, str]):
    """Texts that remember which of them were asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self.keys_heard: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.keys_heard.add(key)
        return self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def say_the_rest(catalogues: Catalogues) -> None:
    """What the scripts leave out: greetings, notices, businesses that tell little."""
    for greeting in catalogues.vocabulary.salutations:
        customer_of(catalogues=catalogues).says(greeting)
    customer = customer_of(catalogues=catalogues)
    customer.responder.slow_down(customer.view)
    customer.responder.please_wait(customer.view)
    for template, texts in {
        "BOOKING": ("oda", "kwaheri"),
        "ECOMMERCE": ("bidhaa", "agiza", "taa", "5", "Ali", "x " * 200),
        "SUPPORT": ("oda", "miadi", "mko wapi"),
    }.items():
        bare = customer_of("mpya", template, catalogues=catalogues)
        for text in texts:
            bare.says(text)
    shut = replace(spec_of("mpya", "SUPPORT", "SW"), hours={"weekly": {"mon": []}})
    visitor = Customer(Responder(shut, catalogues))
    for text in ("mambo", "saa za kazi", "mtu"):
        visitor.says(text)
    free = replace(
        spec_of("duka", "ECOMMERCE", "SW"),
        details={"services": [{"name": "Kuosha", "duration_minutes": 45}], "delivery": {"fee": 0}},
    )
    visitor = Customer(Responder(free, catalogues))
    for text in ("usafirishaji", "kuosha"):
        visitor.says(text)


def test_every_text_is_said_in_some_conversation() -> None:
    heard = {language: Heard(CATALOGUES.of(language).texts) for language in Language}
    catalogues = Catalogues(
        by_language={language: Catalogue(language, heard[language]) for language in Language},
        vocabulary=CATALOGUES.vocabulary,
    )
    for path in SCRIPTS:
        script = read_script(path)
        now = datetime.fromisoformat(script["now"]) if "now" in script else MONDAY
        shop = (script["business"], script["template"], script["language"])
        replay(script, customer_of(*shop, catalogues=catalogues, now=now))
    say_the_rest(catalogues)
    said = heard[Language.SW].keys_heard | heard[Language.EN].keys_heard
    assert set(SWAHILI) - said == set()


# -- filling ---------------------------------------------------------------------------------------


def test_values_are_filled_in_by_their_dotted_names() -> None:
    assert fill("${a.b} na ${c}", {"a.b": "moja", "c": 2}) == "moja na 2"


def test_a_value_is_never_expanded_again() -> None:
    assert fill("${a}", {"a": "${b}", "b": "siri"}) == "${b}"


def test_a_dollar_by_itself_is_a_dollar() -> None:
    assert fill("$5, $$, ${ }, $a", {}) == "$5, $$, ${ }, $a"


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="who"):
        fill("${who}", {})


@given(st.text(), st.text())
def test_any_value_comes_through_unchanged(before: str, value: str) -> None:
    template = before.replace("$", "") + "${value}"
    assert fill(template, {"value": value}) == before.replace("$", "") + value


def test_a_language_of_its_own_file_is_loaded_with_the_package() -> None:
    for name in ("sw.toml", "en.toml", "keywords.toml"):
        assert files("flowhq.bot.replies").joinpath(name).is_file()


# -- the words of both languages -------------------------------------------------------------------


def test_a_command_is_never_an_intent_as_well() -> None:
    vocabulary = CATALOGUES.vocabulary
    commands = set().union(*vocabulary.commands.values())
    for command in commands:
        hits = vocabulary.intents(read_words(command))
        assert not [hit for hit in hits if hit.whole and hit.score == 100], command


def test_every_intent_has_words_and_no_two_share_one_exactly() -> None:
    data = tomllib.loads(
        files("flowhq.bot.replies").joinpath("keywords.toml").read_text(encoding="utf-8")
    )
    owner: dict[str, str] = {}
    for name, group in data["intents"].items():
        phrases = [phrase for key in ("sw", "en", "any") for phrase in group.get(key, [])]
        assert phrases or name == "greeting", name
        for phrase in map(normalise, phrases):
            assert owner.setdefault(phrase, name) == name, phrase
