"""What one run of a tenant leaves to the next in the same process; a new process begins without."""

from collections import deque
from dataclasses import dataclass, field

from cachetools import LRUCache

from flowhq.bot.dedup import Dedup
from flowhq.model import Jid, MessageId

# Own messages that are remembered as stuck; what is forgotten may be counted once more.
STUCK_MAX = 1_000
# Chats that are remembered as unreadable: of more, none would be counted often enough.
UNREADABLE_MAX = 10_000


@dataclass(slots=True)
class Memory:
    """One tenant's. Filled by the stages, each its own part."""

    dedup: Dedup
    """So that the next page need not have all of it recorded once more."""
    counted: bool = False
    """What the process before may have died of was counted against it."""
    replaced_at: deque[float] = field(default_factory=deque)
    """When another window took over, monotonic seconds."""
    stuck: LRUCache[MessageId, None] = field(default_factory=lambda: LRUCache(STUCK_MAX))
    """Own messages whose ack stayed out; one message is held against its page once."""
    stuck_in_a_row: int = 0
    unreadable: LRUCache[Jid, int] = field(default_factory=lambda: LRUCache(UNREADABLE_MAX))
    """Chats whose past the page could not tell, and in how many runs."""
