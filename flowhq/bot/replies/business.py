"""One tenant's business as the responder needs it: read, checked and indexed once per change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from flowhq.bot.hours import OpeningHours, parse_hours
from flowhq.bot.keywords import PhraseIndex, Vocabulary, Words, normalise
from flowhq.bot.profile import BusinessProfile, Product, Service, parse_profile
from flowhq.bot.replies.state import ListKind
from flowhq.model import Language, TemplateType, TenantSpec

NAMING_LETTERS = 4
"""A single word of an item's name finds the item from this length on."""


@dataclass(frozen=True, slots=True)
class Business:
    """What is answered from. Items are found by name through ``services`` and ``products``."""

    name: str
    template: TemplateType
    language: Language
    hours: OpeningHours
    profile: BusinessProfile
    services: PhraseIndex[int]
    products: PhraseIndex[int]
    questions: PhraseIndex[int]

    @classmethod
    def from_spec(cls, spec: TenantSpec, vocabulary: Vocabulary) -> "Business":
        """InvalidInputError if the stored hours or details cannot be read."""
        profile = parse_profile(spec.details)
        return cls(
            name=spec.business_name,
            template=spec.template,
            language=spec.language,
            hours=parse_hours(spec.hours, timezone=spec.timezone),
            profile=profile,
            services=_item_index([item.name for item in profile.services], vocabulary),
            products=_item_index([item.name for item in profile.products], vocabulary),
            questions=PhraseIndex(
                (keyword, index)
                for index, question in enumerate(profile.faq)
                for keyword in question.keywords
            ),
        )

    @property
    def takes_bookings(self) -> bool:
        return self.template is TemplateType.BOOKING or bool(self.profile.services)

    @property
    def takes_orders(self) -> bool:
        return self.template is TemplateType.ECOMMERCE or bool(self.profile.products)

    @property
    def offering(self) -> ListKind:
        """What "prices" means here: the template's own list, or the only one that there is."""
        first, second = (
            (ListKind.PRODUCTS, ListKind.SERVICES)
            if self.template is TemplateType.ECOMMERCE
            else (ListKind.SERVICES, ListKind.PRODUCTS)
        )
        return second if self.items(second) and not self.items(first) else first

    def items(self, kind: ListKind) -> Sequence[Service | Product]:
        """The services or products; a list of questions has no items."""
        match kind:
            case ListKind.SERVICES:
                return self.profile.services
            case ListKind.PRODUCTS:
                return self.profile.products
            case ListKind.FAQ:
                return ()

    def length(self, kind: ListKind) -> int:
        """Entries of a list."""
        return len(self.profile.faq) if kind is ListKind.FAQ else len(self.items(kind))

    def find_item(self, kind: ListKind, words: Words) -> int | None:
        """The one item that the text names; None when it names none or cannot be told apart."""
        named = self.named_items(kind, words)
        return named.pop() if len(named) == 1 else None

    def named_items(self, kind: ListKind, words: Words) -> set[int]:
        """The items that the text may mean, by the longest part of a name that it has."""
        hits = (self.products if kind is ListKind.PRODUCTS else self.services).find(words)
        longest = max((len(hit.phrase) for hit in hits), default=0)
        return {hit.payload for hit in hits if len(hit.phrase) == longest}

    def money(self, amount: Decimal, currency: str | None = None) -> str:
        """``TZS 15,000``; decimals only when there are some."""
        digits = f"{amount:,.0f}" if amount == amount.to_integral_value() else f"{amount:,.2f}"
        return f"{(currency or self.profile.currency).upper()} {digits}"


def _item_index(names: Sequence[str], vocabulary: Vocabulary) -> PhraseIndex[int]:
    return PhraseIndex(_item_phrases(names, vocabulary.known), known=vocabulary.known)


def _item_phrases(names: Sequence[str], known: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Each name as a whole, and each of its words that says something."""
    for index, name in enumerate(names):
        yield name, index
        for word in normalise(name).split():
            if len(word) >= NAMING_LETTERS and word not in known and not word.isdigit():
                yield word, index
