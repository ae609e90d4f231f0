"""When a period of an allowance begins and ends, in the account's time zone. No I/O.

Periods are those of the calendar: from midnight, from Monday, from the 1st. Where an allowance says
when it starts, they are counted from then: a week later at the same time of day, a month later on
the same day, or on the last one of a month that has no such day. What clocks that change do to a
time of day is said by `books.limits.windows`.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tokenbalance.books.limits.windows import Window, window_at

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Every: TypeAlias = Literal["day", "week", "month"]

_ONE_DAY: Final = "1 days"
_DAYS: Final = {"day": _ONE_DAY, "week": "7 days"}
_MONTHS: Final = 12


def period_at(moment: datetime, every: Every, anchor: datetime | None, zone: ZoneInfo) -> Window:
    """Find the period that a moment lies in.

    Args:
        moment: the moment; not before the anchor.
        every: the length of the periods.
        anchor: from which they are counted; None: they are those of the calendar.
        zone: that of the account.

    """
    if anchor is None:
        return window_at(moment, every, zone, moment)
    if every != "month":
        return window_at(moment, _DAYS[every], zone, anchor)
    there, first = moment.astimezone(zone), anchor.astimezone(zone)
    number = (there.year - first.year) * _MONTHS + there.month - first.month
    # The day of the month may not have come yet, there.
    start = _month_after(anchor, number, zone)
    if start > moment:
        return Window(_month_after(anchor, number - 1, zone), start)
    return Window(start, _month_after(anchor, number + 1, zone))


def _month_after(anchor: datetime, number: int, zone: ZoneInfo) -> datetime:
    """Find the moment so many months after an anchor."""
    first = anchor.astimezone(zone)
    years, month = divmod(first.month - 1 + number, _MONTHS)
    year, month = first.year + years, month + 1
    day = min(first.day, calendar.monthrange(year, month)[1])
    local = first.replace(year=year, month=month, day=day, fold=0)
    return window_at(local.astimezone(UTC), _ONE_DAY, zone, anchor).start
