"""What holds take from limits, and what their ends give back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.limits import caller_of, limit_key
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Claim, Purpose, Usage

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


@pytest.fixture
def book(pool: Pool) -> Book:
    return Book(pool)


async def test_a_hold_takes_from_every_limit_and_its_end_gives_back(
    pool: Pool, sessions: Sessions, book: Book
) -> None:
    holder = await create_holder(pool, 1000)
    await limit_key(
        sessions,
        holder,
        requests_per_minute=7,
        tokens_per_minute=600,
        tokens_per_day=1000,
        credits_per_week=500,
        parallel_requests=2,
        credits_total=900,
    )
    caller = await caller_of(pool, holder)
    hold = await book.place(caller, Purpose("a", "/x", None), Claim(100, 1, tokens=300))
    assert hold is not None
    print(hold)
    for state in await book.limits_of(caller):
        print(state)
    charge = await book.settle(hold, Usage.counted(20, 30))
    print(charge)
    for state in await book.limits_of(caller):
        print(state)
    import asyncio

    holds = await asyncio.gather(
        *(
            book.place(caller, Purpose(f"b{n}", "/x", None), Claim(10, 1, tokens=30))
            for n in range(10)
        )
    )
    print([h and h.rooms for h in holds])
    for state in await book.limits_of(caller):
        print(state)
    print(
        await asyncio.gather(
            *(book.settle(h, Usage.counted(1, n)) for n, h in enumerate(holds) if h is not None)
        )
    )
    for state in await book.limits_of(caller):
        print(state)
    assert 0
