"""When a period of an allowance begins and ends, in the account's time zone. No I/O.

Periods are those of the calendar: from midnight, from Monday, from the 1st. Where an allowance says
when it starts, they are counted from then: a week later at the same time of day, a month later on
the same day, or on the last one of a month that has no such day. A time of day that a change of the
clock leaves out is that much later on that day, and of one that comes twice the first one counts.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Every: TypeAlias = Literal["day", "week", "month"]

# A Monday, and the first of a month and a year.
_OF_THE_CALENDAR: Final = datetime(2001, 1, 1)  # noqa: DTZ001 - a time of day in any zone
_MONTHS: Final = 12


class Period(NamedTuple):
    """From its start until before its end, in UTC."""

    start: datetime
    end: datetime


def period_at(moment: datetime, every: Every, anchor: datetime | None, zone: ZoneInfo) -> Period:
    """Find the period that a moment lies in.

    Args:
        moment: the moment; not before the anchor.
        every: the length of the periods.
        anchor: from which they are counted; None: they are those of the calendar.
        zone: that of the account.

    """
    first = _OF_THE_CALENDAR if anchor is None else _local(anchor, zone)
    number = _number_near(_local(moment, zone), first, every)
    while _start(number, first, every, zone) > moment:
        number -= 1
    while (end := _start(number + 1, first, every, zone)) <= moment:
        number += 1
    return Period(_start(number, first, every, zone), end)


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _number_near(local: datetime, first: datetime, every: Every) -> int:
    """Which period a local time lies in, give or take one."""
    if every == "month":
        return (local.year - first.year) * _MONTHS + local.month - first.month
    return (local - first).days // (7 if every == "week" else 1)


def _start(number: int, first: datetime, every: Every, zone: ZoneInfo) -> datetime:
    if every == "month":
        years, month = divmod(first.month - 1 + number, _MONTHS)
        year, month = first.year + years, month + 1
        day = min(first.day, calendar.monthrange(year, month)[1])
        local = first.replace(year=year, month=month, day=day)
    else:
        local = first + timedelta(days=number * (7 if every == "week" else 1))
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)
