"""Grants are spent by priority, soonest end and age; they end, and refunds find them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of, place, placed
from tests.support.grants import CAUSE, LATER, catch_up, end, enter_all_due, grant, remains
from tokenbalance.books.grants.issuing import EndInvalid, NewGrant, PriorityOutOfRange, issue
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import KeyReused, add, set_balance
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


async def charge(pool: Pool, holder: Holder, request_id: str, total: int) -> None:
    book = Book(pool)
    hold = await placed(book, holder, request_id, total)
    assert await book.settle(hold, Usage({"input": total}, total=total))


async def give_back(sessions: Sessions, request_id: str, amount: int | None = None) -> None:
    async with sessions.begin() as session:
        _ = await refund(session, request_id, amount, CAUSE)


async def test_what_ends_sooner_is_spent_first_and_priority_goes_before_it(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    base = await pool.fetchval("SELECT max(id) FROM ledger")
    late = await grant(sessions, holder, 50, days=9)
    soon = await grant(sessions, holder, 30, days=3)
    first = await grant(sessions, holder, 20, days=None, priority=1)
    assert await remains(sessions, holder) == {first: 20, soon: 30, late: 50, base: 100}
    await charge(pool, holder, "tb_1", 60)
    await charge(pool, holder, "tb_2", 45)
    assert await remains(sessions, holder) == {base: 95}
    assert await pool.fetchval("SELECT count(*) FROM burns WHERE is_plain") == 1
    assert (await audit(pool)).violations == []


async def test_a_refund_goes_back_to_the_grants_that_its_charge_has_burnt(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    base = await pool.fetchval("SELECT max(id) FROM ledger")
    soon, late = await grant(sessions, holder, 30, days=3), await grant(sessions, holder, 40)
    for number, total in enumerate((10, 35, 5, 30)):
        await charge(pool, holder, f"tb_{number}", total)
    await give_back(sessions, "tb_1", 5)
    assert await remains(sessions, holder) == {late: 5, base: 90}
    await give_back(sessions, "tb_1")
    assert await remains(sessions, holder) == {soon: 20, late: 15, base: 90}
    await give_back(sessions, "tb_3")
    assert await remains(sessions, holder) == {soon: 20, late: 35, base: 100}
    assert (await audit(pool)).violations == []


async def test_a_refund_to_a_grant_that_has_ended_ends_as_well(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    soon = await grant(sessions, holder, 30)
    await charge(pool, holder, "tb_1", 40)
    await catch_up(sessions, holder)
    await end(pool, soon)
    await give_back(sessions, "tb_1")
    assert [entry[:2] for entry in await entries_of(pool, holder)][-2:] == [
        ("refund", 40),
        ("expiry", -30),
    ]
    assert (await account_of(pool, holder)).balance == 100
    assert (await audit(pool)).violations == []


async def test_what_remains_at_the_end_is_taken_before_the_next_hold(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 10)
    soon = await grant(sessions, holder, 30)
    await charge(pool, holder, "tb_1", 8)
    await end(pool, soon)
    book = Book(pool)
    assert await place(book, holder, "tb_2", 5) is None
    assert await enter_all_due(pool) == 1
    assert await enter_all_due(pool) == 0
    assert (await entries_of(pool, holder))[-1] == ("expiry", -22, 10)
    assert await place(book, holder, "tb_3", 11, 11) is None
    hold = await placed(book, holder, "tb_4", 10)
    assert await book.settle(hold, Usage({"input": 10}, total=10))
    assert await remains(sessions, holder) == {}
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(("used", "left"), [(0, 25), (12, 13), (25, 0), (33, 0)])
async def test_a_hold_from_before_the_end_may_spend_the_grant_and_leaves_nothing_of_it(
    pool: Pool, sessions: Sessions, used: int, left: int
) -> None:
    holder = await create_holder(pool, 10)
    soon = await grant(sessions, holder, 30)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 25)
    await end(pool, soon)
    assert await enter_all_due(pool) == 1
    assert (await account_of(pool, holder)).balance == 35
    assert await book.settle(hold, Usage({"input": used}, total=used))
    # Whoever looks is not told of what is over.
    spendable = {g: r for g, r in (await remains(sessions, holder)).items() if r}
    assert sum(spendable.values()) == (await account_of(pool, holder)).balance == min(10, 35 - used)
    expired = [entry[1] for entry in await entries_of(pool, holder) if entry[0] == "expiry"]
    assert expired == ([-5, -left] if left else [-5])
    assert await pool.fetchval("SELECT next_expiry FROM accounts") is None
    assert (await audit(pool)).violations == []


async def test_what_later_requests_have_reserved_stays_covered(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 10)
    soon = await grant(sessions, holder, 30)
    book = Book(pool)
    old = await placed(book, holder, "tb_1", 30)
    await end(pool, soon)
    assert await enter_all_due(pool) == 1
    assert await book.settle(old, Usage({"input": 5}, total=5))
    new = await placed(book, holder, "tb_2", 35)
    await catch_up(sessions, holder)
    account = await account_of(pool, holder)
    assert account.balance - account.held == 0
    assert (await audit(pool)).violations == []
    assert await book.settle(new, Usage({"input": 8}, total=8))
    assert sum((await remains(sessions, holder)).values()) == 2
    assert (await account_of(pool, holder)).balance == 2
    assert (await audit(pool)).violations == []


async def test_what_is_owed_is_taken_from_the_next_grant(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 10, overdraft=50)
    first = await grant(sessions, holder, 5)
    await charge(pool, holder, "tb_1", 40)
    assert await remains(sessions, holder) == {}
    second = await grant(sessions, holder, 100)
    assert await remains(sessions, holder) == {second: 75}
    await give_back(sessions, "tb_1")
    assert sum((await remains(sessions, holder)).values()) == 115
    assert (await remains(sessions, holder))[first] == 5
    assert (await audit(pool)).violations == []


async def test_credits_that_people_add_or_take_are_grants_too(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    soon = await grant(sessions, holder, 30)
    async with sessions.begin() as session:
        added = await add(session, holder.account_id, 50, CAUSE)
        _ = await set_balance(session, holder.account_id, 60, CAUSE)
    assert await remains(sessions, holder) == {soon: 10, added.id: 50}
    async with sessions.begin() as session:
        _ = await add(session, holder.account_id, -15, CAUSE)
        more = await set_balance(session, holder.account_id, 100, CAUSE)
    assert await remains(sessions, holder) == {added.id: 45, more.id: 55}
    assert (await audit(pool)).violations == []


async def test_a_grant_is_made_once_for_each_key(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1)
    new = NewGrant(amount=30, expires_at=LATER)

    async def make(grant: NewGrant) -> int:
        async with sessions.begin() as session:
            return (await issue(session, holder.account_id, grant, CAUSE, "once")).id

    made = await asyncio.gather(*(make(new) for _ in range(8)))
    assert len(set(made)) == 1
    for other in (NewGrant(amount=30), NewGrant(amount=30, expires_at=LATER, priority=3)):
        with pytest.raises(KeyReused):
            _ = await make(other)
    assert (await account_of(pool, holder)).balance == 31


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewGrant(amount=1, expires_at=LATER.replace(year=2020)), EndInvalid),
        (NewGrant(amount=1, priority=101), PriorityOutOfRange),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(
    pool: Pool, sessions: Sessions, new: NewGrant, error: type[Exception]
) -> None:
    holder = await create_holder(pool)
    async with sessions.begin() as session:
        with pytest.raises(error):
            _ = await issue(session, holder.account_id, new, CAUSE)
    assert await pool.fetchval("SELECT count(*) FROM grants") == 0
