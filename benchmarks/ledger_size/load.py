"""A load on the books alone: requests are held and settled as the proxy does it, in batches."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import asyncpg

from benchmarks.ledger_size.schema import CHARGE, HOLD, USED
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Claim, Purpose, Trace
from tokenbalance.proxy.pipeline import new_request_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.speed.accounting import Tree
    from tokenbalance.model import Caller, Hold

CLIENTS: Final = 64
POOL: Final = 10
"""As many connections as a worker has."""
SLICES: Final = 5
_KNOWN_INPUT: Final = 9
_POSITION: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'"
_PAGES: Final = "SELECT wal_fpi FROM pg_stat_wal"
_FLUSHED_S: Final = 1.5
"""After that the statistics have what connections did that have ended."""


class Refused(Exception):
    """A request did not get its hold, or lost it: the figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load took, for each request."""

    wal_bytes: float
    wal_slices: tuple[float, ...]
    """The same for each part of the load, in turn: the first ones follow a checkpoint."""
    full_pages: float
    """Whole pages in it, which Postgres writes when it changes them first after a checkpoint."""
    postgres_us: float
    per_s: float


@dataclass(slots=True)
class Requests:
    """Sends requests of some callers, drawn with equal chances."""

    book: Book
    callers: Sequence[Caller]
    chance: random.Random
    slowest_ms: float = field(default=0)
    """The longest time that one statement took, with waiting for its turn."""

    async def send(self, number: int) -> None:
        """Send so many, as `CLIENTS` clients that each wait for their response."""
        numbers = iter(range(number))
        await asyncio.gather(*(self._send_each(numbers) for _ in range(CLIENTS)))

    async def _send_each(self, numbers: Iterator[int]) -> None:
        for _ in numbers:
            began = time.perf_counter()
            hold = await self.place(self.chance.choice(self.callers))
            placed = time.perf_counter()
            await self.settle(hold)
            longest = max(placed - began, time.perf_counter() - placed)
            self.slowest_ms = max(self.slowest_ms, longest * 1000)

    async def place(self, caller: Caller) -> Hold:
        """Place a hold.

        Raises:
            Refused: it was refused.

        """
        purpose = Purpose(new_request_id(), "/chat/completions", "gpt-4o-mini")
        claim = Claim(HOLD, HOLD, _KNOWN_INPUT, HOLD - _KNOWN_INPUT)
        hold = await self.book.place(caller, purpose, claim)
        if hold is None:
            raise Refused(purpose.request_id)
        return hold

    async def settle(self, hold: Hold) -> None:
        """Settle a hold.

        Raises:
            Refused: it was not charged as it should.

        """
        trace = Trace(
            upstream_status=200,
            upstream_request_id=f"req_{self.chance.randbytes(16).hex()}",
            first_byte_ms=400,
            total_ms=900,
            streamed=False,
        )
        charge = await self.book.settle(hold, USED, trace)
        if charge is None or charge.amount != CHARGE:
            raise Refused(hold.request_id)


async def put_load(dsn: str, callers: Sequence[Caller], number: int, postgres: Tree) -> Loaded:
    """Put a load of so many requests on the books, right after a checkpoint."""
    chance = random.Random(number)
    connection = await asyncpg.connect(dsn, command_timeout=600)
    try:
        async with open_pool(dsn, POOL) as pool:
            await Requests(Book(pool), callers, chance).send(CLIENTS * SLICES)
        await connection.execute("CHECKPOINT")
        await asyncio.sleep(_FLUSHED_S)
        pages, cpu = await connection.fetchval(_PAGES), postgres.cpu_us()
        positions = [await connection.fetchval(_POSITION)]
        began = time.perf_counter()
        async with open_pool(dsn, POOL) as pool:
            requests = Requests(Book(pool), callers, chance)
            for _ in range(SLICES):
                await requests.send(number // SLICES)
                positions.append(await connection.fetchval(_POSITION))
        seconds = time.perf_counter() - began
        cpu = postgres.cpu_us() - cpu
        await asyncio.sleep(_FLUSHED_S)
        pages = await connection.fetchval(_PAGES) - pages
    finally:
        await connection.close()
    slices = [float(end - begin) / (number // SLICES) for begin, end in pairwise(positions)]
    sent = number // SLICES * SLICES
    return Loaded(
        wal_bytes=float(positions[-1] - positions[0]) / sent,
        wal_slices=tuple(slices),
        full_pages=pages / sent,
        postgres_us=cpu / sent,
        per_s=sent / seconds,
    )
