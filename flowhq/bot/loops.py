"""Two bots that answer each other, told from a person by what they do not say.

A reply is empty when the chat heard the same text before within the window, or when it repeats
what we said in it. Too many empty ones are a loop. The window is memory only: a restart costs such
a chat one window more, the mute that ends it is stored with the step.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cachetools import TTLCache

from flowhq.model import ChatKey, MessageId

# Spec: more than so many replies "in a minute".
WINDOW_S = 60.0
# Chats watched at a time; the one unused for longest is forgotten first. A tenant that answers
# ten messages a minute has a few hundred.
CHATS_MAX = 10_000
# From so many words on a text is a sentence, and its digits are a counter, a ticket or a time;
# below it they may be an answer, such as a number of a menu.
SENTENCE_WORDS = 4
# Replies remembered of one chat, in times of those allowed: empty ones among others.
KEPT_TIMES = 4

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class _Reply:
    at_s: float
    message_id: MessageId
    heard: int
    said: frozenset[int]
    empty: bool


@dataclass(slots=True)
class _Window:
    replies: deque[_Reply]
    ended_by: MessageId | None = field(default=None)
    """The message at which the loop was found; the next one, if it is let through, starts anew."""


class LoopBreaker:
    """One tenant's watch. ``allowed`` empty replies of one chat in a minute; 0 watches nothing."""

    def __init__(self, allowed: int, *, monotonic: Callable[[], float]) -> None:
        self._allowed = allowed
        self._monotonic = monotonic
        self._windows: TTLCache[ChatKey, _Window] = TTLCache(CHATS_MAX, WINDOW_S, timer=monotonic)

    def is_loop(
        self, chat: ChatKey, message_id: MessageId, heard: str, said: Sequence[str]
    ) -> bool:
        """Whether this reply would be one empty reply too many. Asked again about the same
        message it says the same. The caller must not ask about chats that are muted."""
        if not self._allowed:
            return False
        window = self._window(chat, message_id)
        now_s = self._monotonic()
        kept = [r for r in window.replies if now_s - r.at_s < WINDOW_S]
        earlier = [r for r in kept if r.message_id != message_id]
        reply = _reply(now_s, message_id, heard, said, earlier)
        window.replies.clear()
        window.replies.extend((*earlier, reply))
        found = sum(r.empty for r in window.replies) > self._allowed
        window.ended_by = message_id if found else None
        return found

    def _window(self, chat: ChatKey, message_id: MessageId) -> _Window:
        window = self._windows.get(chat)
        if window is None or window.ended_by not in (None, message_id):
            window = _Window(deque(maxlen=KEPT_TIMES * (self._allowed + 1)))
        # Stored again on every use: the cache drops by age since the last one.
        self._windows[chat] = window
        return window


def normalised(text: str) -> str:
    """What a text says, without how it is written: case, signs, spaces; in a sentence also
    without its digits."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    if len(words) >= SENTENCE_WORDS:
        words = [_DIGITS.sub("#", word) for word in words]
    return " ".join(words) or text.strip()


def _reply(
    at_s: float, message_id: MessageId, heard: str, said: Sequence[str], earlier: Sequence[_Reply]
) -> _Reply:
    ear = hash(normalised(heard))
    # Ours as they stand: two answers that differ by a number are two answers.
    mouth = frozenset(hash(text) for text in said)
    empty = any(ear == one.heard or mouth & one.said for one in earlier)
    return _Reply(at_s, message_id, ear, mouth, empty)
