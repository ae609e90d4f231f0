"""Whose turn it is: the order of waiters, in one process and over several."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.books import account_of, create_holder, end_leases, place, placed
from tests.support.waiters import (
    PATIENCE_S,
    Process,
    expire,
    nobody_stands,
    process,
    purpose,
    settle,
    void,
)
from tokenbalance.books.ledger.audit import audit
from tokenbalance.model import Hold, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book
    from tokenbalance.database.connections import Pool


_numbers = count(1)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("end", [settle, void, expire])
async def test_a_request_gets_its_hold_as_soon_as_one_ends_in_its_process(
    here: Process, holder: Holder, end: Callable[[Book, Hold], Awaitable[None]]
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    await end(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting == Hold("b", holder.account_id, 50)
    await nobody_stands(here.pool)


@pytest.mark.usefixtures("blind")
async def test_a_request_gets_its_hold_as_soon_as_one_gets_a_tombstone(
    here: Process, holder: Holder
) -> None:
    _ = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 50)
    await here.book.leave_tombstone(holder.caller, purpose("a"))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


async def test_what_fits_by_now_does_not_wait(here: Process, holder: Holder) -> None:
    assert await here.wait(holder, "a", 100, wait_s=0.0) is not None
    await nobody_stands(here.pool)


async def test_who_waits_is_capped_by_the_balance_and_not_by_what_is_held(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 60)
    waiting = await here.begin(holder, "b", 500, minimum=10)
    await settle(here.book, hold, 30)
    assert await waiting == Hold("b", holder.account_id, 70)


@pytest.mark.usefixtures("blind")
async def test_those_who_wait_in_one_process_are_served_in_the_order_in_which_they_came(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, name, 100) for name in "bcdef"]
    for task in waiting:
        await void(here.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            next_hold = await task
        assert next_hold is not None
        hold = next_hold
    assert here.turns == ["b", "c", "d", "e", "f"]


async def test_those_who_wait_in_two_processes_are_served_in_the_order_in_which_they_came(
    here: Process, there: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [
        await process.begin(holder, f"r{number}", 100)
        for number, process in enumerate([there, here, here, there, there, here])
    ]
    for number, task in enumerate(waiting):
        # The credits are given back in the process whose own waiter came later, or first.
        await void(here.book if number % 2 else there.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            done, _ = await asyncio.wait(waiting[number:], return_when=asyncio.FIRST_COMPLETED)
        assert done == {task}
        next_hold = task.result()
        assert next_hold is not None
        hold = next_hold


@pytest.mark.usefixtures("blind")
async def test_a_release_here_leaves_the_turn_to_the_earlier_one_there(
    here: Process, there: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    earlier = await there.begin(holder, "b", 100)
    later = await here.begin(holder, "c", 100, wait_s=0.3)
    await void(here.book, hold)
    # Woken at once, and again when its time is up; its turn it never is.
    assert await later is None
    assert not earlier.done()
    there.waiters._wake(holder.account_id)
    assert await earlier is not None


@pytest.mark.usefixtures("blind")
async def test_a_small_request_waits_behind_a_large_one(here: Process, holder: Holder) -> None:
    first, second = (
        await placed(here.book, holder, "a", 40),
        await placed(here.book, holder, "b", 40),
    )
    large = await here.begin(holder, "large", 90)
    small = await here.begin(holder, "small", 10)
    # It would fit, and so would whoever comes now; but 90 credits are waited for.
    assert await place(here.book, holder, "new", 10, 10) is None
    await void(here.book, first)
    async with asyncio.timeout(PATIENCE_S):
        while here.line(holder)[0].woken.is_set():
            await asyncio.sleep(0.001)
    assert not large.done()
    assert not small.done()
    await void(here.book, second)
    await asyncio.gather(large, small)
    assert here.turns == ["large", "small"]


@pytest.mark.usefixtures("blind")
async def test_one_release_serves_everybody_for_whom_it_is_enough(
    here: Process, holder: Holder
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = [await here.begin(holder, f"r{number}", 9) for number in range(12)]
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*waiting[:11])
    assert here.turns == [f"r{number}" for number in range(11)]
    assert not waiting[11].done()
    waiting[11].cancel()
    await nobody_stands(here.pool)


@pytest.mark.usefixtures("blind")
async def test_accounts_do_not_wait_for_each_other(here: Process, holder: Holder) -> None:
    other = await create_holder(here.pool, 100)
    _ = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100, wait_s=0.4)
    assert await here.wait(other, "c", 100) is not None
    assert await waiting is None


# Everything at once.


async def test_a_balance_is_spent_to_the_last_credit_whoever_waits_for_whom(
    dsn: str, pool: Pool
) -> None:
    holder = await create_holder(pool, 60 * 15)

    async def spend(process: Process) -> int:
        """Hold 60 and use 15, again and again, until it is refused."""
        served = 0
        while True:
            hold = await process.wait(holder, f"r{next(_numbers)}", 60, minimum=15)
            if hold is None:
                return served
            await asyncio.sleep(0)
            _ = await process.book.settle(hold, Usage({"input": 10, "output": 5}, total=15))
            served += 1

    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process(dsn, size=5)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_S * 2):
            served = await asyncio.gather(
                *(spend(process) for process in processes for _ in range(6))
            )
        assert sum(served) == 60
    account = await account_of(pool, holder)
    assert (account.balance, account.held) == (0, 0)
    await end_leases(pool)
    assert (await audit(pool)).violations == []
