"""When a delivery that failed is tried again, and when it is given up: pure."""

import random

# About a day in all: the first within seconds for a receiver that restarts, the last every 4 hours.
WAITS_S = (5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400)
# Counted from when the event was to be told first.
GIVE_UP_S = 86_400.0
# So that many queues of one endpoint do not come back in the same second.
JITTER = 0.1
LONGEST_WAIT_S = WAITS_S[-1] * (1 + JITTER)


def wait_s(failures: int, dice: random.Random) -> float:
    """Seconds before the next attempt after so many failures in a row, one or more."""
    planned = WAITS_S[min(failures, len(WAITS_S)) - 1]
    return planned * dice.uniform(1 - JITTER, 1 + JITTER)


def is_over(age_s: float) -> bool:
    """Whether an event of this age is not tried again."""
    return age_s >= GIVE_UP_S
