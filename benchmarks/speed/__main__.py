"""The product and others in one run: a table of CPU, latency and memory, with ratios.

    python -m benchmarks.speed [--only tokenbalance,nginx] [--cases chat,streams] [--rounds 5]
                               [--seconds 3] [--quick] [--soak 10m]
                               [--base COMMIT] [--python PATH]

How it measures, what the columns mean and what must not be compared is in `docs/benchmarks.md`.
Exits with 1 if a response was wrong or the books are wrong; a goal that is missed
is said in the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from benchmarks.compare.builds import base_build, this_tree_on
from benchmarks.speed.cases import GROUPS, IDLE_STREAMS, cases_of
from benchmarks.speed.cast import STARTERS, Cast
from benchmarks.speed.goals import missed
from benchmarks.speed.interpreter import interpreter_of
from benchmarks.speed.loads import Loader, LoadFailed
from benchmarks.speed.machine import cores_for, describe, free_port, raise_open_files
from benchmarks.speed.measuring import Meter, Wrong
from benchmarks.speed.product import BASE
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.run import Run
from benchmarks.speed.soak import duration_s, soak
from benchmarks.speed.subjects import Place, Unavailable
from benchmarks.speed.table import table
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say

ROUNDS: Final = 5
ROUND_S: Final = 3.0
_QUICK_IDLE_STREAMS: Final = 200


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for."""

    only: tuple[str, ...]
    groups: tuple[str, ...]
    rounds: int
    seconds: float
    idle_streams: int
    soak_s: float | None
    cache: Path
    base: str | None
    python: str


def read_arguments() -> Given:
    """Read what was asked for; ends the process when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one_of = "of " + "; ".join(STARTERS)
    _ = parser.add_argument("--only", help=f"subjects, {one_of}; direct always takes part")
    _ = parser.add_argument("--cases", help=f"groups of cases, of {', '.join(GROUPS)}")
    _ = parser.add_argument("--rounds", type=int, default=ROUNDS, help="the medians of so many")
    _ = parser.add_argument("--seconds", type=float, default=ROUND_S, help="of a round")
    _ = parser.add_argument("--quick", action="store_true", help="one round of a second: to try")
    _ = parser.add_argument("--soak", type=duration_s, metavar="10m", help="only a soak, so long")
    _ = parser.add_argument("--base", help="a commit, or a checkout with a .venv: one more subject")
    _ = parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of the product and of gateways"
    )
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks")
    _ = parser.add_argument(
        "--cache", type=Path, default=cache, help="what is installed stays here"
    )
    given = parser.parse_args()
    groups = tuple((given.cases or ",".join(GROUPS)).split(","))
    if unknown := {*groups} - {*GROUPS}:
        parser.error(f"no cases are called {', '.join(unknown)}")
    return Given(
        only=_subjects(parser, given.only, has_base=given.base is not None),
        groups=groups,
        rounds=1 if given.quick else given.rounds,
        seconds=1.0 if given.quick else given.seconds,
        idle_streams=_QUICK_IDLE_STREAMS if given.quick else IDLE_STREAMS,
        soak_s=given.soak,
        cache=given.cache.resolve(),
        base=given.base,
        python=given.python,
    )


def _subjects(
    parser: argparse.ArgumentParser, only: str | None, *, has_base: bool
) -> tuple[str, ...]:
    """Find subjects by how their names begin, in whatever case."""
    if only is None:
        return tuple(name for name in STARTERS if name != BASE or has_base)
    found = {"direct", BASE} if has_base else {"direct"}
    for word in only.lower().split(","):
        named = [name for name in STARTERS if name.lower().startswith(word)]
        if not named:
            parser.error(f"no subject is called {word}")
        found.update(named)
    return tuple(name for name in STARTERS if name in found)


async def measure(given: Given, folder: Path) -> list[str]:
    """Do what was asked for, and print it; returns what was wrong."""
    began = time.monotonic()
    tools = await compile_tools(given.cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    meter = Meter(Loader(tools.load, folder, rest), given.seconds, given.idle_streams)
    place = await _prepare(given, folder, seat.port)
    async with Cast(given.only, place) as cast:
        if given.soak_s is not None:
            return await soak(seat, cast, meter, given.soak_s)
        run = Run(seat, cast, meter, given.rounds)
        try:
            await run.go_through(cases_of(given.groups))
        finally:
            # What was measured before somebody lost patience is of use too.
            _show(given, run)
    say(f"all of it took {time.monotonic() - began:.0f} s")
    return run.breaches


async def _prepare(given: Given, folder: Path, upstream_port: int) -> Place:
    """Install the builds that are not installed yet; returns what every subject gets."""
    build = await this_tree_on(given.python, folder / "here")
    base = None
    if given.base is not None:
        say(f"preparing {given.base}")
        base = (await base_build(given.base, folder / "base", given.python)).python
    (folder / "subjects").mkdir()
    return Place(folder / "subjects", given.cache, upstream_port, build.python, base)


def _show(given: Given, run: Run) -> None:
    say("\n" + "\n".join(table(cases_of(given.groups), run.results)) + "\n")
    say(f"{describe()}: medians of {given.rounds} rounds of {given.seconds:g} s")
    say(f"tokenbalance and gateways in Python: {interpreter_of(run.cast.python)}")
    if given.base is not None:
        say(f"before: {given.base} on {interpreter_of(run.cast.build_of(BASE).python)}")
    if not cores_for().apart:
        say("there is one core only: subjects and load shared it")
    if not cores_for(2).apart:
        say("there is no third core: two workers share theirs with Postgres, load and upstream")
    for name, reason in run.cast.skipped.items():
        say(f"{name} was skipped: {reason}")
    for note in run.notes:
        say(f"of others: {note}")
    if goals := missed(run.results):
        say(f"goals missed: {goals}")


def main() -> int:
    """Run the command; returns its exit code."""
    given = read_arguments()
    given.cache.mkdir(parents=True, exist_ok=True)
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-speed-"))
    faults = (LoadFailed, NotStarted, Unavailable, Wrong)
    breaches = breaches_of(lambda: measure(given, folder), faults)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
