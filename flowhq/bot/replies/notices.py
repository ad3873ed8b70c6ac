"""Notices of our own, not answers to what was said: one text each, in one language."""

from datetime import datetime

from flowhq.bot.hours import OpeningHours
from flowhq.bot.hourwords import opening_words
from flowhq.bot.replies.catalogue import Catalogue
from flowhq.model import Reply


def slow_down(catalogue: Catalogue) -> Reply:
    """Answers are held back for a while: too many at once."""
    return Reply(catalogue.say("notice.slow_down"), "slow_down")


def please_wait(catalogue: Catalogue) -> Reply:
    """This chat's queue is full; its messages are kept."""
    return Reply(catalogue.say("notice.please_wait"), "please_wait")


def text_only(catalogue: Catalogue) -> Reply:
    """A picture, a voice note ... came; only text is answered."""
    return Reply(catalogue.say("notice.text_only"), "text_only")


def closed(catalogue: Catalogue, hours: OpeningHours, now: datetime) -> Reply:
    """The business is closed, and when it opens if that is known."""
    opening = hours.next_opening(now)
    if opening is None:
        return Reply(catalogue.say("notice.closed_unknown"), "closed")
    words = opening_words(hours.local(now), opening, catalogue.language)
    return Reply(catalogue.say("notice.closed", opening=words), "closed")
