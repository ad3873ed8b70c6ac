"""One turn of a conversation: what is answered to one text, and the state after it.

``answer_text`` is the order of precedence: what ends everything (menu, a person) comes before the
open dialogue, the dialogue before lists and menus, the tenant's own questions before ours.
"""

from collections.abc import Callable
from dataclasses import replace

from flowhq.bot.replies.answers import MENUS, paragraphs
from flowhq.bot.replies.asking import (
    OFFER_PERSON_AFTER,
    answered,
    cancelled,
    open_dialogue,
    start,
)
from flowhq.bot.replies.dialogues import DIALOGUES
from flowhq.bot.replies.state import Handoff, ListKind
from flowhq.bot.replies.topics import (
    OFFERS,
    PLAIN,
    item_details,
    listed,
    menu,
    named_item,
    offer,
    own_answer,
    own_question,
    page_turned,
    person,
    plain_topic,
    small_talk,
)
from flowhq.bot.replies.turns import Scene, Turn
from flowhq.model import TemplateType

UNANSWERED = "waiting_for_person"
"""Reason of a silent turn: the customer's message is for the person asked for."""
NOTHING_SAID = "nothing_said"


def answer_text(scene: Scene) -> Turn:
    """The turn of a customer's text. Pure; the first step that has an answer gives it."""
    turn = next(turn for step in PRECEDENCE if (turn := step(scene)) is not None)
    state = replace(turn.state, greeted=True, expired=False, text_only=False)
    if scene.state.greeted or not turn.text or turn.intent == "greeting":
        return replace(turn, state=state)
    return replace(turn, state=state, text=paragraphs(_welcome(scene), turn.text))


def _welcome(scene: Scene) -> str:
    salutations = scene.said.vocabulary.salutations
    greeted = [hit.phrase for hit in scene.said.hits if hit.payload == "greeting"]
    return scene.answers.welcome(salutations.get(greeted[0]) if greeted else None)


def _nothing_said(scene: Scene) -> Turn | None:
    """Only signs and pictures: nothing to answer, except at a beginning or to a "?"."""
    if scene.said.words or "?" in scene.said.text or open_dialogue(scene) or scene.state.fresh:
        return None
    return scene.silence(NOTHING_SAID)


def _back(scene: Scene) -> Turn | None:
    underway = open_dialogue(scene)
    if underway is not None and scene.said.whole("cancel"):
        return cancelled(scene, underway)
    zero = scene.said.vocabulary.number(scene.said.words) == 0
    return menu(scene) if zero or scene.said.whole("menu", "cancel") else None


def _person_asked(scene: Scene) -> Turn | None:
    in_dialogue = open_dialogue(scene) is not None
    if scene.said.whole("person", "person_word"):
        return person(scene)
    if not in_dialogue and scene.said.has("person"):
        # Asked already: "call me at noon" is the message that we asked for.
        return _left(scene) if scene.state.handoff is Handoff.OPEN else person(scene)
    offered = scene.state.unknowns >= OFFER_PERSON_AFTER and not in_dialogue
    return person(scene) if offered and scene.said.whole("yes") else None


def _dialogue_answered(scene: Scene) -> Turn | None:
    underway = open_dialogue(scene)
    return None if underway is None else answered(scene, underway)


def _list_answered(scene: Scene) -> Turn | None:
    listing = scene.state.listing
    if listing is None:
        return None
    if scene.said.whole("more") or scene.said.whole("previous"):
        return page_turned(scene, listing)
    number = scene.said.vocabulary.number(scene.said.words)
    if number is None:
        return None
    last = scene.business.length(listing.kind)
    if not 0 < number <= last:
        text = scene.answers.say("list.out_of_range", number=number, last=last)
        return scene.answer(text, "out_of_range", listing=listing)
    template = scene.business.template
    if listing.kind is ListKind.FAQ:
        return own_answer(scene, number - 1, listing=listing)
    if listing.kind is ListKind.SERVICES and template is TemplateType.BOOKING:
        return start(scene, "booking", picked=number - 1)
    if listing.kind is ListKind.PRODUCTS and template is TemplateType.ECOMMERCE:
        return start(scene, "order", picked=number - 1)
    return item_details(scene, listing.kind, number - 1)


def _menu_answered(scene: Scene) -> Turn | None:
    number = scene.said.vocabulary.number(scene.said.words)
    if number is None:
        return None
    topics = MENUS[scene.business.template]
    if 0 < number <= len(topics):
        return _topic(scene, topics[number - 1])
    answers = scene.answers
    text = answers.say("menu.out_of_range", number=number, last=len(topics), menu=answers.menu())
    return scene.answer(text, "out_of_range")


def _own_question(scene: Scene) -> Turn | None:
    index = own_question(scene)
    return None if index is None else own_answer(scene, index)


def _intent(scene: Scene) -> Turn | None:
    for hit in scene.said.hits:
        named = named_item(scene) if hit.payload in (*OFFERS, "greeting", "thanks") else None
        if named is not None:
            return item_details(scene, *named)
        if hit.payload == "help" and scene.business.template is TemplateType.SUPPORT:
            return start(scene, "problem")
        if hit.payload == "help":
            return menu(scene)
        if hit.payload in ("greeting", "thanks", "bye", "yes", "no"):
            return small_talk(scene, hit.payload, hit.phrase)
        if hit.payload in MEANT:
            return _topic(scene, hit.payload)
    return None


def _topic(scene: Scene, topic: str) -> Turn:
    """A topic of the menus or an intent of the same name."""
    if topic in PLAIN:
        return plain_topic(scene, topic)
    if topic in OFFERS:
        return offer(scene, topic)
    if topic in DIALOGUES:
        return start(scene, topic)
    return person(scene) if topic == "person" else listed(scene, ListKind(topic))


def _item_named(scene: Scene) -> Turn | None:
    named = named_item(scene)
    if named is not None:
        return item_details(scene, *named)
    unsure = [kind for kind in ITEMS if scene.business.named_items(kind, scene.said.words)]
    return listed(scene, unsure[0]) if unsure else None


def _left(scene: Scene) -> Turn:
    """The customer's message for a person is acknowledged, once."""
    text = scene.answers.say("person.noted")
    return scene.answer(text, "message_left", handoff=Handoff.NOTED)


def _not_understood(scene: Scene) -> Turn:
    answers, state = scene.answers, scene.state
    if state.handoff is Handoff.OPEN:
        return _left(scene)
    if state.handoff is Handoff.NOTED:
        return scene.silence(UNANSWERED)
    if state.fresh:
        return scene.answer(answers.greeting(), "greeting")
    unknowns = state.unknowns + 1
    key = "unknown.again" if unknowns >= OFFER_PERSON_AFTER else "unknown.first"
    turn = scene.answer(answers.say(key), "unknown", listing=state.listing)
    return replace(turn, state=replace(turn.state, unknowns=unknowns))


ITEMS = (ListKind.PRODUCTS, ListKind.SERVICES)
MEANT = frozenset({*PLAIN, *OFFERS, *DIALOGUES, "faq", "person"})
"""Intents that are topics."""
PRECEDENCE: tuple[Callable[[Scene], Turn | None], ...] = (
    _nothing_said,
    _back,
    _person_asked,
    _dialogue_answered,
    _list_answered,
    _menu_answered,
    _own_question,
    _intent,
    _item_named,
    _not_understood,
)
