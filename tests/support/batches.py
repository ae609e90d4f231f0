"""Simultaneous holds and settlements, and rows that another session has locked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.books import (
    place,
)
from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Sequence

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Hold


PATIENCE_S = 20.0


NAMES = {
    statement: name
    for name, statement in vars(statements).items()
    if isinstance(statement, str) and not name.startswith("_")
}


@asynccontextmanager
async def locked(pool: Pool, statement: str, *arguments: object) -> AsyncGenerator[None]:
    """Keep rows as somebody does who has not committed yet."""
    async with pool.acquire() as session, session.transaction():
        assert await session.execute(statement, *arguments) not in {"SELECT 0", "UPDATE 0"}
        yield


async def soon(work: Awaitable[object]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def blocked(pool: Pool, count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    async with asyncio.timeout(PATIENCE_S):
        while count != await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.002)


async def place_each(book: Book, holders: Sequence[Holder], tag: str = "r") -> list[Hold]:
    holds = await asyncio.gather(
        *(place(book, holder, f"{tag}{number}", 10) for number, holder in enumerate(holders))
    )
    return [hold for hold in holds if hold is not None]
