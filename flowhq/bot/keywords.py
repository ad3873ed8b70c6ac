"""What a customer's text says: its words, the phrases found in it, its language, its number.

Spelling tolerance is for words of five letters and more; shorter ones and everything that has
consequences (stop, start) match exactly or not at all.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from rapidfuzz import fuzz, process

from flowhq.model import Language

CUTOFF = 82.0
"""fuzz.ratio from which two words are one misspelt. At 80 "achana" would pass for "acha"."""
EXACT_LETTERS = 4
"""Words up to this long match exactly: one letter changes too much of them."""
WORDS_MAX = 60
"""Words looked at; a longer text says what it wants before that, and time is bounded."""
NUMBER_DIGITS_MAX = 4
"""A longer number is a phone number or an amount, never a choice or a quantity."""

THUMBS_UP = re.compile("[\U0001f44d\U0001f44c\u2705\u2714]")
RUN = re.compile(r"([^\W\d_])\1{2,}")
NOT_A_WORD = re.compile(r"[\W_]+")

Payload = TypeVar("Payload")


@dataclass(frozen=True, slots=True)
class Words:
    """A text as words. ``tight`` has drawn-out letters reduced to one ("beiii" to "bei"), where
    ``loose`` keeps two of them; both are tried."""

    loose: tuple[str, ...]
    tight: tuple[str, ...]

    @property
    def variants(self) -> tuple[tuple[str, ...], ...]:
        return (self.loose,) if self.loose == self.tight else (self.loose, self.tight)

    @property
    def text(self) -> str:
        return " ".join(self.loose)

    def __bool__(self) -> bool:
        return bool(self.loose)


def normalise(text: str) -> str:
    """Small letters without accents and punctuation, one space between words.

    Letters drawn out to three or more become two; a thumb up becomes "ok"; full-width and keycap
    digits become plain ones. An apostrophe within a word goes ("ng'ombe" is "ngombe").
    """
    text = THUMBS_UP.sub(" ok ", text)
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(char for char in text if not unicodedata.category(char).startswith("M"))
    text = unicodedata.normalize("NFC", text)
    text = "".join(_digit(char) for char in text)
    text = re.sub(r"(?<=\w)['\u2019\u02bc](?=\w)", "", text)
    return RUN.sub(r"\1\1", NOT_A_WORD.sub(" ", text).strip())


def read_words(text: str) -> Words:
    """The first words of a text, normalised."""
    # Bounded before the work: a text may have 65,000 characters.
    shown = text[: WORDS_MAX * 40]
    loose = tuple(normalise(shown).split()[:WORDS_MAX])
    if not RUN.search(THUMBS_UP.sub(" ", shown).casefold()):
        return Words(loose, loose)
    drawn_out = {normalise(match[0]) for match in RUN.finditer(shown.casefold())}
    tight = tuple(_tighten(word, drawn_out) for word in loose)
    return Words(loose, tight)


def _tighten(word: str, drawn_out: set[str]) -> str:
    for run in drawn_out:
        word = word.replace(run, run[:1])
    return word


def _digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


# -- phrases ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit(Generic[Payload]):
    """A phrase found in a text. ``whole``: the text says nothing else."""

    payload: Payload
    phrase: str
    score: float
    whole: bool


class PhraseIndex(Generic[Payload]):
    """Finds many phrases in a short text, misspelt ones too. Immutable once built."""

    def __init__(
        self,
        phrases: Iterable[tuple[str, Payload]],
        *,
        fillers: frozenset[str] = frozenset(),
        known: frozenset[str] = frozenset(),
    ) -> None:
        """``fillers`` do not count when a text is compared as a whole; ``known`` are words of
        their own, never somebody's misspelling."""
        self._fillers = fillers
        self._known = known
        self._exact: dict[str, list[Payload]] = {}
        for phrase, payload in phrases:
            key = normalise(phrase)
            if key and payload not in self._exact.setdefault(key, []):
                self._exact[key].append(payload)
        self._by_length: dict[int, list[str]] = {}
        for key in self._exact:
            self._by_length.setdefault(len(key.split()), []).append(key)
        self._fuzzy = {
            length: [key for key in keys if any(_forgiving(word) for word in key.split())]
            for length, keys in self._by_length.items()
        }

    def find(self, words: Words) -> list[Hit[Payload]]:
        """Every phrase that occurs, the best first: exact before misspelt, long before short."""
        found: dict[tuple[str, bool], float] = {}
        for variant in words.variants:
            bare = tuple(word for word in variant if word not in self._fillers)
            for length in self._by_length:
                for start in range(len(variant) - length + 1):
                    window = variant[start : start + length]
                    whole = len(window) == len(variant) or window == bare
                    for phrase, score in self._matches(window):
                        key = (phrase, whole)
                        found[key] = max(score, found.get(key, 0.0))
        hits = [
            Hit(payload, phrase, score, whole)
            for (phrase, whole), score in found.items()
            for payload in self._exact[phrase]
        ]
        return sorted(hits, key=lambda hit: (-hit.score, -len(hit.phrase), not hit.whole))

    def _matches(self, window: tuple[str, ...]) -> Iterable[tuple[str, float]]:
        text = " ".join(window)
        if text in self._exact:
            return [(text, 100.0)]
        choices = self._fuzzy.get(len(window), [])
        if not choices or not any(_forgiving(word) for word in window):
            return []
        near = process.extract(text, choices, scorer=fuzz.ratio, score_cutoff=CUTOFF, limit=3)
        return [
            (phrase, score)
            for phrase, score, _ in near
            if all(map(self._same_word, phrase.split(), window))
        ]

    def _same_word(self, known: str, said: str) -> bool:
        if known == said:
            return True
        if said in self._known or not (_forgiving(known) and _forgiving(said)):
            return False
        return fuzz.ratio(known, said, score_cutoff=CUTOFF) > 0


def _forgiving(word: str) -> bool:
    return len(word) > EXACT_LETTERS and not word.isdigit()


# -- language --------------------------------------------------------------------------------------


class Spoken(StrEnum):
    """The language of one message; UNKNOWN when no word tells."""

    SW = "sw"
    EN = "en"
    MIXED = "mixed"
    UNKNOWN = "unknown"


def choose_language(spoken: Spoken, *, sticky: Language | None, default: Language) -> Language:
    """The language to answer in: the message's own, else the conversation's, else the tenant's."""
    if spoken is Spoken.SW:
        return Language.SW
    if spoken is Spoken.EN:
        return Language.EN
    return sticky or default


# -- the vocabulary --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the words of both languages mean; read once from keywords.toml.

    ``order``: intents by precedence, the first that a text contains is its intent.
    """

    order: tuple[str, ...]
    whole_only: frozenset[str]
    index: PhraseIndex[str]
    commands: Mapping[str, frozenset[str]]
    lexicon: Mapping[Language, frozenset[str]]
    shared: frozenset[str]
    known: frozenset[str]
    numbers: Mapping[str, int]
    number_fillers: frozenset[str]
    salutations: Mapping[str, str]

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary of the parsed TOML; its shape is ours, so a fault is a KeyError."""
        intents: Mapping[str, Any] = data["intents"]
        phrases = [
            (phrase, name)
            for name, group in intents.items()
            for key in ("sw", "en", "any")
            for phrase in group.get(key, [])
        ]
        salutations = {
            normalise(phrase): name
            for name, group in data["salutations"].items()
            for phrase in group
        }
        phrases += [(phrase, "greeting") for phrase in salutations]
        shared = frozenset(data["language"]["shared"])
        lexicon = _lexicon(data, shared)
        known = shared.union(data["fillers"], *lexicon.values())
        return cls(
            order=tuple(intents),
            whole_only=frozenset(name for name, group in intents.items() if group.get("whole")),
            index=PhraseIndex(phrases, fillers=frozenset(data["fillers"]), known=known),
            commands={
                name: frozenset(normalise(phrase) for phrase in group)
                for name, group in data["commands"].items()
            },
            lexicon=lexicon,
            shared=shared,
            known=known,
            numbers={normalise(word): number for word, number in data["numbers"].items()},
            number_fillers=frozenset(data["number_fillers"]),
            salutations=salutations,
        )

    def command(self, words: Words) -> str | None:
        """``opt_out`` or ``opt_in`` if the whole message is one of its phrases, letter for
        letter."""
        return next((name for name, said in self.commands.items() if words.text in said), None)

    def intents(self, words: Words) -> list[Hit[str]]:
        """The intents of a text by precedence, each once; whole-only ones only as the whole."""
        best: dict[str, Hit[str]] = {}
        for hit in self.index.find(words):
            if hit.payload in self.whole_only and not hit.whole:
                continue
            kept = best.get(hit.payload)
            if kept is None or (hit.whole and not kept.whole):
                best[hit.payload] = hit
        return sorted(best.values(), key=lambda hit: self.order.index(hit.payload))

    def spoken(self, words: Words) -> Spoken:
        """The language by evidence: one side alone, or twice as much of it as of the other."""
        told = Counter(
            language
            for loose, tight in zip(words.loose, words.tight, strict=True)
            for language in self._languages_of(loose, tight)
        )
        swahili, english = told[Language.SW], told[Language.EN]
        if swahili == english == 0:
            return Spoken.UNKNOWN
        if swahili >= 2 * english:
            return Spoken.SW
        if english >= 2 * swahili:
            return Spoken.EN
        return Spoken.MIXED

    def number(self, words: Words) -> int | None:
        """The number that the message is, such as "2", "namba 2", "mbili" or "number two"."""
        said = [word for word in words.tight if word not in self.number_fillers]
        return self._value(said[0]) if len(said) == 1 else None

    def quantity(self, words: Words) -> int | None:
        """The one number somewhere in the message; None when there is none or several."""
        values = {value for word in words.tight if (value := self._value(word)) is not None}
        return values.pop() if len(values) == 1 else None

    def _value(self, word: str) -> int | None:
        if word.isdigit():
            return int(word) if len(word) <= NUMBER_DIGITS_MAX else None
        return self.numbers.get(word)

    def _languages_of(self, loose: str, tight: str) -> list[Language]:
        if loose in self.shared or tight in self.shared:
            return []
        exact = [
            language
            for language, lexicon in self.lexicon.items()
            if loose in lexicon or tight in lexicon
        ]
        if exact or not _forgiving(loose):
            return exact
        return [
            language
            for language, lexicon in self.lexicon.items()
            if process.extractOne(
                loose,
                [word for word in lexicon if _forgiving(word)],
                scorer=fuzz.ratio,
                score_cutoff=CUTOFF,
            )
        ]


def _lexicon(data: Mapping[str, Any], shared: frozenset[str]) -> Mapping[Language, frozenset[str]]:
    """Words that tell a language: its common ones and those of its phrases, without the shared."""
    words: dict[Language, set[str]] = {}
    for language in Language:
        key = language.value.lower()
        said = list(data["language"][key])
        for group in data["intents"].values():
            said += group.get(key, [])
        words[language] = {word for phrase in said for word in normalise(phrase).split()}
    both = words[Language.SW] & words[Language.EN]
    return {language: frozenset(said - both - shared) for language, said in words.items()}
