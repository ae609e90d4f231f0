"""The ratio of two builds from pairs of bursts: its median, a 95 % interval, and the table.

The interval is the one of the sign test: the values of the sorted ratios between which the median
lies with 95 % certainty, whatever their distribution. No random numbers, so the same figures always
give the same interval.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.markdown import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.speed.figures import Figures

PAIRS_MIN: Final = 6
"""With fewer pairs no interval reaches 95 %."""
ALLOWED: Final = 1.02
"""A build may cost this much of the base before it counts as slower."""
_RISK: Final = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bursts of one case, one directly after the other."""

    base: Figures
    here: Figures


@dataclass(frozen=True, slots=True)
class Ratio:
    """Cost of this tree as a multiple of the base."""

    median: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether this tree is slower than allowed, as far as the interval decides it."""
        if self.high <= ALLOWED:
            return f"within {ALLOWED - 1:.0%}" if self.high >= 1 else "faster"
        return "slower" if self.low > ALLOWED else "undecided"

    def __str__(self) -> str:
        """Write it as the table does."""
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio_of(values: Sequence[float]) -> Ratio:
    """Return the median of at least `PAIRS_MIN` ratios, with its interval."""
    ordered = sorted(values)
    outside = _outside(len(ordered))
    return Ratio(statistics.median(ordered), ordered[outside], ordered[-1 - outside])


def _outside(number: int) -> int:
    """Count the values at either end that the interval leaves out (13 of 40)."""
    below = 0
    for count in range(number // 2):
        below += math.comb(number, count)
        if 2 * below / 2**number > _RISK:
            return max(count - 1, 0)
    return 0


_HEAD: Final = ("case", "base µs", "here µs", "ratio (95 %)", "with Postgres (95 %)", "verdict")
_TEXT: Final = frozenset({"case", "verdict"})


def table(results: Mapping[str, Sequence[Pair]]) -> list[str]:
    """Lay the results out as Markdown; `results` is by name of case."""
    return lay_out(_HEAD, _rows(results), _TEXT)


def _rows(results: Mapping[str, Sequence[Pair]]) -> Iterator[tuple[str, ...]]:
    for name, pairs in results.items():
        base, here = (
            [each.cpu_us or 0 for each in figures]
            for figures in ([pair.base for pair in pairs], [pair.here for pair in pairs])
        )
        ratio = ratio_of([one / other for one, other in zip(here, base, strict=True)])
        with_postgres = ratio_of([_with_postgres(pair) for pair in pairs])
        yield (
            name,
            f"{statistics.median(base):,.4g}",
            f"{statistics.median(here):,.4g}",
            str(ratio),
            str(with_postgres),
            ratio.verdict,
        )


def _with_postgres(pair: Pair) -> float:
    return (pair.here.with_postgres_us or 0) / (pair.base.with_postgres_us or 1)
