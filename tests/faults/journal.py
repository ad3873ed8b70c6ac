"""What happened outside of the daemon, read from a journal: who wrote what, which pages came and
what they read, what reached the customers.

An entry begins with its kind, the tenant, the chat and an id ("" where there is none) and ends with
``when``, in seconds that all processes of the machine share:

``("in", tenant, chat, id, from_me, t, text, when)``: a message came to be; ``t`` is its own time.
``("told", tenant, chat, id, text, when)``: a page was told of one that is in no store.
``("out", tenant, chat, id, text, when)``: one of the daemon's reached its customer.
``("page", tenant, "", "", when)``: a page began; its readings are entries of their own.
``("online", tenant, "", "", when)``: a page began whose readings nobody sees.
``("read", tenant, chat, "", when)``: the page's store of a chat was read, as it was then.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

Key = tuple[str, str]
"""Tenant and message id."""
Entry = Sequence[Any]

NEVER = 1 << 62
# The peer may tell of a message only after the next one (`Habits.swaps`).
LATE_BY = 1


@dataclass(frozen=True, slots=True)
class Said:
    """A message, by the customer or by the owner. ``at``: its place in the journal. ``number``: its
    place among all that customers wrote to the tenant."""

    message_id: str
    text: str
    at: int
    t: float
    number: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """What reached the customer."""

    message_id: str
    text: str
    at: int


@dataclass
class Chat:
    """One customer's chat as the platform saw it, in order."""

    asked: list[Said] = field(default_factory=list)
    by_owner: list[Said] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    readings: list[int] = field(default_factory=list)


@dataclass
class Shop:
    """One tenant.

    A reply by a page to what came after all that this page read is a proof: the daemon takes what
    a page tells in order, so all that came before that question is recorded by then.
    """

    chats: dict[str, Chat] = field(default_factory=lambda: defaultdict(Chat))
    questions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Chat and text of all that the daemon can know of, by id."""
    asked: dict[str, Said] = field(default_factory=dict)
    _proofs: list[int] = field(default_factory=list)
    """For each number the place of the first reply that proves it, later the first of it and all
    after it."""
    _readings: list[int] = field(default_factory=list)
    """In which any chat may have been read."""
    _known_from: int = -1
    """The last place at which a page began or read."""
    _unseen_since: int = NEVER
    """Where a page began whose readings nobody sees, as long as it may be reading."""

    def take(self, at: int, entry: Entry, cause: str | None) -> None:
        """``cause``: why the message of an ``out`` was sent."""
        kind, _, jid, message_id, *rest = entry
        match kind:
            case "in":
                self._said(at, jid, message_id, *rest)
            case "told":
                self.questions.setdefault(message_id, (jid, rest[0]))
            case "out":
                self.chats[jid].arrived.append(Arrived(message_id, rest[0], at))
                self._prove(at, self.asked.get(cause) if cause else None)
            case "read":
                self.chats[jid].readings.append(at)
                self._known_from = at
            case "page" | "online":
                self._known_from = at
                self._unseen_since = at if kind == "online" else NEVER
            case _:
                raise ValueError(f"no such entry: {kind}")

    def seal(self) -> None:
        """Nothing more is taken: from now on `recorded_by` can be asked."""
        for number in range(len(self._proofs) - 2, -1, -1):
            self._proofs[number] = min(self._proofs[number], self._proofs[number + 1])

    def recorded_by(self, said: Said) -> int:
        """The place at which it is proved that this one is recorded; NEVER without a proof."""
        number = said.number + LATE_BY + 1
        return self._proofs[number] if number < len(self._proofs) else NEVER

    def was_read(self, jid: str, after: int, before: int) -> bool:
        """Whether the chat was, or may have been, read in between."""
        return any(
            (place := bisect_right(readings, after)) < len(readings) and readings[place] < before
            for readings in (self.chats[jid].readings, self._readings)
        )

    def _said(
        self, at: int, jid: str, message_id: str, from_me: bool, t: float, text: str, *_: Any
    ) -> None:
        if from_me:
            self.chats[jid].by_owner.append(Said(message_id, text, at, t, len(self._proofs)))
        elif message_id not in self.asked:
            said = Said(message_id, text, at, t, len(self._proofs))
            self._proofs.append(NEVER)
            self.asked[message_id] = said
            self.questions[message_id] = (jid, text)
            self.chats[jid].asked.append(said)

    def _prove(self, at: int, question: Said | None) -> None:
        if self._unseen_since != NEVER:
            # Nothing is sent before the past is read: it was read before this at the latest, unless
            # the page itself repeats what it had not got rid of.
            self._readings.append(at)
            self._known_from = at
            if question is not None and question.at > self._unseen_since:
                self._unseen_since = NEVER
        elif question is not None and question.at > self._known_from:
            self._proofs[question.number] = min(self._proofs[question.number], at)


def entries(journal: Path) -> Iterator[Entry]:
    """What a journal's file holds up to now; a line that is still being written is left out."""
    with journal.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def shops_of(
    journal: Iterable[Entry], causes: Mapping[Key, str], tenants: Container[str] | None = None
) -> dict[str, Shop]:
    """All that happened, by tenant; of these tenants, or of all. ``causes``: why each message of
    the daemon's was sent."""
    shops: dict[str, Shop] = defaultdict(Shop)
    for at, entry in enumerate(journal):
        tenant = entry[1]
        if tenants is None or tenant in tenants:
            shops[tenant].take(at, entry, causes.get((tenant, entry[3])))
    for shop in shops.values():
        shop.seal()
    return dict(shops)


def latencies(
    journal: Iterable[Entry], causes: Mapping[Key, str], tenants: Container[str]
) -> list[float]:
    """Seconds from each question to the arrival of its first reply, in the order of arrival."""
    asked_at: dict[Key, float] = {}
    took: list[float] = []
    for kind, tenant, _, message_id, *rest in journal:
        if kind == "in":
            asked_at.setdefault((tenant, message_id), rest[-1])
        elif kind == "out" and tenant in tenants and (tenant, message_id) in causes:
            since = asked_at.pop((tenant, causes[tenant, message_id]), None)
            if since is not None:
                took.append(rest[-1] - since)
    return took
