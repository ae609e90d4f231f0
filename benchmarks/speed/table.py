"""The table: a line for each subject of a case, ratios to nginx in the same run, and the goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.markdown import lay_out
from benchmarks.speed.goals import judged
from benchmarks.speed.product import BASE, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.speed.cases import Case
    from benchmarks.speed.figures import Figures
    from benchmarks.speed.run import Results

REFERENCE: Final = "nginx"
_HEAD: Final = (
    "case",
    "subject",
    "CPU µs",
    "x nginx",
    "+ Postgres µs",
    "x nginx",
    "x before",
    "per s",
    "p50 ms",
    "p99 ms",
    "first byte added ms",
    "chunk delay p50 / p99 ms",
    "KiB",
    "goals",
)
_TEXT: Final = frozenset({"case", "subject", "goals"})


def table(cases: Sequence[Case], results: Results) -> list[str]:
    """Lay everything out as Markdown that can be read as it is."""
    rows = (row for case in cases for row in _rows(case, results))
    return lay_out(_HEAD, rows, _TEXT)


@dataclass(frozen=True, slots=True)
class _Compared:
    """What figures are compared with."""

    reference: Figures | None
    direct: Figures | None
    base: Figures | None


def _rows(case: Case, results: Results) -> Iterator[tuple[str, ...]]:
    compared = _Compared(
        *(results.get((case.name, name)) for name in (REFERENCE, "direct", BASE)),
    )
    name = f"{case.name} (a {case.unit})" if case.unit != "request" else case.name
    for of_case, subject in results:
        if of_case != case.name:
            continue
        goals = "; ".join(judged(case.name, results)) if subject == NAME else ""
        cells = _cells(results[of_case, subject], compared, is_ours=subject in {NAME, BASE})
        yield (name, subject, *cells, goals)
        name = ""


def _cells(figures: Figures, compared: _Compared, *, is_ours: bool) -> tuple[str, ...]:
    unit_us = compared.reference and compared.reference.cpu_us
    has_postgres = figures.postgres_us is not None
    both_us = figures.with_postgres_us if has_postgres else None
    return (
        _number(figures.cpu_us),
        _number(_ratio(figures.cpu_us, unit_us)),
        _number(both_us),
        _number(_ratio(both_us, unit_us)),
        _as_before(figures, compared.base) if is_ours else "",
        _number(figures.per_s),
        _number(figures.p50_ms),
        _number(figures.p99_ms),
        _number(added(figures, compared.direct)),
        _pair(figures.delay_p50_ms, figures.delay_p99_ms),
        _number(figures.kib),
    )


def added(figures: Figures, direct: Figures | None) -> float | None:
    """Tell how much later than without anybody between the first byte comes, in the median."""
    if direct is None or direct.first_byte_ms is None or figures.first_byte_ms is None:
        return None
    return None if figures is direct else figures.first_byte_ms - direct.first_byte_ms


def _as_before(figures: Figures, base: Figures | None) -> str:
    """Compare CPU time with that of the base, without and with Postgres; or memory."""
    if base is None:
        return ""
    if figures.cpu_us is None:
        return _number(_ratio(figures.kib, base.kib))
    cpu = _ratio(figures.cpu_us, base.cpu_us)
    return _pair(cpu, _ratio(figures.with_postgres_us, base.with_postgres_us))


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def _pair(one: float | None, other: float | None) -> str:
    return "" if one is None else f"{_number(one)} / {_number(other)}"


def _number(value: float | None) -> str:
    """Three digits that count, no fewer than are before the point."""
    if value is None:
        return ""
    size = abs(value)
    places = 2 if size < 10 else 1 if size < 100 else 0  # noqa: PLR2004 - digits before the point
    return f"{value:,.{places}f}"
