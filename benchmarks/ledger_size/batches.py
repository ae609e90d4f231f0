"""How long a batch of settlements takes while many other requests are in progress."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.ledger_size.load import POOL, Requests
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.speed.accounting import Tree
    from tokenbalance.model import Caller

SIZE: Final = 32
TIMES: Final = 20
_FIRST: Final = 3
"""Batches that open connections and make plans."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a batch took."""

    median_ms: float
    worst_ms: float
    postgres_ms: float
    """CPU time of Postgres for it."""
    own_ms: float
    """CPU time of this process for it."""


async def time_batches(dsn: str, callers: Sequence[Caller], postgres: Tree) -> Settled:
    """Place and settle batches of `SIZE` requests of different accounts, one after the other."""
    chance = random.Random(SIZE)
    took: list[float] = []
    cpu: list[float] = []
    own: list[float] = []
    async with open_pool(dsn, POOL) as pool:
        requests = Requests(Book(pool), callers, chance)
        for _ in range(_FIRST + TIMES):
            drawn = chance.sample(callers, SIZE)
            holds = await asyncio.gather(*map(requests.place, drawn))
            used, own_used = postgres.cpu_us(), time.process_time()
            began = time.perf_counter()
            _ = await asyncio.gather(*map(requests.settle, holds))
            took.append((time.perf_counter() - began) * 1000)
            own.append((time.process_time() - own_used) * 1000)
            cpu.append((postgres.cpu_us() - used) / 1000)
    return Settled(
        median_ms=statistics.median(took[_FIRST:]),
        worst_ms=max(took[_FIRST:]),
        postgres_ms=statistics.median(cpu[_FIRST:]),
        own_ms=statistics.median(own[_FIRST:]),
    )
