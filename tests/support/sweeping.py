"""Processes that sweep: each has a book, leases with a journal, and a sweep of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.books import (
    hold_states,
    placed,
)
from tokenbalance.books.holds.leases import Lease, Leases
from tokenbalance.books.holds.sweep import Sweep
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


PATIENCE_S = 10.0


LEASE_S = 0.3
"""With a heartbeat every 0.1 s, for which a sweep waits before it ends the holds of others."""


USED = Usage({"input": 10, "output": 15}, total=25)


@dataclass
class Process:
    """What a process has to do with leases."""

    pool: Pool
    book: Book
    leases: Leases
    sweep: Sweep

    async def hold(self, holder: Holder, request_id: str, amount: int = 60) -> Lease:
        """Begin a request, as far as its hold."""
        purpose = Purpose(request_id, "/chat/completions", "gpt-4o-mini")
        lease = self.leases.begin(holder.caller, purpose)
        lease.hold = await placed(self.book, holder, request_id, amount)
        return lease

    async def connect(self) -> None:
        """Send a heartbeat, and wait until every other process has sent one too."""
        await self.sweep._send_heartbeat()
        await until(self.sweep._others_had_a_heartbeat)

    def die(self) -> None:
        """End as a killed process does: the kernel closes its files, nothing else happens."""
        self.leases.journal._slots.file.close()
        self.leases.journal._closed = True


def damage(journal: Path) -> None:
    """Add a line that says nothing."""
    journal.write_bytes(journal.read_bytes() + b"u 00000000 {}".ljust(511) + b"\n")


def files(folder: Path, suffix: str) -> int:
    """How many files of this machine's processes there are."""
    return len(list(folder.glob(f"journal/**/*.{suffix}")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def until_states(pool: Pool, holder: Holder, expected: list[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sorted(await hold_states(pool, holder)) != sorted(expected):
            await asyncio.sleep(0.01)


async def new_process(pool: Pool, folder: Path, lease_s: float = LEASE_S) -> Process:
    book = Book(pool, lease_s)
    leases = Leases(folder)
    await leases.open_journal(book)
    return Process(pool, book, leases, Sweep(pool, book, leases, sweep_s=0.02))


@asynccontextmanager
async def running(*sweeps: Sweep) -> AsyncGenerator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(sweep.run()) for sweep in sweeps]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def refuse(error: Exception) -> Callable[..., Awaitable[None]]:
    async def refused(*_arguments: object) -> None:
        raise error

    return refused
