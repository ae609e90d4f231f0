"""What waiting costs: connections, polls and tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.books import create_holder, placed
from tests.support.waiters import PATIENCE_S, Process, nobody_stands, process, settle, void

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool


async def test_twenty_who_wait_leave_the_only_connection_to_others(
    dsn: str, pool: Pool, holder: Holder
) -> None:
    async with process(dsn, size=1) as narrow:
        hold = await placed(narrow.book, holder, "a", 100)
        waiting = [await narrow.begin(holder, f"r{number}", 5) for number in range(20)]
        other = await create_holder(pool, 1000)
        for number in range(20):
            await settle(narrow.book, await placed(narrow.book, other, f"o{number}", 10), 10)
        await void(narrow.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            assert None not in await asyncio.gather(*waiting)
    await nobody_stands(pool)


async def test_nobody_looks_while_nobody_waits(here: Process, holder: Holder) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100)
    assert here.waiters._polling
    polling = here.waiters._polling
    await void(here.book, hold)
    assert await waiting is not None
    async with asyncio.timeout(PATIENCE_S):
        await polling
    assert here.waiters._polling is None
    await nobody_stands(here.pool)
    assert here.waiters._by_account == {}


async def test_closing_ends_every_task(dsn: str, pool: Pool, holder: Holder) -> None:
    async with process(dsn) as closed:
        _ = await placed(closed.book, holder, "a", 100)
        waiting = await closed.begin(holder, "b", 100)
        waiting.cancel()
        await asyncio.wait([waiting])
        tasks = set(closed.waiters._tasks)
        assert len(tasks) == 2
    assert all(task.done() for task in tasks)
    await nobody_stands(pool)
