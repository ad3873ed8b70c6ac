"""Lost, twice, out of order: the peer's journal against the database, seen from outside.

The journal says what customers wrote and what reached them, in order. The database says what was
recorded and why something was answered: a reply's id leads to its outbox row, the row to its
cause.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson

READ_LIMIT_S = 120.0
# Recorded on purpose without an answer of its own: an older message of a backlog.
SKIPS = frozenset({"backlog"})
# Right in a chat in which the owner wrote: a person answered, or has taken over.
SKIPS_FOR_A_PERSON = frozenset({"answered", "person"})

INBOX = "SELECT tenant_id::text, from_me, wa_message_id, state::text, reason FROM inbox"
OUTBOX = "SELECT tenant_id::text, client_id, cause, part, state::text FROM outbox"
LOGGED = """
SELECT tenant_id::text, wa_message_id FROM message_logs
WHERE direction = 'IN' GROUP BY 1, 2 HAVING count(*) > 1
"""

Key = tuple[str, str]
"""Tenant and message id."""
Entry = Sequence[Any]
"""``("in", tenant, chat, id, from_me, t, text, when)`` or ``("out", tenant, chat, id, text, when)``
with ``when`` in monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A message in the inbox."""

    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A message in the outbox."""

    cause: str
    part: int
    state: str


@dataclass
class Ledger:
    """What the database knows."""

    inbox: dict[Key, Row] = field(default_factory=dict)
    outbox: dict[Key, Planned] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    """What stands there more often than once."""

    @classmethod
    async def read(cls, url: str) -> "Ledger":
        connection = await asyncpg.connect(url, timeout=READ_LIMIT_S)
        try:
            inbox = await connection.fetch(INBOX, timeout=READ_LIMIT_S)
            outbox = await connection.fetch(OUTBOX, timeout=READ_LIMIT_S)
            logged = await connection.fetch(LOGGED, timeout=READ_LIMIT_S)
        finally:
            await connection.close(timeout=READ_LIMIT_S)
        ledger = cls(repeated=[f"logged {row['wa_message_id']}" for row in logged])
        keys = Counter((row["tenant_id"], row["from_me"], row["wa_message_id"]) for row in inbox)
        causes = Counter((row["tenant_id"], row["cause"], row["part"]) for row in outbox)
        ledger.repeated += [f"inbox {key[2]}" for key, count in keys.items() if count > 1]
        ledger.repeated += [f"outbox {key[1]}" for key, count in causes.items() if count > 1]
        for row in inbox:
            if not row["from_me"]:
                key = (row["tenant_id"], row["wa_message_id"])
                ledger.inbox[key] = Row(row["state"], row["reason"])
        for row in outbox:
            key = (row["tenant_id"], row["client_id"])
            ledger.outbox[key] = Planned(row["cause"], row["part"], row["state"])
        return ledger


@dataclass
class Verdict:
    """The findings by kind; each finding names its message."""

    asked: int = 0
    replies: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    missing: set[str] = field(default_factory=set)
    """Never recorded."""
    unanswered: set[str] = field(default_factory=set)
    """Recorded, and the reply that is due did not arrive."""
    twice: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Replies that nobody planned, or that answer somebody else's question."""

    @property
    def lost(self) -> int:
        return len(self.missing) + len(self.unanswered)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.disordered or self.strange)

    def __str__(self) -> str:
        counts = f"{self.asked} asked, {self.replies} replies, skipped {dict(self.skipped)}"
        faults = {
            "missing": sorted(self.missing),
            "unanswered": sorted(self.unanswered),
            "twice": self.twice,
            "disordered": self.disordered,
            "strange": self.strange,
        }
        found = [f"{len(what)} {name}: {what[:5]}" for name, what in faults.items() if what]
        return "; ".join([counts, *found])


@dataclass
class _Chat:
    """One customer's chat as the platform saw it."""

    asked: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    arrived: list[tuple[str, str]] = field(default_factory=list)
    by_a_person: bool = False
    """The owner wrote here."""


def judge(
    journal: Iterable[Entry], ledger: Ledger, tenants: Container[str] | None = None
) -> Verdict:
    """Of these tenants, or of all that the journal names."""
    verdict = Verdict(twice=list(ledger.repeated))
    for (tenant, _), chat in _read(journal).items():
        if tenants is not None and tenant not in tenants:
            continue
        _judge_asked(verdict, ledger, tenant, chat)
        _judge_arrived(verdict, ledger, tenant, chat)
    return verdict


def _judge_asked(verdict: Verdict, ledger: Ledger, tenant: str, chat: _Chat) -> None:
    replied = {
        planned.cause
        for message_id, _ in chat.arrived
        if (planned := ledger.outbox.get((tenant, message_id))) is not None
    }
    for place, message_id in enumerate(chat.asked):
        verdict.asked += 1
        row = ledger.inbox.get((tenant, message_id))
        if row is None:
            verdict.missing.add(message_id)
            continue
        if row.state == "skipped":
            verdict.skipped[row.reason] += 1
        newest = place == len(chat.asked) - 1
        answered = message_id in replied or chat.by_a_person
        if not _settled(row, newest=newest, answered=answered, by_a_person=chat.by_a_person):
            verdict.unanswered.add(f"{message_id} {row.state} {row.reason}")


def _settled(row: Row, *, newest: bool, answered: bool, by_a_person: bool) -> bool:
    if row.state == "skipped":
        by_person = by_a_person and row.reason in SKIPS_FOR_A_PERSON
        return by_person or (row.reason in SKIPS and (by_a_person or not newest))
    return row.state == "done" and answered


def _judge_arrived(verdict: Verdict, ledger: Ledger, tenant: str, chat: _Chat) -> None:
    places = {message_id: place for place, message_id in enumerate(chat.asked)}
    seen: set[str] = set()
    last = (-1, -1)
    for message_id, text in chat.arrived:
        verdict.replies += 1
        if message_id in seen:
            verdict.twice.append(message_id)
            continue
        seen.add(message_id)
        planned = ledger.outbox.get((tenant, message_id))
        question = chat.texts.get(planned.cause, "") if planned is not None else None
        if question is None or not _answers(text, question):
            verdict.strange.append(f"{message_id} {text!r} to {question!r}")
        if planned is None or planned.cause not in places:
            continue
        place = (places[planned.cause], planned.part)
        if place <= last:
            verdict.disordered.append(f"{message_id} {place} after {last}")
        last = max(place, last)


def latencies(journal: Iterable[Entry], ledger: Ledger, tenants: Container[str]) -> list[float]:
    """Seconds from each question to the arrival of its first reply, in the order of arrival."""
    asked_at: dict[Key, float] = {}
    took: list[float] = []
    for kind, tenant, _, message_id, *rest in journal:
        if kind == "in":
            asked_at.setdefault((tenant, message_id), rest[-1])
            continue
        planned = ledger.outbox.get((tenant, message_id))
        if planned is None or planned.part or tenant not in tenants:
            continue
        if (since := asked_at.get((tenant, planned.cause))) is not None:
            took.append(rest[-1] - since)
    return took


def _answers(text: str, question: str) -> bool:
    """A question's first word names it, and its answer says it again; notices answer nothing."""
    return not question or "Jibu " not in text or f"Jibu {question.split()[0]}." in text


def _read(journal: Iterable[Entry]) -> dict[tuple[str, str], _Chat]:
    chats: dict[tuple[str, str], _Chat] = defaultdict(_Chat)
    for entry in journal:
        _take(chats, entry)
    return chats


def entries(journal: Path) -> Iterator[Entry]:
    """What a journal's file holds up to now; a line that is still being written is left out."""
    with journal.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def _take(chats: dict[tuple[str, str], _Chat], entry: Entry) -> None:
    kind, tenant, jid, message_id, *rest = entry
    chat = chats[tenant, jid]
    if kind == "out":
        chat.arrived.append((message_id, rest[0]))
    elif rest[0]:
        chat.by_a_person = True
    elif message_id not in chat.texts:
        chat.asked.append(message_id)
        chat.texts[message_id] = rest[2]
