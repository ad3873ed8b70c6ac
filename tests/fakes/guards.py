"""What keeps a bot from answering too much, as loose as a test wants it."""

from flowhq.bot.deciding import Guards
from flowhq.bot.loops import LoopBreaker
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.bot.ratelimit import ReplyBudget, ReplyLimits
from flowhq.clock import Clock

NO_LIMITS = ReplyBudget(tenant_replies=100_000, contact_replies=100_000)


def guards(
    clock: Clock,
    *,
    budget: ReplyBudget = NO_LIMITS,
    loop_replies: int = 0,
    mute_s: float = 3600.0,
    own_numbers: OwnNumbers | None = None,
) -> Guards:
    """``loop_replies`` 0: nobody watches for loops."""
    return Guards(
        limits=ReplyLimits(budget, monotonic=clock.monotonic),
        loops=LoopBreaker(loop_replies, monotonic=clock.monotonic),
        own_numbers=own_numbers or OwnNumbers(),
        mute_s=mute_s,
    )
