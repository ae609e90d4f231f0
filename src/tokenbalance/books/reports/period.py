"""Spans of time, and the ids of the requests that were made in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Stand for no bound, so that a statement is the same with and without one."""
DAY: Final = timedelta(days=1)
CLOCKS_DIFFER: Final = timedelta(hours=1)
"""Between those that name requests and the database's, at most."""


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time that begins with its first moment and ends before its last."""

    since: datetime | None = None
    """With a zone; None for the beginning of the books."""
    until: datetime | None = None
    """With a zone; None for as long as there is anything."""

    @property
    def start(self) -> datetime:
        """The first moment, in UTC."""
        return _within(self.since, EARLIEST)

    @property
    def end(self) -> datetime:
        """The moment that it ends before, in UTC."""
        return _within(self.until, LATEST)


EVER: Final = Period()


def midnight(day: date) -> datetime:
    """When a day begins, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def request_id_at(moment: datetime) -> str:
    """Give what sorts before the id of every request made at this moment or later."""
    milliseconds = (moment - EARLIEST) // timedelta(milliseconds=1)
    return f"tb_{min(max(milliseconds, 0), 2**48 - 1):012x}"


def _within(moment: datetime | None, default: datetime) -> datetime:
    if moment is None:
        return default
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)
