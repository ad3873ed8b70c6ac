"""What records into a ledger, with the default settings."""

from collections.abc import Callable, Sequence

from flowhq.bot.ports import Ledger
from flowhq.bot.recording import Recording
from flowhq.clock import Clock
from flowhq.config import LimitSettings
from flowhq.model import ChatKey


def recording(
    ledger: Ledger,
    clock: Clock,
    merged: Callable[[ChatKey, Sequence[ChatKey]], None] = lambda chat, others: None,
) -> Recording:
    pause_s = LimitSettings().person_pause_s
    return Recording(ledger, clock, person_pause_s=pause_s, merged=merged)
