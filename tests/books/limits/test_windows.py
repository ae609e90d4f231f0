"""When windows begin and end: clocks that change, months that end, years that leap."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from tokenbalance.books.limits.windows import Window, begin_of, days_of, window_at
from tokenbalance.model.limits import CALENDAR

A_MOMENT: Final = timedelta(microseconds=1)
ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
)
PERIODS: Final = ("day", "week", "month", "quarter", "1 days", "14 days", "30 days", "365 days")
FIRST: Final = datetime(1985, 1, 1, tzinfo=UTC)
YEARS_US: Final = 60 * 365 * 86_400 * 1_000_000


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def window_of(text: str, period: str, zone: str, anchor: str = "2026-01-31 08:30") -> Window:
    found = window_at(at(text, zone), period, ZoneInfo(zone), at(anchor, zone))
    return Window(*(moment.astimezone(ZoneInfo(zone)) for moment in found))


@pytest.mark.parametrize(
    ("moment", "period", "zone", "start", "end", "hours"),
    [
        ("2026-11-30 23:59", "day", "UTC", "2026-11-30", "2026-12-01", 24),
        ("2026-12-01 00:00", "day", "UTC", "2026-12-01", "2026-12-02", 24),
        ("2026-03-29 12:00", "day", "Europe/Berlin", "2026-03-29", "2026-03-30", 23),
        ("2026-10-25 02:30", "day", "Europe/Berlin", "2026-10-25", "2026-10-26", 25),
        ("2026-10-31 12:00", "week", "Europe/Berlin", "2026-10-26", "2026-11-02", 168),
        ("2026-10-25 12:00", "week", "Europe/Berlin", "2026-10-19", "2026-10-26", 169),
        ("2026-12-31 12:00", "week", "UTC", "2026-12-28", "2027-01-04", 168),
        ("2028-02-29 12:00", "month", "UTC", "2028-02-01", "2028-03-01", 29 * 24),
        ("2027-02-28 12:00", "month", "UTC", "2027-02-01", "2027-03-01", 28 * 24),
        ("2026-12-31 12:00", "month", "UTC", "2026-12-01", "2027-01-01", 31 * 24),
        ("2026-12-31 12:00", "quarter", "UTC", "2026-10-01", "2027-01-01", 92 * 24),
        ("2028-01-01 00:00", "quarter", "UTC", "2028-01-01", "2028-04-01", 91 * 24),
        # Midnight does not exist on that day: clocks go from there to one o'clock.
        ("2018-11-04 12:00", "day", "America/Sao_Paulo", "2018-11-04T01:00", "2018-11-05", 23),
        ("2024-04-26 12:00", "day", "Africa/Cairo", "2024-04-26T01:00", "2024-04-27", 23),
        # The day before lasted until clocks had shown its last hour twice.
        ("2018-02-17 23:30", "day", "America/Sao_Paulo", "2018-02-17", "2018-02-18", 25),
        # A day that was left out: the one before it is followed by the one after it.
        ("2011-12-29 12:00", "day", "Pacific/Apia", "2011-12-29", "2011-12-31", 24),
        ("2011-12-31 12:00", "day", "Pacific/Apia", "2011-12-31", "2012-01-01", 24),
        ("2026-02-14 08:29", "14 days", "UTC", "2026-01-31T08:30", "2026-02-14T08:30", 336),
        ("2026-02-14 08:30", "14 days", "UTC", "2026-02-14T08:30", "2026-02-28T08:30", 336),
        ("2026-01-31 08:29", "14 days", "UTC", "2026-01-17T08:30", "2026-01-31T08:30", 336),
        # Each at its time of the day, whatever clocks did meanwhile.
        (
            "2026-04-05 12:00",
            "30 days",
            "Europe/Berlin",
            "2026-04-01T08:30",
            "2026-05-01T08:30",
            720,
        ),
        (
            "2026-03-29 12:00",
            "30 days",
            "Europe/Berlin",
            "2026-03-02T08:30",
            "2026-04-01T08:30",
            719,
        ),
    ],
)
def test_a_window_is_that_of_the_calendar(
    moment: str, period: str, zone: str, start: str, end: str, hours: int
) -> None:
    window = window_of(moment, period, zone)
    assert (window.start.isoformat()[:16], window.end.isoformat()[:16]) == (
        f"{start}T00:00"[:16] if "T" not in start else start,
        f"{end}T00:00"[:16] if "T" not in end else end,
    )
    length = window.end.astimezone(UTC) - window.start.astimezone(UTC)
    assert length == timedelta(hours=hours)


def test_an_hour_that_clocks_show_twice_may_lie_in_two_days() -> None:
    """At 00:01 they went back to 23:01: midnight had been, and was again an hour later."""
    zone = ZoneInfo("America/St_Johns")
    second = datetime(2010, 11, 6, 23, 30, tzinfo=zone, fold=1)
    window = window_at(second, "day", zone, second)
    assert window.start <= second.astimezone(UTC) < window.end
    assert window.start == begin_of(date(2010, 11, 7), zone)
    first = second.replace(fold=0)
    assert window_at(first, "day", zone, first).end == window.start


@pytest.mark.parametrize("period", ["", "0 days", "-3 days", "minute", "14", "days"])
def test_what_is_no_period_has_no_windows(period: str) -> None:
    with pytest.raises(ValueError, match=r"no period with windows|invalid literal"):
        _ = days_of(period)


def test_every_moment_lies_in_one_window_on_a_thousand_random_schedules() -> None:
    chance = random.Random(17)  # noqa: S311 - the same schedules every time
    for _ in range(1000):
        zone, period = ZoneInfo(chance.choice(ZONES)), chance.choice(PERIODS)
        moment = FIRST + timedelta(microseconds=chance.randrange(YEARS_US))
        anchor = FIRST + timedelta(microseconds=chance.randrange(YEARS_US))
        window = window_at(moment, period, zone, anchor)
        assert window.start <= moment < window.end
        for inside in (window.start, window.end - A_MOMENT):
            assert window_at(inside, period, zone, anchor) == window
        assert window_at(window.end, period, zone, anchor).start == window.end
        assert window_at(window.start - A_MOMENT, period, zone, anchor).end == window.start
        expect_as_counted(window, period, zone, anchor)


def expect_as_counted(window: Window, period: str, zone: ZoneInfo, anchor: datetime) -> None:
    """Look at the days of a window one by one."""
    if period not in CALENDAR:
        expect_days(window, days_of(period), zone, anchor)
        return
    days = days_in(window, zone)
    first, after = days[0], days[-1] + timedelta(days=1)
    match period:
        case "day":
            assert len(days) == 1
        case "week":
            assert first.weekday() == 0
            assert {day.isocalendar()[:2] for day in days} == {first.isocalendar()[:2]}
        case "month":
            assert {(day.year, day.month) for day in days} == {(first.year, first.month)}
            assert (first.day, after.day) == (1, 1)
        case _:
            quarters = {(day.year, (day.month - 1) // 3) for day in days}
            assert len(quarters) == 1
            assert (first.day, after.day, after.month % 3) == (1, 1, 1)


def expect_days(window: Window, number: int, zone: ZoneInfo, anchor: datetime) -> None:
    passed = (window.start.astimezone(zone).date() - anchor.astimezone(zone).date()).days
    # On a day that was left out, or at a time that was, it is the moment at which it was.
    assert passed % number in {0, 1}
    hours = (window.end - window.start) / timedelta(hours=1)
    assert abs(hours - number * 24) <= 25


def days_in(window: Window, zone: ZoneInfo) -> list[date]:
    """The days of a window of the calendar, which begins and ends as clocks first show a day."""
    first = window.start.astimezone(zone).date()
    last = (window.end - A_MOMENT).astimezone(zone).date()
    assert window.start == first_shown(first, zone)
    assert window.end == first_shown(window.end.astimezone(zone).date(), zone)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def first_shown(day: date, zone: ZoneInfo) -> datetime:
    """Look at what clocks show, minute by minute."""
    minute = timedelta(minutes=1)
    noon = datetime.combine(day - timedelta(days=1), time(12), zone)
    moment = noon.astimezone(UTC) + timedelta(hours=10)
    while moment.astimezone(zone).date() >= day:
        moment -= minute
    while moment.astimezone(zone).date() < day:
        moment += minute
    return moment
