"""The proof that a month of the ledger can be attached and detached while requests run."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import asyncpg

from benchmarks.ledger_size.load import POOL, Requests
from benchmarks.ledger_size.locks import Watch
from benchmarks.ledger_size.parts import Parts
from benchmarks.ledger_size.schema import LEDGER
from benchmarks.ledger_size.seeds import TIMEOUT_S, Seeds, read_callers, seed_people
from benchmarks.ledger_size.server import server
from benchmarks.verdict import say
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool
from tokenbalance.database.migrate import migrate_in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tokenbalance.model import Caller

LOCKED_MS: Final = 100.0
"""What a lock that requests would wait for may last: a moment."""
_TIMES: Final = 5
_PAUSE_S: Final = 1.0
_CHUNK: Final = 640
_OIDS: Final = """
-- $1 ledger
SELECT array_agg(oid::bigint) FROM (
    SELECT $1::text::regclass::oid UNION ALL
    SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass) each (oid)
"""


@dataclass(frozen=True, slots=True)
class Months:
    """How large the ledger is to be."""

    rows: int = 10_000_000
    number: int = 10
    accounts: int = 10_000

    @classmethod
    def quick(cls) -> Self:
        """A small one."""
        return cls(rows=200_000, number=2, accounts=1_000)


@dataclass(slots=True)
class _Running:
    """Requests without an end, and the slowest statement of each span of time."""

    requests: Requests
    took_ms: float = 0
    """How long took what was done last."""

    async def run(self) -> None:
        while True:
            await self.requests.send(_CHUNK)

    async def slowest_ms(self, act: Callable[[], Awaitable[None]]) -> float:
        """Return how long the slowest statement took while something was done, and after it."""
        self.requests.slowest_ms = 0
        began = time.perf_counter()
        await act()
        self.took_ms = (time.perf_counter() - began) * 1000
        await asyncio.sleep(_PAUSE_S)
        return self.requests.slowest_ms


async def prove_months(months: Months, folder: Path) -> list[str]:
    """Attach and detach months while requests run, and print what those noticed."""
    began = time.monotonic()
    say(f"filling a ledger of {months.number} months with {months.rows:,} rows")
    with server(folder, durable=False) as dsn:
        await migrate_in_thread(dsn)
        await _fill(dsn, months)
    say(f"filled in {time.monotonic() - began:.0f} s")
    with server(folder) as dsn:
        callers = await read_callers(dsn)
        breaches = await _attach_and_detach(dsn, months, callers)
    say(f"all of it took {time.monotonic() - began:.0f} s")
    return breaches


async def _fill(dsn: str, months: Months) -> None:
    connection = await asyncpg.connect(dsn, command_timeout=TIMEOUT_S)
    try:
        await seed_people(connection, Seeds(months.accounts, 0))
        parts = Parts(connection, months.rows // months.number)
        await parts.make_whole()
        # The month after the last full one takes what requests write.
        for number in range(1, months.number + 2):
            _ = await parts.make(number, filled=number <= months.number)
            await parts.attach(number)
        await parts.go_on_after(months.number)
        size = await connection.fetchval(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = $1::text::regclass",
            LEDGER,
        )
        say(f"{float(size) / 1e9:.2f} GB with indexes")
    finally:
        await connection.close()


async def _attach_and_detach(dsn: str, months: Months, callers: Sequence[Caller]) -> list[str]:
    connection, looking = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        async with open_pool(dsn, POOL) as pool:
            parts = Parts(connection, months.rows // months.number)
            running = _Running(Requests(Book(pool), callers, random.Random(months.rows)))
            watch = Watch(looking, await connection.fetchval(_OIDS, LEDGER))
            tasks = [asyncio.create_task(running.run()), asyncio.create_task(watch.run())]
            try:
                await _measure(parts, months, running)
                ended = [task.exception() for task in tasks if task.done()]
            finally:
                for task in tasks:
                    _ = task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
    finally:
        await connection.close()
        await looking.close()
    return [
        *(f"requests or the watch ended: {error!r}" for error in ended),
        *_verdict(watch),
    ]


async def _measure(parts: Parts, months: Months, running: _Running) -> None:
    """Print the slowest statement of requests, without and with what is done to the ledger."""
    attached = months.number + 2
    _ = await parts.make(attached, filled=False)
    acts: dict[str, Callable[[], Awaitable[None]]] = {
        "nothing done": partial(asyncio.sleep, 0),
        "next month attached": partial(parts.attach, attached),
        "next month detached": partial(parts.detach, attached),
        "first month detached": partial(parts.detach, 1),
        "first month attached": partial(parts.attach, 1),
    }
    await running.requests.send(_CHUNK)
    slowest: dict[str, list[float]] = {name: [] for name in acts}
    took: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(_TIMES):
        for name, act in acts.items():
            slowest[name].append(await running.slowest_ms(act))
            took[name].append(running.took_ms)
    for name, each in slowest.items():
        lasted = f"it took {statistics.median(took[name]):.0f} ms"
        worst = f"slowest statement of requests {statistics.median(each):.0f} ms"
        say(f"{name:22}{lasted}; {worst} (median of {_TIMES}), {max(each):.0f} ms (worst)")


def _verdict(watch: Watch) -> list[str]:
    """Show the locks; returns those that requests may have waited for."""
    say("locks stronger than SHARE UPDATE EXCLUSIVE, the longest time of each:")
    for (table, mode), longest in sorted(watch.longest_ms.items()):
        say(f"    {table}: {mode}: {longest:.0f} ms")
    if not watch.longest_ms:
        say("    none was seen")
    return [
        f"{mode} on {table} for {longest:.0f} ms"
        for (table, mode), longest in watch.longest_ms.items()
        # Every request goes through the whole ledger: there must be none on it at all.
        if longest > LOCKED_MS or table == LEDGER
    ]
