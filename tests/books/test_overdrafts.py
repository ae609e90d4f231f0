"""The overdraft is set by an entry, and never to less than what is overdrawn or held."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of, place, placed
from tests.support.locks import until_waiting
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import (
    CREDITS_MAX,
    NOTE_CHARS_MAX,
    Cause,
    CreditError,
    InvalidNote,
    OverdraftInUse,
    OverdraftOutOfRange,
    UnknownAccount,
    add,
)
from tokenbalance.books.ledger.overdrafts import set_balance_and_overdraft, set_overdraft
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

CAUSE = Cause("root@example.com", "a good customer")


async def overdraft_of(pool: Pool, holder: Holder) -> int:
    return int(
        await pool.fetchval("SELECT overdraft FROM accounts WHERE id = $1", holder.account_id)
    )


async def test_an_overdraft_lets_holds_and_takes_go_below_zero(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 10)
    assert await place(Book(pool), holder, "tb_0", 30, 30) is None

    async with sessions.begin() as session:
        entry = await set_overdraft(session, holder.account_id, 20, CAUSE)

    assert (entry.kind, entry.amount, entry.balance_after) == ("set", 0, 10)
    assert entry.note == "overdraft set from 0 to 20: a good customer"
    assert entry.actor == "root@example.com"
    hold = await placed(Book(pool), holder, "tb_1", 30)
    assert await Book(pool).settle(hold, Usage(total=25))
    async with sessions.begin() as session:
        taken = await add(session, holder.account_id, -5, CAUSE)
    assert taken.balance_after == -20
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("overdraft", "least"),
    [(69, "at least 70"), (0, "at least 70"), (-1, "0 to"), (CREDITS_MAX + 1, "0 to")],
)
async def test_what_is_in_use_is_not_withdrawn(
    pool: Pool, sessions: Sessions, overdraft: int, least: str
) -> None:
    holder = await create_holder(pool, 10, overdraft=100)
    _ = await placed(Book(pool), holder, "tb_1", 80)
    async with sessions.begin() as session:
        with pytest.raises((OverdraftInUse, OverdraftOutOfRange), match=least):
            _ = await set_overdraft(session, holder.account_id, overdraft, CAUSE)
    assert await overdraft_of(pool, holder) == 100
    assert await entries_of(pool, holder) == [("grant", 10, 10)]

    async with sessions.begin() as session:
        _ = await set_overdraft(session, holder.account_id, 70, CAUSE)
    assert await overdraft_of(pool, holder) == 70
    assert (await audit(pool)).violations == []


async def test_an_account_that_is_too_low_already_may_be_given_more_but_not_less(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, -100, overdraft=20)
    async with sessions.begin() as session:
        with pytest.raises(OverdraftInUse, match="at least 20 credits"):
            _ = await set_overdraft(session, holder.account_id, 19, CAUSE)
        _ = await set_overdraft(session, holder.account_id, 30, CAUSE)
    assert await overdraft_of(pool, holder) == 30


async def test_the_longest_note_fits_behind_what_the_entry_says(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    longest = "n" * NOTE_CHARS_MAX
    async with sessions.begin() as session:
        entry = await set_overdraft(session, holder.account_id, 1, Cause("cli", longest))
        bare = await set_overdraft(session, holder.account_id, 1000, Cause("cli"))
        with pytest.raises(InvalidNote):
            _ = await set_overdraft(session, holder.account_id, 2, Cause("cli", longest + "n"))
        with pytest.raises(UnknownAccount):
            _ = await set_overdraft(session, 4711, 2, CAUSE)
    assert entry.note.endswith(longest)
    assert bare.note == "overdraft set from 1 to 1,000"


@pytest.mark.parametrize(
    ("balance", "overdraft", "entries"),
    [(-150, 200, [0, -250]), (300, 0, [200, 0]), (80, 50, [-20, 0])],
)
async def test_balance_and_overdraft_are_set_together_in_the_order_that_is_possible(
    pool: Pool, sessions: Sessions, balance: int, overdraft: int, entries: list[int]
) -> None:
    holder = await create_holder(pool, 100, overdraft=100)
    async with sessions.begin() as session:
        entry = await set_balance_and_overdraft(
            session, holder.account_id, balance, overdraft, CAUSE
        )
    assert (entry.balance_after, await overdraft_of(pool, holder)) == (balance, overdraft)
    assert [amount for _, amount, _ in await entries_of(pool, holder)][1:] == entries


async def test_both_are_refused_or_neither(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100, overdraft=100)
    _ = await placed(Book(pool), holder, "tb_1", 150)
    with pytest.raises(CreditError):
        async with sessions.begin() as session:
            _ = await set_balance_and_overdraft(session, holder.account_id, 120, 20, CAUSE)
    assert (await account_of(pool, holder)).balance == 100
    assert await overdraft_of(pool, holder) == 100


async def test_a_hold_and_a_withdrawal_at_once_do_not_both_have_the_credits(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 0, overdraft=50)

    async def withdraw() -> bool:
        try:
            async with sessions.begin() as session:
                _ = await set_overdraft(session, holder.account_id, 0, CAUSE)
        except OverdraftInUse:
            return False
        return True

    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM accounts FOR UPDATE")
        withdrawing = asyncio.create_task(withdraw())
        placing = asyncio.create_task(place(Book(pool), holder, "tb_1", 50, 50))
        await until_waiting(pool, [withdrawing, placing])
    withdrawn, hold = await asyncio.gather(withdrawing, placing)

    assert withdrawn == (hold is None)
    assert (await audit(pool)).violations == []
