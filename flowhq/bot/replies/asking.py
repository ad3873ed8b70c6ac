"""Turns of the dialogues: begin, take an answer, ask again, answer a question in between, end."""

from dataclasses import replace

from flowhq.bot.replies.answers import paragraphs
from flowhq.bot.replies.dialogues import (
    DIALOGUES,
    ask,
    begin,
    is_known,
    list_of_first,
    proceed,
    read_answer,
    reference,
    summary,
)
from flowhq.bot.replies.readers import LISTS, QUESTIONS, Missed, Refused, Taken, Turned
from flowhq.bot.replies.state import Listing, Underway
from flowhq.bot.replies.topics import (
    OFFERS,
    PLAIN,
    named_item,
    own_question,
)
from flowhq.bot.replies.turns import Scene, Turn

OFFER_PERSON_AFTER = 2
"""Answers in a row that were not understood before a person is offered."""
REPORT_WORDS = 8
"""A message about a problem of at least this many words is the report itself."""


def start(scene: Scene, name: str, *, picked: int | None = None) -> Turn:
    """The dialogue's first open question; what the message said already is not asked."""
    business = scene.business
    offered = {"booking": business.takes_bookings, "order": business.takes_orders}
    if not offered.get(name, True):
        return scene.answer(scene.answers.missing(name), name)
    if name == "problem" and len(scene.said.words.loose) >= REPORT_WORDS:
        underway = Underway(name, DIALOGUES[name].steps[0].name)
        return answered(replace(scene, state=replace(scene.state, dialogue=underway)), underway)
    begun = begin(name, scene.said, scene.answers, picked=picked)
    if isinstance(begun, Refused):
        kind = list_of_first(name)
        text = paragraphs(begun.text, scene.answers.say("hint.menu"))
        return scene.answer(text, name, listing=Listing(kind) if kind else None)
    return _asked(scene, begun, _chosen_before(scene, begun))


def answered(scene: Scene, underway: Underway) -> Turn:
    """What the message does to the dialogue under way."""
    read = read_answer(underway, scene.said, scene.answers)
    match read:
        case Taken():
            return _taken(scene, underway, read)
        case Turned(page):
            return _asked(scene, replace(underway, page=page))
        case Refused(text):
            return _not_taken(scene, underway, text)
        case Missed(text):
            return _interrupted(scene, underway) or _not_taken(scene, underway, text)


def open_dialogue(scene: Scene) -> Underway | None:
    """The dialogue that waits for an answer, if it still exists."""
    underway = scene.state.dialogue
    return underway if underway is not None and is_known(underway) else None


def cancelled(scene: Scene, underway: Underway) -> Turn:
    """The customer does not want it after all."""
    text = scene.answers.say(f"{underway.name}.cancelled")
    return scene.answer(paragraphs(text, scene.answers.say("hint.menu")), "cancelled")


def _asked(scene: Scene, underway: Underway, before: str = "") -> Turn:
    text = paragraphs(before, ask(underway, scene.answers))
    turn = scene.answer(text, underway.name)
    return replace(turn, state=replace(turn.state, dialogue=underway))


def _chosen_before(scene: Scene, begun: Underway) -> str:
    """The details of the item that the message named or picked."""
    kind = list_of_first(begun.name)
    if kind is None:
        return ""
    chosen = begun.answers.get(DIALOGUES[begun.name].steps[0].name)
    names = [item.name for item in scene.business.items(kind)]
    return scene.answers.item(kind, names.index(chosen)) if chosen in names else ""


def _taken(scene: Scene, underway: Underway, taken: Taken) -> Turn:
    further = proceed(underway, taken)
    if further is not None:
        first = DIALOGUES[further.name].steps[0].name
        return _asked(
            scene, further, _chosen_before(scene, further) if first in taken.answers else ""
        )
    if taken.answers.get("confirm") == "no":
        return cancelled(scene, underway)
    return _done(scene, replace(underway, answers={**underway.answers, **taken.answers}))


def _done(scene: Scene, underway: Underway) -> Turn:
    """The request is complete: kept in the state, and answered with its reference."""
    answers, profile = scene.answers, scene.business.profile
    number = reference(scene.message_id)
    values = {**summary(underway, answers), "reference": number}
    text = answers.say(f"{underway.name}.done", **values)
    if underway.name == "booking":
        text = paragraphs(text, answers.local(profile.booking.note))
    if underway.name == "problem" and profile.support.escalation_phone:
        phone = profile.support.escalation_phone
        text = paragraphs(text, answers.say("person.phone", phone=phone))
    kept = {key: value for key, value in underway.answers.items() if key != "confirm"}
    request = {
        "kind": underway.name,
        "reference": number,
        "at": answers.now.isoformat(),
        **kept,
    }
    turn = scene.answer(text, DIALOGUES[underway.name].done)
    return replace(turn, state=turn.state.with_request(request))


def _not_taken(scene: Scene, underway: Underway, text: str) -> Turn:
    """Why the answer cannot be taken, or the question again; a person after the second time."""
    if not text:
        return _asked(scene, underway)
    misses = scene.state.unknowns + 1
    hint = "hint.person" if misses >= OFFER_PERSON_AFTER else "hint.menu"
    state = replace(scene.state, dialogue=underway, listing=None, unknowns=misses)
    return Turn(paragraphs(text, scene.answers.say(hint)), underway.name, state)


def _interrupted(scene: Scene, underway: Underway) -> Turn | None:
    """An answer to the question that came instead, and then our own question again."""
    for hit in scene.said.hits:
        if hit.payload in DIALOGUES and hit.payload != underway.name:
            return start(scene, hit.payload)
        text = _told(scene, hit.payload) if hit.payload in QUESTIONS else ""
        if text and hit.payload in OFFERS and _shows_list(scene, underway):
            return replace(_asked(scene, underway), intent=hit.payload)
        if text:
            return replace(_asked(scene, underway, text), intent=hit.payload)
    index = own_question(scene)
    if index is None:
        return None
    text = scene.answers.question(index)
    return replace(_asked(scene, underway, text), intent="faq_answer")


def _shows_list(scene: Scene, underway: Underway) -> bool:
    """Whether our own question is the very list that was asked for."""
    step = DIALOGUES[underway.name].steps[0]
    listed = LISTS.get(step.kind) == scene.business.offering and underway.step == step.name
    return listed and named_item(scene) is None


def _told(scene: Scene, intent: str) -> str:
    answers = scene.answers
    if intent in PLAIN:
        return PLAIN[intent](answers)
    if intent in OFFERS:
        named = named_item(scene)
        kind = named[0] if named else scene.business.offering
        if named:
            return answers.item(kind, named[1])
        return answers.page(kind, 0) if scene.business.length(kind) else answers.missing(kind)
    if intent == "thanks":
        return answers.say("thanks.answer")
    return ""
