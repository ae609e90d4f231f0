"""Numbers by day as a chart: what the script draws, and the table that says the same.

Knows how many series people can tell apart; the rest is drawn as one.
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
    """One colour of a chart."""

    name: str
    values: Sequence[int]
    """One a day, oldest first."""

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
        """What the script reads."""
        starts = [int(datetime.combine(day, time(), UTC).timestamp()) for day in self.days]
        series = [{"name": each.name, "values": list(each.values)} for each in self.series]
        return {"unit": self.unit, "days": starts, "series": series}


def chart_by_day(
    title: str, unit: str, days: Sequence[date], numbers: Iterable[tuple[date, str, int]]
) -> Chart:
    """Stack numbers by what they are of; several of one day and name are added up.

    Args:
        title: what the chart shows.
        unit: of the numbers, in the plural.
        days: those of the chart, oldest first.
        numbers: day, name, number, in any order; days outside of the chart are left out.

    """
    sums: defaultdict[str, defaultdict[date, int]] = defaultdict(lambda: defaultdict(int))
    for day, name, number in numbers:
        if days[0] <= day <= days[-1]:
            sums[name][day] += number
    ordered = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    # One more than is drawn by name is drawn by name too, rather than as the only other.
    shown = ordered if len(ordered) <= SERIES_MAX else ordered[: SERIES_MAX - 1]
    series = [Series(name, [sums[name][day] for day in days]) for name in shown]
    if rest := ordered[len(shown) :]:
        series.append(Series(OTHERS, [sum(sums[name][day] for name in rest) for day in days]))
    return Chart(title, unit, days, series)


def last_days(count: int, today: date | None = None) -> Sequence[date]:
    """Days up to today, UTC, oldest first."""
    end = today or datetime.now(UTC).date()
    return [end - timedelta(days=back) for back in reversed(range(count))]
