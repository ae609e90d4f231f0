"""What waiters are left, by what the statements say; and who hears of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import (
    create_holder,
    end_leases,
    place,
    placed,
)
from tests.support.expiry import ALIVE_S, ENDED_S, KNOWN, leave_tombstone, purpose
from tokenbalance.database import statements
from tokenbalance.model import Claim, Hold, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


async def wait_for(pool: Pool, holder: Holder, wanted: int, alive_s: float = ALIVE_S) -> int:
    """Stand in line; gives the position."""
    return int(await pool.fetchval(statements.ENTER, holder.account_id, wanted, alive_s))


async def test_a_waiter_is_left_what_it_wants(pool: Pool, book: Book, holder: Holder) -> None:
    position = await wait_for(pool, holder, 70)
    assert await place(book, holder, "a", 31, 31) is None
    assert await place(book, holder, "b", 30, 30) is not None
    hold = await book.place(holder.caller, purpose("c"), Claim(70, 70), position=position)
    assert hold == Hold("c", holder.account_id, 70)


async def test_those_behind_leave_everything_to_those_in_front_and_nothing_to_those_behind_them(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _front = await wait_for(pool, holder, 50)
    middle = await wait_for(pool, holder, 50)
    _behind = await wait_for(pool, holder, 50)

    async def place_from_the_middle(request_id: str, wanted: int) -> Hold | None:
        claim = Claim(wanted, wanted)
        return await book.place(holder.caller, purpose(request_id), claim, position=middle)

    assert await place_from_the_middle("a", 51) is None
    assert await place_from_the_middle("b", 50) is not None


async def test_a_waiter_of_another_account_is_left_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    await wait_for(pool, other, 70)
    assert await place(book, holder, "a", 100, 100) is not None


async def test_waiters_that_are_no_longer_alive_are_left_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    position = await wait_for(pool, holder, 70, ENDED_S)
    assert await place(book, holder, "a", 100, 100) is not None
    await leave_tombstone(book, holder, "a")
    await pool.execute(statements.RENEW_WAITERS, [holder.account_id], [position], ALIVE_S)
    assert await place(book, holder, "b", 100, 100) is None
    await pool.execute(statements.LEAVE, holder.account_id, position)
    assert await place(book, holder, "c", 100, 100) is not None


async def test_waiters_cap_nobody(pool: Pool, book: Book, holder: Holder) -> None:
    await wait_for(pool, holder, 70)
    # As open holds do not: it waits for them and is then held in full.
    assert await place(book, holder, "a", 100, 1) is None


async def test_a_release_is_told_to_whoever_listens(pool: Pool, book: Book, holder: Holder) -> None:
    told: list[int] = []
    book.on_release = told.append
    holds = [await placed(book, holder, request_id, 20) for request_id in "abcd"]
    await end_leases(pool)
    _ = await book.settle(holds[0], Usage(total=5))
    await book.void(holds[1])
    assert await book.expire(holds[2], KNOWN)
    await leave_tombstone(book, holder, "d")
    assert told == [holder.account_id] * 4
