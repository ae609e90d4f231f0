"""Numbers by day as a chart: data for the script, and for a table with the same numbers.

Limits the series to as many as people can tell apart; the rest is drawn as one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SERIES_MAX: Final = 6
OTHERS: Final = "others"
NO_MODEL: Final = "no model"
"""The series of requests that named no model."""


@dataclass(frozen=True, slots=True)
class Series:
    """One color of a chart."""

    name: str
    values: Sequence[int]
    """One per day, oldest first."""

    @property
    def total(self) -> int:
        """Of all days."""
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked numbers by day, without gaps between days."""

    title: str
    unit: str
    days: Sequence[date]
    series: Sequence[Series]
    """The largest first."""

    @property
    def totals(self) -> Sequence[int]:
        """Of all series, by day."""
        if not self.series:
            return [0] * len(self.days)
        return [sum(values) for values in zip(*(s.values for s in self.series), strict=True)]

    @property
    def total(self) -> int:
        """Of everything."""
        return sum(self.totals)

    @property
    def document(self) -> dict[str, object]:
        """The data for the script."""
        starts = [int(datetime.combine(day, time(), UTC).timestamp()) for day in self.days]
        series = [{"name": each.name, "values": list(each.values)} for each in self.series]
        return {"unit": self.unit, "days": starts, "series": series}


def chart_by_day(
    title: str, unit: str, days: Sequence[date], numbers: Iterable[tuple[date, str, int]]
) -> Chart:
    """Stack numbers by name; several numbers of one day and name are added up.

    Args:
        title: what the chart shows.
        unit: of the numbers, in the plural.
        days: of the chart, oldest first.
        numbers: day, name, number, in any order; other days are ignored.

    """
    sums: defaultdict[str, defaultdict[date, int]] = defaultdict(lambda: defaultdict(int))
    for day, name, number in numbers:
        if days[0] <= day <= days[-1]:
            sums[name][day] += number
    ordered = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    # A single remaining series keeps its name rather than being the only "other".
    shown = ordered if len(ordered) <= SERIES_MAX else ordered[: SERIES_MAX - 1]
    series = [Series(name, [sums[name][day] for day in days]) for name in shown]
    if rest := ordered[len(shown) :]:
        series.append(Series(OTHERS, [sum(sums[name][day] for name in rest) for day in days]))
    return Chart(title, unit, days, series)


def last_days(count: int, today: date | None = None) -> Sequence[date]:
    """Return the last days up to today, UTC, oldest first."""
    end = today or datetime.now(UTC).date()
    return [end - timedelta(days=back) for back in reversed(range(count))]
