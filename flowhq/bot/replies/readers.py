"""What a customer's answer means to a dialogue's open step: one reader for each kind of step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from flowhq.bot.hourwords import date_words
from flowhq.bot.keywords import Hit, Vocabulary, Words
from flowhq.bot.profile import Product
from flowhq.bot.replies.answers import Answers
from flowhq.bot.replies.days import TIME_WORDS, find_day, find_time
from flowhq.bot.replies.state import ListKind, Underway

QUANTITY_MAX = 1000
"""Above this a person should talk to the customer."""
SENTENCE_WORDS = 3
"""From this many words on, a name that mentions a topic is a question and no name."""
QUESTIONS = frozenset(
    {
        "contact",
        "delivery",
        "faq",
        "greeting",
        "help",
        "hours",
        "location",
        "payment",
        "person",
        "prices",
        "products",
        "services",
        "thanks",
    }
)
"""Intents that may come in the middle of a dialogue: answered, then asked again."""


class StepKind(StrEnum):
    """What a step asks for; READERS has the reader of each."""

    SERVICE = "service"
    PRODUCT = "product"
    QUANTITY = "quantity"
    DAY = "day"
    TIME = "time"
    NAME = "name"
    PLACE = "place"
    DESCRIPTION = "description"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Step:
    """One question. ``name`` is the answer's key and the end of the question's key in the
    catalogue; ``letters_max`` bounds what is kept of a customer's own words."""

    name: str
    kind: StepKind
    letters_max: int = 100


LISTS: Mapping[StepKind, ListKind] = MappingProxyType(
    {StepKind.SERVICE: ListKind.SERVICES, StepKind.PRODUCT: ListKind.PRODUCTS}
)
"""Steps that choose from a list."""


@dataclass(frozen=True, slots=True)
class Said:
    """A customer's message as the readers see it."""

    text: str
    words: Words
    hits: tuple[Hit[str], ...]
    vocabulary: Vocabulary

    def has(self, *intents: str) -> bool:
        return any(hit.payload in intents for hit in self.hits)

    def whole(self, *intents: str) -> bool:
        """Whether the message is one of these intents and nothing else."""
        return any(hit.whole and hit.payload in intents for hit in self.hits)

    def mentions_topic(self) -> bool:
        """Whether it names a topic, rightly spelt; less certain to be a question."""
        topics = QUESTIONS - {"greeting", "thanks"}
        return any(hit.payload in topics and hit.score == 100 for hit in self.hits)


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer was understood; ``answers`` may fill later steps too."""

    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that cannot be taken; ``text`` says why and asks again."""

    text: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Not an answer to this step, perhaps a question of its own. ``text`` says what would be."""

    text: str


@dataclass(frozen=True, slots=True)
class Turned:
    """Another page of the list to choose from."""

    page: int


Read = Taken | Refused | Missed | Turned
Reader = Callable[[Step, Underway, Said, Answers], Read]


def chosen_item(step: Step, kind: ListKind, index: int, answers: Answers) -> Taken | Refused:
    """The item as the step's answer, unless it is sold out."""
    item = answers.business.items(kind)[index]
    if isinstance(item, Product) and not item.available:
        return Refused(answers.say("complaint.sold_out", name=item.name))
    return Taken({step.name: item.name})


def said_day(said: Said, answers: Answers) -> Mapping[str, str]:
    """Day and time that a message names by the way; a day that cannot be is left to be asked."""
    found = _day(said, answers)
    if found is None or _why_not(found, answers):
        return {}
    return {"day": date_words(found, answers.catalogue.language), **_time(said)}


def said_quantity(said: Said) -> Mapping[str, str]:
    """The quantity that a message names by the way."""
    quantity = said.vocabulary.quantity(said.words)
    if quantity is None or not 0 < quantity <= QUANTITY_MAX:
        return {}
    return {"quantity": str(quantity)}


def _asks(said: Said, answers: Answers) -> bool:
    """Whether it is a question of its own rather than an answer."""
    if said.whole(*QUESTIONS):
        return True
    questions = answers.business.questions
    return "?" in said.text and (said.has(*QUESTIONS) or bool(questions.find(said.words)))


def _read_item(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    kind = LISTS[step.kind]
    if answers.business.length(kind) == 0:
        return _read_text(step, underway, said, answers)
    if said.whole("more") or said.whole("previous"):
        return _turn(kind, underway, said, answers)
    number = said.vocabulary.number(said.words)
    if number is not None:
        index = number - 1 if 0 < number <= answers.business.length(kind) else None
    else:
        index = answers.business.find_item(kind, said.words)
    if index is None:
        return Missed(answers.say("complaint.choice"))
    return chosen_item(step, kind, index, answers)


def _turn(kind: ListKind, underway: Underway, said: Said, answers: Answers) -> Read:
    page = underway.page + (1 if said.whole("more") else -1)
    if 0 <= page < len(answers.pages(kind)):
        return Turned(page)
    return Refused(answers.say("list.no_more" if page > 0 else "list.no_previous"))


def _read_quantity(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    quantity = said.vocabulary.quantity(said.words)
    # "-3" and "2.5" read as words are plain numbers, and not what was meant.
    odd = any(sign in said.text for sign in ("-", ".", ","))
    if quantity is None or odd or not 0 < quantity <= QUANTITY_MAX:
        return Missed(answers.say("complaint.quantity", most=QUANTITY_MAX))
    return Taken({step.name: str(quantity)})


def _read_day(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    if _asks(said, answers) or said.has("hours"):
        return Missed("")
    found = _day(said, answers)
    if found is None:
        return _read_free_day(step, underway, said, answers)
    refusal = _why_not(found, answers)
    if refusal:
        return Refused(refusal)
    return Taken({step.name: date_words(found, answers.catalogue.language), **_time(said)})


def _read_free_day(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    """A day in the customer's own words, such as next week; a bare number or date is none."""
    if said.mentions_topic():
        return Missed("")
    if not _has_letters(said) or said.vocabulary.number(said.words) is not None:
        return Missed(answers.say("complaint.day"))
    return _read_text(step, underway, said, answers)


def _has_letters(said: Said) -> bool:
    return any(char.isalpha() for char in said.text)


def _day(said: Said, answers: Answers) -> date | None:
    today = answers.business.hours.local(answers.now).date()
    return find_day(said.text, said.words, today=today)


def _time(said: Said) -> Mapping[str, str]:
    time = find_time(said.text)
    return {} if time is None else {"time": time}


def _why_not(day: date, answers: Answers) -> str:
    hours = answers.business.hours
    words = date_words(day, answers.catalogue.language)
    if day < hours.local(answers.now).date():
        return answers.say("complaint.past_day", day=words)
    if not hours.on(day):
        return answers.say("complaint.closed_day", day=words, week=answers.week())
    return ""


def _read_text(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    if _asks(said, answers) or said.whole("yes", "no"):
        return Missed("")
    return _own_words(step, said, answers)


def _read_time(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    another = _another_day(step, said, answers)
    if another is not None:
        return another
    names_time = (
        find_time(said.text) is not None
        or any(char.isdigit() for char in said.text)
        or any(word in TIME_WORDS or word in said.vocabulary.numbers for word in said.words.loose)
    )
    if not names_time:
        return Missed("" if _asks(said, answers) else answers.say("complaint.time"))
    return _own_words(step, said, answers)


def _another_day(step: Step, said: Said, answers: Answers) -> Read | None:
    """A day where the time was asked for: the customer changes the day, perhaps both.

    Digits alone are a time, such as "10-11", unless a stroke makes them a date.
    """
    if find_time(said.text) is not None or not (_has_letters(said) or "/" in said.text):
        return None
    found = None if _asks(said, answers) else _day(said, answers)
    if found is None:
        return None
    refusal = _why_not(found, answers)
    if refusal:
        return Refused(refusal)
    taken = {"day": date_words(found, answers.catalogue.language)}
    if not any(word in TIME_WORDS for word in said.words.loose):
        return Taken(taken)
    own = _own_words(step, said, answers)
    return Taken({**taken, **own.answers}) if isinstance(own, Taken) else own


def _read_name(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    sentence = len(said.words.loose) >= SENTENCE_WORDS and said.mentions_topic()
    if sentence or _asks(said, answers) or said.whole("yes", "no"):
        return Missed("")
    if not _has_letters(said):
        return Missed(answers.say("complaint.empty"))
    return _own_words(step, said, answers)


def _read_description(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    if said.whole("greeting", "thanks", "help", "yes"):
        return Missed("")
    return _own_words(step, said, answers)


def _own_words(step: Step, said: Said, answers: Answers) -> Read:
    text = " ".join(said.text.split())
    if not said.words:
        return Missed(answers.say("complaint.empty"))
    if len(text) > step.letters_max:
        return Refused(answers.say("complaint.too_long", most=step.letters_max))
    return Taken({step.name: text})


def _read_confirm(step: Step, underway: Underway, said: Said, answers: Answers) -> Read:
    if said.whole("yes"):
        return Taken({step.name: "yes"})
    if said.whole("no"):
        return Taken({step.name: "no"})
    return Missed(answers.say("complaint.confirm"))


READERS: Mapping[StepKind, Reader] = MappingProxyType(
    {
        StepKind.SERVICE: _read_item,
        StepKind.PRODUCT: _read_item,
        StepKind.QUANTITY: _read_quantity,
        StepKind.DAY: _read_day,
        StepKind.TIME: _read_time,
        StepKind.NAME: _read_name,
        StepKind.PLACE: _read_text,
        StepKind.DESCRIPTION: _read_description,
        StepKind.CONFIRM: _read_confirm,
    }
)
