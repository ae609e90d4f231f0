"""Fetches whole lists as files from large books: they take time, but must not take memory.

    python -m benchmarks.exports [DSN]

Without a seeded database it fills one, with 10,000 users and 1,000,000 entries. Prints rows a
second, and the server's memory before, after the first 10,000 rows, and at most; then how long the
proof of the books takes on its page. Exits with 1 when memory grows with the rows, or when
the books are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.books import LARGE, Who, database, prepare, serve
from benchmarks.processes import resident_bytes
from benchmarks.verdict import say

if TYPE_CHECKING:
    from benchmarks.books import Books, Served

FILES: Final = (
    "/admin/requests.csv",
    "/admin/ledger.csv",
    "/api/requests?user_id={id}",
    "/api/ledger?user_id={id}",
    "/api/usage?group_by=user,day,model,key",
)
"""As a superuser gets them: of everybody, and what the API gives of one account, the heaviest."""
PROOF: Final = "/admin/books?verify=yes"
_RIGHT: Final = b"The books are correct"
FIRST_ROWS: Final = 10_000
GROWTH_MB: Final = 16.0
"""What memory may vary by while a file is written, however long it is."""
_MB: Final = 1024 * 1024
_LOOK_BYTES: Final = 256 * 1024
"""How much is read between two looks at the server's memory."""


@dataclass(slots=True)
class Fetched:
    """What one file was, and what it took of the server."""

    before_mb: float
    first_mb: float
    """When the first rows were there."""
    most_mb: float
    """From then on."""
    rows: int = 0
    took_s: float = 0.0

    @property
    def is_flat(self) -> bool:
        """Whether the rows that came after the first took no more memory."""
        return self.most_mb - self.first_mb <= GROWTH_MB


async def fetch(served: Served, path: str) -> Fetched:
    """Fetch a file, row by row, and keep nothing of it."""
    memory_mb = _memory_mb(served)
    fetched = Fetched(memory_mb, memory_mb, 0.0)
    began = time.perf_counter()
    unseen = 0
    async with served.ask(Who.SUPERUSER, path, accept="text/csv") as response:
        async for piece in response.content.iter_any():
            fetched.rows += piece.count(b"\n")
            unseen += len(piece)
            if unseen >= _LOOK_BYTES:
                unseen = 0
                _look(served, fetched)
    _look(served, fetched)
    # The first line names the columns.
    fetched.rows -= 1
    fetched.took_s = time.perf_counter() - began
    return fetched


def _look(served: Served, fetched: Fetched) -> None:
    memory_mb = _memory_mb(served)
    if fetched.rows <= FIRST_ROWS:
        fetched.first_mb = memory_mb
    fetched.most_mb = max(fetched.most_mb, memory_mb)


def _memory_mb(served: Served) -> float:
    return sum(map(resident_bytes, served.replica.processes())) / _MB


async def fetch_all(books: Books, folder: Path) -> list[str]:
    """Fetch every file and say what each took, then the proof; gives what was wrong."""
    wrong: list[str] = []
    async with serve(books, folder) as served:
        say(f"{'':42}{'rows':>10}{'rows/s':>9}{'MB':>7}{'10,000':>8}{'most':>7}")
        for template in FILES:
            fetched = await fetch(served, template.format_map(books.names[Who.SUPERUSER]))
            memory = f"{fetched.before_mb:7.0f}{fetched.first_mb:8.0f}{fetched.most_mb:7.0f}"
            speed = fetched.rows / fetched.took_s
            say(f"{template:42}{fetched.rows:10,}{speed:9,.0f}{memory}")
            if not fetched.is_flat:
                wrong.append(f"memory grows with the rows of {template}")
        began = time.perf_counter()
        async with served.ask(Who.SUPERUSER, PROOF) as response:
            if _RIGHT not in await response.read():
                wrong.append("the books are wrong")
        say(f"{PROOF}: {time.perf_counter() - began:.1f} s")
    return wrong


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__)
    _ = parser.add_argument("dsn", nargs="?", help="a seeded database; else one is made")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="exports-") as name,
        database(Path(name) / "books", given.dsn) as dsn,
    ):
        books = asyncio.run(prepare(dsn, LARGE))
        wrong = asyncio.run(fetch_all(books, Path(name) / "served"))
    say("\n".join(wrong or ["memory does not grow with the rows"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
