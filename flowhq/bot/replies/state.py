"""What the bot remembers of one conversation between two messages, as JSON in and out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from flowhq.model import Language

VERSION = 1
"""Of the JSON; a state of another version is forgotten, which costs a customer one menu."""
IDLE = timedelta(hours=4)
"""After this long without a message a half-finished dialogue is over."""
REQUESTS_KEPT = 5
"""Bookings, orders and reports kept in the state, the newest last; bounds the row."""


class ListKind(StrEnum):
    SERVICES = "services"
    PRODUCTS = "products"
    FAQ = "faq"


@dataclass(frozen=True, slots=True)
class Listing:
    """The list that a number refers to, and the page shown last."""

    kind: ListKind
    page: int = 0


@dataclass(frozen=True, slots=True)
class Underway:
    """A dialogue that waits for the answer to its step. ``page``: of a list to choose from."""

    name: str
    step: str
    answers: Mapping[str, str] = field(default_factory=dict)
    page: int = 0


class Handoff(StrEnum):
    """Whether a person was asked for: OPEN waits for the message, NOTED has one."""

    NONE = ""
    OPEN = "open"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class State:
    """Between two messages. The first five fields outlive an idle conversation.

    ``closed_until``: opening time told in the closed notice, "" when none was given and "never"
    when no opening is known.
    """

    at: datetime | None = None
    language: Language | None = None
    greeted: bool = False
    closed_until: str = ""
    requests: tuple[Mapping[str, str], ...] = ()
    expired: bool = False
    listing: Listing | None = None
    dialogue: Underway | None = None
    unknowns: int = 0
    text_only: bool = False
    handoff: Handoff = Handoff.NONE

    @property
    def fresh(self) -> bool:
        """The conversation begins here, for the first time or anew."""
        return self.expired or not self.greeted

    def with_request(self, request: Mapping[str, str]) -> "State":
        """The state with one more request, the oldest dropped beyond the limit."""
        return replace(self, requests=(*self.requests, request)[-REQUESTS_KEPT:])

    def to_json(self, at: datetime) -> dict[str, Any]:
        """The state as JSON, stamped with the time of its last message; defaults left out."""
        content: dict[str, Any] = {"v": VERSION, "at": at.isoformat()}
        if self.language is not None:
            content["language"] = self.language.value
        if self.listing is not None:
            content["listing"] = {"kind": self.listing.kind.value, "page": self.listing.page}
        if self.dialogue is not None:
            content["dialogue"] = {
                "name": self.dialogue.name,
                "step": self.dialogue.step,
                "answers": dict(self.dialogue.answers),
                "page": self.dialogue.page,
            }
        if self.requests:
            content["requests"] = [dict(request) for request in self.requests]
        plain = {
            "greeted": self.greeted,
            "closed_until": self.closed_until,
            "unknowns": self.unknowns,
            "text_only": self.text_only,
            "handoff": self.handoff.value,
        }
        return content | {key: value for key, value in plain.items() if value}


def read_state(content: Mapping[str, Any], now: datetime) -> State:
    """The state as it stands now: an idle one keeps only what lasts, an unreadable one is new."""
    if content.get("v") != VERSION:
        return State()
    try:
        state = _read(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        return State()
    if state.at is None or now - state.at <= IDLE:
        return state
    return State(
        at=state.at,
        language=state.language,
        greeted=state.greeted,
        closed_until=state.closed_until,
        requests=state.requests,
        expired=True,
    )


def _read(content: Mapping[str, Any]) -> State:
    listing, dialogue = content.get("listing"), content.get("dialogue")
    at = datetime.fromisoformat(content["at"])
    if at.tzinfo is None:
        raise ValueError("a state's time has a zone")
    return State(
        at=at,
        language=Language(content["language"]) if "language" in content else None,
        greeted=bool(content.get("greeted")),
        closed_until=str(content.get("closed_until", "")),
        requests=tuple(dict(request) for request in content.get("requests", ())),
        listing=Listing(ListKind(listing["kind"]), int(listing["page"])) if listing else None,
        dialogue=(
            Underway(
                str(dialogue["name"]),
                str(dialogue["step"]),
                {str(key): str(value) for key, value in dialogue["answers"].items()},
                int(dialogue["page"]),
            )
            if dialogue
            else None
        ),
        unknowns=int(content.get("unknowns", 0)),
        text_only=bool(content.get("text_only")),
        handoff=Handoff(content.get("handoff", "")),
    )
