"""Opening hours: reading them, and asking them against a slow and simple oracle."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowhq.bot.hours import DAYS, OpeningHours, parse_hours
from flowhq.bot.hourwords import opening_words, time_words
from flowhq.errors import InvalidInputError
from flowhq.model import Language

DAR = "Africa/Dar_es_Salaam"
OFFICE = {day: [["08:00", "18:00"]] for day in DAYS[:5]}


def at(text: str, zone: str = DAR) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def hours_of(value: object, zone: str = DAR) -> OpeningHours:
    return parse_hours(value, timezone=zone)


# -- asking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, {}, {"timezone": "Africa/Nairobi"}])
def test_no_hours_are_always_open(value: object) -> None:
    hours = hours_of(value)
    assert hours.always_open
    assert hours.is_open(at("2026-12-25T03:00"))
    assert hours.next_opening(at("2026-12-25T03:00")) == at("2026-12-25T03:00")


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-11-23T07:59", False),
        ("2026-11-23T08:00", True),
        ("2026-11-23T17:59:59", True),
        ("2026-11-23T18:00", False),
        ("2026-11-22T12:00", False),
    ],
)
def test_a_range_holds_its_start_and_not_its_end(when: str, is_open: bool) -> None:
    assert hours_of({"weekly": OFFICE}).is_open(at(when)) is is_open


def test_a_range_past_midnight_reaches_into_the_next_day() -> None:
    hours = hours_of({"weekly": {"fri": [["20:00", "02:00"]]}})
    assert hours.is_open(at("2026-11-28T01:59"))
    assert not hours.is_open(at("2026-11-28T02:00"))
    assert not hours.is_open(at("2026-11-27T01:00"))


def test_a_range_past_sundays_midnight_reaches_into_monday() -> None:
    hours = hours_of({"weekly": {"sun": [["20:00", "02:00"]]}})
    assert hours.is_open(at("2026-11-30T01:00"))


def test_the_whole_day_and_midnight_as_an_end_can_be_written() -> None:
    hours = hours_of({"weekly": {"mon": [["00:00", "24:00"]], "wed": [["18:00", "00:00"]]}})
    assert hours.is_open(at("2026-11-23T00:00"))
    assert hours.is_open(at("2026-11-23T23:59"))
    assert not hours.is_open(at("2026-11-24T00:00"))
    assert hours.is_open(at("2026-11-25T23:59"))
    assert not hours.is_open(at("2026-11-26T00:00"))


def test_the_originals_form_counts_from_sunday() -> None:
    hours = hours_of({"0": {"open": "10:00", "close": "14:00"}, "1": None, "6": None})
    assert hours.is_open(at("2026-11-22T11:00"))
    assert not hours.is_open(at("2026-11-23T11:00"))
    assert hours.next_opening(at("2026-11-23T11:00")) == at("2026-11-29T10:00")


def test_both_forms_say_the_same_week() -> None:
    original = {str(day): {"open": "08:00", "close": "18:00"} for day in range(1, 6)}
    assert hours_of(original | {"0": None, "6": None}).weekly == hours_of({"weekly": OFFICE}).weekly


def test_a_dated_holiday_goes_before_a_yearly_one_and_both_before_the_week() -> None:
    hours = hours_of(
        {
            "weekly": OFFICE,
            "holidays": {"12-25": [], "2026-12-25": [["10:00", "14:00"]], "12-09": []},
        }
    )
    assert hours.is_open(at("2026-12-25T11:00"))
    assert not hours.is_open(at("2026-12-25T15:00"))
    assert not hours.is_open(at("2028-12-25T11:00"))
    assert not hours.is_open(at("2026-12-09T11:00"))
    assert hours.next_opening(at("2026-12-09T11:00")) == at("2026-12-10T08:00")


def test_holidays_alone_leave_the_rest_open() -> None:
    hours = hours_of({"holidays": {"12-25": []}})
    assert not hours.is_open(at("2026-12-25T12:00"))
    assert hours.is_open(at("2026-12-26T00:00"))
    assert hours.next_opening(at("2026-12-25T12:00")) == at("2026-12-26T00:00")


def test_the_night_before_a_holiday_still_ends_in_it() -> None:
    hours = hours_of({"weekly": {"thu": [["20:00", "02:00"]]}, "holidays": {"2026-12-25": []}})
    assert hours.is_open(at("2026-12-25T01:00"))


def test_a_leap_day_can_be_a_yearly_holiday() -> None:
    hours = hours_of({"holidays": {"02-29": []}})
    assert not hours.is_open(at("2028-02-29T12:00"))
    assert hours.is_open(at("2027-03-01T12:00"))


def test_the_zone_in_the_hours_goes_before_the_tenants() -> None:
    hours = hours_of({"timezone": "Asia/Tokyo", "weekly": OFFICE}, "UTC")
    assert hours.is_open(datetime(2026, 11, 22, 23, 30, tzinfo=UTC))
    assert not hours.is_open(datetime(2026, 11, 23, 12, 0, tzinfo=UTC))


def test_a_business_without_an_opening_in_sight_has_no_next_one() -> None:
    assert hours_of({"weekly": {"mon": []}}).next_opening(at("2026-11-23T09:00")) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        hours_of({"weekly": OFFICE}).is_open(datetime(2026, 11, 23, 9))  # noqa: DTZ001


def test_an_opening_in_the_hour_that_the_clock_skips_is_the_jump() -> None:
    hours = hours_of({"weekly": {"sun": [["02:30", "05:00"]]}}, "Europe/Berlin")
    opening = hours.next_opening(at("2026-03-28T12:00", "Europe/Berlin"))
    assert opening is not None
    assert opening.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_a_shop_reopens_when_the_clock_goes_back_into_its_hours() -> None:
    hours = hours_of({"weekly": {"sun": [["00:30", "02:30"]]}}, "Europe/Berlin")
    closed = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert not hours.is_open(closed)
    opening = hours.next_opening(closed)
    assert opening is not None
    assert opening.astimezone(UTC) == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


# -- the oracle ------------------------------------------------------------------------------------

QUARTER_HOURS_A_WEEK = 7 * 24 * 4


@st.composite
def weeks(draw: st.DrawFn) -> dict[str, list[list[str]]]:
    """Any week of ranges that do not overlap, in quarter hours, shorter than a day each."""
    cuts = sorted(draw(st.sets(st.integers(0, QUARTER_HOURS_A_WEEK - 1), min_size=2, max_size=14)))
    week: dict[str, list[list[str]]] = {}
    for start, end in zip(cuts[0::2], cuts[1::2], strict=False):
        if end - start < 24 * 4:
            day, opens = divmod(start * 15, 24 * 60)
            closes = end * 15 % (24 * 60)
            written = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in (opens, closes)]
            week.setdefault(DAYS[day], []).append(written)
    return week


ZONES = st.sampled_from([DAR, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
MOMENTS = st.one_of(
    st.integers(0, 2 * 365 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    # The evenings before the clocks of these zones jump.
    st.sampled_from(
        [
            datetime(2026, 3, 28, 20, tzinfo=UTC),
            datetime(2026, 10, 24, 20, tzinfo=UTC),
            datetime(2026, 3, 8, 4, tzinfo=UTC),
            datetime(2026, 11, 1, 3, tzinfo=UTC),
            datetime(2026, 4, 4, 13, tzinfo=UTC),
        ]
    ),
)


def oracle_open(value: dict[str, Any], zone: str, moment: datetime) -> bool:
    """Lays every range of the days around on the wall's clock and looks whether one holds it."""
    wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for back in (0, 1):
        day = wall.date() - timedelta(days=back)
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001
        ranges = value["holidays"].get(day.isoformat())
        if ranges is None:
            ranges = value["weekly"].get(DAYS[day.weekday()], [])
        for opens, closes in ranges:
            start = timedelta(hours=int(opens[:2]), minutes=int(opens[3:]))
            end = timedelta(hours=int(closes[:2]), minutes=int(closes[3:]))
            if end <= start:
                end += timedelta(days=1)
            if midnight + start <= wall < midnight + end:
                return True
    return False


@settings(max_examples=150)
@given(weeks(), ZONES, MOMENTS, st.integers(0, 3))
@example(
    {"sun": [["00:30", "02:30"]]}, "Europe/Berlin", datetime(2026, 10, 25, 0, 40, tzinfo=UTC), 0
)
def test_open_and_next_opening_agree_with_the_oracle(
    week: dict[str, list[list[str]]], zone: str, moment: datetime, holiday_in: int
) -> None:
    holiday = (moment.date() + timedelta(days=holiday_in)).isoformat()
    value = {"weekly": week, "holidays": {holiday: [["09:15", "11:00"]]}}
    hours = hours_of(value, zone)
    expected = None
    for minutes in range(0, 4 * 24 * 60, 5):
        later = moment.replace(minute=moment.minute // 5 * 5) + timedelta(minutes=minutes)
        if later < moment:
            later = moment
        is_open = oracle_open(value, zone, later)
        if minutes < 24 * 60:
            assert hours.is_open(later) is is_open
        if is_open:
            expected = later
            break
    found = hours.next_opening(moment)
    if expected is None:
        assert found is None or found.astimezone(UTC) >= moment + timedelta(days=3, hours=23)
    else:
        assert found is not None
        assert found.astimezone(UTC) == expected


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "field", "says"),
    [
        ([], "hours_json", "must be an object"),
        ({"week": {}}, "hours_json.week", "Did you mean 'weekly'?"),
        ({"weekly": []}, "hours_json.weekly", "must be an object"),
        ({"weekly": {"monday": []}}, "hours_json.weekly.monday", "Did you mean 'mon'?"),
        ({"weekly": {"mon": None}}, "hours_json.weekly.mon", "must be a list"),
        ({"weekly": {"mon": [["08:00", "09:00"]] * 9}}, "hours_json.weekly.mon", "at most 8"),
        ({"weekly": {"mon": ["08:00"]}}, "hours_json.weekly.mon[0]", "two times"),
        ({"weekly": {"mon": [["08:00"]]}}, "hours_json.weekly.mon[0]", "two times"),
        ({"weekly": {"mon": [["25:00", "26:00"]]}}, "hours_json.weekly.mon[0]", "'25:00'"),
        ({"weekly": {"mon": [["08:60", "09:00"]]}}, "hours_json.weekly.mon[0]", "'08:60'"),
        ({"weekly": {"mon": [["08:00", "24:01"]]}}, "hours_json.weekly.mon[0]", "'24:01'"),
        ({"weekly": {"mon": [["8am", "09:00"]]}}, "hours_json.weekly.mon[0]", "'8am'"),
        ({"weekly": {"mon": [[8, "09:00"]]}}, "hours_json.weekly.mon[0]", "not a number"),
        ({"weekly": {"mon": [["08:00", "08:00"]]}}, "hours_json.weekly.mon[0]", "same time"),
        ({"weekly": {"mon": [["24:00", "08:00"]]}}, "hours_json.weekly.mon[0]", "only end"),
        (
            {"weekly": {"mon": [["08:00", "12:00"], ["11:59", "13:00"]]}},
            "hours_json.weekly.mon[1]",
            "begins before",
        ),
        (
            {"weekly": {"mon": [["20:00", "09:00"]], "tue": [["08:00", "10:00"]]}},
            "hours_json.weekly.tue[0]",
            "begins before",
        ),
        (
            {"weekly": {"sun": [["20:00", "09:00"]], "mon": [["08:00", "10:00"]]}},
            "hours_json.weekly.mon[0]",
            "begins before",
        ),
        ({"timezone": "Africa/Dar_Salaam"}, "hours_json.timezone", DAR),
        ({"timezone": "../etc/passwd"}, "hours_json.timezone", "time zone"),
        ({"timezone": 3}, "hours_json.timezone", "time zone"),
        ({"holidays": {"2026-02-30": []}}, "hours_json.holidays.2026-02-30", "date"),
        ({"holidays": {"13-01": []}}, "hours_json.holidays.13-01", "date"),
        ({"holidays": {"xmas": []}}, "hours_json.holidays.xmas", "date"),
        ({"holidays": {"12-25": None}}, "hours_json.holidays.12-25", "list"),
        (
            {"holidays": {"12-25": [["10:00", "12:00"], ["09:00", "10:01"]]}},
            "hours_json.holidays.12-25[0]",
            "begins before",
        ),
        ({"7": None}, "hours_json.7", "no setting '7'"),
        ({"1": {"open": "08:00"}}, "hours_json.1.close", "both"),
        ({"1": {"open": "08:00", "closes": "18:00"}}, "hours_json.1.closes", "mean 'close'?"),
        ({"1": {"open": "31:00", "close": "18:00"}}, "hours_json.1.open", "'31:00'"),
        ({"1": "08:00-18:00"}, "hours_json.1", "must be an object"),
        ({"1": None, "weekly": {}}, "hours_json.weekly", "no setting 'weekly'"),
        (
            {"1": {"open": "20:00", "close": "09:00"}, "2": {"open": "08:00", "close": "10:00"}},
            "hours_json.2",
            "begins before",
        ),
    ],
)
def test_impossible_hours_are_refused_with_their_place(value: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        hours_of(value)
    assert refused.value.field == field
    assert says in str(refused.value)


def test_too_many_holidays_are_refused() -> None:
    first = date(2026, 1, 1)
    many: dict[str, list[str]] = {
        (first + timedelta(days=day)).isoformat(): [] for day in range(401)
    }
    with pytest.raises(InvalidInputError, match="at most 400"):
        hours_of({"holidays": many})


def test_a_tenants_own_zone_is_checked_too() -> None:
    with pytest.raises(InvalidInputError) as refused:
        hours_of(None, "Mars/Olympus")
    assert refused.value.field == "timezone"


# -- saying ----------------------------------------------------------------------------------------

WEEK = {"weekly": OFFICE | {"sat": [["09:00", "13:00"], ["18:00", "01:00"]]}}


def test_days_alike_are_grouped() -> None:
    assert hours_of(WEEK).describe(Language.SW).splitlines() == [
        "Jumatatu–Ijumaa 08:00–18:00",  # noqa: RUF001
        "Jumamosi 09:00–13:00, 18:00–01:00",  # noqa: RUF001
        "Jumapili tumefunga",
    ]
    assert hours_of(WEEK).describe(Language.EN).splitlines()[0] == "Monday–Friday 08:00–18:00"  # noqa: RUF001


def test_a_week_of_equal_days_is_every_day() -> None:
    all_week = hours_of({"weekly": {day: [["00:00", "24:00"]] for day in DAYS}})
    assert all_week.describe(Language.SW) == "Kila siku saa 24"
    assert all_week.describe(Language.EN) == "Every day 24 hours"


def test_holidays_near_are_told_with_the_week() -> None:
    hours = hours_of(WEEK | {"holidays": {"12-25": [], "2027-01-12": []}})
    told = hours.describe(Language.SW, today=date(2026, 12, 20)).splitlines()
    assert told[3:] == ["Ijumaa, 25 Desemba: tumefunga"]


@pytest.mark.parametrize(
    ("now", "opening", "swahili", "english"),
    [
        ("2026-11-23T05:00", "2026-11-23T08:00", "leo saa 2:00 asubuhi (08:00)", "today at 08:00"),
        (
            "2026-11-23T19:00",
            "2026-11-24T13:30",
            "kesho saa 7:30 mchana (13:30)",
            "tomorrow at 13:30",
        ),
        (
            "2026-11-20T19:00",
            "2026-11-23T19:00",
            "Jumatatu saa 1:00 usiku (19:00)",
            "Monday at 19:00",
        ),
        (
            "2026-12-24T19:00",
            "2027-01-04T08:00",
            "Jumatatu, 4 Januari saa 2:00 asubuhi (08:00)",
            "Monday, 4 January at 08:00",
        ),
    ],
)
def test_an_opening_is_told_as_people_say_it(
    now: str, opening: str, swahili: str, english: str
) -> None:
    assert opening_words(at(now), at(opening), Language.SW) == swahili
    assert opening_words(at(now), at(opening), Language.EN) == english


@pytest.mark.parametrize(
    ("minute", "said"),
    [
        (0, "saa 6:00 usiku (00:00)"),
        (5 * 60, "saa 11:00 alfajiri (05:00)"),
        (6 * 60, "saa 12:00 asubuhi (06:00)"),
        (12 * 60, "saa 6:00 mchana (12:00)"),
        (18 * 60, "saa 12:00 jioni (18:00)"),
        (23 * 60 + 59, "saa 5:59 usiku (23:59)"),
    ],
)
def test_swahili_counts_its_hours_from_sunrise(minute: int, said: str) -> None:
    assert time_words(minute, Language.SW) == said
