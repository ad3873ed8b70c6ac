"""Why was there no answer? One message's story as one sentence for a person.

`REASONS` is every reason that a message can be left unanswered for; docs/guarantees.md lists them.
"""

from collections.abc import Sequence
from datetime import datetime

from flowhq.db.stories import ReplyStory, SeenStory, Story
from flowhq.model import InboxState, OutboxState

REASONS: dict[str, str] = {
    "own": "it was written by a person on the phone",
    "reaction": "it is a reaction, which needs no answer",
    "paused": "the tenant was paused",
    "too_old": "it was too old when its turn came",
    "backlog": "it came during an absence, and a newer message of the chat stands for it",
    "answered": "it came during an absence, and a person had answered already",
    "person": "a person had taken the chat over",
    "loop": "two bots seemed to answer each other, so the chat is muted",
    "fleet": "it came from a number of this installation's own tenants",
    "opted_out": "the contact had asked for silence",
    "text_only": "it is no text, and the chat had been told that only texts are read",
    "tenant_limit": "the tenant had used up its replies for the moment",
    "contact_limit": "the contact had got all the replies it may get for the moment",
    "nothing_said": "it says nothing that could be answered",
    "number_changed": "the tenant was paired with another number before its turn came",
    "unrecordable": "it could not be stored as it is; only that it came is known",
    "expired": "it had been given up, and was kept for no longer",
    "erased": "the contact was forgotten on request before its turn came",
    "waiting_for_person": "the customer has been handed to a person and waits for them",
}

# From the worst end to the best: the sentence speaks of the worst reply.
ENDS: tuple[tuple[OutboxState, str], ...] = (
    (OutboxState.DEAD, "the reply was given up: {error}"),
    (OutboxState.UNKNOWN, "it is not certain whether the reply went out; it is being looked up"),
    (OutboxState.CANCELLED, "the reply was taken back because {taken_back}"),
    (OutboxState.SENDING, "the reply is being sent"),
    (OutboxState.PLANNED, "the reply waits to be sent, not before {next_at}"),
    (OutboxState.ACCEPTED, "the reply was sent"),
    (OutboxState.DELIVERED, "the reply was delivered"),
    (OutboxState.READ, "the reply was read"),
)

# Why a reply was taken back, by the reason that it has.
TAKEN_BACK = {
    "person": "a person took the chat over",
    "too_old": "it could not be sent for so long that it would have confused",
    "number_changed": "the tenant was paired with another number",
    "expired": "it had been given up, and was kept for no longer",
    "erased": "the contact was forgotten on request",
}


def answer_of(story: Story) -> str:
    """What became of the message, and why."""
    if isinstance(story, ReplyStory):
        return _sentence(_end_of([story]).replace("the reply", "this message"))
    if story.from_me:
        return _sentence(f"not for the bot: {REASONS['own']}")
    match story.state:
        case InboxState.NEW:
            return "Not answered yet: it waits for its turn."
        case InboxState.RETRY:
            return _sentence(
                f"not answered yet: attempt {story.attempts} failed ({story.error}), "
                f"the next one is due at {_time(story.next_at)}"
            )
        case InboxState.DEAD:
            return _sentence(f"given up after {story.attempts} attempts: {story.error}")
        case InboxState.SKIPPED:
            return _sentence(f"not answered: {REASONS.get(story.reason, story.reason)}")
        case InboxState.DONE:
            return _answered(story)


def _answered(story: SeenStory) -> str:
    replies = [reply for reply in story.replies if reply.cause == story.wa_message_id]
    if not replies:
        return _sentence(f"understood ({story.reason}), but there was nothing to say")
    parts = f", in {len(replies)} parts" if len(replies) > 1 else ""
    return _sentence(f"answered ({story.reason}){parts}: {_end_of(replies)}")


def _end_of(replies: Sequence[ReplyStory]) -> str:
    for state, words in ENDS:
        for reply in replies:
            if reply.state is state:
                return words.format(
                    error=reply.error or "no reason was given",
                    next_at=_time(reply.next_at),
                    taken_back=TAKEN_BACK.get(reply.reason, reply.reason),
                )
    return "the reply has no state"


def _time(at: datetime | None) -> str:
    return "once" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."
