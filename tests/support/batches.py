"""Simultaneous holds and settlements."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.books import place
from tokenbalance.database import statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.model import Hold


PATIENCE_S = 20.0
NAMES = {
    statement: name
    for name, statement in vars(statements).items()
    if isinstance(statement, str) and not name.startswith("_")
}


async def soon(work: Awaitable[object]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def place_each(book: Book, holders: Sequence[Holder], tag: str = "r") -> list[Hold]:
    holds = await asyncio.gather(
        *(place(book, holder, f"{tag}{number}", 10) for number, holder in enumerate(holders))
    )
    return [hold for hold in holds if hold is not None]
