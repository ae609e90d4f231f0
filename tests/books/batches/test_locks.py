"""Rows that others have locked keep nobody else waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.batches import NAMES, place_each, soon
from tests.support.books import (
    account_of,
    charges_of,
    create_holder,
    end_leases,
    hold_states,
    place,
    placed,
)
from tests.support.locks import locked, until_blocked
from tokenbalance.books.ledger.book import Book
from tokenbalance.database import statements
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Hold, Usage
from tokenbalance.people.callers import Callers
from tokenbalance.people.secrets import sha256

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


LOCKS = {
    "the account": "SELECT FROM accounts WHERE id = $1 FOR UPDATE",
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
async def test_whoever_keeps_one_account_keeps_no_other_from_placing(
    pool: Pool, book: Book, holders: list[Holder], lock: str
) -> None:
    kept, *others = holders
    async with locked(pool, lock, kept.account_id):
        placing = [asyncio.create_task(place(book, kept, f"k{number}", 10)) for number in range(3)]
        assert len(await soon(place_each(book, others * 2, "first"))) == 4
        await until_blocked(pool, 1)
        placing.append(asyncio.create_task(place(book, kept, "k3", 10)))
        assert len(await soon(place_each(book, others * 2, "then"))) == 4
        await until_blocked(pool, 1)
        assert not any(task.done() for task in placing)
    assert all(await soon(asyncio.gather(*placing)))
    assert (await account_of(pool, kept)).held == 40


LOCKS_OF_ENDS = {
    "the account": "SELECT FROM accounts WHERE id = $1 FOR UPDATE",
    "the hold": "SELECT FROM open_holds WHERE account_id = $1 FOR UPDATE",
}


@pytest.mark.parametrize("lock", LOCKS_OF_ENDS.values(), ids=LOCKS_OF_ENDS)
async def test_whoever_keeps_one_account_keeps_no_other_from_settling(
    pool: Pool, book: Book, holders: list[Holder], lock: str
) -> None:
    holds = await place_each(book, holders)
    async with locked(pool, lock, holders[0].account_id):
        settling = [asyncio.create_task(book.settle(hold, Usage(total=5))) for hold in holds]
        await soon(asyncio.gather(*settling[1:]))
        await until_blocked(pool, 1)
        assert not settling[0].done()
    charge = await soon(settling[0])
    assert (charge.amount, charge.balance) == (5, 995)


async def test_settlements_that_wait_for_their_account_count_from_what_it_has_then(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str]
) -> None:
    holds = await place_each(book, holders[:1] * 3)
    sent.clear()
    top_up = (
        "WITH topped AS (UPDATE accounts SET balance = balance + 500 WHERE id = $1 RETURNING id)"
        " INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
        " SELECT id, 'top-up', 500, 1500, 'tests' FROM topped"
    )
    async with locked(pool, top_up, holders[0].account_id):
        settling = [asyncio.create_task(book.settle(hold, Usage(total=5))) for hold in holds]
        await until_blocked(pool, 1)
    charges = await soon(asyncio.gather(*settling))
    assert sent == ["SETTLE_MANY_OF_ONE"]
    assert [(charge.balance, charge.held) for charge in charges] == [
        (1495, 0),
        (1490, 0),
        (1485, 0),
    ]


async def test_a_renewal_waits_for_no_hold_that_is_being_ended(
    pool: Pool, book: Book, holders: list[Holder]
) -> None:
    holds = await place_each(book, holders)
    await end_leases(pool)
    ending = "DELETE FROM open_holds WHERE account_id = $1"
    async with locked(pool, ending, holders[0].account_id):
        await soon(book.renew([(hold, None) for hold in holds]))
        assert [known.hold for known in await book.lapsed(10)] == []
    await pool.execute("UPDATE accounts SET held = 0 WHERE id = $1", holders[0].account_id)
    assert await hold_states(pool, holders[0]) == []


async def test_what_becomes_of_holds_while_a_batch_begins_to_settle_them_is_heeded(
    pool: Pool, book: Book, holders: list[Holder], sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch sees the books as they were; then a hold is renewed, and another voided."""
    begun = "LIMIT (SELECT cardinality($1) FROM pg_advisory_xact_lock(7))"
    late = statements.SETTLE_MANY.replace("LIMIT (SELECT cardinality($1))", begun)
    monkeypatch.setattr(statements, "SETTLE_MANY", late)
    monkeypatch.setitem(NAMES, late, "SETTLE_MANY")
    renewed, voided, left = await place_each(book, holders)
    sent.clear()
    async with locked(pool, "SELECT pg_advisory_xact_lock(7)"):
        settling = [
            asyncio.create_task(book.settle(hold, Usage(total=7)))
            for hold in (renewed, voided, left)
        ]
        await until_blocked(pool, 1)
        await book.renew([(renewed, Usage({"input": 3, "output": 1}, total=4))])
        await book.void(voided)
    charges = await soon(asyncio.gather(*settling))
    assert [charge and charge.balance for charge in charges] == [993, None, 993]
    assert sent[:3] == ["SETTLE_MANY", "RENEW", "VOID"]
    assert sorted(sent[3:]) == ["ENDED", "NEWEST_RATES", "SETTLE", "SETTLE"]
    assert [len(await charges_of(pool, holder)) for holder in holders] == [1, 0, 1]


async def test_a_key_that_is_not_valid_is_refused_beside_those_that_are(
    pool: Pool, holders: list[Holder]
) -> None:
    callers = Callers(pool)
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", holders[1].key_id)

    async def find(holder: Holder) -> object:
        return await callers.look_up(sha256(holder.secret))

    found = await asyncio.gather(*map(find, [*holders, holders[0]]), return_exceptions=True)
    assert [getattr(caller, "key_id", None) for caller in found] == [
        holders[0].key_id,
        None,
        holders[2].key_id,
        holders[0].key_id,
    ]


async def test_no_two_statements_wait_for_each_other(dsn: str, pool: Pool, book: Book) -> None:
    """Two processes place, settle, void, renew and expire, on a few accounts, all at once."""
    holders = [await create_holder(pool, 100_000) for _ in range(4)]
    async with open_pool(dsn, 8) as other_pool:
        books = (book, Book(other_pool))
        renewing = asyncio.create_task(renew_always(books[1], holds := []))

        async def live(number: int) -> None:
            mine, other = books[number % 2], books[1 - number % 2]
            hold = await placed(mine, holders[number % 4], f"r{number}", 10)
            holds.append(hold)
            usage = Usage(total=number % 7)
            ends: list[Awaitable[object]] = [mine.settle(hold, usage)]
            if number % 3 == 0:
                estimate = Usage(total=usage.total, estimated=True)
                ends.append(other.expire(hold, estimate, orphaned=True))
            if number % 5 == 0:
                ends.append(other.settle(hold, usage))
            await asyncio.gather(*ends)

        await asyncio.gather(*(live(number) for number in range(240)))
        renewing.cancel()
        await asyncio.wait([renewing])
    states = [state for holder in holders for state in await hold_states(pool, holder)]
    assert set(states) <= {"settled", "expired"}
    used = sum(number % 7 for number in range(240))
    accounts = [await account_of(pool, holder) for holder in holders]
    assert sum(account.balance for account in accounts) == 400_000 - used
    assert [account.held for account in accounts] == [0] * 4
    assert (
        await pool.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        == 0
    )


async def renew_always(book: Book, holds: list[Hold]) -> None:
    while True:
        await book.renew([(hold, None) for hold in reversed(holds)])
