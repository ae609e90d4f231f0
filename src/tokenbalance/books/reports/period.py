"""Periods of time, and the ids of the requests made in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Stand for "no bound", so that a statement is the same with and without one."""
DAY: Final = timedelta(days=1)
CLOCKS_DIFFER: Final = timedelta(hours=1)
"""At most this much, between the clocks that name requests and the database's."""


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open period: it includes `since` and excludes `until`."""

    since: datetime | None = None
    """With a time zone; None: from the first entry."""
    until: datetime | None = None
    """With a time zone; None: no end."""

    @property
    def start(self) -> datetime:
        """The first moment, in UTC."""
        return _within(self.since, EARLIEST)

    @property
    def end(self) -> datetime:
        """The first moment after the period, in UTC."""
        return _within(self.until, LATEST)


EVER: Final = Period()


def midnight(day: date) -> datetime:
    """The start of a day, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def request_id_at(moment: datetime) -> str:
    """Return text that sorts before the id of every request made at this moment or later."""
    milliseconds = (moment - EARLIEST) // timedelta(milliseconds=1)
    return f"tb_{min(max(milliseconds, 0), 2**48 - 1):012x}"


def _within(moment: datetime | None, default: datetime) -> datetime:
    if moment is None:
        return default
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)
