"""From a customer's message to the bot's decision: pure, from JSON state to JSON state.

This module decides whether to answer at all, in which language, and what goes before the answer;
what the answer is comes from ``replies``.
"""

from dataclasses import replace
from datetime import datetime

from flowhq.bot.keywords import Words, choose_language, read_words
from flowhq.bot.replies import notices
from flowhq.bot.replies.answers import Answers, paragraphs
from flowhq.bot.replies.business import Business
from flowhq.bot.replies.catalogue import Catalogue, Catalogues
from flowhq.bot.replies.conversation import answer_text
from flowhq.bot.replies.readers import Said
from flowhq.bot.replies.state import State, read_state
from flowhq.bot.replies.turns import Scene, Turn
from flowhq.model import InboundMessage, Language, MessageKind, Reply, TenantSpec
from flowhq.steps import ConversationView, Decision, Outcome

TEXT_UNITS_MAX = 4096
"""The longest text WhatsApp takes, counted as it counts: in UTF-16 code units."""
PART_UNITS_MAX = TEXT_UNITS_MAX - 16
"""Leaves room for the number of a part."""
NEVER = "never"
"""``closed_until`` of a business without a known opening."""


class Responder:
    """One tenant's bot, built anew when its configuration changes. Immutable, no I/O."""

    def __init__(self, spec: TenantSpec, catalogues: Catalogues) -> None:
        """InvalidInputError if the stored hours or details cannot be read."""
        self._catalogues = catalogues
        self._vocabulary = catalogues.vocabulary
        self._business = Business.from_spec(spec, catalogues.vocabulary)

    def respond(self, message: InboundMessage, view: ConversationView) -> Decision:
        """What is to be done about one message. The reason is the intent answered (``handoff``:
        a person is wanted) or why nothing is said."""
        decision = self._respond(message, view)
        open_now = self._business.hours.is_open(view.now)
        return replace(decision, trail=replace(decision.trail, open=open_now))

    def _respond(self, message: InboundMessage, view: ConversationView) -> Decision:
        now = view.now
        if message.from_me:
            return Decision(Outcome.SKIPPED, "own")
        if message.kind is MessageKind.REACTION:
            return Decision(Outcome.SKIPPED, "reaction")
        state = read_state(view.bot_state, now)
        words = read_words(message.text) if message.kind is MessageKind.TEXT else Words((), ())
        command = self._vocabulary.command(words)
        if view.opted_out or command == "opt_out":
            return self._consent(command, view, state, words)
        if view.with_person:
            return Decision(Outcome.SKIPPED, "person")
        if message.kind is not MessageKind.TEXT:
            return self._only_text(state, now)
        return self._answered(message, state, words, now)

    def language_of(self, view: ConversationView) -> Language:
        """The language of the conversation so far, else the tenant's."""
        try:
            return Language(view.bot_state.get("language", self._business.language))
        except ValueError:
            return self._business.language

    def slow_down(self, view: ConversationView) -> Reply:
        """The one notice of an episode in which answers are held back."""
        return notices.slow_down(self._catalogues.of(self.language_of(view)))

    def please_wait(self, view: ConversationView | None = None) -> Reply:
        """The notice of a full queue."""
        language = self._business.language if view is None else self.language_of(view)
        return notices.please_wait(self._catalogues.of(language))

    def _consent(
        self, command: str | None, view: ConversationView, state: State, words: Words
    ) -> Decision:
        """Stop, start again, and the silence in between."""
        catalogue, language = self._speak(state, words)
        if view.opted_out and command != "opt_in":
            return Decision(Outcome.SKIPPED, "opted_out")
        answers = Answers(self._business, catalogue, view.now)
        key = "opt_out" if command == "opt_out" else "opt_in"
        text = answers.say(f"{key}.done", **({} if key == "opt_out" else {"menu": answers.menu()}))
        kept = State(language=language, greeted=True, requests=state.requests)
        return Decision(
            Outcome.DONE,
            key,
            replies=(Reply(text, key),),
            bot_state=kept.to_json(view.now),
            opted_out=key == "opt_out",
        )

    def _only_text(self, state: State, now: datetime) -> Decision:
        if state.text_only:
            return Decision(Outcome.SKIPPED, "text_only")
        catalogue = self._catalogues.of(state.language or self._business.language)
        notice = notices.text_only(catalogue)
        turn = Turn(notice.text, notice.intent, replace(state, text_only=True))
        return self._decided(turn, catalogue, now)

    def _answered(
        self, message: InboundMessage, state: State, words: Words, now: datetime
    ) -> Decision:
        catalogue, language = self._speak(state, words)
        hits = tuple(self._vocabulary.intents(words))
        said = Said(message.text, words, hits, self._vocabulary)
        answers = Answers(self._business, catalogue, now)
        scene = Scene(replace(state, language=language), said, answers, message.message_id)
        turn = answer_text(scene)
        if not turn.text:
            return Decision(Outcome.SKIPPED, turn.intent)
        return self._decided(turn, catalogue, now)

    def _speak(self, state: State, words: Words) -> tuple[Catalogue, Language | None]:
        """The catalogue to answer from, and the language to remember: none before any word has
        told it. A dialogue stays in its language, names and places tell nothing."""
        if state.dialogue is not None and state.language is not None:
            return self._catalogues.of(state.language), state.language
        default = self._business.language
        spoken = self._vocabulary.spoken(words)
        language = choose_language(spoken, sticky=state.language, default=default)
        return self._catalogues.of(language), language

    def _decided(self, turn: Turn, catalogue: Catalogue, now: datetime) -> Decision:
        """The turn with the closed notice before it, if one is due, in parts that fit."""
        text, state = turn.text, turn.state
        hours = self._business.hours
        if hours.is_open(now):
            state = replace(state, closed_until="")
        elif not _still_told(state.closed_until, now):
            opening = hours.next_opening(now)
            state = replace(state, closed_until=opening.isoformat() if opening else NEVER)
            if not turn.tells_hours:
                text = paragraphs(notices.closed(catalogue, hours, now).text, text)
        replies = tuple(Reply(part, turn.intent) for part in split_text(text))
        return Decision(Outcome.DONE, turn.intent, replies, state.to_json(now))


def _still_told(closed_until: str, now: datetime) -> bool:
    """Whether the closed notice of this closing was given already."""
    if closed_until in ("", NEVER):
        return closed_until == NEVER
    try:
        return now < datetime.fromisoformat(closed_until)
    except (ValueError, TypeError):
        return False


def split_text(text: str) -> tuple[str, ...]:
    """The text in as many messages as it needs, whole lines where they fit, each part numbered.
    Nothing is left out."""
    if _units(text) <= TEXT_UNITS_MAX:
        return (text,)
    parts: list[str] = [""]
    for line in text.splitlines(keepends=True):
        for piece in _pieces(line):
            if _units(parts[-1] + piece) > PART_UNITS_MAX:
                parts.append("")
            parts[-1] += piece
    return tuple(f"({number}/{len(parts)})\n{part}" for number, part in enumerate(parts, start=1))


def _pieces(line: str) -> list[str]:
    """A line as it is, or cut where it would not fit into a message of its own."""
    # Half the limit in characters fits whatever they are: none is more than two units.
    size = len(line) if _units(line) <= PART_UNITS_MAX else PART_UNITS_MAX // 2
    return [line[start : start + size] for start in range(0, len(line), max(1, size))]


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
