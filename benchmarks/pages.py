"""Times what people look at, in small books and in large ones: it must not grow with the books.

    python -m benchmarks.pages [SMALL LARGE] [--times 20]

Without two seeded databases it fills two: 100 users with 10,000 entries, 10,000 with 1,000,000.
Prints the median of each in milliseconds, and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import httpx2
from sqlalchemy import text

from benchmarks.replicas import Replica
from benchmarks.seeding import Seeds, create_superuser, seed
from benchmarks.verdict import say
from tokenbalance.database.connections import open_sessions
from tokenbalance.database.embedded import EmbeddedPostgres
from tokenbalance.database.migrate import migrate_in_thread
from tokenbalance.ledger import report
from tokenbalance.ledger.report import Group

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Sessions

    Reading: TypeAlias = Callable[[AsyncSession], Awaitable[object]]

SMALL: Final = Seeds(users=100, entries=10_000)
LARGE: Final = Seeds()
TIMES: Final = 20
URLS: Final[Sequence[str]] = []
"""Paths of lists and pages that a superuser's key may GET; none yet."""
_SOMEBODY: Final = text("""
SELECT account_id, key_id, request_id
  FROM holds
 WHERE state = 'settled' AND account_id = (
           SELECT account_id FROM usage_days GROUP BY 1 ORDER BY sum(requests) DESC, 1 LIMIT 1)
 ORDER BY request_id
 LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Books:
    """Seeded books, and somebody in them to look at."""

    dsn: str
    account_id: int
    """Of whom made most requests."""
    key_id: int
    request_id: str
    """One of the oldest, of that account."""


def readings(books: Books) -> Mapping[str, Reading]:
    """Everything that is read for people, by name."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = report.Period(today - timedelta(days=29))
    long_ago = report.Period(today - timedelta(days=60), today - timedelta(days=50))
    found: dict[str, Reading] = {"overview": report.overview}
    for of, account in (("all", None), ("one", books.account_id)):
        for name, query in {
            "entries": report.EntryQuery(account, newest_first=True),
            "entries, oldest first": report.EntryQuery(account),
            "entries, refunds": report.EntryQuery(account, ("refund",), newest_first=True),
            "entries, long ago": report.EntryQuery(account, period=long_ago, newest_first=True),
        }.items():
            found[f"{name}, {of}"] = _reading(report.entries_page, query)
        for name, query in {
            "requests": report.RequestQuery(account),
            "requests, long ago": report.RequestQuery(account, period=long_ago),
            "requests, voided": report.RequestQuery(account, state="voided"),
            "requests, expired": report.RequestQuery(account, state="expired"),
            "requests, open": report.RequestQuery(account, state="open"),
            "requests, of a model": report.RequestQuery(account, model="gpt-4o-audio-preview"),
            "requests, of a key": report.RequestQuery(account, key_id=books.key_id),
            "requests, estimated": report.RequestQuery(account, estimated=True),
        }.items():
            found[f"{name}, {of}"] = _reading(report.requests_page, query)
        for groups in ("", "day", "user", "key", "model", "day model", "day user", "user model"):
            names = frozenset(map(Group, groups.split()))
            query = report.UsageQuery(account, names, month)
            found[f"usage by {groups or 'nothing'}, {of}"] = _reading(report.usage_by, query)
        explain = (books.request_id, account)
        found[f"explain, {of}"] = lambda session, explain=explain: report.explain(session, *explain)
    return found


def _reading(read: Callable[..., Awaitable[object]], query: object) -> Reading:
    return lambda session: read(session, query)


async def find_books(dsn: str) -> Books:
    """Find somebody in seeded books who has much to look at."""
    async with open_sessions(dsn) as sessions, sessions() as session:
        row = (await session.execute(_SOMEBODY)).one()
        return Books(dsn, *row)


async def time_readings(books: Books, times: int) -> dict[str, float]:
    """Time every function; gives the median of each in milliseconds."""
    async with open_sessions(books.dsn) as sessions:
        return {
            name: await _median(times, lambda read=read: _read(sessions, read))
            for name, read in readings(books).items()
        }


async def time_urls(dsn: str, folder: Path, times: int) -> dict[str, float]:
    """Time every page as a superuser gets it, from a server of its own."""
    if not URLS:
        return {}
    key = await create_superuser(dsn)
    async with _served(dsn, folder, key) as client:
        return {url: await _median(times, lambda url=url: _get(client, url)) for url in URLS}


@asynccontextmanager
async def _served(dsn: str, folder: Path, key: str) -> AsyncGenerator[httpx2.AsyncClient]:
    replica = Replica(folder, {"DATABASE_URL": dsn, "OPENAI_API_KEY": "sk-upstream"}, workers=1)
    await replica.start()
    try:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=replica.url, headers=headers, timeout=60) as client:
            yield client
    finally:
        _ = await replica.stop()


async def _get(client: httpx2.AsyncClient, url: str) -> None:
    _ = (await client.get(url)).raise_for_status()


async def _read(sessions: Sessions, read: Reading) -> None:
    async with sessions.begin() as session:
        _ = await read(session)


async def _median(times: int, work: Callable[[], Awaitable[None]]) -> float:
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def _seed(dsn: str, seeds: Seeds) -> None:
    await migrate_in_thread(dsn)
    await seed(dsn, seeds)


async def _time(dsn: str, folder: Path, times: int) -> dict[str, float]:
    books = await find_books(dsn)
    return {**await time_readings(books, times), **await time_urls(dsn, folder, times)}


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    _ = parser.add_argument("dsns", nargs="*", help="two seeded databases, the small one first")
    _ = parser.add_argument("--times", type=int, default=TIMES)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pages-")))
        dsns: list[str] = given.dsns
        if not dsns:
            for seeds in (SMALL, LARGE):
                data = folder / str(seeds.users)
                server = EmbeddedPostgres.start_or_attach(data, exclusive=True, durable=False)
                dsns.append(stack.enter_context(server).dsn)
                asyncio.run(_seed(dsns[-1], seeds))
        small, large = (asyncio.run(_time(dsn, folder / "served", given.times)) for dsn in dsns)
    say(f"{'':36}{'small ms':>10}{'large ms':>10}{'ratio':>8}")
    for name, took in small.items():
        say(f"{name:36}{took:10.1f}{large[name]:10.1f}{large[name] / took:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
