"""What a business tells its customers: the tenant's ``details`` JSON as frozen models.

Everything is optional; an answer that needs something missing says so politely. Unknown keys,
wrong types and overlong texts are refused with the path of the field.
"""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from flowhq.bot.fields import did_you_mean, kind_of, read_object
from flowhq.errors import InvalidInputError
from flowhq.model import Language

NAME_MAX = 80
TEXT_MAX = 1000
LIST_MAX = 100
KEYWORDS_MAX = 20
PRICE_MAX = 10**12
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,100}\.[^@\s.]{2,24}")
URL = re.compile(r"https?://[^\s<>\"]{3,480}")
PHONE = re.compile(r"\+?[0-9][0-9 ()/-]{2,24}")
CURRENCY = re.compile(r"[A-Za-z]{2,4}")
JSON_KINDS = MappingProxyType(
    {
        "tuple_type": "a list",
        "model_type": "an object",
        "dict_type": "an object",
        "string_type": "a text",
        "bool_type": "true or false",
        "int_type": "a whole number",
    }
)
"""pydantic's names of type mistakes in the words of JSON."""
PLACEHOLDERS = ("business.name",)
"""What a tenant's own greeting may contain as ``${...}``."""


def _printable(text: str) -> str:
    # NUL cannot be stored, a lone surrogate cannot be sent, the others show as nothing.
    if any(unicodedata.category(char) in ("Cc", "Cs") and char != "\n" for char in text):
        raise ValueError("must not contain control characters")
    return text


def _money(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"must be a number such as 15000, not {kind_of(value)}")
    return Decimal(str(value))


def _line(text: str) -> str:
    if "\n" in text:
        raise ValueError("must be one line")
    return text


def _shaped(pattern: re.Pattern[str], words: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(check)


_Clean = AfterValidator(_printable)
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_MAX, strip_whitespace=True),
    _Clean,
    AfterValidator(_line),
]
Text = Annotated[
    str, StringConstraints(min_length=1, max_length=TEXT_MAX, strip_whitespace=True), _Clean
]
Money = Annotated[Decimal, BeforeValidator(_money), Field(ge=0, le=PRICE_MAX, decimal_places=2)]
Currency = Annotated[str, _shaped(CURRENCY, "a currency of 2 to 4 letters such as TZS")]
Phone = Annotated[str, _shaped(PHONE, "a phone number such as +255 712 345 678")]
Url = Annotated[str, _shaped(URL, "a web address that starts with https:// or http://")]
Email = Annotated[str, _shaped(EMAIL, "an e-mail address")]


class _Model(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True
    )


class LocalText(_Model):
    """A text of the tenant's in one or both languages; a plain string serves for both."""

    sw: Text | None = None
    en: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"sw": value, "en": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _not_empty(self) -> "LocalText":
        if self.sw is None and self.en is None:
            raise ValueError("must have a text for 'sw', for 'en' or for both")
        return self

    def said_in(self, language: Language) -> str:
        """The text in this language, else in the other."""
        first, second = (self.sw, self.en) if language is Language.SW else (self.en, self.sw)
        return first or second or ""


class Greeting(LocalText):
    """The tenant's own welcome; may name the business as ``${business.name}``."""

    @model_validator(mode="after")
    def _placeholders(self) -> "Greeting":
        for text in (self.sw, self.en):
            for name in re.findall(r"\$\{([^}]*)\}", text or ""):
                if name not in PLACEHOLDERS:
                    known = ", ".join(PLACEHOLDERS)
                    raise ValueError(f"has an unknown placeholder '{name[:40]}', known: {known}")
        return self


class Service(_Model):
    """Something that is done for a customer, by appointment or not."""

    name: Name
    price: Money | None = None
    currency: Currency | None = None
    duration_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 30)] | None = None
    description: LocalText | None = None


class Product(_Model):
    """Something that is sold. Not ``available``: shown as sold out and not to be ordered."""

    name: Name
    price: Money | None = None
    currency: Currency | None = None
    description: LocalText | None = None
    available: bool = True


class Contact(_Model):
    phone: Phone | None = None
    email: Email | None = None
    address: Text | None = None
    map_url: Url | None = None
    website: Url | None = None


class Delivery(_Model):
    areas: Annotated[tuple[Name, ...], Field(max_length=LIST_MAX, strict=False)] = ()
    fee: Money | None = None
    free_over: Money | None = None
    time: LocalText | None = None
    note: LocalText | None = None


class PaymentMethod(_Model):
    """One way to pay: ``M-Pesa``, ``Till 123456, Mama Asha``; a plain string is only the name."""

    name: Name
    details: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Payment(_Model):
    methods: Annotated[tuple[PaymentMethod, ...], Field(max_length=LIST_MAX, strict=False)] = ()
    note: LocalText | None = None


class Question(_Model):
    """A question that customers ask: found by its keywords, shown in the list by ``question``."""

    question: LocalText | None = None
    keywords: Annotated[
        tuple[Name, ...], Field(min_length=1, max_length=KEYWORDS_MAX, strict=False)
    ]
    answer: LocalText


class Booking(_Model):
    """``lead``: how long ahead to book, in words; ``url``: a page to book on."""

    lead: LocalText | None = None
    note: LocalText | None = None
    url: Url | None = None


class Support(_Model):
    hours_note: LocalText | None = None
    escalation_phone: Phone | None = None


class BusinessProfile(_Model):
    """The whole of ``details``; ``{}`` is a business that has told nothing yet."""

    currency: Currency = "TZS"
    services: Annotated[tuple[Service, ...], Field(max_length=LIST_MAX, strict=False)] = ()
    products: Annotated[tuple[Product, ...], Field(max_length=LIST_MAX, strict=False)] = ()
    contact: Contact = Contact()
    delivery: Delivery | None = None
    payment: Payment | None = None
    faq: Annotated[tuple[Question, ...], Field(max_length=LIST_MAX, strict=False)] = ()
    booking: Booking = Booking()
    support: Support = Support()
    greeting: Greeting | None = None
    closing: LocalText | None = None


def parse_profile(details: object, *, field_name: str = "details") -> BusinessProfile:
    """The profile from a tenant's ``details``; None is an empty one.

    InvalidInputError for the first mistake, with its path such as ``details.services[0].price``.
    """
    if details is None:
        return BusinessProfile()
    content = dict(read_object(details, field_name))
    try:
        return BusinessProfile.model_validate(content)
    except ValidationError as error:
        raise _first_mistake(error, content, field_name) from None


def _first_mistake(
    error: ValidationError, content: Mapping[str, Any], field_name: str
) -> InvalidInputError:
    mistake = dict[str, Any](error.errors(include_url=False, include_input=False)[0])
    path = field_name + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part[:40]}" for part in mistake["loc"]
    )
    if mistake["type"] == "extra_forbidden":
        *parents, key = mistake["loc"]
        known = _keys_at(BusinessProfile, parents)
        return InvalidInputError(
            f"{path.rpartition('.')[0]} has no setting '{str(key)[:40]}'.",
            field=path,
            next_step=did_you_mean(str(key), known) or f"Known: {', '.join(known)}.",
        )
    return InvalidInputError(f"{path} {_in_words(mistake)}.", field=path)


def _in_words(mistake: Mapping[str, Any]) -> str:
    """What must hold of the field, in the words of JSON rather than of Python."""
    limits = mistake.get("ctx", {})
    match mistake["type"]:
        case "missing":
            return "is required"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {limits['max_length']} characters"
        case "too_long":
            return f"must have at most {limits['max_length']} entries"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "less_than_equal":
            return f"must be at most {limits['le']}"
        case "decimal_max_places":
            return f"must have at most {limits['decimal_places']} decimals"
        case "finite_number":
            return "must be a finite number"
        case kind if kind in JSON_KINDS:
            return f"must be {JSON_KINDS[kind]}"
        case _:
            return str(mistake["msg"]).removeprefix("Value error, ")


def _keys_at(model: type[BaseModel], parents: list[int | str]) -> list[str]:
    """The settings known where a path of keys and list positions leads."""
    for part in parents:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = getattr(annotation, "__args__", ())
    return next((model for arg in inner if (model := _model_in(arg)) is not None), None)
