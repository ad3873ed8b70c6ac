"""The dialogues that ask back: a booking, an order, a report. The table at the head says all that
differs between them; what an answer means is in readers.py.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from flowhq.bot.replies.answers import Answers, paragraphs
from flowhq.bot.replies.readers import (
    LISTS,
    READERS,
    Read,
    Refused,
    Said,
    Step,
    StepKind,
    Taken,
    chosen_item,
    said_day,
    said_quantity,
)
from flowhq.bot.replies.state import ListKind, Underway
from flowhq.model import MessageId

REFERENCE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without those that are mistaken for one another when read aloud or written down."""
REFERENCE_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Steps in their order; ``done`` is the intent and reason when the last one is answered."""

    name: str
    done: str
    steps: tuple[Step, ...]


DIALOGUES: Mapping[str, Dialogue] = MappingProxyType(
    {
        "booking": Dialogue(
            "booking",
            "booking_requested",
            (
                Step("service", StepKind.SERVICE),
                Step("day", StepKind.DAY),
                Step("time", StepKind.TIME),
                Step("name", StepKind.NAME),
                Step("confirm", StepKind.CONFIRM),
            ),
        ),
        "order": Dialogue(
            "order",
            "order_placed",
            (
                Step("product", StepKind.PRODUCT),
                Step("quantity", StepKind.QUANTITY),
                Step("name", StepKind.NAME),
                Step("place", StepKind.PLACE, letters_max=300),
                Step("confirm", StepKind.CONFIRM),
            ),
        ),
        "problem": Dialogue(
            "problem",
            "problem_reported",
            (Step("description", StepKind.DESCRIPTION, letters_max=2000),),
        ),
    }
)


def reference(message_id: MessageId) -> str:
    """A short number to quote, always the same for the same message."""
    number = int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8], "big")
    letters = []
    for _ in range(REFERENCE_LENGTH):
        number, rest = divmod(number, len(REFERENCE_LETTERS))
        letters.append(REFERENCE_LETTERS[rest])
    return "".join(letters)


def begin(
    name: str, said: Said, answers: Answers, *, picked: int | None = None
) -> Underway | Refused:
    """A dialogue at its first open question, with what the message answered already.

    ``picked`` is the item chosen from a list; then the message says nothing more. Refused when
    the item cannot be had.
    """
    first = DIALOGUES[name].steps[0]
    found: dict[str, str] = {}
    if first.kind in LISTS:
        kind = LISTS[first.kind]
        index = answers.business.find_item(kind, said.words) if picked is None else picked
        read = Taken({}) if index is None else chosen_item(first, kind, index, answers)
        if isinstance(read, Refused):
            return read
        found |= read.answers
    if picked is None:
        found |= said_day(said, answers) if name == "booking" else {}
        found |= said_quantity(said) if name == "order" and found else {}
    return _next_step(Underway(name, first.name, found))


def read_answer(underway: Underway, said: Said, answers: Answers) -> Read:
    """What the message means to the open step."""
    step = _step(underway)
    return READERS[step.kind](step, underway, said, answers)


def proceed(underway: Underway, taken: Taken) -> Underway | None:
    """The dialogue with these answers, at its next open step; None when none is open."""
    answered = replace(underway, answers={**underway.answers, **taken.answers}, page=0)
    return _next_step(answered) if _open_steps(answered) else None


def ask(underway: Underway, answers: Answers) -> str:
    """The question of the open step."""
    step = _step(underway)
    key = f"{underway.name}.ask_{step.name}"
    if step.kind in LISTS:
        kind = LISTS[step.kind]
        if answers.business.length(kind) == 0:
            return answers.say(f"{key}_free")
        return answers.say(key, items=answers.page(kind, underway.page))
    question = answers.say(key, **summary(underway, answers))
    if step.kind is StepKind.DAY:
        booking = answers.business.profile.booking
        page = answers.say("booking.page", url=booking.url) if booking.url else ""
        return paragraphs(answers.local(booking.lead), question, page)
    return question


def summary(underway: Underway, answers: Answers) -> dict[str, str]:
    """The answers so far and, for an order, the lines on money."""
    values = dict(underway.answers)
    if underway.name == "order":
        values["total"] = ""
        for product in answers.business.profile.products:
            if product.name == values.get("product") and "quantity" in values:
                values["total"] = answers.order_total(product, int(values["quantity"]))
    return values


def is_known(underway: Underway) -> bool:
    """Whether the dialogue and its step still exist: a state may be older than the program."""
    dialogue = DIALOGUES.get(underway.name)
    return dialogue is not None and any(step.name == underway.step for step in dialogue.steps)


def list_of_first(name: str) -> ListKind | None:
    """The list that a dialogue's first step chooses from, if it does."""
    return LISTS.get(DIALOGUES[name].steps[0].kind)


def _step(underway: Underway) -> Step:
    return next(step for step in DIALOGUES[underway.name].steps if step.name == underway.step)


def _open_steps(underway: Underway) -> list[Step]:
    return [step for step in DIALOGUES[underway.name].steps if step.name not in underway.answers]


def _next_step(underway: Underway) -> Underway:
    return replace(underway, step=_open_steps(underway)[0].name)
