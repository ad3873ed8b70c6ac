"""The rules around the responder: what comes first, and what is kept of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowhq.bot.deciding import Deciding, Step
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.bot.ratelimit import ReplyBudget
from flowhq.model import ChatKey, InboundMessage, Jid, Reply
from flowhq.steps import ConversationView, Decision, Outcome
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.guards import guards
from tests.fakes.ledger import TENANT
from tests.unit.bot.test_inbound import message

CHAT = Jid("255700000001@c.us")
VIEW = ConversationView(
    chat_key=ChatKey(CHAT),
    now=EPOCH + timedelta(seconds=30),
    contact_name="Amina",
    phone="255700000001",
    opted_out=False,
    bot_state={},
    paused_until=None,
    last_outgoing_at=None,
    last_person_at=None,
)


class Words:
    """Answers everything; "stop" is a contact's wish for silence."""

    def __init__(self) -> None:
        self.asked = 0

    def respond(self, message: InboundMessage, view: ConversationView) -> Decision:
        self.asked += 1
        stop = True if message.text == "stop" else None
        return Decision(
            Outcome.DONE, "echo", (Reply("re", "echo"),), bot_state={"n": 1}, opted_out=stop
        )

    def slow_down(self, view: ConversationView) -> Reply:
        return Reply("slow down", "slow_down")

    def please_wait(self) -> Reply:
        return Reply("please wait", "please_wait")


class Bench:
    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock(EPOCH + timedelta(seconds=30))
        self.responder = Words()
        self.paused = False
        self.deciding = Deciding(
            self.clock,
            guards(self.clock, **limits),
            responder=lambda: self.responder,
            paused=lambda: self.paused,
            max_age_s=3600,
        )
        self.step = Step()

    def decide(self, number: int = 1, *, view: ConversationView = VIEW, **changes: Any) -> Decision:
        return self.deciding.decide(self.step, message(number, **changes), view)


def test_a_plain_message_is_answered_and_its_trail_tells_of_it() -> None:
    decision = Bench().decide()
    assert (decision.outcome, decision.reason, len(decision.replies)) == (Outcome.DONE, "echo", 1)
    trail = decision.trail
    assert (trail.owner, trail.intent, trail.limit, trail.wait_s) == ("bot", "echo", "now", 0.0)


def test_pause_age_and_our_own_numbers_come_before_the_responder() -> None:
    bench = Bench(own_numbers=OwnNumbers({TENANT: ["255700000001"]}))
    old = message().at - timedelta(days=1)
    assert bench.decide().reason == "fleet"
    assert bench.decide(at=old).reason == "too_old"
    bench.paused = True
    assert bench.decide(at=old).reason == "paused"
    assert bench.responder.asked == 0


def test_age_and_pause_go_by_the_databases_clock() -> None:
    bench = Bench()
    bench.clock.move_wall(timedelta(days=1))
    until = VIEW.now + timedelta(minutes=1)
    assert bench.decide().outcome is Outcome.DONE
    assert bench.decide(2, view=replace(VIEW, paused_until=until)).trail.owner == "person"
    tomorrow = replace(VIEW, now=VIEW.now + timedelta(days=1), paused_until=until)
    assert bench.decide(3, view=tomorrow).reason == "too_old"


def test_a_message_that_was_asked_for_again_is_never_too_old() -> None:
    bench = Bench()
    old = message().at - timedelta(days=30)
    assert bench.decide(at=old).reason == "too_old"
    assert bench.decide(at=old, view=replace(VIEW, requeued=True)).outcome is Outcome.DONE


def test_the_owner_of_the_chat_stands_in_the_trail() -> None:
    bench = Bench()
    later, before = (bench.clock.now() + timedelta(seconds=s) for s in (60, -60))
    assert bench.decide(view=replace(VIEW, paused_until=later)).trail.owner == "person"
    assert bench.decide(2, view=replace(VIEW, paused_until=before)).trail.owner == "bot"


def test_a_muted_chat_is_silent_but_a_wish_to_stop_counts() -> None:
    bench = Bench()
    muted = replace(VIEW, muted_until=bench.clock.now() + timedelta(seconds=60))
    decision = bench.decide(view=muted)
    assert (decision.outcome, decision.reason) == (Outcome.SKIPPED, "loop")
    assert (decision.replies, decision.bot_state, decision.opted_out) == ((), None, None)
    assert bench.decide(2, view=muted, text="stop").opted_out is True
    over = replace(VIEW, muted_until=bench.clock.now() - timedelta(seconds=1))
    assert bench.decide(3, view=over).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("waited_s", "after_s", "requeued", "reason"),
    [
        (30.0, 1, False, "person"),
        (0.0, 1, False, "person"),
        (30.0, 0, False, "echo"),
        (30.0, 1, True, "echo"),
        (None, 1, False, "echo"),
    ],
    ids=["while it waited", "before", "not after it", "asked for again", "live"],
)
def test_what_took_its_turn_is_silent_if_a_person_wrote_after_it_but_a_wish_to_stop_counts(
    waited_s: float | None, after_s: int, requeued: bool, reason: str
) -> None:
    bench = Bench()
    wrote = message().at + timedelta(seconds=after_s)
    over = wrote + timedelta(seconds=5)
    view = replace(VIEW, last_person_at=wrote, paused_until=over, requeued=requeued)
    assert over < bench.clock.now()
    bench.step = Step(waited_s=waited_s)
    assert bench.decide(view=view).reason == reason
    assert bench.decide(view=view, text="stop").opted_out is True


def test_a_person_who_only_reacted_answered_nothing() -> None:
    bench = Bench()
    bench.step = Step(waited_s=0.0)
    reacted = replace(VIEW, last_person_at=message().at + timedelta(seconds=1))
    assert bench.decide(view=reacted).reason == "echo"
    before = message().at - timedelta(seconds=1)
    assert bench.decide(2, view=replace(reacted, paused_until=before)).reason == "echo"


def test_a_turn_is_the_tenants_token_of_one_reply() -> None:
    bench = Bench(budget=ReplyBudget(tenant_replies=1, contact_replies=1))
    bench.step = Step(waited_s=60.0)
    decision = bench.decide()
    assert [(reply.text, reply.wait_s) for reply in decision.replies] == [("re", 0.0)]
    trail = decision.trail
    assert (trail.limit, trail.limit_scope, trail.wait_s) == ("later", "tenant", 60.0)
    assert not bench.step.spared
    bench.step = Step(waited_s=0.0)
    assert bench.decide(2).reason == "contact_limit"
    assert bench.step.spared


def test_a_loop_mutes_instead_of_answering_and_says_so_once() -> None:
    bench = Bench(loop_replies=2, mute_s=60.0)
    decisions = [bench.decide(number, text="thank you for writing") for number in range(4)]
    assert [one.outcome for one in decisions] == [Outcome.DONE] * 3 + [Outcome.SKIPPED]
    last = decisions[-1]
    assert (last.reason, last.mute_s, last.replies) == ("loop", 60.0, ())
    assert bench.step.muted
    assert bench.decide(3, text="thank you for writing").mute_s == 60.0
    bench.decide(4, text="something else")
    assert not bench.step.muted


def test_a_loop_takes_no_reply_from_the_tenants_limit() -> None:
    budget = ReplyBudget(tenant_replies=5, contact_replies=100)
    bench = Bench(loop_replies=1, budget=budget)
    for number in range(2):
        bench.step = Step()
        bench.decide(number, text="x")
    for _ in range(10):
        bench.step = Step()
        bench.decide(2, text="x")
    bench.step = Step()
    assert bench.decide(9, text="new").trail.limit == "now"


@pytest.mark.parametrize("allowed", [1, 3])
def test_what_a_limit_holds_back_is_told_in_the_trail(allowed: int) -> None:
    bench = Bench(budget=ReplyBudget(tenant_replies=100, contact_replies=allowed))
    for number in range(allowed):
        bench.step = Step()
        assert bench.decide(number).outcome is Outcome.DONE
    bench.step = Step()
    decision = bench.decide(9)
    assert (decision.outcome, decision.reason) == (Outcome.SKIPPED, "contact_limit")
    assert [reply.intent for reply in decision.replies] == ["slow_down"]
    assert (decision.trail.limit, decision.trail.limit_scope) == ("refused", "contact")
    assert decision.trail.wait_s > 0
