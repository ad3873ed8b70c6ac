"""The answers of one business in one language: profile and hours in, text out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from flowhq.bot.hourwords import opening_words
from flowhq.bot.profile import LocalText, Product, Service
from flowhq.bot.replies.business import Business
from flowhq.bot.replies.catalogue import Catalogue, fill
from flowhq.bot.replies.state import Listing, ListKind
from flowhq.model import TemplateType

PAGE_ITEMS = 10
"""Entries of a list in one message: what fits a phone's screen."""
PAGE_LETTERS = 3000
"""Letters of a list in one message; the frame around it stays below the platform's 4096."""

MENUS = MappingProxyType(
    {
        TemplateType.BOOKING: ("services", "booking", "hours", "contact", "payment", "person"),
        TemplateType.ECOMMERCE: (
            "products",
            "order",
            "delivery",
            "payment",
            "hours",
            "contact",
            "person",
        ),
        TemplateType.SUPPORT: ("problem", "faq", "services", "hours", "contact", "person"),
    }
)
"""Each template's menu: topics in the order of their numbers, from 1."""


def paragraphs(*parts: str) -> str:
    """The parts that say something, a blank line between them."""
    return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that can be told without asking back. Pure; ``now`` is aware."""

    business: Business
    catalogue: Catalogue
    now: datetime

    def say(self, key: str, **values: object) -> str:
        """A text of the catalogue; the business's name is always there for it."""
        return self.catalogue.say(key, **{"business.name": self.business.name, **values})

    def local(self, text: LocalText | None) -> str:
        """The tenant's own text in this language, or nothing."""
        return "" if text is None else text.said_in(self.catalogue.language)

    # -- greeting and menu ---------------------------------------------------------------------

    def welcome(self, salutation: str | None = None) -> str:
        """The tenant's own greeting or ours, after the answer to how the customer greeted."""
        own = self.local(self.business.profile.greeting)
        if own:
            welcome = fill(own, {"business.name": self.business.name})
        else:
            welcome = self.say("greeting.welcome")
        if salutation is None:
            return welcome
        answered = self.say(f"salutation.{salutation}")
        return self.say("greeting.with_salutation", salutation=answered, welcome=welcome)

    def menu(self) -> str:
        """The template's choices, numbered."""
        return "\n".join(
            self.say("menu.line", number=number, label=self.say(f"label.{topic}"))
            for number, topic in enumerate(MENUS[self.business.template], start=1)
        )

    def greeting(self, salutation: str | None = None) -> str:
        """Welcome and menu."""
        return self.say("greeting.menu", welcome=self.welcome(salutation), menu=self.menu())

    def missing(self, topic: str) -> str:
        """Something that the business has not told us: say so, and how to ask a person."""
        phone = self.business.profile.contact.phone
        offer = self.say("missing.offer_phone", phone=phone) if phone else self.say("missing.offer")
        return paragraphs(self.say(f"missing.{topic}"), offer)

    # -- lists ---------------------------------------------------------------------------------

    def pages(self, kind: ListKind) -> list[list[str]]:
        """The list's lines, page by page; [] when there is nothing to list."""
        pages: list[list[str]] = []
        letters = 0
        for line in self._lines(kind):
            if not pages or len(pages[-1]) == PAGE_ITEMS or letters + len(line) > PAGE_LETTERS:
                pages.append([])
                letters = 0
            pages[-1].append(line)
            letters += len(line) + 1
        return pages

    def page(self, kind: ListKind, page: int) -> str:
        """One page's lines with how to turn it, without a heading."""
        pages = self.pages(kind)
        if len(pages) == 1:
            return "\n".join(pages[0])
        turning = [self.say("list.page", page=page + 1, pages=len(pages))]
        if page + 1 < len(pages):
            turning.append(self.say("list.more"))
        if page > 0:
            turning.append(self.say("list.previous"))
        return paragraphs("\n".join(pages[page]), " ".join(turning))

    def listing(self, listing: Listing) -> str:
        """A page of a list with its heading and what a number does."""
        items = self.page(listing.kind, listing.page)
        return paragraphs(
            self.say(f"list.{listing.kind}", items=items),
            self.say(self._picking(listing.kind)),
            self.say("hint.menu"),
        )

    def item(self, kind: ListKind, index: int) -> str:
        """Everything about one service or product."""
        item = self.business.items(kind)[index]
        lines = [self.say("item.name", name=item.name)]
        if item.price is None:
            lines.append(self.say("item.price_unknown"))
        else:
            price = self.business.money(item.price, item.currency)
            lines.append(self.say("item.price", price=price))
        if isinstance(item, Service) and item.duration_minutes:
            lines.append(self.say("item.duration", duration=self._duration(item.duration_minutes)))
        lines.append(self.local(item.description))
        if isinstance(item, Product) and not item.available:
            lines.append(self.say("item.sold_out"))
        return "\n".join(line for line in lines if line)

    def _lines(self, kind: ListKind) -> Iterable[str]:
        if kind is ListKind.FAQ:
            for number, question in enumerate(self.business.profile.faq, start=1):
                name = self.local(question.question) or question.keywords[0]
                yield self.say("list.item", number=number, name=name)
            return
        for number, item in enumerate(self.business.items(kind), start=1):
            if item.price is None:
                line = self.say("list.item", number=number, name=item.name)
            else:
                price = self.business.money(item.price, item.currency)
                line = self.say("list.item_price", number=number, name=item.name, price=price)
            sold_out = isinstance(item, Product) and not item.available
            yield self.say("list.sold_out", line=line) if sold_out else line

    def _picking(self, kind: ListKind) -> str:
        match kind:
            case ListKind.FAQ:
                return "list.pick_faq"
            case ListKind.SERVICES if self.business.template is TemplateType.BOOKING:
                return "list.pick_services"
            case ListKind.PRODUCTS if self.business.template is TemplateType.ECOMMERCE:
                return "list.pick_products"
            case _:
                return "list.pick_details"

    def _duration(self, minutes: int) -> str:
        hours, rest = divmod(minutes, 60)
        if not hours:
            return self.say("item.minutes", minutes=rest)
        if not rest:
            return self.say("item.hours", hours=hours)
        return self.say("item.hours_minutes", hours=hours, minutes=rest)

    # -- topics --------------------------------------------------------------------------------

    def question(self, index: int) -> str:
        """The answer to one of the tenant's own questions."""
        return self.local(self.business.profile.faq[index].answer)

    def hours(self) -> str:
        """Whether open now, and the week."""
        note = self.local(self.business.profile.support.hours_note)
        if self.business.hours.always_open:
            return note or self.missing("hours")
        week = self.say("hours.week", week=self.week())
        return paragraphs(self._open_or_closed(), week, note)

    def week(self) -> str:
        """The week's hours and the holidays near."""
        hours = self.business.hours
        return hours.describe(self.catalogue.language, today=hours.local(self.now).date())

    def opening(self) -> str | None:
        """When it opens next, in words; None when no opening is known."""
        hours = self.business.hours
        opening = hours.next_opening(self.now)
        if opening is None:
            return None
        return opening_words(hours.local(self.now), opening, self.catalogue.language)

    def _open_or_closed(self) -> str:
        if self.business.hours.is_open(self.now):
            return self.say("hours.open_now")
        opening = self.opening()
        if opening is None:
            return self.say("hours.closed_unknown")
        return self.say("hours.closed_now", opening=opening)

    def contact(self) -> str:
        """Every way to reach the business."""
        contact = self.business.profile.contact
        lines = self._told(
            ("contact.phone", "phone", contact.phone),
            ("contact.email", "email", contact.email),
            ("contact.website", "website", contact.website),
            ("contact.address", "address", contact.address),
            ("contact.map", "map", contact.map_url),
            ("contact.escalation", "phone", self.business.profile.support.escalation_phone),
        )
        if not lines:
            return self.missing("contact")
        return "\n".join([self.say("contact.title"), *lines])

    def location(self) -> str:
        """Address and map."""
        contact = self.business.profile.contact
        lines = self._told(
            ("contact.address", "address", contact.address),
            ("contact.map", "map", contact.map_url),
        )
        return "\n".join(lines) if lines else self.missing("location")

    def delivery(self) -> str:
        """Where to, for how much, how long."""
        delivery = self.business.profile.delivery
        if delivery is None:
            return self.missing("delivery")
        lines = [self.say("delivery.title")]
        if delivery.areas:
            lines.append(self.say("delivery.areas", areas=", ".join(delivery.areas)))
        if delivery.fee is not None:
            lines.append(self._fee("delivery.fee", delivery.fee))
        if delivery.free_over is not None:
            amount = self.business.money(delivery.free_over)
            lines.append(self.say("delivery.free_over", amount=amount))
        lines += self._told(("delivery.time", "time", self.local(delivery.time)))
        return paragraphs("\n".join(lines), self.local(delivery.note))

    def payment(self) -> str:
        """The ways to pay."""
        payment = self.business.profile.payment
        if payment is None or not (payment.methods or payment.note):
            return self.missing("payment")
        lines = [
            self.say("payment.method_details", name=method.name, details=method.details)
            if method.details
            else self.say("payment.method", name=method.name)
            for method in payment.methods
        ]
        listed = "\n".join([self.say("payment.title"), *lines]) if lines else ""
        return paragraphs(listed, self.local(payment.note))

    def order_total(self, product: Product, quantity: int) -> str:
        """The lines on money of an order's summary, each ended; nothing without a price."""
        if product.price is None:
            return ""
        total = product.price * quantity
        lines = [self.say("order.total", amount=self.business.money(total, product.currency))]
        delivery = self.business.profile.delivery
        if delivery is not None and delivery.fee is not None:
            free = delivery.free_over is not None and total >= delivery.free_over
            lines.append(self._fee("order.delivery", Decimal(0) if free else delivery.fee))
        return "".join(f"{line}\n" for line in lines)

    def _fee(self, key: str, fee: Decimal) -> str:
        if fee == 0:
            return self.say(f"{key}_free")
        return self.say(key, fee=self.business.money(fee))

    def _told(self, *entries: tuple[str, str, str | None]) -> Sequence[str]:
        return [self.say(key, **{name: value}) for key, name, value in entries if value]
