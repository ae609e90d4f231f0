"""Processes that wait for holds: each has a pool, a book and waiters of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tokenbalance.books.holds.waiting import Waiters
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Claim, Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


PATIENCE_S = 10.0


def purpose(request_id: str) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini")


@dataclass
class Process:
    """What a process has to do with waiting."""

    pool: Pool
    book: Book
    waiters: Waiters
    turns: list[str] = field(default_factory=list)
    """Who got a hold here, in that order."""

    tried: set[str] = field(default_factory=set)
    """Whose attempts have had a response."""

    async def wait(
        self, holder: Holder, request_id: str, wanted: int, minimum: int = 0, wait_s: float = 30
    ) -> Hold | None:
        """Wait for a hold as an admitted request does; without a minimum all of it is needed."""
        claim = Claim(wanted, minimum or wanted)

        async def attempt(position: int) -> Hold | None:
            hold = await self.book.place(
                holder.caller, purpose(request_id), claim, position=position
            )
            self.tried.add(request_id)
            return hold

        hold = await self.waiters.place(holder.caller, claim, attempt, wait_s)
        if hold is not None:
            self.turns.append(request_id)
        return hold

    async def begin(
        self, holder: Holder, request_id: str, wanted: int, minimum: int = 0, wait_s: float = 30
    ) -> asyncio.Task[Hold | None]:
        """Begin to wait; returns when the request stands in line, and the first one has tried.

        An attempt that is still on its way would get what the test releases next.
        """
        before = set(self.line(holder))
        waiting = asyncio.create_task(self.wait(holder, request_id, wanted, minimum, wait_s))
        async with asyncio.timeout(PATIENCE_S):
            while not waiting.done() and before.issuperset(self.line(holder)):
                await asyncio.sleep(0.001)
            while not (waiting.done() or before or request_id in self.tried):
                await asyncio.sleep(0.001)
        return waiting

    def line(self, holder: Holder) -> list[Any]:
        """Those who wait here for credits of the account."""
        return self.waiters._by_account.get(holder.account_id, {}).get(None, [])


async def standing(pool: Pool) -> int:
    """How many rows of waiters there are, of whichever process."""
    return int(await pool.fetchval("SELECT count(*) FROM waiters"))


async def until(look: Callable[[], Awaitable[object]], expected: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await look() != expected:
            await asyncio.sleep(0.002)


async def nobody_stands(pool: Pool) -> None:
    await until(lambda: standing(pool), 0)


@asynccontextmanager
async def process(dsn: str, size: int = 10) -> AsyncGenerator[Process]:
    async with open_pool(dsn, size) as pool:
        book = Book(pool)
        waiters = Waiters(pool, book)
        try:
            yield Process(pool, book, waiters)
        finally:
            await waiters.close()


async def settle(book: Book, hold: Hold, total: int = 0) -> None:
    _ = await book.settle(hold, Usage({"input": total}, total=total))


async def void(book: Book, hold: Hold) -> None:
    await book.void(hold)


async def expire(book: Book, hold: Hold) -> None:
    assert await book.expire(hold, Usage(estimated=True), orphaned=True)
