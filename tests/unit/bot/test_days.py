"""The day and time that a customer's text names."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.bot.keywords import read_words
from flowhq.bot.replies.days import find_day, find_time

MONDAY = date(2026, 11, 23)


def day_in(text: str, today: date = MONDAY) -> date | None:
    return find_day(text, read_words(text), today=today)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("leo jioni", date(2026, 11, 23)),
        ("Kesho!", date(2026, 11, 24)),
        ("tomorrow at 3 pm", date(2026, 11, 24)),
        ("keshokutwa", date(2026, 11, 25)),
        ("kesho kutwa", date(2026, 11, 25)),
        ("the day after tomorrow", date(2026, 11, 25)),
        ("Jumatatu", date(2026, 11, 23)),
        ("jumapili ijayo", date(2026, 11, 29)),
        ("nitakuja alhamis", date(2026, 11, 26)),
        ("on Saturday please", date(2026, 11, 28)),
        ("wensday", date(2026, 11, 25)),
        ("wednsday", date(2026, 11, 25)),
        ("25/12", date(2026, 12, 25)),
        ("25-12-2026", date(2026, 12, 25)),
        ("25.12.26", date(2026, 12, 25)),
        ("2026-12-25", date(2026, 12, 25)),
        ("tarehe 25 Desemba", date(2026, 12, 25)),
        ("december 25th", date(2026, 12, 25)),
        ("25 december saa 4", date(2026, 12, 25)),
        ("3/1", date(2027, 1, 3)),
        ("20/11", date(2026, 11, 20)),
        ("1/1/2020", date(2020, 1, 1)),
        ("jana", date(2026, 11, 22)),
        ("nilikuja jana, nije kesho?", date(2026, 11, 24)),
        ("mtondo", None),
        ("31/2", None),
        ("2026-13-01", None),
        ("123/4", None),
        ("10:30", None),
        ("desemba", None),
        ("mkiwa na nafasi", None),
        ("", None),
    ],
)
def test_days_are_found(text: str, day: date | None) -> None:
    assert day_in(text) == day


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("kesho saa nne asubuhi", "saa nne asubuhi"),
        ("saa 10:30 jioni tafadhali", "saa 10:30 jioni"),
        ("saa tatu na nusu usiku", "saa tatu na nusu usiku"),
        ("Saturday 10:00", "10:00"),
        ("tomorrow at 3 pm", "3 pm"),
        ("at 3pm", "3pm"),
        ("mnafungua saa ngapi", None),
        ("saa za kazi", None),
        ("25/12", None),
        ("25.12.26", None),
        ("kesho", None),
    ],
)
def test_times_are_found_as_they_are_written(text: str, time: str | None) -> None:
    assert find_time(text) == time


@given(st.text(max_size=80), st.dates(date(2020, 1, 1), date(2090, 1, 1)))
def test_any_text_can_be_searched(text: str, today: date) -> None:
    day_in(text, today)
    find_time(text)


@given(st.dates(date(2026, 11, 23), date(2027, 10, 1)))
def test_a_date_written_with_its_year_is_that_date(day: date) -> None:
    assert day_in(f"{day.day}/{day.month}/{day.year}") == day
    assert day_in(day.isoformat()) == day
