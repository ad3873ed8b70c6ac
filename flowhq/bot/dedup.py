"""What came in lately, told apart in memory: a repeat costs no look into the database."""

from cachetools import TTLCache

from flowhq.clock import Clock
from flowhq.model import InboundMessage, MessageId

# Which hash() never gives.
_OURS = -1


class Dedup:
    """One tenant's live messages, by their id and what they said, and the ids under which it sends;
    not what is read back from the page's history, which is told once. It forgets the oldest beyond
    ``entries``, and each after ``ttl_s`` seconds: the ledger knows them all."""

    def __init__(self, clock: Clock, *, entries: int, ttl_s: float) -> None:
        self._said: TTLCache[MessageId, int] = TTLCache(entries, ttl_s, timer=clock.monotonic)

    def knows(self, message: InboundMessage) -> bool:
        """Whether it is in the ledger for sure; one that says something else under a known id is
        for the ledger to compare."""
        known = self._said.get(message.message_id)
        if known == _OURS and message.from_me:
            return True
        return known is not None and known == _said(message)

    def note(self, message: InboundMessage) -> None:
        """It is in the ledger. Of what came under one id the first counts."""
        said = _said(message)
        if said is not None:
            self._said.setdefault(message.message_id, said)

    def note_own(self, client_id: MessageId) -> None:
        """A message of ours that goes out under this id, as the ledger knows: its echo brings
        nothing new, however the page shows it."""
        self._said.setdefault(client_id, _OURS)


def _said(message: InboundMessage) -> int | None:
    """The same for the same side and content. None: nested too deep to be told, so the ledger
    compares it each time."""
    try:
        return hash((message.from_me, message.kind, message.text, repr(message.content)))
    except RecursionError:
        return None
