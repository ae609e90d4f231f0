"""The soak: is the product as fast after a long time as at first, and does its memory stay?

A steady load of half of the peak runs for the given time. Before and after it the peak is measured
in turns with that of a second copy, which was started at the same time and is idle meanwhile: what
a machine does to one within minutes it does to both, so the ratio of the two is what counts. Memory
is looked at during the load.
"""

from __future__ import annotations

import asyncio
import re
import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from benchmarks.compare.ratios import ratio_of
from benchmarks.speed.cases import CASES
from benchmarks.speed.product import NAME
from benchmarks.verdict import say

if TYPE_CHECKING:
    from benchmarks.compare.ratios import Ratio
    from benchmarks.speed.accounting import Tree
    from benchmarks.speed.cast import Cast
    from benchmarks.speed.figures import Figures
    from benchmarks.speed.measuring import Meter
    from benchmarks.speed.subjects import Subject
    from benchmarks.speed.tools import UpstreamSeat

_EVERY_S: Final = 5.0
_PAIRS: Final = 40
_BURST_S: Final = 0.4
"""Short, so that a pair lies within what the machine changes in."""
_SHARE: Final = 0.5
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}
_SLOWER: Final = 0.03
_GROWN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Peak:
    """The peak of the copy that is soaked, and what it is of the idle copy's."""

    per_s: float
    idle_per_s: float
    rate: Ratio
    """Requests a second, as a multiple of the idle copy's."""
    cpu: Ratio
    """CPU time for a request, in the same way."""
    with_postgres: Ratio


def duration_s(text: str) -> float:
    """Read `90s`, `10m` or `2h`.

    Raises:
        ValueError: it is none of these.

    """
    if (match := re.fullmatch(r"(\d+)([smh])", text)) is None:
        raise ValueError(text)
    return int(match[1]) * _UNITS_S[match[2]]


async def soak(seat: UpstreamSeat, cast: Cast, meter: Meter, seconds: float) -> list[str]:
    """Soak the product, and print what it was like before and after; returns what was wrong."""
    case = CASES[0]
    async with AsyncExitStack() as stack:
        soaked, idle = [await stack.enter_async_context(cast.anew(NAME)) for _ in range(2)]
        await stack.enter_async_context(seat.responding(case.upstream))
        assert soaked.tree
        for subject in (soaked, idle):
            await meter.warm_up(case, subject)
        before = await _peak(meter, soaked, idle)
        slowly = replace(case, load=replace(case.load, per_s=int(before.per_s * _SHARE)))
        kib: list[int] = []
        watching = asyncio.create_task(_watch(soaked.tree, kib))
        try:
            steady = await replace(meter, seconds=seconds).round(slowly, soaked)
        finally:
            _ = watching.cancel()
        after = await _peak(meter, soaked, idle)
        breaches = [
            breach
            for subject in (soaked, idle)
            if subject.proof is not None
            for breach in await subject.proof.breaches()
        ]
    if steady.wrong:
        breaches.append(f"{steady.wrong} responses were wrong in the soak")
    _show_peaks(before, after)
    first, last = _thirds(kib[len(kib) // 2 :])
    more = last / first - 1
    memory = f"memory over the last half: {first:,.0f} KiB, then {last:,.0f}, {more:+.1%}"
    say(f"{memory} (≤ {_GROWN:.0%}): {_verdict(is_met=more <= _GROWN)}")
    return breaches


def _show_peaks(before: Peak, after: Peak) -> None:
    for name, peak in (("before", before), ("after", after)):
        rates = f"{peak.per_s:,.0f} requests/s, idle copy {peak.idle_per_s:,.0f}"
        cpu = f"CPU time {peak.cpu} of its, with Postgres {peak.with_postgres}"
        say(f"{name}: {rates}; {peak.rate} of its rate; {cpu}")
    slower = _change(before.rate, after.rate)
    verdict = _verdict(is_met=slower >= -_SLOWER)
    say(f"peak compared with the idle copy: {slower:+.1%} (≥ -{_SLOWER:.0%}): {verdict}")
    cpu, both = (
        _change(before.cpu, after.cpu),
        _change(before.with_postgres, after.with_postgres),
    )
    say(f"CPU time for a request in the same way: {cpu:+.1%}, with Postgres {both:+.1%}")
    say(f"peak alone: {after.per_s / before.per_s - 1:+.1%}, which the machine has a part in")


async def _peak(meter: Meter, soaked: Subject, idle: Subject) -> Peak:
    """Measure both in turns: A B B A A B B A and so on."""
    bursts = replace(meter, seconds=_BURST_S)
    pairs: list[tuple[Figures, Figures]] = []
    for number in range(_PAIRS):
        order = (soaked, idle) if number % 2 == 0 else (idle, soaked)
        one, other = [await bursts.round(CASES[0], subject) for subject in order]
        pairs.append((one, other) if number % 2 == 0 else (other, one))
    return Peak(
        per_s=statistics.median(each.per_s or 0 for each, _ in pairs),
        idle_per_s=statistics.median(each.per_s or 0 for _, each in pairs),
        rate=ratio_of([(one.per_s or 0) / (other.per_s or 1) for one, other in pairs]),
        cpu=ratio_of([(one.cpu_us or 0) / (other.cpu_us or 1) for one, other in pairs]),
        with_postgres=ratio_of(
            [(one.with_postgres_us or 0) / (other.with_postgres_us or 1) for one, other in pairs]
        ),
    )


def _change(before: Ratio, after: Ratio) -> float:
    return after.median / before.median - 1


async def _watch(tree: Tree, kib: list[int]) -> None:
    while True:
        kib.append(tree.pss_kib())
        await asyncio.sleep(_EVERY_S)


def _thirds(values: list[int]) -> tuple[float, float]:
    """Tell the medians of the first and of the last third."""
    third = max(len(values) // 3, 1)
    return statistics.median(values[:third]), statistics.median(values[-third:])


def _verdict(*, is_met: bool) -> str:
    return "met" if is_met else "missed"
