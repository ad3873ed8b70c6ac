"""Whatever happens in whatever order: one accepted reply per cause, and order per chat.

hypothesis chooses what customers, owner, operator, page, database and process do; at the end
everything is made well, and the database and the customers' phones are held to the promises, by
the platform's own journal.
"""

import asyncio
import os
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flowhq.bot import outbound
from flowhq.events import ConnectionLost, MessageSeen
from flowhq.model import Ack, InboundMessage, Jid
from tests.faults.model import Shop, run
from tests.faults.modelplatform import Told, repeated
from tests.pg import pg_home, pg_server, postgres_url

__all__ = ["pg_home", "pg_server", "postgres_url"]

LONG = "FLOWHQ_TEST_MODEL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FLOWHQ_TEST_MODEL_EXAMPLES", "25"))
STEPS = 30
# What five processes died over is dead: that is another promise, with tests of its own.
DEATHS_MAX = 4
# So often a reply is handed over before it may be given up.
ATTEMPTS = 5
CHATS = (
    (Jid("255716000001@c.us"),),
    (Jid("255716000002@c.us"),),
    (Jid("255716000003@c.us"), Jid("100000000000003@lid")),
)
UNSETTLED = """
SELECT 1 FROM inbox WHERE tenant_id = $1 AND state IN ('new', 'retry')
UNION ALL
SELECT 1 FROM outbox WHERE tenant_id = $1 AND state IN ('planned', 'sending', 'unknown')
"""
INBOX = """
SELECT wa_message_id AS id, state::text, reason, ord, source::text, created_at FROM inbox
WHERE tenant_id = $1
"""
OUTBOX = "SELECT client_id, cause, part, state::text FROM outbox WHERE tenant_id = $1"
LOGGED = """
SELECT wa_message_id AS id FROM message_logs WHERE tenant_id = $1 AND direction = 'IN'
"""
OUT = frozenset({"accepted", "delivered", "read"})
# Why nothing is said where a person has written: later than the question, or before it.
ANSWERED_BY_A_PERSON = frozenset({"answered", "person"})
chats = st.integers(0, len(CHATS) - 1)
places = st.integers(0, 1000)


@dataclass(frozen=True)
class Books:
    """What the database says at the end, and the causes of what arrived, in that order."""

    inbox: dict[str, dict[str, Any]]
    outbox: dict[str, dict[str, Any]]
    logged: list[str]
    causes: list[str]

    @classmethod
    async def read(cls, shop: Shop) -> "Books":
        outbox = {row["client_id"]: row for row in await shop.rows(OUTBOX)}
        return cls(
            inbox={row["id"]: row for row in await shop.rows(INBOX)},
            outbox=outbox,
            logged=[row["id"] for row in await shop.rows(LOGGED)],
            causes=[outbox[message.client_id]["cause"] for message in shop.platform.arrivals],
        )

    def replies(self, message: InboundMessage) -> list[dict[str, Any]]:
        return [row for row in self.outbox.values() if row["cause"] == message.message_id]

    def causes_among(self, messages: Iterable[InboundMessage]) -> list[str]:
        ids = {message.message_id for message in messages}
        return [cause for cause in self.causes if cause in ids]


@dataclass(frozen=True)
class Case:
    """One chat before the judge."""

    shop: Shop
    books: Books
    told: Told

    def judge(self) -> None:
        self._judge_order()
        for message in self.told.asked:
            self._judge_answer(message)

    def _judge_order(self) -> None:
        causes = self.books.causes_among(self.told.asked)
        recorded = [self.books.inbox[cause]["ord"] for cause in causes]
        assert recorded == sorted(recorded), "answered as recorded"
        for pair in combinations(self.told.said, 2):
            if not self._in_order(*pair):
                continue
            one, other = (message.message_id for message in pair)
            orders = self.books.inbox[one]["ord"], self.books.inbox[other]["ord"]
            assert orders[0] < orders[1], ("recorded as shown", one, other)
            if one in causes and other in causes:
                assert causes.index(one) < causes.index(other), ("answered as shown", one, other)

    def _in_order(self, one: InboundMessage, other: InboundMessage) -> bool:
        """Whether their order is promised; the one came before the other."""
        # What a page lost of the one while it told of the other is found by the next page only.
        if not self.shop.platform.showed_before(one, other):
            return False
        # A person's two addresses are two chats to the platform, whose pasts are read one after the
        # other: over both there is an order only where the other came in live.
        return one.chat == other.chat or self._row(other)["source"] == "live"

    def _judge_answer(self, message: InboundMessage) -> None:
        row = self._row(message)
        answered = message.message_id in self.books.causes
        if self._silenced(message):
            assert not answered, ("a person has taken over", row)
            assert row["state"] == "skipped", row
        elif answered:
            assert row["state"] == "done", row
        elif row["reason"] == "backlog":
            self._judge_backlog(message)
        elif self._contested(message):
            assert self._left_to_a_person(message) or self._given_up(message), row
        else:
            assert self._given_up(message), row

    def _judge_backlog(self, message: InboundMessage) -> None:
        """The tenant met it in the past of a page, before the page told of it live, and the newest
        message of that past got the answer."""
        row = self._row(message)
        reading = self.shop.platform.reading_before(message.chat, row["created_at"])
        assert reading is not None, ("not read", row)
        assert reading.of_the_past, ("there was no absence", row)
        assert message.message_id in reading.ids, ("not read", row)
        assert message.message_id not in reading.taken, ("it had come in live", row)
        newest = next(one for one in self.told.asked if one.message_id == reading.ids[-1])
        assert newest is not message, ("the newest of a backlog is answered", row)
        # A reading broken off before its newest one was recorded leaves that to the backlog of the
        # next page: it is judged in its turn.
        assert (
            newest.message_id in self.books.causes
            or self._row(newest)["reason"] == "backlog"
            or self._silenced(newest)
            or self._contested(newest)
            or self._given_up(newest)
        ), ("nothing stands for it", row, self._row(newest))

    def _silenced(self, message: InboundMessage) -> bool:
        """The owner had written before, to whoever records in the order that is promised."""
        before = self.told.after[message.message_id]
        return message.message_id in self.told.silent or any(
            self._in_order(owner, message) for owner in before
        )

    def _contested(self, message: InboundMessage) -> bool:
        """The owner wrote while it was due, or wrote before it without an order being promised."""
        ids = self.told.contested
        return message.message_id in ids or bool(self.told.after[message.message_id])

    def _left_to_a_person(self, message: InboundMessage) -> bool:
        row, replies = self._row(message), self.books.replies(message)
        if row["state"] == "skipped":
            return row["reason"] in ANSWERED_BY_A_PERSON
        return bool(replies) and all(reply["state"] == "cancelled" for reply in replies)

    def _given_up(self, message: InboundMessage) -> bool:
        """A hand-over is counted before it is begun: with each page that ended and each answer that
        was lost in between, one may be counted that never came to the platform."""
        for reply in self.books.replies(message):
            calls = [call.client_id for call in self.shop.platform.calls]
            uncounted = self.shop.platform.opened + self.shop.server.lost
            tries = calls.count(reply["client_id"]) + uncounted
            return reply["state"] == "dead" and tries >= ATTEMPTS
        return False

    def _row(self, message: InboundMessage) -> dict[str, Any]:
        return self.books.inbox[message.message_id]


class Machine(RuleBasedStateMachine):
    """The rules; ``shop`` is held to its promises in ``teardown``."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.told = [Told(*jids) for jids in CHATS]
        self.shop: Shop | None = None

    @initialize()
    def open(self) -> None:
        self.shop = run(self.loop, Shop.open(self.url))
        self.do(self.shop.start())

    def do(self, work: Awaitable[Any] | None = None) -> None:
        async def all_of_it() -> None:
            assert self.shop is not None
            if work is not None:
                await work
            await self.shop.supervise()

        run(self.loop, all_of_it())

    @property
    def up(self) -> bool:
        return self.shop is not None and self.shop.runs

    # -- customers and the owner ------------------------------------------------------------------

    @rule(wrote=st.lists(st.tuples(chats, places), min_size=1, max_size=6), live=st.booleans())
    def customers_write(self, wrote: list[tuple[int, int]], live: bool) -> None:
        assert self.shop is not None
        for chat, jid in wrote:
            told = self.told[chat]
            phone, lid = told.jids[0].split("@")[0], told.jids[-1].split("@")[0]
            message = self.shop.platform.receive(
                f"swali {len(told.asked)}",
                chat=told.jids[jid % len(told.jids)],
                at=datetime.now(UTC),
                live=live,
                phone=phone,
                lid=lid if len(told.jids) > 1 else "",
            )
            told.ask(message)
        self.do()

    @rule(chat=chats, place=places)
    def event_comes_again(self, chat: int, place: int) -> None:
        assert self.shop is not None
        asked = self.told[chat].asked
        if asked:
            self.shop.platform.emit(MessageSeen(asked[place % len(asked)], 0.0))
        self.do()

    @rule(chat=chats, live=st.booleans(), seen=st.booleans())
    def owner_writes(self, chat: int, live: bool, seen: bool) -> None:
        """``seen``: the owner waits, if that can be, until the bot knows of it."""
        assert self.shop is not None
        told, shop = self.told[chat], self.shop
        settled = run(self.loop, shop.settled(told.asked))
        message = shop.platform.receive(
            "mimi mwenyewe", chat=told.jids[0], at=datetime.now(UTC), from_me=True, live=live
        )
        told.take_over(message, settled)
        self.do()
        if seen and live and self.up and not shop.server.away:
            self.do(shop.until(lambda: shop.recorded(message), supervised=True))
            told.taken_over = True

    @rule(chat=chats)
    def bot_is_told_to_go_on(self, chat: int) -> None:
        """Where all is settled: of what is under way nobody could say which rule it is under."""
        assert self.shop is not None
        told, shop = self.told[chat], self.shop
        if told.said and len(run(self.loop, shop.settled(told.said))) == len(told.said):
            self.do(shop.resume(told.jids[0]))
            told.resume()

    # -- the page ---------------------------------------------------------------------------------

    @rule(mode=st.sampled_from(["ok", "lose", "lose_answer", "hold", "refuse_for_now"]))
    def next_sends_end(self, mode: str) -> None:
        assert self.shop is not None
        self.shop.platform.plan_sends(mode)  # type: ignore[arg-type]
        self.do()

    @rule()
    def what_was_held_goes_out(self) -> None:
        assert self.shop is not None
        self.shop.platform.release()
        self.do()

    @rule(place=places, ack=st.sampled_from([Ack.SERVER, Ack.DELIVERED, Ack.READ]))
    def customer_receives(self, place: int, ack: Ack) -> None:
        assert self.shop is not None
        sent = self.shop.platform.sent
        if sent:
            self.shop.platform.acknowledge(sent[place % len(sent)].client_id, ack)
        self.do()

    @precondition(lambda self: self.up)
    @rule()
    def page_crashes(self) -> None:
        assert self.shop is not None
        self.shop.platform.crash()
        self.do()

    @precondition(lambda self: self.up)
    @rule()
    def connection_is_lost_for_a_moment(self) -> None:
        assert self.shop is not None
        self.shop.platform.emit(ConnectionLost("test"))
        self.shop.platform.ready()
        self.do()

    # -- the database -----------------------------------------------------------------------------

    @rule(away=st.booleans())
    def database_goes_or_comes(self, away: bool) -> None:
        assert self.shop is not None
        self.shop.server.away = away
        self.do()

    @rule(count=st.integers(1, 3))
    def answers_to_commits_are_lost(self, count: int) -> None:
        assert self.shop is not None
        self.shop.server.lost_answers = count
        self.do()

    # -- the process ------------------------------------------------------------------------------

    @precondition(lambda self: self.up and self.shop.deaths < DEATHS_MAX)
    @rule(again=st.booleans())
    def process_dies(self, again: bool) -> None:
        assert self.shop is not None
        self.do(self.shop.die())
        if again:
            self.do(self.shop.start())

    @precondition(lambda self: not self.up)
    @rule()
    def process_starts(self) -> None:
        assert self.shop is not None
        self.do(self.shop.start())

    @rule(turns=st.integers(1, 20))
    def time_passes(self, turns: int) -> None:
        self.do(asyncio.sleep(turns / 200))

    # -- the promises -----------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.shop is not None:
                run(self.loop, self._settle(self.shop))
                run(self.loop, self._judge(self.shop))
        finally:
            if self.shop is not None:
                run(self.loop, self.shop.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _settle(self, shop: Shop) -> None:
        await shop.heal()
        said = [message for told in self.told for message in told.said]

        async def quiet() -> bool:
            if await shop.rows(UNSETTLED):
                return False
            return len(await shop.settled(said)) == len(said)

        try:
            await shop.until(quiet)
        except AssertionError:
            raise AssertionError(await shop.rows(INBOX), await shop.rows(OUTBOX)) from None

    async def _judge(self, shop: Shop) -> None:
        books = await Books.read(shop)
        assert len(books.logged) == len(set(books.logged)), "recorded once"
        assert repeated(shop.platform.arrivals) == [], "nothing arrives twice"
        causes = [(row["cause"], row["part"]) for row in books.outbox.values()]
        assert len(causes) == len(set(causes)), "one reply per cause"
        arrived = {message.client_id for message in shop.platform.arrivals}
        for client_id, row in books.outbox.items():
            known = row["state"] != "cancelled" if client_id in arrived else row["state"] not in OUT
            assert known, ("what is told of a reply is true", row)
        for told in self.told:
            Case(shop, books, told).judge()


@pytest.mark.timeout(EXAMPLES * 60)
def test_whatever_happens_each_cause_has_one_reply_and_each_chat_its_order(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the model's fast clock a moment of the machine's would be enough to give a reply up.
    monkeypatch.setattr(outbound, "BLOCK_S", 36_000.0)

    class OnPostgres(Machine):
        url = postgres_url

    run_state_machine_as_test(
        OnPostgres,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            # To shrink a failure takes longer than the whole short form.
            phases=list(Phase) if LONG else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
