"""Days and times as people say them, in Swahili and English. Tables and pure functions only."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from flowhq.model import Language

DAY_MIN = 24 * 60
DAY_NAMES = {
    Language.SW: ("Jumatatu", "Jumanne", "Jumatano", "Alhamisi", "Ijumaa", "Jumamosi", "Jumapili"),
    Language.EN: (
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ),
}
MONTH_NAMES = {
    Language.SW: (
        "Januari",
        "Februari",
        "Machi",
        "Aprili",
        "Mei",
        "Juni",
        "Julai",
        "Agosti",
        "Septemba",
        "Oktoba",
        "Novemba",
        "Desemba",
    ),
    Language.EN: (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}
EVERY_DAY = {Language.SW: "Kila siku", Language.EN: "Every day"}
CLOSED = {Language.SW: "tumefunga", Language.EN: "closed"}
WHOLE_DAY = {Language.SW: "saa 24", Language.EN: "24 hours"}
TODAY = {Language.SW: "leo", Language.EN: "today"}
TOMORROW = {Language.SW: "kesho", Language.EN: "tomorrow"}
PARTS_OF_DAY = ((4, "usiku"), (6, "alfajiri"), (12, "asubuhi"), (16, "mchana"), (19, "jioni"))
"""First hour after each part of the day; from 19:00 it is night."""


def clock_time(minute: int) -> str:
    """``08:00``; minutes past midnight of the next day wrap, only a full 1440 stays 24:00."""
    return "24:00" if minute == DAY_MIN else "{:02d}:{:02d}".format(*divmod(minute % DAY_MIN, 60))


def span_words(start_min: int, end_min: int, language: Language) -> str:
    """The start and end of a range, or the words for a whole day."""
    if (start_min, end_min) == (0, DAY_MIN):
        return WHOLE_DAY[language]
    return f"{clock_time(start_min)}–{clock_time(end_min)}"  # noqa: RUF001 - a range's dash


def day_range(spans: Sequence[tuple[int, int]], language: Language) -> str:
    """A day's ranges in order, or the word for closed."""
    if not spans:
        return CLOSED[language]
    return ", ".join(span_words(start, end, language) for start, end in sorted(spans))


def days_words(first: int, last: int, language: Language) -> str:
    """The first and last day's names (0 is Monday); the whole week is every day."""
    names = DAY_NAMES[language]
    if (first, last) == (0, 6):
        return EVERY_DAY[language]
    return names[first] if first == last else f"{names[first]}–{names[last]}"  # noqa: RUF001


def date_words(day: date, language: Language) -> str:
    """``Ijumaa, 25 Desemba``: without the year, for days near enough."""
    return f"{DAY_NAMES[language][day.weekday()]}, {day.day} {MONTH_NAMES[language][day.month - 1]}"


def holiday_line(day: date, spans: Sequence[tuple[int, int]], language: Language) -> str:
    """One line for one holiday."""
    return f"{date_words(day, language)}: {day_range(spans, language)}"


def time_words(minute: int, language: Language) -> str:
    """A time of day. Swahili counts hours from sunrise: 08:00 is saa 2:00 asubuhi."""
    clock = clock_time(minute)
    if language is Language.EN:
        return clock
    hour, rest = divmod(minute % DAY_MIN, 60)
    swahili_hour = (hour - 6) % 12 or 12
    part = next((name for limit, name in PARTS_OF_DAY if hour < limit), "usiku")
    return f"saa {swahili_hour}:{rest:02d} {part} ({clock})"


def opening_words(now: datetime, opening: datetime, language: Language) -> str:
    """When it opens, as told to somebody who asks now: today, tomorrow, a weekday or a date.

    Both in the business's own time zone.
    """
    at = time_words(opening.hour * 60 + opening.minute, language)
    days = (opening.date() - now.date()).days
    if days == 0:
        day = TODAY[language]
    elif days == 1:
        day = TOMORROW[language]
    elif opening.date() - now.date() < timedelta(days=7):
        day = DAY_NAMES[language][opening.weekday()]
    else:
        day = date_words(opening.date(), language)
    joint = "" if language is Language.SW else "at "
    return f"{day} {joint}{at}"
