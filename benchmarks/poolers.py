"""What a connection pooler between the product and Postgres costs: CPU time for each request.

    python -m benchmarks.poolers PGBOUNCER [PGBOUNCER...] [--rounds 12] [--seconds 1]

One product reaches one Postgres directly, and one through each PgBouncer in transaction mode, each
with books of its own. They get bursts of the same load in turns: chats of 1 kB on 64 connections. A
ratio is that of two bursts of one round. Exits with 1 if a response or the books were wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import platformdirs

from benchmarks.compare.ratios import PAIRS_MIN, ratio_of
from benchmarks.markdown import lay_out
from benchmarks.processes import children_of, command_of
from benchmarks.replicas import Replica
from benchmarks.speed.accounting import Tree
from benchmarks.speed.accounts import Proof, create_accounts
from benchmarks.speed.cases import CASES
from benchmarks.speed.loads import Loader, LoadFailed
from benchmarks.speed.machine import cores_for, describe, free_port, move_to, raise_open_files
from benchmarks.speed.measuring import Meter, Wrong
from benchmarks.speed.programs import NotStarted
from benchmarks.speed.subjects import Subject
from benchmarks.speed.tools import UpstreamSeat, compile_tools
from benchmarks.verdict import breaches_of, conclude, say
from tests.support.pooler import pooling
from tokenbalance.database.connections import route_to
from tokenbalance.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Sequence

CASE: Final = next(case for case in CASES if case.name == "chat, 1 kB")
ROUNDS: Final = 12
ROUND_S: Final = 1.0
LIMIT_S: Final = 900.0
_CONNECT_S: Final = 5.0
_DIRECT: Final = "directly"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time for a request, in microseconds."""

    product: float
    postgres: float
    pooler: float

    @property
    def total(self) -> float:
        """All three."""
        return self.product + self.postgres + self.pooler


@dataclass(frozen=True, slots=True)
class Passage:
    """One way to the server, and what it has cost so far."""

    subject: Subject
    pooler: Tree | None
    proof: Proof
    rounds: list[Cost] = field(default_factory=list[Cost])

    async def measure(self, loader: Loader, seconds: float) -> None:
        """Measure one burst.

        Raises:
            LoadFailed, Wrong: responses were wrong or did not come.

        """
        before = self._used()
        seen = await loader.run(CASE.load, self.subject, seconds)
        if seen.errors:
            msg = f"{self.subject.name}: {seen.errors} of {seen.requests} went wrong"
            raise Wrong(msg)
        self.proof.owed += seen.responded * CASE.credits
        used = [now - then for now, then in zip(self._used(), before, strict=True)]
        self.rounds.append(Cost(*(each / seen.requests for each in used)))

    def _used(self) -> tuple[float, ...]:
        trees = (self.subject.tree, self.subject.postgres, self.pooler)
        return tuple(0.0 if tree is None else tree.cpu_us() for tree in trees)


async def measure(programs: Sequence[str], rounds: int, seconds: float, folder: Path) -> list[str]:
    """Measure all of them in turns and print the table; returns what was wrong."""
    cache = platformdirs.user_cache_path("tokenbalance-benchmarks", ensure_exists=True)
    tools = await compile_tools(cache)
    rest = cores_for().rest
    seat = UpstreamSeat(tools.upstream, free_port(), folder / "upstream", rest)
    loader = Loader(tools.load, folder, rest)
    with EmbeddedPostgres.start_or_attach(folder / "postgres") as server:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(seat.responding(CASE.upstream))
            passages = [
                await _open(stack, server, program, seat.port, folder / str(number))
                for number, program in enumerate((None, *programs))
            ]
            for passage in passages:
                await Meter(loader, seconds, 0).warm_up(CASE, passage.subject)
            for number in range(rounds):
                # Who goes first changes: a machine that becomes slower is so for all of them.
                for passage in passages if number % 2 == 0 else reversed(passages):
                    await passage.measure(loader, seconds)
            say("\n" + "\n".join(_table(passages)) + "\n")
            say(f"{describe()}: medians of {rounds} rounds of {seconds:g} s, CPU µs for a request")
            return [
                f"{passage.subject.name}: {breach}"
                for passage in passages
                for breach in await passage.proof.breaches()
            ]


async def _open(
    stack: AsyncExitStack,
    server: EmbeddedPostgres,
    program: str | None,
    upstream_port: int,
    folder: Path,
) -> Passage:
    """Start the product with books of its own, and the pooler through which it reaches them."""
    database = f"books_{folder.name}"
    await _create(server, database)
    direct = dsn = server.dsn_of(database)
    pooler, name = None, _DIRECT
    if program is not None:
        before = {*children_of(os.getpid())}
        dsn = stack.enter_context(pooling(program, server))(direct)
        (pid,) = {*children_of(os.getpid())} - before
        pooler = Tree(pid)
        name = f"through {program}, {(await route_to(dsn, _CONNECT_S)).value}"
    settings = {
        "DATABASE_URL": dsn,
        "DATABASE_DIRECT_URL": direct,
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "OPENAI_API_KEY": "sk-upstream",
        "TOKENBALANCE_SHUTDOWN_S": "2",
        "PYTHONHASHSEED": "0",
    }
    say(f"starting the product that reaches Postgres {name}")
    replica = Replica(folder, settings, 1, free_port())
    _ = stack.push_async_callback(replica.stop)
    await replica.start()
    tree, postgres = Tree(replica.processes()[0]), Tree(_postmaster())
    for cores, each in ((cores_for().subject, tree), (cores_for().rest, postgres)):
        move_to(cores, each.pids())
    proof = Proof(direct)
    keys = await create_accounts(direct, folder)
    return Passage(Subject(name, replica.port, tree, keys, postgres, proof), pooler, proof)


async def _create(server: EmbeddedPostgres, database: str) -> None:
    session = await asyncpg.connect(server.dsn)
    try:
        _ = await session.execute(f"CREATE DATABASE {database}")
    finally:
        await session.close()


def _postmaster() -> int:
    return next(
        child for child in children_of(os.getpid()) if "postgres" in command_of(child).split()[0]
    )


def _table(passages: Sequence[Passage]) -> list[str]:
    """Lay the medians out, with the ratios to the first passage, which is the direct one."""
    head = (
        *("Postgres is reached", "product", "Postgres", "pooler"),
        *("x product", "x Postgres", "x all (95 %)"),
    )
    direct = passages[0].rounds
    rows: list[tuple[str, ...]] = []
    for passage in passages:
        pairs = [*zip(passage.rounds, direct, strict=True)]
        product = ratio_of([one.product / other.product for one, other in pairs])
        postgres = ratio_of([one.postgres / other.postgres for one, other in pairs])
        rows.append(
            (
                passage.subject.name,
                _median([cost.product for cost in passage.rounds]),
                _median([cost.postgres for cost in passage.rounds]),
                _median([cost.pooler for cost in passage.rounds]),
                f"{product.median:.2f}",
                f"{postgres.median:.2f}",
                str(ratio_of([one.total / other.total for one, other in pairs])),
            )
        )
    return lay_out(head, rows, {head[0]})


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}"


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.poolers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("programs", metavar="PGBOUNCER", nargs="+", help="the program")
    _ = parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {PAIRS_MIN}")
    _ = parser.add_argument("--seconds", type=float, default=ROUND_S, help="of a round")
    given = parser.parse_args()
    programs: list[str] = given.programs
    rounds: int = given.rounds
    seconds: float = given.seconds
    if rounds < PAIRS_MIN:
        parser.error(f"--rounds must be at least {PAIRS_MIN}")
    raise_open_files()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-poolers-"))
    faults = (LoadFailed, NotStarted, TimeoutError, Wrong)
    breaches = breaches_of(lambda: measure(programs, rounds, seconds, folder), faults, LIMIT_S)
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
