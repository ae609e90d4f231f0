"""What Postgres rolls back to end a deadlock is done again: nobody is refused because of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.books import account_of, create_holder
from tests.support.grants import end, grant
from tests.support.limits import caller_of, limit_key
from tests.support.locks import until_waiting
from tokenbalance.books.grants.due import enter_due_of
from tokenbalance.books.ledger.audit import audit
from tokenbalance.books.ledger.book import Book
from tokenbalance.model import Claim, Purpose

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions


async def deadlocked(pool: Pool, holder: Holder, work: Coroutine[Any, Any, Any], first: str) -> Any:
    """Let the work wait for a row while it has locked the account, which is wanted then."""
    async with pool.acquire() as other:
        outer = other.transaction()
        await outer.start()
        # The other one sees the deadlock first.
        await other.execute("SET LOCAL deadlock_timeout = '1h'")
        await other.execute(first, holder.account_id)
        task = asyncio.create_task(work)
        await until_waiting(pool, [task])
        await other.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", holder.account_id)
        await outer.rollback()
    return await task


async def test_a_hold_is_placed_after_a_deadlock(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    await limit_key(sessions, holder, parallel_requests=3)
    caller = await caller_of(pool, holder)
    placing = Book(pool).place(caller, Purpose("tb_1", "/x", None), Claim(10, 10, tokens=10))
    lock = "SELECT FROM limits WHERE account_id = $1 FOR UPDATE"
    hold = await deadlocked(pool, holder, placing, lock)
    assert hold is not None
    assert (await account_of(pool, holder)).held == 10
    assert (await audit(pool)).violations == []


async def test_what_is_due_is_entered_after_a_deadlock(pool: Pool, sessions: Sessions) -> None:
    holder = await create_holder(pool, 100)
    await end(pool, await grant(sessions, holder, 40))
    lock = "SELECT FROM grants WHERE account_id = $1 FOR UPDATE"
    await deadlocked(pool, holder, enter_due_of(pool, holder.account_id), lock)
    assert (await account_of(pool, holder)).balance == 100
    assert (await audit(pool)).violations == []
