"""Callers that are cancelled, and results that are lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.batches import place_each, soon
from tests.support.books import (
    account_of,
    charges_of,
    place,
)
from tests.support.locks import locked, until_blocked
from tokenbalance.model import Purpose, Usage

if TYPE_CHECKING:
    import pytest

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


async def test_who_is_cancelled_takes_nobody_along(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    async with locked(pool, "SELECT FROM accounts FOR UPDATE"):
        placing = [
            asyncio.create_task(place(book, holders[0], f"r{number}", 10)) for number in range(3)
        ]
        await until_blocked(pool, 1)
        placing[1].cancel()
        await asyncio.wait([placing[1]])
    assert await soon(placing[0])
    assert await soon(placing[2])
    # It was sent: the canceller leaves a tombstone.
    await book.leave_tombstone(holders[0].caller, Purpose("r1", "/chat/completions", None))
    assert (await account_of(pool, holders[0])).held == 20


async def test_a_settlement_that_nobody_heard_of_is_told_when_it_is_asked_for_again(
    pool: Pool, book: Book, holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = await place_each(book, holders)
    with monkeypatch.context() as broken:
        fetch = pool.fetch

        async def lose_the_response(statement: str, *arguments: object) -> object:
            _ = await fetch(statement, *arguments)
            raise ConnectionResetError

        broken.setattr(pool, "fetch", lose_the_response)
        lost = await asyncio.gather(
            *(book.settle(hold, Usage(total=5)) for hold in holds), return_exceptions=True
        )
    assert [type(error) for error in lost] == [ConnectionResetError] * 3
    again = await asyncio.gather(*(book.settle(hold, Usage(total=5)) for hold in holds))
    assert [charge and (charge.amount, charge.balance) for charge in again] == [(5, 995)] * 3
    assert [len(await charges_of(pool, holder)) for holder in holders] == [1] * 3
