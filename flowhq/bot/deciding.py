"""What becomes of one recorded message: decided under its row's lock, from what the view offers.

Nothing here waits or stores: the decision is stored whole by the caller, or not at all, and is
taken anew when it was not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from flowhq.bot.loops import LoopBreaker
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.bot.ratelimit import Admission, Limit, ReplyLimits
from flowhq.clock import Clock
from flowhq.model import InboundMessage, Reply
from flowhq.steps import ConversationView, Decision, Outcome, Trail


class Responder(Protocol):
    """Message to replies, pure: bot/responder.py today, the flow engine beside it.

    It keeps silent itself where a person took over (``paused_until``): a contact's word to stop
    counts even then.
    """

    def respond(self, message: InboundMessage, view: ConversationView) -> Decision: ...

    def slow_down(self, view: ConversationView) -> Reply:
        """The one notice of an episode in which answers are held back."""
        ...

    def please_wait(self) -> Reply:
        """The one notice for a chat whose messages come faster than they can be answered."""
        ...


@dataclass(frozen=True, slots=True)
class Guards:
    """What keeps the bot from answering too much: it outlives one run of the tenant.

    ``mute_s``: for how long a chat is muted in which two bots answer each other.
    """

    limits: ReplyLimits
    loops: LoopBreaker
    own_numbers: OwnNumbers
    mute_s: float


@dataclass(slots=True)
class Step:
    """One message's step over all its attempts: the verdict on its answer, and when it fell
    (seconds, monotonic)."""

    waited_s: float | None = None
    """How long it waited for its turn, with which it has a token of the tenant; None: it came in
    live and takes none before it is decided."""
    limit: tuple[Limit, float] | None = None
    muted: bool = False
    outcome: str = ""
    """Of the last attempt, for the figures: answered, silent, or why skipped."""

    @property
    def took_turn(self) -> bool:
        return self.waited_s is not None

    @property
    def spared(self) -> bool:
        """It has a token of the tenant, and no reply used it."""
        used = self.limit is not None and self.limit[0].admission is not Admission.REFUSED
        return self.took_turn and not used


class Deciding:
    """The rules around the responder, in their order: pause, age, our own numbers, mute, answered
    by a person, loop, limits."""

    def __init__(
        self,
        clock: Clock,
        guards: Guards,
        *,
        responder: Callable[[], Responder],
        paused: Callable[[], bool],
        max_age_s: float,
    ) -> None:
        self._clock = clock
        self._guards = guards
        self._responder = responder
        self._paused = paused
        self._max_age = timedelta(seconds=max_age_s)

    def decide(self, step: Step, message: InboundMessage, view: ConversationView) -> Decision:
        """The decision with its trail; ``step`` keeps what holds for every attempt."""
        step.muted = False
        why_not = self._refusal(message, view)
        if why_not:
            step.outcome = why_not
            return Decision(Outcome.SKIPPED, why_not, trail=_trail(view))
        decision = self._responder().respond(message, view)
        trail = replace(_trail(view), open=decision.trail.open, intent=decision.reason)
        decision = replace(decision, trail=trail)
        if view.muted:
            decision = _silent(decision, "loop")
        elif decision.replies and step.took_turn and _was_answered(message, view):
            decision = _silent(decision, "person")
        elif decision.replies and self._is_loop(message, view, decision):
            step.muted = True
            decision = replace(_silent(decision, "loop"), mute_s=self._guards.mute_s)
        elif decision.replies:
            decision = self._within_limits(step, decision, view)
        step.outcome = _outcome(decision)
        return decision

    def _refusal(self, message: InboundMessage, view: ConversationView) -> str:
        if self._paused():
            return "paused"
        if not view.requeued and view.now - message.at > self._max_age:
            return "too_old"
        if self._guards.own_numbers.wrote(message, phone=view.phone):
            return "fleet"
        return ""

    def _is_loop(self, message: InboundMessage, view: ConversationView, decision: Decision) -> bool:
        said = [reply.text for reply in decision.replies]
        return self._guards.loops.is_loop(view.chat_key, message.message_id, message.text, said)

    def _within_limits(self, step: Step, decision: Decision, view: ConversationView) -> Decision:
        """One token an answer, however many messages it takes and however often it is tried."""
        if step.limit is None:
            since = self._clock.monotonic() - (step.waited_s or 0.0)
            step.limit = self._guards.limits.admit(view.chat_key, waited_s=step.waited_s), since
        limit, since = step.limit
        trail = replace(
            decision.trail, limit=limit.admission, limit_scope=limit.scope, wait_s=limit.wait_s
        )
        if limit.admission is Admission.NOW:
            return replace(decision, trail=trail)
        notice = (self._responder().slow_down(view),) if limit.first_of_episode else ()
        if limit.admission is Admission.REFUSED:
            return Decision(
                Outcome.SKIPPED,
                f"{limit.scope}_limit",
                replies=notice,
                opted_out=decision.opted_out,
                trail=trail,
            )
        wait_s = max(0.0, since + limit.wait_s - self._clock.monotonic())
        later = tuple(replace(reply, wait_s=wait_s) for reply in decision.replies)
        return replace(decision, replies=notice + later, trail=trail)


def _outcome(decision: Decision) -> str:
    if decision.outcome is Outcome.SKIPPED:
        return decision.reason
    return "answered" if decision.replies else "silent"


def _was_answered(message: InboundMessage, view: ConversationView) -> bool:
    """A person took the chat over after it, and nobody asked for it again since. Who only reacts
    takes nothing over: that begins no pause."""
    last, pause = view.last_person_at, view.paused_until
    wrote = last is not None and last > message.at
    return wrote and pause is not None and pause > message.at and not view.requeued


def _silent(decision: Decision, reason: str) -> Decision:
    """Nothing is said and nothing remembered, but a contact's word to stop counts."""
    return Decision(Outcome.SKIPPED, reason, opted_out=decision.opted_out, trail=decision.trail)


def _trail(view: ConversationView) -> Trail:
    return Trail(owner="person" if view.with_person else "bot")
