"""The goals: what is to be reached, as ratios to subjects of the same run, and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from benchmarks.speed.figures import Figures
from benchmarks.speed.gateways import LITELLM
from benchmarks.speed.product import NAME

Results: TypeAlias = Mapping[tuple[str, str], Figures]
"""By name of case and of subject."""
Figure: TypeAlias = Callable[[Figures], float | None]
_NGINX: Final = "nginx"
_DIRECT: Final = "direct"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of the product in a case, and what it may be at most or has to be at least."""

    case: str
    words: str
    limit: float
    value: Callable[[Results, str], float | None]
    """Of the results, in the case with this name; None when this run cannot tell."""
    at_least: bool = False

    def judge(self, results: Results) -> str | None:
        """Say what was reached, and whether that is enough."""
        value = self.value(results, self.case)
        if value is None:
            return None
        reached = value >= self.limit if self.at_least else value <= self.limit
        sign = "≥" if self.at_least else "≤"
        return f"{value:.3g} {self.words} ({sign} {self.limit:g}): {'met' if reached else 'missed'}"


def judged(case: str, results: Results) -> list[str]:
    """Judge the goals of a case."""
    verdicts = [goal.judge(results) for goal in GOALS if goal.case == case]
    return [verdict for verdict in verdicts if verdict is not None]


def missed(results: Results) -> int:
    """Count the goals that were missed."""
    verdicts = [goal.judge(results) for goal in GOALS]
    return sum(verdict is not None and verdict.endswith("missed") for verdict in verdicts)


def cpu_us(figures: Figures) -> float | None:
    """CPU time of the subject."""
    return figures.cpu_us


def with_postgres_us(figures: Figures) -> float | None:
    """CPU time of the subject and its Postgres."""
    return figures.with_postgres_us


def _own(figure: Figure) -> Callable[[Results, str], float | None]:
    """The figure itself."""
    return lambda results, case: _figure(results, case, NAME, figure)


def _times(other: str, figure: Figure) -> Callable[[Results, str], float | None]:
    """How many times as much as another subject takes."""

    def value(results: Results, case: str) -> float | None:
        ours, theirs = (_figure(results, case, name, figure) for name in (NAME, other))
        return None if ours is None or not theirs else ours / theirs

    return value


def _one_of(other: str, figure: Figure) -> Callable[[Results, str], float | None]:
    """How many times as much another subject takes."""

    def value(results: Results, case: str) -> float | None:
        ratio = _times(other, figure)(results, case)
        return 1 / ratio if ratio else None

    return value


def _over_direct(figure: Figure, of_direct: Figure) -> Callable[[Results, str], float | None]:
    """How much more than without anybody between."""

    def value(results: Results, case: str) -> float | None:
        ours = _figure(results, case, NAME, figure)
        direct = _figure(results, case, _DIRECT, of_direct)
        return None if ours is None or direct is None else ours - direct

    return value


def _of_case(other: str) -> Callable[[Results, str], float | None]:
    """How many times as many units a second as in another case."""

    def value(results: Results, case: str) -> float | None:
        ours, theirs = (_figure(results, name, NAME, _per_s) for name in (case, other))
        return None if ours is None or not theirs else ours / theirs

    return value


def _figure(results: Results, case: str, subject: str, figure: Figure) -> float | None:
    figures = results.get((case, subject))
    return None if figures is None else figure(figures)


def _per_s(figures: Figures) -> float | None:
    return figures.per_s


def _p50_ms(figures: Figures) -> float | None:
    return figures.p50_ms


def _p99_ms(figures: Figures) -> float | None:
    return figures.p99_ms


def _first_byte_ms(figures: Figures) -> float | None:
    return figures.first_byte_ms


def _first_byte_p99_ms(figures: Figures) -> float | None:
    return figures.first_byte_p99_ms


def _kib(figures: Figures) -> float | None:
    return figures.kib


_LATENCY: Final = "50 requests/s, one at a time"

GOALS: Final = (
    Goal("chat, 1 kB", "x nginx", 12, _times(_NGINX, cpu_us)),
    Goal("chat, 1 kB", "x nginx with Postgres", 17, _times(_NGINX, with_postgres_us)),
    Goal("chat, 1 kB", "times less than LiteLLM", 40, _one_of(LITELLM, cpu_us), at_least=True),
    Goal(_LATENCY, "ms added, p50", 2, _over_direct(_p50_ms, _p50_ms)),
    Goal(_LATENCY, "ms added, p99", 8, _over_direct(_p99_ms, _p99_ms)),
    Goal("100 streams, 20 chunks/s each", "x nginx", 2.2, _times(_NGINX, cpu_us)),
    Goal("1,000 streams, 10 chunks/s each", "x nginx", 2.2, _times(_NGINX, cpu_us)),
    Goal("16 streams", "µs a chunk", 3, _own(cpu_us)),
    Goal("idle streams", "KiB a stream", 40, _own(_kib)),
    Goal(
        "another user meanwhile",
        "ms to the first byte added, p99",
        10,
        _over_direct(_first_byte_p99_ms, _first_byte_ms),
    ),
    Goal("one hot account", "of 10,000 accounts", 0.7, _of_case("10,000 accounts"), at_least=True),
)
