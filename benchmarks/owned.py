"""What it costs that a response has an owner: CPU time with `store: true` and with `store: false`.

    python -m benchmarks.owned [--pairs 60] [--seconds 0.3]

One product gets bursts of both kinds in turns, A B B A A B B A: POST /v1/responses of 1 kB on 64
connections, whole and streamed. The upstream gives every response ids that no other one has. A
stored response and its message become the caller's before their ids are passed on; one that is not
stored has no owner. A ratio is that of two neighbouring bursts. It takes about three minutes, and
exits with 1 if a response or the books were wrong, or if not every stored response has an owner.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import platformdirs

from benchmarks.compare.ratios import PAIRS_MIN, ratio_of
from benchmarks.markdown import lay_out
from benchmarks.speed import bodies
from benchmarks.speed.accounts import Proof
from benchmarks.speed.cases import KB, Case
from benchmarks.speed.loads import Load, Loader, LoadFailed
from benchmarks.speed.machine import cores_for, describe, free_port, raise_open_files
from benchmarks.speed.measuring import Meter, Wrong
from benchmarks.speed.product import serve
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.subjects import Place, Subject, Unavailable
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from benchmarks.speed.figures import Figures

PAIRS: Final = 60
BURST_S: Final = 0.3
LIMIT_S: Final = 900.0
_QUIET_S: Final = 0.03
"""Work that follows the last response of a burst still counts for so long."""
_CONNECTIONS: Final = 64
_UPSTREAMS: Final[Mapping[str, tuple[str, str]]] = {
    "whole": ("--responses", "1024"),
    "streamed": ("--responses-stream", "200"),
}
_CREDITS: Final = 21
"""What a response costs: the usage that the upstream reports."""
_OWNED: Final = """
SELECT kind, count(*) FROM objects WHERE deleted_at IS NULL GROUP BY kind ORDER BY kind
"""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring bursts."""

    unstored: Figures
    stored: Figures


@dataclass(frozen=True, slots=True)
class Comparison:
    """The product with its meter, and what has been measured so far."""

    meter: Meter
    subject: Subject
    proof: Proof
    pairs: dict[str, list[Pair]] = field(default_factory=dict[str, list[Pair]])
    """By how a response comes."""
    owed: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    """Credits for responses that are stored, and for those that are not."""

    async def measure(self, name: str, number: int) -> None:
        """Measure so many pairs, in the order A B B A A B B A and so on.

        Raises:
            LoadFailed, Wrong: responses were wrong or did not come.

        """
        cases = {stored: _case(name, stored=stored) for stored in (False, True)}
        for stored, case in cases.items():
            await self._counted(self.meter.warm_up(case, self.subject), stored=stored)
        pairs = self.pairs.setdefault(name, [])
        for index in range(number):
            burst: dict[bool, Figures] = {}
            for stored in (False, True) if index % 2 == 0 else (True, False):
                work = self.meter.round(cases[stored], self.subject)
                burst[stored] = await self._counted(work, stored=stored)
            pairs.append(Pair(burst[False], burst[True]))

    async def _counted(self, work: Awaitable[_Result], *, stored: bool) -> _Result:
        before = self.proof.owed
        result = await work
        self.owed[stored] += self.proof.owed - before
        return result

    async def breaches(self) -> list[str]:
        """Name what is wrong with the books, and with the owners."""
        stored = self.owed[True] // _CREDITS
        found = await self.proof.breaches()
        connection = await asyncpg.connect(self.proof.dsn, command_timeout=60)
        try:
            rows = await connection.fetch(_OWNED)
        finally:
            await connection.close()
        owned = {str(row[0]): int(row[1]) for row in rows}
        if owned != {"item": stored, "response": stored}:
            found.append(f"{stored} responses were stored, and owned are {owned}")
        return found


def _case(name: str, *, stored: bool) -> Case:
    streams = name == "streamed"
    body = bodies.response(KB, stored=stored, streams=streams)
    load = Load(body, _CONNECTIONS, path="/v1/responses", streams=streams)
    return Case(name, "owned", _UPSTREAMS[name], load, credits=_CREDITS)


async def compare(pairs: int, seconds: float, folder: Path) -> list[str]:
    """Measure both kinds in turns and print the table; returns what was wrong."""
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks", ensure_exists=True)
    tools = await compile_tools(cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    meter = Meter(Loader(tools.load, folder, rest), seconds, 0, _QUIET_S)
    say("starting the product")
    async with serve(Place(folder / "product", folder, seat.port, sys.executable)) as subject:
        assert isinstance(subject.proof, Proof)
        comparison = Comparison(meter, subject, subject.proof)
        for name, upstream in _UPSTREAMS.items():
            say(name)
            async with seat.responding(upstream):
                await comparison.measure(name, pairs)
        say("\n" + "\n".join(_table(comparison.pairs)) + "\n")
        say(f"{describe()}: medians of {pairs} pairs of bursts of {seconds:g} s, CPU µs")
        return await comparison.breaches()


def _table(results: Mapping[str, Sequence[Pair]]) -> list[str]:
    head = ("response", "store: false", "store: true", "ratio (95 %)", "with Postgres (95 %)")
    return lay_out(head, [_row(name, pairs) for name, pairs in results.items()], {head[0]})


def _row(name: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    product = [(each.stored.cpu_us or 0, each.unstored.cpu_us or 1) for each in pairs]
    both = [
        (each.stored.with_postgres_us or 0, each.unstored.with_postgres_us or 1) for each in pairs
    ]
    return (
        name,
        *(f"{statistics.median(each):,.0f}" for each in reversed([*zip(*product, strict=True)])),
        *(str(ratio_of([one / other for one, other in each])) for each in (product, both)),
    )


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.owned",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("--pairs", type=int, default=PAIRS, help=f"at least {PAIRS_MIN}")
    _ = parser.add_argument("--seconds", type=float, default=BURST_S, help="of a burst")
    given = parser.parse_args()
    pairs: int = given.pairs
    seconds: float = given.seconds
    if pairs < PAIRS_MIN:
        parser.error(f"--pairs must be at least {PAIRS_MIN}")
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-owned-"))
    faults = (LoadFailed, NotStarted, Unavailable, Wrong)
    breaches = breaches_of(lambda: compare(pairs, seconds, folder), faults, LIMIT_S)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
