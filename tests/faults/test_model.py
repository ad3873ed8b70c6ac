"""Whatever happens in whatever order: one accepted reply per cause, and order per chat.

hypothesis chooses what customers, owner, page, database and process do; at the end everything is
made well, and the customers' phones and the database are held to the promises.
"""

import asyncio
import os
from collections.abc import Awaitable
from datetime import UTC, datetime
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

from flowhq.events import ConnectionLost, MessageSeen
from flowhq.model import Ack, Jid
from tests.faults.model import Shop, Told, repeated, run
from tests.pg import pg_home, pg_server, postgres_url

__all__ = ["pg_home", "pg_server", "postgres_url"]

LONG = "FLOWHQ_TEST_MODEL_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FLOWHQ_TEST_MODEL_EXAMPLES", "25"))
STEPS = 30
# What five processes died over is dead: that is another promise, with tests of its own.
DEATHS_MAX = 4
CHATS = (
    (Jid("255716000001@c.us"),),
    (Jid("255716000002@c.us"),),
    (Jid("255716000003@c.us"), Jid("100000000000003@lid")),
)
SETTLED = """
SELECT 1 FROM inbox WHERE tenant_id = $1 AND state IN ('new', 'retry')
UNION ALL
SELECT 1 FROM outbox WHERE tenant_id = $1 AND state IN ('planned', 'sending', 'unknown')
"""
INBOX = """
SELECT wa_message_id AS id, state::text, reason, ord FROM inbox
WHERE tenant_id = $1 AND NOT from_me
"""
OUTBOX = "SELECT client_id, cause, part, state::text FROM outbox WHERE tenant_id = $1"
LOGGED = """
SELECT wa_message_id AS id FROM message_logs WHERE tenant_id = $1 AND direction = 'IN'
"""
chats = st.integers(0, len(CHATS) - 1)
places = st.integers(0, 1000)


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

    @rule(chat=chats, jid=places, live=st.booleans())
    def customer_writes(self, chat: int, jid: int, live: bool) -> None:
        assert self.shop is not None
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
        told.asked.append(message)
        self.do()

    @rule(chat=chats, place=places)
    def event_comes_again(self, chat: int, place: int) -> None:
        assert self.shop is not None
        asked = self.told[chat].asked
        if asked:
            self.shop.platform.emit(MessageSeen(asked[place % len(asked)], 0.0))
        self.do()

    @rule(chat=chats)
    def owner_writes(self, chat: int) -> None:
        assert self.shop is not None
        told, shop = self.told[chat], self.shop
        message = shop.platform.receive(
            "mimi mwenyewe", chat=told.jids[0], at=datetime.now(UTC), from_me=True
        )
        told.by_a_person = True
        self.do()
        if self.up and not shop.life.outage and told.silent_from is None:
            self.do(shop.until(lambda: shop.recorded(message), supervised=True))
            told.silent_from = len(told.asked)

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
        self.shop.life.outage = away
        self.do()

    @rule(count=st.integers(1, 3))
    def answers_to_commits_are_lost(self, count: int) -> None:
        assert self.shop is not None
        self.shop.life.lost_answers = count
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

        async def quiet() -> bool:
            everything = [message for told in self.told for message in told.asked]
            if not all([await shop.recorded(message) for message in everything]):
                return False
            return not await shop.rows(SETTLED)

        try:
            await shop.until(quiet)
        except AssertionError:
            raise AssertionError(await shop.rows(INBOX), await shop.rows(OUTBOX)) from None

    async def _judge(self, shop: Shop) -> None:
        inbox = {row["id"]: row for row in await shop.rows(INBOX)}
        outbox = {row["client_id"]: row for row in await shop.rows(OUTBOX)}
        logged = [row["id"] for row in await shop.rows(LOGGED)]
        assert len(logged) == len(set(logged)), "recorded once"
        assert repeated(shop.platform.arrivals) == [], "nothing arrives twice"
        causes = [(row["cause"], row["part"]) for row in outbox.values()]
        assert len(causes) == len(set(causes)), "one reply per cause"
        arrived = [outbox[message.client_id] for message in shop.platform.arrivals]
        for told in self.told:
            self._judge_chat(told, inbox, arrived)

    def _judge_chat(
        self, told: Told, inbox: dict[str, dict[str, Any]], arrived: list[dict[str, Any]]
    ) -> None:
        ids = [message.message_id for message in told.asked]
        causes = [row["cause"] for row in arrived if row["cause"] in ids]
        orders = [inbox[cause]["ord"] for cause in causes]
        assert orders == sorted(orders), "in the order of the chat"
        silent = ids[told.silent_from :] if told.silent_from is not None else []
        assert not set(silent) & set(causes), "a person has taken over"
        for place, message_id in enumerate(ids):
            row = inbox[message_id]
            if told.by_a_person:
                continue
            if row["state"] == "skipped":
                assert row["reason"] == "backlog", row
                assert place < len(ids) - 1, "the newest of a backlog is answered"
            else:
                assert (row["state"], message_id in causes) == ("done", True), row


@pytest.mark.timeout(EXAMPLES * 60)
def test_whatever_happens_each_cause_has_one_reply_and_each_chat_its_order(
    postgres_url: str,
) -> None:
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
