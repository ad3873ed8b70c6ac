"""Opening hours: read from a tenant's JSON, asked whether open, when next, and how to say it.

Times are the wall clock of the business. A range belongs to the day it starts on, so 18:00 to
02:00 on Friday ends in Saturday's night, even if Saturday is a holiday.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flowhq.bot.fields import did_you_mean, kind_of, read_object, refuse_unknown_keys
from flowhq.bot.hourwords import day_range, days_words, holiday_line
from flowhq.errors import InvalidInputError
from flowhq.model import Language

DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ORIGINAL_DAYS = ("1", "2", "3", "4", "5", "6", "0")
"""The original's day numbers (0 = Sunday), in our order from Monday."""
RANGES_MAX = 8
"""Ranges of one day; more is a mistake in the data."""
HOLIDAYS_MAX = 400
SEARCH_DAYS = 370
"""How far ahead the next opening is looked for: a yearly holiday is met once."""
HOLIDAYS_TOLD_DAYS = 14
"""Holidays this near are told with the week; later ones would only clutter it."""
TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
ONE_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EVERY_YEAR = re.compile(r"[0-9]{2}-[0-9]{2}")
LEAP_YEAR = 2000
"""Any leap year: lets 02-29 be a yearly holiday."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Minutes after midnight, end excluded; an end above 1440 is in the next day's night."""

    start_min: int
    end_min: int


Day = tuple[Span, ...]
WHOLE_DAY: Day = (Span(0, DAY_MIN),)


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When a business is open. ``weekly`` has seven days from Monday; None is always open."""

    timezone: ZoneInfo
    weekly: tuple[Day, ...] | None = None
    holidays: Mapping[date, Day] = field(default_factory=lambda: MappingProxyType({}))
    yearly: Mapping[tuple[int, int], Day] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def always_open(self) -> bool:
        """No hours at all were given: never a closed notice, and nothing to describe."""
        return self.weekly is None and not self.holidays and not self.yearly

    def on(self, day: date) -> Day:
        """The ranges that start on this day; a dated holiday goes before a yearly one."""
        if day in self.holidays:
            return self.holidays[day]
        if (day.month, day.day) in self.yearly:
            return self.yearly[day.month, day.day]
        return WHOLE_DAY if self.weekly is None else self.weekly[day.weekday()]

    def is_open(self, at: datetime) -> bool:
        """Whether the business is open at this aware time."""
        local = self.local(at)
        minute = local.hour * 60 + local.minute
        today = local.date()
        return any(span.start_min <= minute < span.end_min for span in self.on(today)) or any(
            minute + DAY_MIN < span.end_min for span in self.on(today - timedelta(days=1))
        )

    def next_opening(self, at: datetime) -> datetime | None:
        """The first moment at or after ``at`` when it is open, in the business's time zone.

        None when there is none within ``SEARCH_DAYS``.
        """
        if self.is_open(at):
            return self.local(at)
        moment = at.astimezone(UTC)
        first = self.local(at).date() - timedelta(days=1)
        for offset in range(SEARCH_DAYS):
            for candidate in sorted(self._may_open(first + timedelta(days=offset))):
                if candidate >= moment and self.is_open(candidate):
                    return self.local(candidate)
        return None

    def local(self, at: datetime) -> datetime:
        """The same moment on the business's clock. ValueError for a time without zone."""
        if at.tzinfo is None:
            raise ValueError("a time without a zone cannot be compared with opening hours")
        return at.astimezone(self.timezone)

    def describe(self, language: Language, *, today: date | None = None) -> str:
        """The week for people, days alike grouped, one line each; with ``today`` also the
        holidays of the next two weeks."""
        lines = [
            f"{days_words(first, last, language)} {day_range(_pairs(spans), language)}"
            for first, last, spans in self._grouped()
        ]
        if today is not None:
            lines += self._holiday_lines(today, language)
        return "\n".join(lines)

    def _grouped(self) -> Iterator[tuple[int, int, Day]]:
        week = self.weekly if self.weekly is not None else (WHOLE_DAY,) * 7
        first = 0
        for index in range(1, 8):
            if index == 7 or week[index] != week[first]:
                yield first, index - 1, week[first]
                first = index

    def _holiday_lines(self, today: date, language: Language) -> Iterator[str]:
        for offset in range(HOLIDAYS_TOLD_DAYS):
            day = today + timedelta(days=offset)
            if day in self.holidays or (day.month, day.day) in self.yearly:
                yield holiday_line(day, _pairs(self.on(day)), language)

    def _may_open(self, day: date) -> Iterator[datetime]:
        """Every moment (UTC) of this local day at which a closed business may become open: the
        starts of ranges, twice where the clock repeats, and the jump of the clock itself."""
        for span in self.on(day):
            start = time(*divmod(span.start_min, 60))
            for fold in (0, 1):
                wall = datetime.combine(day, start, self.timezone).replace(fold=fold)
                yield wall.astimezone(UTC)
        jump = self._clock_jump(day)
        if jump is not None:
            yield jump

    def _clock_jump(self, day: date) -> datetime | None:
        low = datetime.combine(day, time(), self.timezone).astimezone(UTC)
        high = datetime.combine(day + timedelta(days=1), time(), self.timezone).astimezone(UTC)
        before = self.local(low - timedelta(seconds=1)).utcoffset()
        if before == self.local(high).utcoffset():
            return None
        low -= timedelta(seconds=1)
        while high - low > timedelta(seconds=1):
            middle = (low + (high - low) / 2).replace(microsecond=0)
            low, high = (
                (middle, high) if self.local(middle).utcoffset() == before else (low, middle)
            )
        return high


def _pairs(spans: Day) -> list[tuple[int, int]]:
    return [(span.start_min, span.end_min) for span in spans]


# -- reading ---------------------------------------------------------------------------------------


def parse_hours(value: object, *, timezone: str, field_name: str = "hours_json") -> OpeningHours:
    """Opening hours from a tenant's JSON; None and ``{}`` are always open.

    Two forms: ``{"timezone", "weekly", "holidays"}`` and the original's ``{"0": {"open","close"} |
    null, ...}`` with 0 = Sunday. ``timezone`` is the tenant's, unless the JSON names another.
    InvalidInputError names the field that is wrong.
    """
    if value is None:
        return OpeningHours(parse_timezone(timezone, "timezone"))
    content = read_object(value, field_name)
    if any(str(key).isdigit() for key in content):
        zone = parse_timezone(timezone, "timezone")
        return OpeningHours(zone, _original_week(content, field_name))
    refuse_unknown_keys(content, ("timezone", "weekly", "holidays"), field_name)
    if "timezone" in content:
        zone = parse_timezone(content["timezone"], f"{field_name}.timezone")
    else:
        zone = parse_timezone(timezone, "timezone")
    weekly = _week(content["weekly"], f"{field_name}.weekly") if "weekly" in content else None
    holidays, yearly = _holidays(content.get("holidays", {}), f"{field_name}.holidays")
    return OpeningHours(zone, weekly, MappingProxyType(holidays), MappingProxyType(yearly))


def parse_timezone(value: object, field_name: str) -> ZoneInfo:
    """A time zone by its IANA name. InvalidInputError if there is none of that name."""
    if isinstance(value, str) and 0 < len(value) <= 64:
        try:
            return ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            hint = did_you_mean(value, available_timezones())
    else:
        hint = ""
    raise InvalidInputError(
        f"{field_name} must be a time zone such as 'Africa/Dar_es_Salaam'.",
        field=field_name,
        next_step=hint,
    )


def _week(value: object, field_name: str) -> tuple[Day, ...]:
    content = read_object(value, field_name)
    refuse_unknown_keys(content, DAYS, field_name)
    week = tuple(_day(content.get(day, []), f"{field_name}.{day}") for day in DAYS)
    _refuse_overlaps(week, lambda day, index: f"{field_name}.{DAYS[day]}[{index}]")
    return week


def _original_week(content: Mapping[str, Any], field_name: str) -> tuple[Day, ...]:
    refuse_unknown_keys(content, ORIGINAL_DAYS, field_name)
    week = tuple(
        _original_day(content.get(number), f"{field_name}.{number}") for number in ORIGINAL_DAYS
    )
    _refuse_overlaps(week, lambda day, _: f"{field_name}.{ORIGINAL_DAYS[day]}")
    return week


def _original_day(value: object, field_name: str) -> Day:
    if value is None:
        return ()
    content = read_object(value, field_name)
    refuse_unknown_keys(content, ("open", "close"), field_name)
    for key in ("open", "close"):
        if key not in content:
            raise InvalidInputError(
                f"{field_name} needs both 'open' and 'close', or null for a closed day.",
                field=f"{field_name}.{key}",
            )
    return (
        _span(content["open"], content["close"], (f"{field_name}.open", f"{field_name}.close")),
    )


def _day(value: object, field_name: str) -> Day:
    if not isinstance(value, list) or len(value) > RANGES_MAX:
        raise InvalidInputError(
            f"{field_name} must be a list of at most {RANGES_MAX} ranges such as "
            f'[["08:00", "18:00"]], [] for closed.',
            field=field_name,
        )
    spans = []
    for index, item in enumerate(value):
        place = f"{field_name}[{index}]"
        if not isinstance(item, list) or len(item) != 2:
            raise InvalidInputError(
                f'{place} must be two times such as ["08:00", "18:00"].', field=place
            )
        spans.append(_span(item[0], item[1], (place, place)))
    return tuple(spans)


def _span(opens: object, closes: object, places: tuple[str, str]) -> Span:
    start, end = _minutes(opens, places[0]), _minutes(closes, places[1])
    if start == DAY_MIN:
        raise InvalidInputError(
            f"{places[0]}: 24:00 can only end a range.",
            field=places[0],
            next_step="A range that starts at midnight starts at 00:00 of the next day.",
        )
    if start == end:
        raise InvalidInputError(
            f"{places[1]}: a range cannot open and close at the same time.",
            field=places[1],
            next_step='The whole day is ["00:00", "24:00"].',
        )
    return Span(start, end if end > start else end + DAY_MIN)


def _minutes(value: object, place: str) -> int:
    if not isinstance(value, str):
        raise InvalidInputError(
            f"{place}: a time is a text such as '08:00', not {kind_of(value)}.", field=place
        )
    match = TIME.fullmatch(value)
    hour, minute = (int(match[1]), int(match[2])) if match else (99, 99)
    if not (hour < 24 and minute < 60) and (hour, minute) != (24, 0):
        raise InvalidInputError(
            f"{place}: '{value[:20]}' is not a time from 00:00 to 24:00.", field=place
        )
    return hour * 60 + minute


def _refuse_overlaps(week: Sequence[Day], place_of: Callable[[int, int], str]) -> None:
    """InvalidInputError for the first range that begins before the one before it ended, round
    the end of the week as well. ``place_of`` words the place of a day's range."""
    every = sorted(
        (Span(day * DAY_MIN + span.start_min, day * DAY_MIN + span.end_min), place_of(day, index))
        for day, spans in enumerate(week)
        for index, span in enumerate(spans)
    )
    if not every:
        return
    latest_end = max(span.end_min for span, _ in every) - WEEK_MIN
    for span, place in every:
        _refuse_overlap(latest_end, span, place)
        latest_end = max(latest_end, span.end_min)


def _refuse_overlap(latest_end_min: int, span: Span, place: str) -> None:
    if span.start_min < latest_end_min:
        opens = "{:02d}:{:02d}".format(*divmod(span.start_min % DAY_MIN, 60))
        raise InvalidInputError(
            f"{place}: the range from {opens} begins before the one before it ends.", field=place
        )


def _holidays(value: object, field_name: str) -> tuple[dict[date, Day], dict[tuple[int, int], Day]]:
    content = read_object(value, field_name)
    if len(content) > HOLIDAYS_MAX:
        raise InvalidInputError(
            f"{field_name} may have at most {HOLIDAYS_MAX} days.", field=field_name
        )
    dated: dict[date, Day] = {}
    yearly: dict[tuple[int, int], Day] = {}
    for key, ranges in content.items():
        place = f"{field_name}.{str(key)[:20]}"
        day = _holiday_date(key, place)
        spans = _day(ranges, place)
        latest_end = 0
        for span, index in sorted((span, index) for index, span in enumerate(spans)):
            _refuse_overlap(latest_end, span, f"{place}[{index}]")
            latest_end = span.end_min
        if ONE_DATE.fullmatch(key):
            dated[day] = spans
        else:
            yearly[day.month, day.day] = spans
    return dated, yearly


def _holiday_date(key: str, place: str) -> date:
    try:
        if ONE_DATE.fullmatch(key):
            return date.fromisoformat(key)
        if EVERY_YEAR.fullmatch(key):
            return date.fromisoformat(f"{LEAP_YEAR}-{key}")
    except ValueError:
        pass
    raise InvalidInputError(
        f"{place}: a holiday's key is a date such as '2026-12-25', or '12-25' for every year.",
        field=place,
    )
