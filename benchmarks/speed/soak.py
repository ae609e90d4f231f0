"""The soak: is the product as fast after a long time as at first, and does its memory stay?

The peak is measured, then a steady load of half of it runs for the given time, then the
peak is measured again. Memory is looked at meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.speed.cases import CASES
from benchmarks.speed.figures import medians
from benchmarks.speed.product import NAME
from benchmarks.verdict import say

if TYPE_CHECKING:
    from benchmarks.speed.accounting import Tree
    from benchmarks.speed.cast import Cast
    from benchmarks.speed.measuring import Meter
    from benchmarks.speed.subjects import Subject
    from benchmarks.speed.tools import UpstreamSeat

_EVERY_S: Final = 5.0
_PEAK_ROUNDS: Final = 5
_SHARE: Final = 0.5
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600}
_SLOWER: Final = 0.05
_GROWN: Final = 0.02


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
    async with cast.anew(NAME) as subject, seat.responding(case.upstream):
        assert subject.tree
        assert subject.proof
        await meter.warm_up(case, subject)
        before = await _peak(meter, subject)
        slowly = replace(case, load=replace(case.load, per_s=int(before * _SHARE)))
        kib: list[int] = []
        watching = asyncio.create_task(_watch(subject.tree, kib))
        try:
            steady = await replace(meter, seconds=seconds).round(slowly, subject)
        finally:
            _ = watching.cancel()
        after = await _peak(meter, subject)
        breaches = await subject.proof.breaches()
    if steady.wrong:
        breaches.append(f"{steady.wrong} responses were wrong in the soak")
    first, last = _thirds(kib[len(kib) // 2 :])
    slower, more = after / before - 1, last / first - 1
    peaks = f"peak: {before:,.0f} requests/s before, {after:,.0f} after, {slower:+.1%}"
    say(f"{peaks} (≥ -{_SLOWER:.0%}): {_verdict(is_met=slower >= -_SLOWER)}")
    memory = f"memory over the last half: {first:,.0f} KiB, then {last:,.0f}, {more:+.1%}"
    say(f"{memory} (≤ {_GROWN:.0%}): {_verdict(is_met=more <= _GROWN)}")
    return breaches


async def _peak(meter: Meter, subject: Subject) -> float:
    rounds = [await meter.round(CASES[0], subject) for _ in range(_PEAK_ROUNDS)]
    return medians(rounds).per_s or 0


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
