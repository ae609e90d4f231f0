"""Figures of one subject in one case: of a round, and the medians of several."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; None where there is nothing to measure."""

    cpu_us: float | None = None
    """CPU time of the subject for a unit of the case."""
    loop_us: float | None = None
    """The part of it that was spent on the event loop."""
    postgres_us: float | None = None
    """CPU time of its Postgres for the same."""
    per_s: float | None = None
    """Units a second."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    first_byte_ms: float | None = None
    """Median from sending to the first byte."""
    first_byte_p99_ms: float | None = None
    delay_p50_ms: float | None = None
    """Of a chunk, from when the upstream sent it."""
    delay_p99_ms: float | None = None
    kib: float | None = None
    """Memory for a unit."""
    wrong: int = 0
    """Responses that were not as expected; the latencies do not include them."""

    @property
    def with_postgres_us(self) -> float | None:
        """CPU time of the subject and its Postgres together."""
        return None if self.cpu_us is None else self.cpu_us + (self.postgres_us or 0)


def medians(rounds: Sequence[Figures]) -> Figures:
    """Take the median of each figure; what was wrong is counted in all."""
    names = [field.name for field in dataclasses.fields(Figures) if field.name != "wrong"]
    middle = {name: _median([getattr(each, name) for each in rounds]) for name in names}
    return Figures(**middle, wrong=sum(each.wrong for each in rounds))


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
