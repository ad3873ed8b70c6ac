"""What came in lately, told apart in memory: a repeat costs no look into the database."""

from cachetools import TTLCache

from flowhq.clock import Clock
from flowhq.model import InboundMessage, MessageId


class Dedup:
    """One tenant's live messages, by their id and what they said; not what is read back from the
    page's history, which is told once. It forgets the oldest beyond ``entries``, and each after
    ``ttl_s`` seconds: the ledger knows them all."""

    def __init__(self, clock: Clock, *, entries: int, ttl_s: float) -> None:
        self._said: TTLCache[MessageId, int] = TTLCache(entries, ttl_s, timer=clock.monotonic)

    def knows(self, message: InboundMessage) -> bool:
        """Whether it is in the ledger for sure; one that says something else under a known id is
        for the ledger to compare."""
        return self._said.get(message.message_id) == _said(message)

    def note(self, message: InboundMessage) -> None:
        """It is in the ledger. Of what came under one id the first counts."""
        self._said.setdefault(message.message_id, _said(message))


def _said(message: InboundMessage) -> int:
    """The same for the same side and content; what cannot be told is for the ledger to compare."""
    said = (message.from_me, message.kind, message.text)
    try:
        return hash((*said, repr(message.content)))
    except RecursionError:
        return hash(said)
