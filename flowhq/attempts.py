"""How often one message is tried: a step of the bot, or a hand-over to the page."""

ATTEMPT_WAITS_S = (2, 10, 60, 300)
"""Seconds between two attempts. Together about six minutes: a message that always fails stands in
its chat's way, and must be out of it within ten. Much shorter, and one outage uses them all up."""
ATTEMPTS_MAX = len(ATTEMPT_WAITS_S) + 1
"""After the last one it is dead, until a person asks for it again; without an end it would be tried
for ever."""
