"""One message in its place (a scene) and what becomes of it (a turn): the currency of replies."""

from dataclasses import dataclass, replace

from flowhq.bot.replies.answers import Answers
from flowhq.bot.replies.business import Business
from flowhq.bot.replies.readers import Said
from flowhq.bot.replies.state import Handoff, Listing, State
from flowhq.model import MessageId


@dataclass(frozen=True, slots=True)
class Turn:
    """The answer and the state after it. An empty ``text`` is silence, ``intent`` says why.

    ``tells_hours``: the text says itself whether the business is open.
    """

    text: str
    intent: str
    state: State
    tells_hours: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A customer's message with all that an answer to it depends on.

    ``state`` is as the message found it.
    """

    state: State
    said: Said
    answers: Answers
    message_id: MessageId

    @property
    def business(self) -> Business:
        return self.answers.business

    def answer(
        self,
        text: str,
        intent: str,
        *,
        listing: Listing | None = None,
        handoff: Handoff | None = None,
        tells_hours: bool = False,
    ) -> Turn:
        """An answer after which no dialogue is open; a number then means the ``listing`` given,
        or the menu."""
        state = replace(
            self.state,
            dialogue=None,
            listing=listing,
            unknowns=0,
            handoff=self.state.handoff if handoff is None else handoff,
        )
        return Turn(text, intent, state, tells_hours)

    def silence(self, reason: str) -> Turn:
        """Nothing is said and nothing changes."""
        return Turn("", reason, self.state)
