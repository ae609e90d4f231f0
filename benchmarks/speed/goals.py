"""The goals: what is to be reached, as ratios to subjects of the same run, and whether it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from benchmarks.speed.cases import CUT_UP, HELP, READING, REST
from benchmarks.speed.disk import NAME as DISK
from benchmarks.speed.figures import Figures
from benchmarks.speed.gateways import LITELLM
from benchmarks.speed.product import NAME
from benchmarks.speed.tensorzero import TENSORZERO

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
    beyond: float | None = None
    """What would be better still."""

    def judge(self, results: Results) -> str | None:
        """Say what was reached, and whether that is enough."""
        value = self.value(results, self.case)
        if value is None:
            return None
        sign = "≥" if self.at_least else "≤"
        more = "" if self.beyond is None else f", better {self.beyond:g}"
        verdict = "met" if self._is_reached(value, self.limit) else "missed"
        if self.beyond is not None and self._is_reached(value, self.beyond):
            verdict = "met, the better one too"
        return f"{value:.3g} {self.words} ({sign} {self.limit:g}{more}): {verdict}"

    def _is_reached(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit


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


def _times_without_books(other: str) -> Callable[[Results, str], float | None]:
    """How many times as much as another subject takes that has no books, ours included."""

    def value(results: Results, case: str) -> float | None:
        ours = _figure(results, case, NAME, with_postgres_us)
        theirs = _figure(results, case, other, cpu_us)
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


def _over_disk(results: Results, case: str) -> float | None:
    """How much more than one write to the disk is added to a median latency."""
    added = _over_direct(_p50_ms, _p50_ms)(results, case)
    disk = _figure(results, case, DISK, _p50_ms)
    return None if added is None or disk is None else added - disk


def _cpu_of_case(other: str) -> Callable[[Results, str], float | None]:
    """How many times as much CPU time as in another case."""

    def value(results: Results, case: str) -> float | None:
        ours, theirs = (_figure(results, name, NAME, cpu_us) for name in (case, other))
        return None if ours is None or not theirs else ours / theirs

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


def _mib(figures: Figures) -> float | None:
    return None if figures.kib is None else figures.kib / 1024


def _postgres_us(figures: Figures) -> float | None:
    return figures.postgres_us


def _cpu_ms(figures: Figures) -> float | None:
    return None if figures.cpu_us is None else figures.cpu_us / 1000


def _loop_ms(figures: Figures) -> float | None:
    return None if figures.loop_us is None else figures.loop_us / 1000


_CHAT: Final = "chat, 1 kB"
_LATENCY: Final = "50 requests/s, one at a time"

GOALS: Final = (
    Goal(_CHAT, "x nginx", 10, _times(_NGINX, cpu_us), beyond=8),
    Goal(_CHAT, "x nginx with Postgres", 14, _times(_NGINX, with_postgres_us), beyond=12),
    Goal(_CHAT, "µs of Postgres", 90, _own(_postgres_us)),
    Goal(_CHAT, "times less than LiteLLM", 40, _one_of(LITELLM, cpu_us), at_least=True, beyond=48),
    Goal(_CHAT, "x TensorZero, with Postgres", 1, _times_without_books(TENSORZERO)),
    Goal("chat, 400 kB", "x nginx", 6.5, _times(_NGINX, cpu_us)),
    Goal(CUT_UP, "ms on the loop", 4, _own(_loop_ms)),
    Goal(READING, "ms", 4, _own(_cpu_ms)),
    Goal("empty balance", "x an unknown key", 2, _cpu_of_case("unknown key")),
    Goal("16 streams", "x nginx", 4.5, _times(_NGINX, cpu_us)),
    Goal("100 streams, 20 chunks/s each", "x nginx", 2.4, _times(_NGINX, cpu_us), beyond=2),
    Goal("1,000 streams, 10 chunks/s each", "x nginx", 2.2, _times(_NGINX, cpu_us)),
    Goal(_LATENCY, "ms added beyond one fdatasync, p50", 1.5, _over_disk),
    Goal(_LATENCY, "ms added, p99", 8, _over_direct(_p99_ms, _p99_ms)),
    Goal("idle streams", "KiB a stream", 40, _own(_kib)),
    Goal(
        "another user meanwhile",
        "ms to the first byte added, p99",
        10,
        _over_direct(_first_byte_p99_ms, _first_byte_ms),
    ),
    Goal("one hot account", "of 10,000 accounts", 0.7, _of_case("10,000 accounts"), at_least=True),
    Goal(REST, "MiB", 140, _own(_mib)),
    Goal(HELP, "ms", 200, _own(_p50_ms)),
)
