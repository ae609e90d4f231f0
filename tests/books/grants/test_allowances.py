"""An allowance issues a grant each period, once, and carries over what it may."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, entries_of, place, placed
from tests.support.grants import CAUSE, LATER, catch_up, enter_all_due, pass_time, remains
from tokenbalance.books.grants.allowances import (
    AllowanceEndInvalid,
    NewAllowance,
    RolloverOutOfRange,
    UnknownAllowance,
    allowances_of,
    change,
    create,
    remove,
)
from tokenbalance.books.grants.due import enter_due_of
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import AmountNotPositive, CreditError
from tokenbalance.database.connections import open_pool
from tokenbalance.model import Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.grants.allowances import AllowanceRow
    from tokenbalance.database.connections import Pool, Sessions


async def allow(sessions: Sessions, holder: Holder, new: NewAllowance) -> AllowanceRow:
    async with sessions.begin() as session:
        return await create(session, holder.account_id, new, CAUSE)


async def kinds(pool: Pool, holder: Holder) -> list[tuple[str, int]]:
    return [entry[:2] for entry in await entries_of(pool, holder)]


def weekly(amount: int = 100, *, rollover: int = 0, hours: float = 1) -> NewAllowance:
    """An allowance whose first week began some hours ago."""
    begun = datetime.now(UTC) - timedelta(hours=hours)
    return NewAllowance(amount=amount, every="week", starts_at=begun, rollover_max=rollover)


async def spend(pool: Pool, holder: Holder, total: int) -> None:
    book = Book(pool)
    hold = await placed(book, holder, f"tb_{total}", total)
    assert await book.settle(hold, Usage({"input": total}, total=total))


async def test_a_new_allowance_issues_the_current_period_of_the_calendar_at_once(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    made = await allow(sessions, holder, NewAllowance(amount=20_000, every="week"))
    assert await kinds(pool, holder) == [("grant", 20_000)]
    assert made.next_at is not None
    assert (made.next_at.weekday(), made.next_at.hour, made.next_at.minute) == (0, 0, 0)
    assert await pool.fetchval("SELECT expires_at FROM grants") == made.next_at
    assert await pool.fetchval("SELECT next_expiry FROM accounts") == made.next_at
    assert (await audit(pool)).violations == []


async def test_an_allowance_issues_nothing_before_its_start(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool)
    new = NewAllowance(amount=5, every="day", starts_at=datetime.now(UTC) + timedelta(days=2))
    made = await allow(sessions, holder, new)
    assert (await kinds(pool, holder), made.next_at) == ([], new.starts_at)
    await pass_time(pool, holder, 2.1)
    assert await enter_all_due(pool) == 1
    assert await kinds(pool, holder) == [("grant", 5)]
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize(
    ("rollover", "spent", "entries", "balance"),
    [
        (0, 30, [("grant", 100), ("charge", -30), ("grant", 100), ("expiry", -70)], 100),
        (50, 30, [("grant", 100), ("charge", -30), ("grant", 100), ("expiry", -20)], 150),
        (80, 30, [("grant", 100), ("charge", -30), ("grant", 100)], 170),
    ],
)
async def test_after_three_periods_only_the_current_one_is_issued(
    pool: Pool,
    sessions: Sessions,
    rollover: int,
    spent: int,
    entries: list[tuple[str, int]],
    balance: int,
) -> None:
    holder = await create_holder(pool)
    _ = await allow(sessions, holder, weekly(rollover=rollover))
    await spend(pool, holder, spent)
    await pass_time(pool, holder, 23)
    assert await place(Book(pool), holder, "tb_late", 1) is None
    assert await enter_all_due(pool) == 1
    assert await kinds(pool, holder) == entries
    assert sum((await remains(sessions, holder)).values()) == balance
    assert (await account_of(pool, holder)).balance == balance
    assert (await audit(pool)).violations == []


@pytest.mark.parametrize("used", [10, 55, 70])
async def test_a_hold_across_the_end_leaves_what_may_be_carried_over(
    pool: Pool, sessions: Sessions, used: int
) -> None:
    holder = await create_holder(pool)
    _ = await allow(sessions, holder, weekly(rollover=40))
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 80)
    await pass_time(pool, holder, 7.1)
    assert await enter_all_due(pool) == 1
    assert await book.settle(hold, Usage({"input": used}, total=used))
    await catch_up(sessions, holder)
    assert (await account_of(pool, holder)).balance == 100 + min(100 - used, 40)
    assert (await audit(pool)).violations == []


async def test_any_number_of_processes_issue_a_period_once(
    pool: Pool, dsn: str, sessions: Sessions
) -> None:
    holder = await create_holder(pool)
    _ = await allow(sessions, holder, weekly())
    await pass_time(pool, holder, 7.5)
    async with open_pool(dsn, 8) as other, asyncio.TaskGroup() as tasks:
        for each in (pool, other) * 8:
            _ = tasks.create_task(enter_due_of(each, holder.account_id))
            _ = tasks.create_task(enter_all_due(each))
    assert await kinds(pool, holder) == [("grant", 100), ("grant", 100), ("expiry", -100)]
    assert (await audit(pool)).violations == []


async def test_an_allowance_ends_is_changed_and_removed(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool)
    made = await allow(sessions, holder, weekly(10))
    account_id = holder.account_id
    async with sessions.begin() as session:
        changed = await change(session, account_id, made.id, {"amount": 30}, CAUSE)
    assert (changed.amount, changed.next_at) == (30, made.next_at)
    await pass_time(pool, holder, 7.1)
    await catch_up(sessions, holder)
    assert (await account_of(pool, holder)).balance == 30
    async with sessions.begin() as session:
        soon = datetime.now(UTC) + timedelta(days=1)
        assert (
            await change(session, account_id, made.id, {"ends_at": soon}, CAUSE)
        ).next_at is None
    async with sessions.begin() as session:
        again = await change(session, account_id, made.id, {"ends_at": None}, CAUSE)
    assert again.next_at is not None
    async with sessions.begin() as session:
        _ = await remove(session, account_id, made.id, CAUSE)
        assert list(await allowances_of(session, account_id)) == []
        with pytest.raises(UnknownAllowance):
            _ = await remove(session, account_id, made.id, CAUSE)
    assert (await account_of(pool, holder)).balance == 30
    await pass_time(pool, holder, 7.1)
    await catch_up(sessions, holder)
    assert (await account_of(pool, holder)).balance == 0
    assert (await audit(pool)).violations == []
    names = await pool.fetch("SELECT event FROM events WHERE event LIKE 'allowance%' ORDER BY id")
    assert [name for (name,) in names] == [
        "allowance.created",
        *["allowance.changed"] * 3,
        "allowance.removed",
    ]


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewAllowance(amount=0, every="day"), AmountNotPositive),
        (NewAllowance(amount=1, every="day", rollover_max=-1), RolloverOutOfRange),
        (
            NewAllowance(amount=1, every="day", ends_at=LATER.replace(year=2020)),
            AllowanceEndInvalid,
        ),
        (NewAllowance(amount=1, every="day", starts_at=LATER, ends_at=LATER), AllowanceEndInvalid),
    ],
)
async def test_an_allowance_that_makes_no_sense_is_refused(
    pool: Pool, sessions: Sessions, new: NewAllowance, error: type[CreditError]
) -> None:
    holder = await create_holder(pool)
    with pytest.raises(error):
        _ = await allow(sessions, holder, new)
    assert await pool.fetchval("SELECT count(*) FROM allowances") == 0


async def test_an_account_that_cannot_be_entered_keeps_no_other_one_from_it(
    pool: Pool, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = await create_holder(pool), await create_holder(pool)
    for holder in (broken, other):
        _ = await allow(sessions, holder, weekly())
        await pass_time(pool, holder, 7.5)
    await pool.execute("UPDATE accounts SET time_zone = 'Nowhere' WHERE id = $1", broken.account_id)
    assert await enter_all_due(pool) == 1
    assert f"what is due of account {broken.account_id} cannot be entered" in caplog.text
    assert (await account_of(pool, other)).balance == 100
    assert len(await kinds(pool, broken)) == 1
