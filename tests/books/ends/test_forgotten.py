"""Holds that the database forgot in a crash, since their commit does not wait for the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    hold_states,
    place,
    placed,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.model import Charge, Hold, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.books.ledger.settlements import Settlement
    from tokenbalance.database.connections import Pool

USED = Usage({"input": 20, "output": 5}, 25)
FORGET = """
WITH forgotten AS (DELETE FROM open_holds WHERE request_id = $1 RETURNING account_id, amount)
UPDATE accounts SET held = held - amount FROM forgotten WHERE id = account_id
"""
"""What a crash does to the transaction that placed a hold."""


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    return await create_holder(pool, 1000)


async def forgotten(pool: Pool, book: Book, holder: Holder, amount: int = 100) -> Hold:
    hold = await placed(book, holder, "a", amount)
    await pool.execute(FORGET, "a")
    assert (await account_of(pool, holder)).held == 0
    return hold


async def test_a_forgotten_hold_is_settled_as_if_it_were_there(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    charge = await book.settle(hold, USED)
    assert charge is not None
    assert (charge.amount, charge.balance, charge.held) == (25, 975, 0)
    (entry,) = await charges_of(pool, holder)
    assert (entry["held"], entry["overrun"], entry["model"]) == (100, 0, "gpt-4o-mini")
    assert (await audit(pool)).ok


async def test_it_is_charged_once_however_often_it_is_settled(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    for _ in range(3):
        assert await book.settle(hold, USED) is not None
    assert (await account_of(pool, holder)).balance == 975
    assert len(await charges_of(pool, holder)) == 1


async def test_credits_that_others_took_meanwhile_are_an_overrun(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    other = await placed(book, holder, "b", 990)
    assert await book.settle(hold, USED) is not None
    (entry,) = await charges_of(pool, holder)
    assert (entry["held"], entry["overrun"]) == (10, 15)
    assert (await audit(pool)).ok
    assert await book.settle(other, Usage({"input": 990}, 990)) is not None
    assert (await account_of(pool, holder)).balance == -15
    assert (await audit(pool)).ok


async def test_it_is_settled_where_nothing_is_left_at_all(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    _ = await placed(book, holder, "b", 1000)
    assert await book.settle(hold, USED) is not None
    assert (await account_of(pool, holder)).held == 1000
    (entry,) = await charges_of(pool, holder)
    assert (entry["held"], entry["overrun"]) == (0, 25)
    assert (await audit(pool)).ok


async def test_a_hold_that_is_known_is_not_restored(pool: Pool, book: Book, holder: Holder) -> None:
    open_, settled, voided = [await placed(book, holder, name, 10) for name in "abc"]
    _ = await book.settle(settled, Usage({"input": 1}, 1))
    await book.void(voided)
    assert await book.restore([open_, settled, voided]) == 0
    assert (await account_of(pool, holder)).held == 10


async def test_a_forgotten_hold_is_restored_once_and_goes_on(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    assert await book.restore([hold]) == 1
    assert await book.restore([hold]) == 0
    assert (await account_of(pool, holder)).held == 100
    assert await book.settle(hold, USED) is not None
    assert await hold_states(pool, holder) == ["settled"]


async def test_it_is_not_restored_on_credits_that_others_hold(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    _ = await placed(book, holder, "b", 1000)
    assert await book.restore([hold]) == 0
    assert (await account_of(pool, holder)).held == 1000


async def test_one_that_was_voided_is_not_restored_any_more(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await forgotten(pool, book, holder)
    await book.void(hold)
    assert await book.restore([hold]) == 0
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_one_that_a_heartbeat_restores_meanwhile_is_settled(
    pool: Pool, book: Book, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await forgotten(pool, book, holder)
    settle = book._forgotten.settle

    async def restore_first(settlement: Settlement) -> Charge | None:
        assert await book.restore([hold]) == 1
        return await settle(settlement)

    monkeypatch.setattr(book._forgotten, "settle", restore_first)
    charge = await book.settle(hold, USED)
    assert charge is not None
    assert charge.balance == 975
    assert (await account_of(pool, holder)).held == 0


async def test_what_was_never_placed_is_not_charged(pool: Pool, book: Book, holder: Holder) -> None:
    assert await place(book, holder, "a", 2000, 2000) is None
    with pytest.raises(UnknownHold):
        _ = await book.settle(Hold("a", holder.account_id, 2000), USED)
    assert (await account_of(pool, holder)).balance == 1000
