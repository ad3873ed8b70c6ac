"""Lost, twice, out of order: the peer's journal against the database, seen from outside.

The journal says what customers and owners wrote, what the pages read, and what reached the
customers, in order. The database says what was recorded and why something was answered: a reply's
id leads to its outbox row, the row to its cause. Its word that a message needs no answer is
believed only where the journal has a reason for it.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

import asyncpg

from tests.faults.journal import Chat, Entry, Key, Said, Shop, shops_of

READ_LIMIT_S = 120.0
# Right in a chat in which the owner wrote: a person answered, or has taken over.
SKIPS_FOR_A_PERSON = frozenset({"answered", "person"})
# The daemon's own default: for so long after an owner's message it keeps silent there.
PAUSE_S = 43_200.0
# The words by which an answer names its question; notices answer nothing.
ANSWER = re.compile(r"Jibu (\w+\d\d)\.")

INBOX = "SELECT tenant_id::text, from_me, wa_message_id, state::text, reason FROM inbox"
OUTBOX = "SELECT tenant_id::text, client_id, cause, part, state::text FROM outbox"
LOGGED = """
SELECT tenant_id::text, wa_message_id FROM message_logs
WHERE direction = 'IN' GROUP BY 1, 2 HAVING count(*) > 1
"""


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
    by_owner: set[Key] = field(default_factory=set)
    """What was typed on the phone."""
    outbox: dict[Key, Planned] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    """What stands there more often than once."""

    @property
    def causes(self) -> dict[Key, str]:
        return {key: planned.cause for key, planned in self.outbox.items()}

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
            key = (row["tenant_id"], row["wa_message_id"])
            if row["from_me"]:
                ledger.by_owner.add(key)
            else:
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
    covered: int = 0
    """Rightly skipped as backlog: a later answer of the chat stands for them."""
    missing: set[str] = field(default_factory=set)
    """Never recorded."""
    unanswered: set[str] = field(default_factory=set)
    """Recorded, and the reply that is due did not arrive."""
    twice: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    """Replies that nobody planned, or that answer somebody else's question."""
    intruding: list[str] = field(default_factory=list)
    """Replies to what came after the owner had written in that chat."""

    @property
    def lost(self) -> int:
        return len(self.missing) + len(self.unanswered)

    @property
    def clean(self) -> bool:
        wrong = (self.twice, self.disordered, self.strange, self.intruding)
        return not self.lost and not any(wrong)

    def __str__(self) -> str:
        counts = (
            f"{self.asked} asked, {self.replies} replies, skipped {dict(self.skipped)}, "
            f"{self.covered} rest on a later answer"
        )
        faults = {
            "missing": sorted(self.missing),
            "unanswered": sorted(self.unanswered),
            "twice": self.twice,
            "disordered": self.disordered,
            "strange": self.strange,
            "intruding": self.intruding,
        }
        found = [f"{len(what)} {name}: {what[:5]}" for name, what in faults.items() if what]
        return "; ".join([counts, *found])


def judge(
    journal: Iterable[Entry], ledger: Ledger, tenants: Container[str] | None = None
) -> Verdict:
    """Of these tenants, or of all that the journal names."""
    verdict = Verdict(twice=list(ledger.repeated))
    taken_back = {
        (key[0], planned.cause)
        for key, planned in ledger.outbox.items()
        if planned.state == "cancelled"
    }
    for tenant, shop in shops_of(journal, ledger.causes, tenants).items():
        for jid, chat in shop.chats.items():
            _Judge(verdict, ledger, taken_back, tenant, shop, jid, chat).decide()
    return verdict


@dataclass
class _Judge:
    """Of one chat."""

    verdict: Verdict
    ledger: Ledger
    taken_back: set[Key]
    """Causes of which a reply was taken back."""
    tenant: str
    shop: Shop
    jid: str
    chat: Chat
    answered_at: dict[str, int] = field(default_factory=dict)
    """Where each question's first answer arrived."""

    def decide(self) -> None:
        self._judge_arrived()
        for said in self.chat.by_owner:
            if (self.tenant, said.message_id) not in self.ledger.by_owner:
                self.verdict.missing.add(said.message_id)
        later: Said | None = None
        for said in reversed(self.chat.asked):
            # What stands for others may be the next one only if that one is as it should be.
            later = said if self._judge_asked(said, later) else None

    # -- what customers wrote ------------------------------------------------------------------

    def _judge_asked(self, said: Said, later: Said | None) -> bool:
        """Whether it is as it should be; ``later``: the next one of the chat, if that one is."""
        self.verdict.asked += 1
        row = self.ledger.inbox.get((self.tenant, said.message_id))
        if row is None:
            self.verdict.missing.add(said.message_id)
            return False
        if row.state == "skipped":
            self.verdict.skipped[row.reason] += 1
        if self._is_settled(row, said, later):
            return True
        self.verdict.unanswered.add(f"{said.message_id} {row.state} {row.reason}")
        return False

    def _is_settled(self, row: Row, said: Said, later: Said | None) -> bool:
        if row.state == "done":
            if said.message_id in self.answered_at:
                return True
            return (self.tenant, said.message_id) in self.taken_back and self._by_a_person(said)
        if row.state != "skipped":
            return False
        if row.reason == "backlog":
            covered = later is not None and self._is_covered(said, later)
            self.verdict.covered += covered
            return covered
        return row.reason in SKIPS_FOR_A_PERSON and self._by_a_person(said)

    def _is_covered(self, said: Said, later: Said) -> bool:
        """Both came before the chat was read, and nothing shows that the first was recorded before
        that: it came while nobody listened, or nobody had got to it."""
        return self.shop.was_read(self.jid, later.at, self.shop.recorded_by(said))

    def _by_a_person(self, said: Said) -> bool:
        """The owner had written, or did so before anything later of the chat was answered: in their
        order, so that this one would have been answered as well."""
        if self._after_owner(said):
            return True
        wrote_at = next((own.at for own in self.chat.by_owner if own.at > said.at), None)
        return wrote_at is not None and not any(
            self.answered_at.get(other.message_id, wrote_at) < wrote_at
            for other in self.chat.asked
            if other.at > said.at
        )

    def _after_owner(self, said: Said) -> bool:
        """The owner had written here, not too long before."""
        return any(own.at < said.at and said.t - own.t < PAUSE_S for own in self.chat.by_owner)

    # -- what reached them ---------------------------------------------------------------------

    def _judge_arrived(self) -> None:
        places = {said.message_id: place for place, said in enumerate(self.chat.asked)}
        seen: set[str] = set()
        last = (-1, -1)
        for arrived in self.chat.arrived:
            self.verdict.replies += 1
            if arrived.message_id in seen:
                self.verdict.twice.append(arrived.message_id)
                continue
            seen.add(arrived.message_id)
            planned = self.ledger.outbox.get((self.tenant, arrived.message_id))
            self._judge_text(arrived.message_id, arrived.text, planned, arrived.at)
            if planned is None or planned.cause not in places:
                continue
            place = (places[planned.cause], planned.part)
            if place <= last:
                self.verdict.disordered.append(f"{arrived.message_id} {place} after {last}")
            last = max(place, last)
            if self._after_owner(self.chat.asked[place[0]]):
                self.verdict.intruding.append(f"{arrived.message_id} to {planned.cause}")

    def _judge_text(self, message_id: str, text: str, planned: Planned | None, at: int) -> None:
        """A question's first word names it, and its answer says it again, once."""
        said = ANSWER.findall(text)
        jid, question = self.shop.questions.get(planned.cause if planned else "", ("", ""))
        if planned is None or (jid and jid != self.jid):
            self.verdict.strange.append(f"{message_id} {text!r} to {question!r} of {jid!r}")
        elif said and said != question.split()[:1]:
            self.verdict.strange.append(f"{message_id} {text!r} to {question!r}")
        elif said and planned.cause in self.answered_at:
            self.verdict.twice.append(f"{message_id} answers {planned.cause} again")
        elif said:
            self.answered_at[planned.cause] = at
