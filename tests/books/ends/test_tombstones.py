"""Tombstones: open holds of nothing, with which a late placement conflicts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.books import account_of, end_leases, hold_states, place, placed
from tests.support.expiry import CHANGED_ACCOUNTS, KNOWN, expired, leave_tombstone
from tests.support.locks import locked, until_blocked
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import UnknownHold
from tokenbalance.books.ledger.settlements import Settlement
from tokenbalance.database import statements
from tokenbalance.model import Charge, Hold, Purpose, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


async def ledger_rows(pool: Pool) -> int:
    """How many requests have ended."""
    return int(await pool.fetchval("SELECT count(*) FROM ledger WHERE request_id IS NOT NULL"))


async def test_what_has_a_tombstone_cannot_be_placed_any_more(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await leave_tombstone(book, holder, "a")
    await leave_tombstone(book, holder, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await place(book, holder, "a", 60)
    assert await ledger_rows(pool) == 0
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_for_what_was_placed_voids_it(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    await leave_tombstone(book, holder, "a")
    await leave_tombstone(book, holder, "a")
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0
    assert await book.settle(hold, Usage(total=5)) is None


async def test_a_place_that_is_overtaken_by_its_tombstone_holds_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async with locked(pool, CHANGED_ACCOUNTS):
        late = asyncio.create_task(place(book, holder, "a", 60))
        await until_blocked(pool, 1)
        # It changes no account, and so need not wait.
        await leave_tombstone(book, holder, "a")
    with pytest.raises(asyncpg.UniqueViolationError):
        await late
    assert await ledger_rows(pool) == 0
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_waits_for_a_place_that_is_not_committed_yet(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async with pool.acquire() as session, session.transaction():
        await session.execute(
            statements.PLACE,
            *(holder.account_id, "a", holder.key_id, 60, 60),
            *("/chat/completions", None, 0, book.lease_s, None, 0, None),
            holder.caller.secret_sha256,
        )
        leaving = asyncio.create_task(leave_tombstone(book, holder, "a"))
        await until_blocked(pool, 1)
    await leaving
    assert await hold_states(pool, holder) == ["voided"]
    assert (await account_of(pool, holder)).held == 0


async def test_tombstones_and_placing_at_random_never_leave_anything_held(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async def race(request_id: str) -> None:
        _ = await asyncio.gather(
            place(book, holder, request_id, 1),
            leave_tombstone(book, holder, request_id),
            return_exceptions=True,
        )

    await asyncio.gather(*(race(f"r{number}") for number in range(30)))
    voided = await hold_states(pool, holder)
    assert set(voided) <= {"voided"}
    tombstones = await pool.fetchval("SELECT count(*) FROM open_holds WHERE amount = 0")
    assert len(voided) + tombstones == 30
    assert (await account_of(pool, holder)).held == 0


async def test_a_tombstone_for_what_was_settled_changes_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    settled = await placed(book, holder, "settled", 20)
    _ = await book.settle(settled, Usage(total=5))
    await leave_tombstone(book, holder, "settled")
    assert await hold_states(pool, holder) == ["settled"]
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (95, 0)


async def test_a_tombstone_for_what_has_expired_takes_its_charge_back(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await expired(pool, book, holder, "expired")
    await leave_tombstone(book, holder, "expired")
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (100, 0)


async def test_a_tombstone_that_waits_for_an_end_changes_nothing(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    settlement = Settlement.of(hold, Usage({"output": 5}, total=5))
    async with pool.acquire() as session, session.transaction():
        await session.execute(statements.SETTLE, *settlement.arguments(), *settlement.trace)
        leaving = asyncio.create_task(leave_tombstone(book, holder, "a"))
        await until_blocked(pool, 1)
    await leaving
    assert await hold_states(pool, holder) == ["settled"]
    assert (await audit(pool)).violations == []
    assert (await book.settle(hold, Usage(total=7))) == Charge(5, 95, 0)


async def test_a_tombstone_is_not_renewed_charged_or_expired(
    pool: Pool, book: Book, holder: Holder
) -> None:
    await leave_tombstone(book, holder, "a")
    hold = (await book.known(holder.account_id, "a")).hold
    assert hold == Hold("a", holder.account_id, 0)
    until = await pool.fetchval("SELECT lease_until FROM open_holds")
    await book.renew([(hold, Usage({"output": 5}, total=5))])
    assert await pool.fetchval("SELECT (lease_until, known_output) FROM open_holds") == (until, 0)
    assert await book.settle(hold, Usage(total=5)) is None
    await end_leases(pool)
    assert await book.lapsed(10) == []
    assert not await book.expire(hold, KNOWN, orphaned=True)
    assert (await audit(pool)).violations == []


async def test_a_tombstone_is_forgotten_when_its_time_is_over_and_an_open_hold_is_not(
    pool: Pool, book: Book, holder: Holder
) -> None:
    _ = await placed(book, holder, "open", 10)
    await leave_tombstone(book, holder, "never placed")
    await pool.execute(statements.FORGET_TOMBSTONES)
    minutes = "SELECT extract(epoch FROM lease_until - now()) / 60 FROM open_holds WHERE amount = 0"
    assert await pool.fetchval(minutes) == pytest.approx(60, abs=1)
    await end_leases(pool)
    await pool.execute(statements.FORGET_TOMBSTONES)
    assert await pool.fetchval("SELECT string_agg(request_id, '') FROM open_holds") == "open"
    assert await hold_states(pool, holder) == ["open"]
    with pytest.raises(UnknownHold):
        await book.known(holder.account_id, "never placed")


async def test_a_tombstone_stays_while_a_statement_runs_that_may_be_its_placement(
    pool: Pool, book: Book, holder: Holder
) -> None:
    async with locked(pool, CHANGED_ACCOUNTS):
        late = asyncio.create_task(place(book, holder, "a", 60))
        await until_blocked(pool, 1)
        await leave_tombstone(book, holder, "a")
        await pool.execute("UPDATE open_holds SET lease_until = now()")
        await pool.execute(statements.FORGET_TOMBSTONES)
        assert await pool.fetchval("SELECT count(*) FROM open_holds") == 1
    with pytest.raises(asyncpg.UniqueViolationError):
        await late
    await pool.execute(statements.FORGET_TOMBSTONES)
    assert await pool.fetchval("SELECT count(*) FROM open_holds") == 0


async def test_a_request_with_a_tombstone_is_an_ended_one_to_whoever_has_its_hold(
    pool: Pool, book: Book, holder: Holder
) -> None:
    """A hold whose fate is unknown may turn up: in a copy of a journal, or in another process."""
    hold = replace(await placed(book, holder, "other", 10), request_id="a")
    await leave_tombstone(book, holder, "a")
    assert await book.settle(hold, Usage(total=5)) is None
    assert not await book.expire(hold, KNOWN, orphaned=True)
    await book.void(hold)
    assert await book.restore([hold]) == 0
    assert await ledger_rows(pool) == 0
    assert (await account_of(pool, holder)).held == 10


async def test_an_end_counts_more_than_a_tombstone_that_was_left_meanwhile(
    pool: Pool, book: Book, holder: Holder
) -> None:
    hold = await placed(book, holder, "a", 60)
    assert await book.settle(hold, Usage(total=5)) == Charge(5, 95, 0)
    await pool.execute(
        "INSERT INTO open_holds (account_id, request_id, key_id, amount, endpoint)"
        " VALUES ($1, 'a', $2, 0, '')",
        *(holder.account_id, holder.key_id),
    )
    assert (await book.known(holder.account_id, "a")).hold.amount == 60
    assert await book.settle(hold, Usage(total=7)) == Charge(5, 95, 0)


async def test_a_tombstone_for_an_account_or_a_key_that_is_not_there_is_refused(
    pool: Pool, book: Book, holder: Holder
) -> None:
    for caller in (replace(holder.caller, key_id=99), replace(holder.caller, account_id=99)):
        with pytest.raises(UnknownHold):
            await book.leave_tombstone(caller, Purpose("a", "/models", None))
    assert await pool.fetchval("SELECT count(*) FROM open_holds") == 0
