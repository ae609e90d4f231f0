"""Holds whose process is gone, and rows that another session has locked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.books import (
    end_leases,
    placed,
)
from tokenbalance.model import Hold, Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


KNOWN = Usage(input=7, output=3, total=10, estimated=True)


ENDED_S = -1.0


ALIVE_S = 60.0


PATIENCE_S = 20.0


def purpose(request_id: str) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini")


@asynccontextmanager
async def locked(pool: Pool, table: str, condition: str = "true") -> AsyncGenerator[None]:
    """Keep rows as another session does that has updated them and not yet committed."""
    async with pool.acquire() as session, session.transaction():
        rows = await session.fetch(f"SELECT FROM {table} WHERE {condition} FOR NO KEY UPDATE")
        assert rows
        yield


async def blocked(pool: Pool, sessions: int) -> None:
    """Wait until so many sessions wait for a lock."""
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval(count) < sessions:
            await asyncio.sleep(0.005)


async def leave_tombstone(book: Book, holder: Holder, request_id: str) -> None:
    await book.leave_tombstone(holder.caller, purpose(request_id))


async def expired(pool: Pool, book: Book, holder: Holder, request_id: str = "a") -> Hold:
    """A hold of 60 that was charged 10 when its process was gone."""
    hold = await placed(book, holder, request_id, 60)
    await end_leases(pool)
    assert await book.expire(hold, KNOWN)
    return hold
