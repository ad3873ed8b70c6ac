"""The verdict on each reply."""

import pytest

from flowhq.bot.ratelimit import (
    CONTACTS_MAX,
    Admission,
    Limit,
    LimitScope,
    ReplyBudget,
    ReplyLimits,
)
from flowhq.model import ChatKey

ASHA = ChatKey("asha")
JUMA = ChatKey("juma")


class HeldClock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


def limits_of(clock: HeldClock, **settings: float) -> ReplyLimits:
    return ReplyLimits(ReplyBudget(**settings), monotonic=clock.monotonic)  # type: ignore[arg-type]


# -- the limits ------------------------------------------------------------------------------------


def test_ten_replies_go_at_once_and_the_next_are_delayed_not_lost(clock: HeldClock) -> None:
    limits = limits_of(clock)
    verdicts = [limits.admit(ChatKey(f"chat {number}")) for number in range(12)]
    assert verdicts[:10] == [Limit(Admission.NOW)] * 10
    assert [verdict.admission for verdict in verdicts[10:]] == [Admission.LATER] * 2
    assert [verdict.wait_s for verdict in verdicts[10:]] == pytest.approx([6.0, 12.0])


def test_a_tenant_gives_one_notice_in_all_per_episode(clock: HeldClock) -> None:
    limits = limits_of(clock)
    verdicts = [limits.admit(ChatKey(f"chat {number}")) for number in range(30)]
    assert [verdict.first_of_episode for verdict in verdicts] == [False] * 10 + [True] + [
        False
    ] * 19
    assert verdicts[10].scope is LimitScope.TENANT


def test_a_tenants_episode_is_over_when_it_can_answer_at_once(clock: HeldClock) -> None:
    limits = limits_of(clock)
    for number in range(11):
        limits.admit(ChatKey(f"chat {number}"))
    clock.seconds += 12
    assert limits.admit(ASHA).admission is Admission.NOW
    again = limits.admit(JUMA)
    assert (again.admission, again.first_of_episode) == (Admission.LATER, True)


def test_a_reply_that_would_come_too_late_is_refused_and_costs_nothing(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1, tenant_period_s=100, max_wait_s=150)
    assert limits.admit(ASHA).admission is Admission.NOW
    assert limits.admit(ASHA).wait_s == pytest.approx(100)
    refused = limits.admit(ASHA)
    assert (refused.admission, refused.scope) == (Admission.REFUSED, LimitScope.TENANT)
    assert refused.wait_s == pytest.approx(200)
    clock.seconds += 50
    assert limits.admit(ASHA).wait_s == pytest.approx(150)


def test_the_twenty_first_reply_to_a_contact_is_refused_with_one_notice(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1000)
    verdicts = [limits.admit(ASHA) for _ in range(24)]
    assert all(verdict.admission is Admission.NOW for verdict in verdicts[:20])
    assert [verdict.scope for verdict in verdicts[20:]] == [LimitScope.CONTACT] * 4
    assert [verdict.first_of_episode for verdict in verdicts[20:]] == [True, False, False, False]


def test_one_contacts_limit_is_not_anothers(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1000)
    for _ in range(25):
        limits.admit(ASHA)
    assert limits.admit(JUMA) == Limit(Admission.NOW)


def test_a_refused_contact_uses_up_nothing_of_the_tenant(clock: HeldClock) -> None:
    limits = limits_of(clock, contact_replies=1)
    limits.admit(ASHA)
    before = limits.peek().tenant_tokens
    assert limits.admit(ASHA).admission is Admission.REFUSED
    assert limits.peek().tenant_tokens == before


def test_a_contact_that_keeps_writing_is_not_told_at_every_refill(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1000)
    notices = 0
    for _ in range(600):
        notices += limits.admit(ASHA).first_of_episode
        clock.seconds += 1
    assert notices == 1


def test_a_contact_that_calmed_down_begins_a_new_episode(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1000)
    for _ in range(21):
        limits.admit(ASHA)
    clock.seconds += 150
    assert [limits.admit(ASHA).admission for _ in range(5)] == [Admission.NOW] * 5
    assert limits.admit(ASHA).first_of_episode


def test_contacts_are_forgotten_beyond_the_bound(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=10**6, max_wait_s=10**9)
    for number in range(CONTACTS_MAX + 50):
        limits.admit(ChatKey(str(number)))
    assert limits.peek().contacts == CONTACTS_MAX


def test_a_contact_in_use_is_not_forgotten_by_age(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1000)
    for _ in range(21):
        limits.admit(ASHA)
    refusals = 0
    for _ in range(120):
        clock.seconds += 10
        refusals += limits.admit(ASHA).admission is Admission.REFUSED
    assert refusals == 80


def test_levels_tell_where_the_tenant_stands_and_change_nothing(clock: HeldClock) -> None:
    limits = limits_of(clock)
    for number in range(11):
        limits.admit(ChatKey(str(number)))
    levels = limits.peek()
    assert levels == limits.peek()
    assert levels.tenant_tokens == pytest.approx(-1)
    assert levels.tenant_wait_s == pytest.approx(12)
    assert levels.tenant_in_episode
    clock.seconds += 60
    assert not limits.peek().tenant_in_episode


# -- turns -----------------------------------------------------------------------------------------


def test_a_turn_comes_after_the_replies_that_were_promised(clock: HeldClock) -> None:
    limits = limits_of(clock)
    for number in range(12):
        limits.admit(ChatKey(f"chat {number}"))
    assert limits.take() == pytest.approx(18)
    clock.seconds += 18
    assert limits.take() == 0.0
    assert limits.admit(ASHA, waited_s=18.0) == Limit(Admission.LATER, LimitScope.TENANT, 18.0)
    assert limits.take() == pytest.approx(6)


def test_a_turn_is_refused_by_the_contacts_limit_alone(clock: HeldClock) -> None:
    limits = limits_of(clock, contact_replies=1)
    assert limits.admit(ASHA, waited_s=0.0) == Limit(Admission.NOW)
    assert limits.admit(ASHA, waited_s=0.0).scope is LimitScope.CONTACT


def test_a_turn_that_was_not_used_is_there_again(clock: HeldClock) -> None:
    limits = limits_of(clock, tenant_replies=1)
    assert limits.take() == 0.0
    limits.give_back()
    limits.give_back()
    assert limits.peek().tenant_tokens == 1
