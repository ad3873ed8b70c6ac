"""The day and the time of day that a customer's text names, in Swahili or English."""

import re
from datetime import date, timedelta

from rapidfuzz import fuzz, process

from flowhq.bot.hourwords import DAY_NAMES, MONTH_NAMES
from flowhq.bot.keywords import CUTOFF, EXACT_LETTERS, Words, normalise
from flowhq.model import Language

TODAY = frozenset({"leo", "today", "tonight"})
TOMORROW = frozenset({"kesho", "tomorrow", "tomorow", "tmrw"})
AFTER_TOMORROW = ("keshokutwa", "kesho kutwa", "day after tomorrow")
YESTERDAY = frozenset({"jana", "yesterday"})
SWAHILI_TIMES = ("alfajiri", "asubuhi", "adhuhuri", "mchana", "jioni", "usiku", "sasa", "wowote")
ENGLISH_TIMES = ("morning", "noon", "midday", "afternoon", "evening", "night", "now", "anytime")
TIME_WORDS = frozenset(SWAHILI_TIMES + ENGLISH_TIMES)
"""Words that are an answer to "at what time?" without a number."""
SWAHILI_TIME = (
    r"\bsaa\s+(?!ngapi|za\b|hizi)\w+(?:[:.]\d\d)?(?:\s+(?:na\s+\w+|kasoro\s+\w+|kamili))?"
    r"(?:\s+(?:ya\s+)?(?:alfajiri|asubuhi|mchana|jioni|usiku))?"
)
CLOCK_TIME = (
    r"(?<![.\d])(?:[01]?\d|2[0-3])[:.][0-5]\d(?![.\d])(?:\s*[ap]\.?m\b\.?)?"
    r"|\b\d{1,2}\s*[ap]\.?m\b"
)
TIME_SAID = re.compile(f"{SWAHILI_TIME}|{CLOCK_TIME}", re.IGNORECASE)
DAY_NUMBER = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)?")
DATE_SAID = re.compile(r"\b(\d{1,4})[-/. ](\d{1,2})(?:[-/. ](\d{2,4}))?\b")


def find_time(text: str) -> str | None:
    """The part of the text that is a time of day, as it was written; None when there is none."""
    match = TIME_SAID.search(text[:200])
    return match[0].strip() if match else None


def find_day(text: str, words: Words, *, today: date) -> date | None:
    """The day that the text names, counted from today; None when it names none that exists.

    A weekday is the next one from today on; a date without a year is the next such date, unless
    it was within the last month: then it is that one, and over.
    """
    said = set(words.loose)
    if any(phrase in words.text for phrase in AFTER_TOMORROW):
        return today + timedelta(days=2)
    if said & TOMORROW:
        return today + timedelta(days=1)
    if said & TODAY:
        return today
    weekday = _named(words, 0)
    if weekday is not None:
        return today + timedelta(days=(weekday - today.weekday()) % 7)
    month = _named(words, 1)
    if month is not None:
        days = [match for word in words.loose if (match := DAY_NUMBER.fullmatch(word))]
        return _on(today, int(days[0][1]), month + 1, None) if days else None
    if said & YESTERDAY:
        return today - timedelta(days=1)
    return _numeric(TIME_SAID.sub(" ", text[:200]), today)


def _named(words: Words, which: int) -> int | None:
    """The number of the weekday (0) or month (1) among the words, misspelt too."""
    for language in Language:
        names = [normalise(name) for name in (DAY_NAMES, MONTH_NAMES)[which][language]]
        for word in words.loose:
            if word in names:
                return names.index(word)
            if len(word) > EXACT_LETTERS + 1:
                near = process.extractOne(word, names, scorer=fuzz.ratio, score_cutoff=CUTOFF + 3)
                if near is not None and len(near[0]) > EXACT_LETTERS:
                    return int(near[2])
    return None


def _numeric(text: str, today: date) -> date | None:
    match = DATE_SAID.search(text)
    if match is None:
        return None
    first, second, third = match[1], int(match[2]), match[3]
    if len(first) == 4:
        return _on(today, int(third), second, int(first)) if third else None
    if len(first) > 2:
        return None
    year = int(third) if third else None
    return _on(today, int(first), second, year + 2000 if year is not None and year < 100 else year)


def _on(today: date, day: int, month: int, year: int | None) -> date | None:
    try:
        if year is not None:
            return date(year, month, day)
        this_year = date(today.year, month, day)
        if this_year < today - timedelta(days=31):
            return date(today.year + 1, month, day)
    except ValueError:
        return None
    return this_year
