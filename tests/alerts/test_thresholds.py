"""A balance that falls below a threshold is told once, in the transaction that takes it there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder, placed
from tokenbalance.alerts.errors import InvalidThresholds
from tokenbalance.alerts.thresholds import set_thresholds, thresholds_of
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import Cause, add
from tokenbalance.model import CLI, Usage

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


async def alerts(pool: Pool) -> list[tuple[str, int]]:
    rows = await pool.fetch("SELECT event, data ->> 'below' FROM alerts ORDER BY id")
    return [(row[0], int(row[1])) for row in rows]


async def watch(sessions: Sessions, holder: Holder, *below: int) -> None:
    async with sessions.begin() as session:
        _ = await set_thresholds(session, holder.account_id, below, CLI)


async def spend(pool: Pool, holder: Holder, name: str, tokens: int, held: int = 100) -> None:
    book = Book(pool)
    hold = await placed(book, holder, name, held)
    assert await book.settle(hold, Usage(total=tokens)) is not None


async def top_up(sessions: Sessions, holder: Holder, amount: int) -> None:
    async with sessions.begin() as session:
        _ = await add(session, holder.account_id, amount, Cause(CLI))


async def test_a_charge_that_crosses_a_threshold_tells_once_until_it_is_lifted_above(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 1000)
    await watch(sessions, holder, 900, 1)
    await spend(pool, holder, "tb_1", 100)
    assert await alerts(pool) == []
    await spend(pool, holder, "tb_2", 1)
    await spend(pool, holder, "tb_3", 1)
    assert await alerts(pool) == [("balance.low", 900)]
    await top_up(sessions, holder, 1)
    await spend(pool, holder, "tb_4", 1)
    assert len(await alerts(pool)) == 1
    await top_up(sessions, holder, 2)
    assert len(await alerts(pool)) == 1
    await spend(pool, holder, "tb_5", 1)
    assert await alerts(pool) == [("balance.low", 900)] * 2


async def test_one_charge_may_cross_several_and_empty_the_balance(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    await watch(sessions, holder, 50, 20, 1)
    await spend(pool, holder, "tb_1", 100)
    assert await alerts(pool) == [
        ("balance.low", 50),
        ("balance.low", 20),
        ("balance.empty", 1),
    ]


async def test_charges_at_once_tell_once(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1000)
    await watch(sessions, holder, 990)
    books = [Book(pool), Book(pool, batch_max=1)]
    holds = [await placed(books[0], holder, f"tb_{number}", 20) for number in range(40)]
    charges = await asyncio.gather(
        *(books[number % 2].settle(hold, Usage(total=1)) for number, hold in enumerate(holds))
    )
    assert all(charges)
    assert await alerts(pool) == [("balance.low", 990)]


async def test_a_change_that_is_rolled_back_tells_nothing(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 1000)
    await watch(sessions, holder, 900)
    async with sessions() as session:
        _ = await add(session, holder.account_id, -500, Cause(CLI))
        await session.rollback()
    assert await alerts(pool) == []
    await spend(pool, holder, "tb_1", 100)
    assert await alerts(pool) == []


async def test_a_threshold_that_was_crossed_before_it_was_set_waits_until_it_is_armed(
    pool: Pool, sessions: Sessions
) -> None:
    holder = await create_holder(pool, 100)
    await watch(sessions, holder, 500)
    await spend(pool, holder, "tb_1", 1)
    assert await alerts(pool) == []
    await top_up(sessions, holder, 401)
    await spend(pool, holder, "tb_2", 1)
    assert await alerts(pool) == [("balance.low", 500)]
    await watch(sessions, holder)
    await top_up(sessions, holder, 401)
    await spend(pool, holder, "tb_3", 100)
    assert len(await alerts(pool)) == 1


async def test_thresholds_are_bounded(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool)
    for wrong in ([0], [2**53], list(range(1, 12))):
        with pytest.raises(InvalidThresholds):
            await watch(sessions, holder, *wrong)
    await watch(sessions, holder, 7, 9, 7)
    async with sessions() as session:
        assert await thresholds_of(session, holder.account_id) == [9, 7]


async def test_a_limit_that_is_used_up_is_told_once_a_window(pool: Pool) -> None:
    holder = await create_holder(pool)
    await pool.execute(
        "INSERT INTO limits (account_id, subject, name, unit, period, amount, window_end)"
        " VALUES ($1, 'account', 'credits_per_day', 'credits', 'day', 10, '2030-01-31T00:00Z')",
        holder.account_id,
    )
    for used in (9, 10, 11, 9, 10):
        await pool.execute("UPDATE limits SET used = $1", used)
    (row,) = await pool.fetch("SELECT event, data ->> 'limit', data ->> 'resets_at' FROM alerts")
    assert tuple(row)[:2] == ("budget.reached", "credits_per_day")
    assert row[2].startswith("2030-01-31")
    await pool.execute("UPDATE limits SET used = 0, window_start = '2029-12-31T00:00Z'")
    await pool.execute("UPDATE limits SET used = 12")
    assert await pool.fetchval("SELECT count(*) FROM alerts") == 2
