"""Books with many accounts and requests: write-ahead log, Postgres, settlements, plans, disk.

    python -m benchmarks.ledger_size [--accounts 200000] [--requests 1000000] [--load 50000]
                                     [--quick]
    python -m benchmarks.ledger_size --months [--rows 10000000] [--quick]

Fills the books of an embedded Postgres, then sends requests through the proxy's own statements and
batches, without HTTP. With --months it proves instead that a month can be attached to the ledger
and detached from it while requests run. What it shows is told in `docs/benchmarks.md`. Exits with 1
if the books are wrong; a goal that is missed is said in its line.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from benchmarks.ledger_size.batches import SIZE, time_batches
from benchmarks.ledger_size.load import Refused, put_load
from benchmarks.ledger_size.months import Months, prove_months
from benchmarks.ledger_size.plans import read_plans
from benchmarks.ledger_size.report import show_batches, show_load, show_plans, show_sizes
from benchmarks.ledger_size.schema import PER_REQUEST
from benchmarks.ledger_size.seeds import (
    TIMEOUT_S,
    Seeds,
    open_holds,
    read_callers,
    seed_people,
    seed_requests,
)
from benchmarks.ledger_size.server import server, tree_of
from benchmarks.ledger_size.sizes import read_sizes
from benchmarks.speed.machine import describe
from benchmarks.verdict import breaches_of, conclude, say
from tokenbalance.books.ledger.audit import audit
from tokenbalance.database.migrate import migrate_in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.speed.accounting import Tree
    from tokenbalance.model import Caller

LOAD: Final = 50_000
OPEN_HOLDS: Final = 50_000
FEW: Final = 64
_QUICK: Final = Seeds(accounts=20_000, requests=50_000)
_QUICK_LOAD: Final = 5_000
_WAL_KB: Final = 3.5
_WAL_FEW_KB: Final = 1.5
# An autovacuum in the middle would make the two cases one. A commit waits for the disk once,
# however large the batch: that time is left out.
_QUIET: Final = (
    "ALTER SYSTEM SET autovacuum = off",
    "ALTER SYSTEM SET synchronous_commit = off",
    "SELECT pg_reload_conf()",
    "VACUUM ANALYZE",
)


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for."""

    seeds: Seeds
    load: int
    months: Months | None


def read_arguments() -> Given:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ledger_size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _ = parser.add_argument("--accounts", type=int, default=Seeds().accounts)
    _ = parser.add_argument("--requests", type=int, default=Seeds().requests)
    _ = parser.add_argument("--load", type=int, default=LOAD, help="requests that are measured")
    _ = parser.add_argument("--months", action="store_true", help="the proof with months instead")
    _ = parser.add_argument("--rows", type=int, default=Months().rows, help="of all months")
    _ = parser.add_argument(
        "--quick", action="store_true", help="small books: to see that it works"
    )
    given = parser.parse_args()
    months = Months(given.rows)
    if given.quick:
        return Given(_QUICK, _QUICK_LOAD, Months.quick() if given.months else None)
    seeds = Seeds(given.accounts, given.requests)
    return Given(seeds, given.load, months if given.months else None)


async def measure(given: Given, folder: Path) -> list[str]:
    """Do what was asked for, and print it; returns what was wrong."""
    began = time.monotonic()
    say(describe())
    await _seed(given.seeds, folder)
    say(f"filled in {time.monotonic() - began:.0f} s\n")
    with server(folder) as dsn:
        postgres, callers = tree_of(folder), await read_callers(dsn)
        await _put_loads(dsn, given, callers, postgres)
        await _settle_batches(dsn, callers, postgres)
        breaches = await _audit(dsn)
    say(f"all of it took {time.monotonic() - began:.0f} s")
    return breaches


async def _seed(seeds: Seeds, folder: Path) -> None:
    say(f"filling books with {seeds.accounts:,} accounts and {seeds.requests:,} requests")
    with server(folder, durable=False) as dsn:
        await migrate_in_thread(dsn)
        connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
        try:
            await seed_people(connection, seeds)
            before = await read_sizes(connection, PER_REQUEST)
            await seed_requests(connection, seeds)
            after = await read_sizes(connection, PER_REQUEST)
        finally:
            await connection.close()
    show_sizes(before, after, seeds.requests)


async def _put_loads(dsn: str, given: Given, callers: Sequence[Caller], postgres: Tree) -> None:
    few = random.Random(FEW).sample(callers, FEW)
    everybody = await put_load(dsn, callers, given.load, postgres)
    show_load(f"{len(callers):,} accounts", everybody, _WAL_KB)
    show_load(f"{FEW} accounts", await put_load(dsn, few, given.load, postgres), _WAL_FEW_KB)
    await _execute(dsn, "ANALYZE")
    again = await put_load(dsn, few, given.load, postgres)
    show_load(f"{FEW} accounts, after ANALYZE", again, _WAL_FEW_KB)


async def _settle_batches(dsn: str, callers: Sequence[Caller], postgres: Tree) -> None:
    """Time settlements with statistics that know the open holds, and with some that do not."""
    say(f"\nbatches are of {SIZE} requests; the time of the disk is left out")
    await _execute(dsn, *_QUIET)
    show_batches("no other holds", await time_batches(dsn, callers, postgres))
    known = await _plans(dsn)
    show_plans("no open holds at the last ANALYZE", known, {})
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        number = min(OPEN_HOLDS, len(callers))
        await open_holds(connection, number)
    finally:
        await connection.close()
    name = f"{number:,} open holds"
    show_batches(f"{name}, no ANALYZE since", await time_batches(dsn, callers, postgres))
    await _execute(dsn, "ANALYZE")
    show_batches(f"{name}, after ANALYZE", await time_batches(dsn, callers, postgres))
    show_plans(f"{name} at the last ANALYZE", await _plans(dsn), known)


async def _plans(dsn: str) -> Mapping[str, str]:
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        return await read_plans(connection)
    finally:
        await connection.close()


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _audit(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        report = await audit(connection)
    finally:
        await connection.close()
    say(f"\nbooks: {report.accounts:,} accounts, {report.entries:,} entries, ok: {report.ok}")
    return report.violations


def main() -> int:
    """Run the command; returns its exit code."""
    given = read_arguments()
    folder = Path(tempfile.mkdtemp(prefix="tokenbalance-ledger-"))
    months = given.months
    breaches = breaches_of(
        lambda: measure(given, folder) if months is None else prove_months(months, folder),
        (Refused,),
    )
    return conclude(breaches, folder)


if __name__ == "__main__":
    sys.exit(main())
