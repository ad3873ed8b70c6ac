"""A responder that echoes, fails or keeps silent as told."""

from collections.abc import Callable

from flowhq.model import InboundMessage, Reply
from flowhq.steps import ConversationView, Decision, Outcome


class FakeResponder:
    """Answers "re: <text>" in ``parts`` messages, and nothing while a person has the chat;
    ``before`` runs first and may raise."""

    def __init__(self) -> None:
        self.parts = 1
        self.seen: list[str] = []
        self.before: Callable[[InboundMessage], object] = lambda message: None

    def respond(self, message: InboundMessage, view: ConversationView) -> Decision:
        self.seen.append(message.message_id)
        self.before(message)
        if view.with_person:
            return Decision(Outcome.SKIPPED, "person")
        turns = int(view.bot_state.get("turns", 0)) + 1
        replies = tuple(
            Reply(f"re: {message.text}" + (f" {part}" if part else ""), "echo")
            for part in range(self.parts)
        )
        return Decision(Outcome.DONE, "echo", replies=replies, bot_state={"turns": turns})

    def slow_down(self, view: ConversationView) -> Reply:
        return Reply("slow down", "slow_down")

    def please_wait(self) -> Reply:
        return Reply("please wait", "please_wait")
