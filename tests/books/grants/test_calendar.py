"""Periods follow on each other without a gap, in every zone, whatever its clocks do."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from tokenbalance.books.grants.calendar import Every, period_at

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "anchor", "moment", "start", "end"),
    [
        ("day", None, "2030-01-15T12:00", "2030-01-14T23:00", "2030-01-15T23:00"),
        # 23 hours, and 25.
        ("day", None, "2030-03-31T12:00", "2030-03-30T23:00", "2030-03-31T22:00"),
        ("day", None, "2030-10-27T12:00", "2030-10-26T22:00", "2030-10-27T23:00"),
        ("week", None, "2030-04-03T12:00", "2030-03-31T22:00", "2030-04-07T22:00"),
        ("week", None, "2030-03-27T12:00", "2030-03-24T23:00", "2030-03-31T22:00"),
        ("month", None, "2028-02-29T12:00", "2028-01-31T23:00", "2028-02-29T23:00"),
        ("month", None, "2029-02-28T12:00", "2029-01-31T23:00", "2029-02-28T23:00"),
        # The 31st, at 10 o'clock there.
        ("month", "2027-12-31T09:00", "2028-02-15T00:00", "2028-01-31T09:00", "2028-02-29T09:00"),
        ("month", "2027-12-31T09:00", "2028-03-15T00:00", "2028-02-29T09:00", "2028-03-31T08:00"),
        ("month", "2027-12-31T09:00", "2028-04-30T08:00", "2028-04-30T08:00", "2028-05-31T08:00"),
        # A Wednesday.
        ("week", "2030-01-02T09:00", "2030-01-09T08:59", "2030-01-02T09:00", "2030-01-09T09:00"),
        # A time of day that is left out, and one that comes twice.
        ("day", "2030-03-01T01:30", "2030-03-31T02:00", "2030-03-31T01:00", "2030-04-01T00:30"),
        ("day", "2030-10-01T00:30", "2030-10-27T00:30", "2030-10-27T00:30", "2030-10-28T01:30"),
    ],
)
def test_a_period_begins_and_ends_by_the_clock_of_the_zone(
    every: Every, anchor: str | None, moment: str, start: str, end: str
) -> None:
    period = period_at(utc(moment), every, utc(anchor) if anchor else None, BERLIN)
    assert period == (utc(start), utc(end))


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_a_thousand_random_schedules_have_no_gap_and_keep_their_day(every: Every) -> None:
    chance = random.Random(every)  # noqa: S311 - not for secrets
    zones = [*sorted(available_timezones() - {"localtime"})]
    for _ in range(1000 // 3 + 1):
        zone = ZoneInfo(chance.choice(zones))
        first = utc("2024-01-01T00:00") + timedelta(minutes=chance.randrange(4 * 366 * 1440))
        anchor = chance.choice((None, first))
        moment = first + timedelta(minutes=chance.randrange(3 * 366 * 1440))
        period = period_at(moment, every, anchor, zone)
        assert period.start <= moment < period.end
        for _ in range(14):
            following = period_at(period.end, every, anchor, zone)
            assert following.start == period.end
            assert period_at(following.end - timedelta(microseconds=1), every, anchor, zone) == (
                following
            )
            local = following.start.astimezone(zone)
            wanted = anchor.astimezone(zone) if anchor else None
            if every == "week":
                assert local.weekday() == (wanted.weekday() if wanted else 0)
            if every == "month":
                last = (local.replace(day=28) + timedelta(days=4)).replace(day=1)
                days = (last - timedelta(days=1)).day
                assert local.day == min(wanted.day if wanted else 1, days)
            period = following


def test_a_day_that_a_zone_has_left_out_is_no_period() -> None:
    samoa = ZoneInfo("Pacific/Apia")
    period = period_at(utc("2011-12-30T09:00"), "day", None, samoa)
    assert period == (utc("2011-12-29T10:00"), utc("2011-12-30T10:00"))
    assert period_at(period.end, "day", None, samoa).end == utc("2011-12-31T10:00")
