"""Leases that lapse or are renewed, by what the statements say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    end_leases,
    hold_states,
    placed,
)
from tests.support.expiry import KNOWN, expired, purpose
from tests.support.locks import locked, until_blocked
from tokenbalance.books.ledger.book import Book, Known
from tokenbalance.database import statements
from tokenbalance.model import Claim, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_a_lease_that_has_not_ended_is_not_expired(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    assert await book.lapsed(10) == []
    assert not await book.expire(hold, KNOWN)
    assert await hold_states(pool, holder) == ["open"]
    assert (await account_of(pool, holder)).held == 60


async def test_a_lease_lasts_as_long_as_the_book_says(pool: Pool, holder: Holder) -> None:
    await placed(Book(pool, lease_s=1000), holder, "a", 60)
    lease_s = await pool.fetchval(
        "SELECT extract(epoch FROM lease_until - created_at) FROM open_holds"
    )
    assert lease_s == 1000


async def test_an_expired_hold_is_charged_what_is_known_and_flagged(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    assert await book.expire(hold, KNOWN)
    assert await hold_states(pool, holder) == ["expired"]
    assert (await account_of(pool, holder)).held == 0
    (entry,) = await charges_of(pool, holder)
    assert (entry["amount"], entry["balance_after"], entry["estimated"]) == (-10, 90, True)
    assert (entry["input"], entry["output"], entry["overrun"]) == (7, 3, 0)


async def test_the_hold_of_a_process_that_is_known_to_be_gone_is_expired_within_its_lease(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    assert await book.expire(hold, KNOWN, orphaned=True)
    assert await hold_states(pool, holder) == ["expired"]


async def test_a_hold_expires_once(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    ended = await asyncio.gather(*(book.expire(hold, KNOWN) for _ in range(6)))
    assert sum(ended) == 1
    assert (await account_of(pool, holder)).balance == 90


async def test_a_lapsed_hold_comes_with_the_input_that_was_estimated_when_it_was_placed(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await book.place(holder.caller, purpose("a"), Claim(60, 60, known_input=12))
    assert hold is not None
    await end_leases(pool)
    usage = Usage({"input": 12}, total=12, estimated=True)
    assert await book.lapsed(10) == [Known(hold, usage)]
    assert await book.known(holder.account_id, "a") == Known(hold, usage)


async def test_the_longest_lapsed_come_first_and_no_more_than_asked_for(
    pool: Pool, book: Book, holder: Holder
) -> None:
    for number, request_id in enumerate("abc"):
        await placed(book, holder, request_id, 10)
        await pool.execute(
            "UPDATE open_holds SET lease_until = now() - make_interval(hours => $1)"
            " WHERE request_id = $2",
            number + 1,
            request_id,
        )
    assert [known.hold.request_id for known in await book.lapsed(2)] == ["c", "b"]


async def test_ended_holds_do_not_lapse(pool: Pool, book: Book, holder: Holder) -> None:
    await book.void(await placed(book, holder, "a", 10))
    _ = await book.settle(await placed(book, holder, "b", 10), Usage(total=5))
    _ = await expired(pool, book, holder, "c")
    await end_leases(pool)
    assert await book.lapsed(10) == []


async def test_what_another_session_is_ending_is_skipped(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await placed(book, holder, "a", 10)
    await placed(book, holder, "b", 10)
    await end_leases(pool)
    async with locked(pool, "SELECT FROM open_holds WHERE request_id = 'a' FOR NO KEY UPDATE"):
        assert [known.hold.request_id for known in await book.lapsed(10)] == ["b"]
    assert len(await book.lapsed(10)) == 2


# Renewal.


async def test_renewing_extends_the_lease_and_stores_what_is_known(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    await book.renew([(hold, Usage({"input": 4, "output": 9}, total=13))])
    assert await book.lapsed(10) == []
    known = await book.known(holder.account_id, "a")
    assert known.usage == Usage({"input": 4, "output": 9}, total=13, estimated=True)


async def test_renewing_with_nothing_new_leaves_what_is_known(
    pool: Pool, book: Book, holder: Holder
) -> None:
    first, second = await placed(book, holder, "a", 20), await placed(book, holder, "b", 20)
    await book.renew([(first, KNOWN), (second, KNOWN)])
    await end_leases(pool)
    await book.renew([(first, None), (second, Usage({"input": 8, "output": 5}))])
    assert await book.lapsed(10) == []
    assert (await book.known(holder.account_id, "a")).usage == KNOWN
    assert (await book.known(holder.account_id, "b")).usage.total == 13


async def test_renewing_reaches_the_holds_of_every_account_and_no_others(
    pool: Pool, book: Book, holder: Holder
) -> None:
    other = await create_holder(pool, 100)
    holds = [await placed(book, owner, f"of {owner.account_id}", 10) for owner in (holder, other)]
    left = await placed(book, holder, "left", 10)
    await end_leases(pool)
    await book.renew([(hold, None) for hold in holds])
    assert [known.hold for known in await book.lapsed(10)] == [left]


async def test_renewing_nothing_is_nothing(book: Book) -> None:
    await book.renew([])


async def test_a_hold_that_is_renewed_after_it_was_listed_as_lapsed_is_not_expired(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await placed(book, holder, "a", 60)
    await end_leases(pool)
    (lapsed,) = await book.lapsed(10)
    await book.renew([(lapsed.hold, None)])
    assert not await book.expire(lapsed.hold, lapsed.usage)
    assert await hold_states(pool, holder) == ["open"]


async def test_an_expiry_that_waits_for_a_renewal_finds_it(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await end_leases(pool)
    async with pool.acquire() as session, session.transaction():
        await session.execute(
            statements.RENEW, [holder.account_id], ["a"], [None], [None], book.lease_s
        )
        expiry = asyncio.create_task(book.expire(hold, KNOWN))
        await until_blocked(pool, 1)
    assert not await expiry
    assert await hold_states(pool, holder) == ["open"]


async def test_an_ended_hold_is_not_renewed(pool: Pool, book: Book, holder: Holder) -> None:
    hold = await expired(pool, book, holder)
    await book.renew([(hold, Usage({"input": 1, "output": 1}))])
    assert await hold_states(pool, holder) == ["expired"]
    assert await pool.fetchval("SELECT count(*) FROM open_holds") == 0
    assert (await book.known(holder.account_id, "a")).usage.total == 0
