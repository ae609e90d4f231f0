"""When a period begins and ends, in the time zone of an account.

    day, week, month, quarter    of the calendar; weeks begin on Monday
    N days                       from an anchor, each at its time of the day

Pure. A day begins at the first moment that clocks show it, so it has 23 or 25 hours where they
change; a time that clocks skip is the moment at which they skip it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from tokenbalance.model.limits import CALENDAR

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_MONTHS: Final = {"month": 1, "quarter": 3}
_DAYS: Final = {"day": 1, "week": 7}
_A_MONDAY: Final = date(1, 1, 1)
_SUFFIX: Final = " days"


class Window(NamedTuple):
    """The time that is counted together: from its start, up to its end but without that."""

    start: datetime
    end: datetime


def window_at(moment: datetime, period: str, zone: ZoneInfo, anchor: datetime) -> Window:
    """Find the window of a period that a moment lies in.

    Args:
        moment: any moment.
        period: one with windows.
        zone: where its days begin.
        anchor: from which a number of days is counted; the calendar needs none.

    Raises:
        ValueError: no such period.

    """
    if period in CALENDAR:
        return _calendar_window(moment, period, zone)
    return _anchored_window(moment, days_of(period), zone, anchor)


def days_of(period: str) -> int:
    """Read the number of days of a period such as `14 days`.

    Raises:
        ValueError: it is no such period.

    """
    number = int(period.removesuffix(_SUFFIX)) if period.endswith(_SUFFIX) else 0
    if number < 1:
        msg = f"{period!r} is no period with windows."
        raise ValueError(msg)
    return number


def _calendar_window(moment: datetime, period: str, zone: ZoneInfo) -> Window:
    first = _first_day(moment.astimezone(zone).date(), period)
    following = _next_first_day(first, period)
    window = Window(begin_of(first, zone), begin_of(following, zone))
    if moment < window.end:
        return window
    # Clocks were put back over midnight: they show a day that has ended.
    return Window(window.end, begin_of(_next_first_day(following, period), zone))


def _first_day(day: date, period: str) -> date:
    if period in _DAYS:
        return day - timedelta(days=(day - _A_MONDAY).days % _DAYS[period])
    length = _MONTHS[period]
    return day.replace(month=(day.month - 1) // length * length + 1, day=1)


def _next_first_day(first: date, period: str) -> date:
    if period in _DAYS:
        return first + timedelta(days=_DAYS[period])
    months = first.month - 1 + _MONTHS[period]
    return date(first.year + months // 12, months % 12 + 1, 1)


def _anchored_window(moment: datetime, days: int, zone: ZoneInfo, anchor: datetime) -> Window:
    local = anchor.astimezone(zone).replace(fold=0)
    passed = (moment.astimezone(zone).date() - local.date()).days // days
    # The time of the day, or clocks that change, may shift the moment into the window before or
    # after that one.
    for number in (passed + 1, passed, passed - 1):
        start = _moment_of(local.date() + timedelta(days=number * days), local.time(), zone)
        if start <= moment:
            break
    following = local.date() + timedelta(days=(number + 1) * days)
    return Window(start, _moment_of(following, local.time(), zone))


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """Find the first moment of a day."""
    return _moment_of(day, time(), zone)


def _moment_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Find the moment at which clocks first show this, or skip it."""
    local = datetime.combine(day, at, zone)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    # Clocks skip it: with fold 0 it is taken for a time before the change, and lies after it.
    return _change_before(moment, zone)


def _change_before(moment: datetime, zone: ZoneInfo) -> datetime:
    """Find the moment at which clocks were put forward, at most a day before a moment."""
    low, high = moment - timedelta(days=1), moment
    offset = high.astimezone(zone).utcoffset()
    while high - low > timedelta(microseconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high
