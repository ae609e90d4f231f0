"""Whether this tree is slower than another build: both serve in one run and take turns.

    python -m benchmarks.compare BASE [--cases chat,refusals,streams] [--pairs 40] [--seconds 0.3]
                                 [--card FILE]

BASE is a commit, or the path of a checkout that has a `.venv`: with `.` and `--card` it is what a
rate card costs, since only this tree charges by it. How it measures is in
`docs/benchmarks.md`. It takes about five minutes, more on a busy machine, at most 30. It
exits with 1 if a response was wrong or the books are wrong; a ratio does not change the exit code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from benchmarks.compare.builds import base_build, this_tree, verify_books
from benchmarks.compare.ratios import PAIRS_MIN, Pair, table
from benchmarks.speed.cases import CASES
from benchmarks.speed.loads import Loader, LoadFailed
from benchmarks.speed.machine import cores_for, describe, free_port, raise_open_files
from benchmarks.speed.measuring import Meter, Wrong
from benchmarks.speed.product import serve_build
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.subjects import Place, Unavailable
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say

if TYPE_CHECKING:
    from benchmarks.compare.builds import Build
    from benchmarks.speed.cases import Case
    from benchmarks.speed.subjects import Subject

COMPARED: Final = tuple(
    case
    for case in CASES
    if case.name in {"chat, 1 kB", "chat, 400 kB", "unknown key", "empty balance", "16 streams"}
)
GROUPS: Final = tuple(dict.fromkeys(case.group for case in COMPARED))
PAIRS: Final = 40
BURST_S: Final = 0.3
LIMIT_S: Final = 1800.0
STARTS: Final = 4
"""How often both are started anew: where memory lies makes a process faster or slower for life."""
_QUIET_S: Final = 0.03
"""Work that follows the last response of a burst still counts for so long."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for."""

    base: str
    cases: tuple[Case, ...]
    pairs: int
    seconds: float
    card: Path | None


def read_arguments() -> Given:
    """Read the arguments; ends the process when they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("base", metavar="BASE", help="a commit, or a checkout with a .venv")
    _ = parser.add_argument("--cases", default=",".join(GROUPS), help=f"of {', '.join(GROUPS)}")
    _ = parser.add_argument("--pairs", type=int, default=PAIRS, help=f"at least {PAIRS_MIN}")
    _ = parser.add_argument("--seconds", type=float, default=BURST_S, help="of a burst")
    _ = parser.add_argument("--card", type=Path, help="this tree charges by this rate card")
    given = parser.parse_args()
    groups = {*given.cases.split(",")}
    if unknown := groups - {*GROUPS}:
        parser.error(f"no cases are called {', '.join(sorted(unknown))}")
    if given.pairs < PAIRS_MIN:
        parser.error(f"--pairs must be at least {PAIRS_MIN}")
    cases = tuple(case for case in COMPARED if case.group in groups)
    card: Path | None = given.card
    return Given(given.base, cases, given.pairs, given.seconds, card and card.resolve())


@dataclass(frozen=True, slots=True)
class Comparison:
    """The upstream and the meter of both products, and what has been measured so far."""

    seat: UpstreamSeat
    meter: Meter
    results: dict[str, list[Pair]] = field(default_factory=dict[str, list[Pair]])

    async def measure(self, case: Case, base: Subject, here: Subject, number: int) -> None:
        """Measure so many pairs of bursts, in the order A B B A A B B A and so on.

        Raises:
            LoadFailed, Wrong: responses were wrong or did not come.

        """
        pairs = self.results.setdefault(case.name, [])
        async with self.seat.responding(case.upstream):
            for subject in (base, here):
                await self.meter.warm_up(case, subject)
            for index in range(number):
                order = (base, here) if index % 2 == 0 else (here, base)
                burst = {each.name: await self.meter.round(case, each) for each in order}
                pairs.append(Pair(burst[base.name], burst[here.name]))

    def wrong(self) -> list[str]:
        """List the cases in which responses were wrong."""
        counts = {
            name: sum(pair.base.wrong + pair.here.wrong for pair in pairs)
            for name, pairs in self.results.items()
        }
        return [f"{name}: {count} responses were wrong" for name, count in counts.items() if count]


async def compare(given: Given, folder: Path, cache: Path) -> list[str]:
    """Measure all cases and print the table; returns what was wrong."""
    say(f"preparing {given.base}")
    builds = {
        "base": await base_build(given.base, folder / "base"),
        "here": await this_tree(folder / "here"),
    }
    tools = await compile_tools(cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    meter = Meter(Loader(tools.load, folder, rest), given.seconds, 0, _QUIET_S)
    comparison = Comparison(seat, meter)
    try:
        for number in range(STARTS):
            await _measure_once(given, comparison, builds, folder / f"start-{number}")
            # Who starts first alternates as well.
            builds = dict(reversed(builds.items()))
    finally:
        _show(given, comparison)
    return comparison.wrong()


async def _measure_once(
    given: Given, comparison: Comparison, builds: dict[str, Build], folder: Path
) -> None:
    """Start both, and measure a share of the pairs of every case."""
    async with AsyncExitStack() as stack:
        started: dict[str, Subject] = {}
        for name, build in builds.items():
            say(f"starting {build.name}")
            card = given.card if name == "here" else None
            place = Place(folder / name, folder, comparison.seat.port, build.python, rate_card=card)
            serving = serve_build(place, name, build.python)
            started[name] = await stack.enter_async_context(serving)
        for case in given.cases:
            say(case.name)
            share = -(-given.pairs // STARTS)
            await comparison.measure(case, started["base"], started["here"], share)
        for name, build in builds.items():
            await verify_books(build, folder / name)


def _show(given: Given, comparison: Comparison) -> None:
    enough = {name: pairs for name, pairs in comparison.results.items() if len(pairs) >= PAIRS_MIN}
    say("\n" + "\n".join(table(enough)) + "\n")
    measured = min(map(len, enough.values()), default=0)
    say(f"base: {given.base}; CPU µs for a request, of streams for a chunk")
    say(f"{describe()}: medians of {measured} pairs of bursts of {given.seconds:g} s")


def main() -> int:
    """Run the command; returns its exit code."""
    given = read_arguments()
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks", ensure_exists=True)
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-compare-"))
    faults = (LoadFailed, NotStarted, Unavailable, Wrong)
    breaches = breaches_of(lambda: compare(given, folder, cache), faults, LIMIT_S)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
