"""Questions answered at once: topics, lists, items, the tenant's own questions, a person."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from flowhq.bot.profile import Product
from flowhq.bot.replies.answers import Answers, paragraphs
from flowhq.bot.replies.state import Handoff, Listing, ListKind
from flowhq.bot.replies.turns import Scene, Turn
from flowhq.model import TemplateType

PLAIN: Mapping[str, Callable[[Answers], str]] = MappingProxyType(
    {
        "hours": Answers.hours,
        "contact": Answers.contact,
        "location": Answers.location,
        "delivery": Answers.delivery,
        "payment": Answers.payment,
    }
)
"""Topics that are one text."""
OFFERS = ("prices", "services", "products")


def plain_topic(scene: Scene, topic: str) -> Turn:
    """A topic of PLAIN."""
    text = paragraphs(PLAIN[topic](scene.answers), scene.answers.say("hint.menu"))
    return scene.answer(text, topic, tells_hours=topic == "hours")


def offer(scene: Scene, topic: str) -> Turn:
    """A topic of OFFERS: the list meant, or the only one that the business has."""
    kind = scene.business.offering if topic == "prices" else ListKind(topic)
    if scene.business.length(kind) == 0:
        kind = scene.business.offering
    return replace(listed(scene, kind), intent=topic)


def listed(scene: Scene, kind: ListKind) -> Turn:
    """The first page of a list; a number then picks from it."""
    if scene.business.length(kind) == 0:
        return scene.answer(scene.answers.missing(kind), kind)
    listing = Listing(kind)
    return scene.answer(scene.answers.listing(listing), kind, listing=listing)


def page_turned(scene: Scene, listing: Listing) -> Turn:
    """The next or previous page of the list shown, as the message asks."""
    page = listing.page + (1 if scene.said.whole("more") else -1)
    if 0 <= page < len(scene.answers.pages(listing.kind)):
        listing = replace(listing, page=page)
        return scene.answer(scene.answers.listing(listing), listing.kind, listing=listing)
    text = scene.answers.say("list.no_more" if page > 0 else "list.no_previous")
    text = paragraphs(text, scene.answers.say("hint.menu"))
    return scene.answer(text, listing.kind, listing=listing)


def named_item(scene: Scene) -> tuple[ListKind, int] | None:
    """The service or product that the message names, the template's own kind first."""
    first = scene.business.offering
    second = ListKind.SERVICES if first is ListKind.PRODUCTS else ListKind.PRODUCTS
    for kind in (first, second):
        index = scene.business.find_item(kind, scene.said.words)
        if index is not None:
            return kind, index
    return None


def item_details(scene: Scene, kind: ListKind, index: int) -> Turn:
    """Everything about one item and how to get it; a number then picks from its list."""
    template, how = scene.business.template, ""
    if kind is ListKind.SERVICES and template is TemplateType.BOOKING:
        how = scene.answers.say("item.book", number=index + 1)
    item = scene.business.items(kind)[index]
    sold_out = isinstance(item, Product) and not item.available
    if kind is ListKind.PRODUCTS and template is TemplateType.ECOMMERCE and not sold_out:
        how = scene.answers.say("item.order", number=index + 1)
    text = paragraphs(scene.answers.item(kind, index), how, scene.answers.say("hint.menu"))
    return scene.answer(text, "item", listing=Listing(kind))


def own_question(scene: Scene) -> int | None:
    """The tenant's own question that the message asks."""
    hits = scene.business.questions.find(scene.said.words)
    return hits[0].payload if hits else None


def own_answer(scene: Scene, index: int, *, listing: Listing | None = None) -> Turn:
    """The tenant's answer to one of its own questions."""
    text = paragraphs(scene.answers.question(index), scene.answers.say("hint.menu"))
    return scene.answer(text, "faq_answer", listing=listing)


def menu(scene: Scene) -> Turn:
    """The menu; it also ends talking to a person."""
    text = scene.answers.say("menu.again", menu=scene.answers.menu())
    return scene.answer(text, "menu", handoff=Handoff.NONE)


def person(scene: Scene) -> Turn:
    """A person was asked for: the intent ``handoff`` tells whoever watches."""
    answers, profile = scene.answers, scene.business.profile
    opening = answers.opening()
    if scene.business.hours.is_open(answers.now):
        text = answers.say("person.open")
    elif opening is None:
        text = answers.say("person.closed_unknown")
    else:
        text = answers.say("person.closed", opening=opening)
    phone = profile.support.escalation_phone or profile.contact.phone
    text = paragraphs(text, answers.say("person.phone", phone=phone) if phone else "")
    return scene.answer(text, "handoff", handoff=Handoff.OPEN, tells_hours=True)


def small_talk(scene: Scene, intent: str, phrase: str) -> Turn:
    """Greeting, thanks, good-bye, yes and no without a question."""
    answers = scene.answers
    match intent:
        case "greeting":
            salutation = scene.said.vocabulary.salutations.get(phrase)
            return scene.answer(answers.greeting(salutation), "greeting")
        case "thanks":
            return scene.answer(answers.say("thanks.answer"), "thanks")
        case "bye":
            closing = answers.local(scene.business.profile.closing)
            return scene.answer(closing or answers.say("bye.answer"), "bye")
        case _:
            return scene.answer(answers.say("ack.answer"), "ack")
