"""Times what people look at, in small books and in large ones: it must not grow with the books.

    python -m benchmarks.pages [--small DSN] [--large DSN] [--times 15]

Without two seeded databases it fills two: 100 users with 10,000 entries, 10,000 with 1,000,000.
Times what is read of them, and, over HTTP from a server on each, every page and every list. Prints
the medians in milliseconds and their ratio; exits with 1 when one is not of the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.books import LARGE, SMALL, database, prepare, serve
from benchmarks.paths import looks
from benchmarks.readings import readings
from benchmarks.timing import SAME_ORDER, Timing, table, time_in_turns
from benchmarks.verdict import say
from tokenbalance.database.connections import open_sessions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.books import Books, Served
    from benchmarks.paths import Look
    from benchmarks.timing import Work

TIMES: Final = 15


async def time_all(both: list[Books], folder: Path, times: int) -> list[Timing]:
    """Time everything in both books, the small ones first."""
    async with AsyncExitStack() as stack:
        read: list[Mapping[str, Work]] = []
        seen: list[Mapping[str, Work]] = []
        for number, books in enumerate(both):
            sessions = await stack.enter_async_context(open_sessions(books.dsn))
            read.append(readings(books, sessions))
            served = await stack.enter_async_context(serve(books, folder / str(number)))
            seen.append({look.name: _work(served, look) for look in looks()})
        timings = await time_in_turns(*read, times=times)
        return timings + await time_in_turns(*seen, times=times)


def _work(served: Served, look: Look) -> Work:
    path = look.path(served.books.names)

    async def ask() -> None:
        async with served.ask(look.who, path, look.document) as response:
            _ = await response.read()

    return ask


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    for name, size in (("--small", "small"), ("--large", "large")):
        _ = parser.add_argument(name, metavar="DSN", help=f"a {size} seeded database; else made")
    _ = parser.add_argument("--times", type=int, default=TIMES)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pages-") as name,
        database(Path(name) / "small", given.small) as small,
        database(Path(name) / "large", given.large) as large,
    ):
        both = [asyncio.run(prepare(dsn, seeds)) for dsn, seeds in ((small, SMALL), (large, LARGE))]
        timings = asyncio.run(time_all(both, Path(name) / "served", given.times))
    say("\n".join(table(timings)))
    slow = [each for each in timings if not each.is_same_order]
    say(f"{len(timings)} timed, {len(slow)} take more than {SAME_ORDER:g} times as long")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
