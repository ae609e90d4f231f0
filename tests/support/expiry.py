"""Holds whose process is gone, and accounts that another session has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import end_leases, placed
from tokenbalance.model import Hold, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


KNOWN = Usage({"input": 7, "output": 3}, total=10, estimated=True)
ENDED_S = -1.0
ALIVE_S = 60.0
CHANGED_ACCOUNTS = "SELECT FROM accounts FOR NO KEY UPDATE"
"""Locks the accounts as an update does that is not committed; holds may still refer to them."""


def purpose(request_id: str) -> Purpose:
    return Purpose(request_id, "/chat/completions", "gpt-4o-mini")


async def leave_tombstone(book: Book, holder: Holder, request_id: str) -> None:
    await book.leave_tombstone(holder.caller, purpose(request_id))


async def expired(pool: Pool, book: Book, holder: Holder, request_id: str = "a") -> Hold:
    """A hold of 60 that was charged 10 when its process was gone."""
    hold = await placed(book, holder, request_id, 60)
    await end_leases(pool)
    assert await book.expire(hold, KNOWN)
    return hold
