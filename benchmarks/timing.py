"""Times the same work in small books and in large ones, in turns, and puts the two side by side.

In turns, because a machine that is slow for a while is then slow for both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Work: TypeAlias = Callable[[], Awaitable[None]]

SAME_ORDER: Final = 5.0
"""What takes more than so many times as long is not of the same order."""
_NAME_CHARS: Final = 62


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians of one thing."""

    name: str
    small_ms: float
    large_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes in large books."""
        return self.large_ms / self.small_ms

    @property
    def is_same_order(self) -> bool:
        """Whether it may be said to take as long in both."""
        return self.ratio <= SAME_ORDER


async def time_in_turns(
    small: Mapping[str, Work], large: Mapping[str, Work], times: int
) -> list[Timing]:
    """Time each thing so many times in both books, once before that does not count."""
    timings: list[Timing] = []
    for name, work in small.items():
        taken: tuple[list[float], list[float]] = ([], [])
        both = (work, large[name])
        for turn in range(times + 1):
            for side in (0, 1) if turn % 2 else (1, 0):
                began = time.perf_counter()
                await both[side]()
                if turn:
                    taken[side].append((time.perf_counter() - began) * 1000)
        timings.append(Timing(name, *map(statistics.median, taken)))
    return timings


def table(timings: Sequence[Timing]) -> list[str]:
    """Lay medians and ratios out, and mark what is not of the same order."""
    lines = [f"{'':{_NAME_CHARS}}{'small ms':>10}{'large ms':>10}{'ratio':>8}"]
    for each in timings:
        mark = "" if each.is_same_order else "  not of the same order"
        numbers = f"{each.small_ms:10.1f}{each.large_ms:10.1f}{each.ratio:8.1f}"
        lines.append(f"{each.name:{_NAME_CHARS}}{numbers}{mark}")
    return lines
