"""Statements on a server that is stopped, silent or busy end by their deadline."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.database_server import (
    LIMIT_S,
    SIZE,
    Link,
    Server,
    fill,
    linux,
    timed_out,
    until,
    within,
)
from tokenbalance.database.connections import UNAVAILABLE, Pool, open_pool
from tokenbalance.database.connections.pool import CLOSE_TIMEOUT_S

if TYPE_CHECKING:
    import asyncpg


pytestmark = pytest.mark.product_deadlines


@linux
async def test_a_stopped_server_is_given_up_in_time_and_used_again_when_it_goes_on(
    pool: Pool, server: Server
) -> None:
    await fill(pool)
    with server.frozen():
        waiting = [pool.fetchrow("SELECT 1") for _ in range(3 * SIZE)]
        with within(LIMIT_S):
            responses = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(response) for response in responses] == [TimeoutError] * len(responses)
        await timed_out(pool)  # of a new connection
    with within(LIMIT_S):
        assert await pool.fetchval("SELECT 1") == 1
        await fill(pool)


@linux
async def test_a_statement_on_a_stopped_server_can_be_cancelled_at_once(
    pool: Pool, server: Server
) -> None:
    await fill(pool)
    with server.frozen():
        tasks = [
            asyncio.create_task(pool.fetchrow("SELECT 1", deadline_s=60)) for _ in range(2 * SIZE)
        ]
        await asyncio.sleep(0)
        with within(LIMIT_S):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
    with within(LIMIT_S):
        await fill(pool)


@linux
@pytest.mark.parametrize("busy", [False, True])
async def test_a_pool_is_closed_in_time_though_the_server_is_stopped(
    server: Server, *, busy: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(server.dsn, SIZE))
        await fill(pool)
        _ = stack.enter_context(server.frozen())
        statement = asyncio.create_task(pool.fetchrow("SELECT 1", deadline_s=60 if busy else 0.01))
        await asyncio.wait([statement], timeout=0 if busy else None)
        # Nothing runs on idle connections, and their end is not waited for.
        with within(CLOSE_TIMEOUT_S * (2 if busy else 1)):
            await pool.close()
        with pytest.raises(UNAVAILABLE):
            await statement
        with pytest.raises(UNAVAILABLE):
            await pool.fetchrow("SELECT 1")


async def test_a_server_that_never_says_a_word_is_given_up_in_time(link: Link) -> None:
    link.silent = True
    async with open_pool(link.dsn, SIZE) as pool:
        await asyncio.gather(*[timed_out(pool) for _ in range(3 * SIZE)])
        link.silent = False
        with within(LIMIT_S):
            await fill(pool)


async def test_idle_connections_that_lead_nowhere_cost_one_deadline_and_not_one_each(
    link: Link,
) -> None:
    async with open_pool(link.dsn, SIZE) as pool:
        await fill(pool)
        link.mute()
        await timed_out(pool)
        assert await pool.fetchval("SELECT 1", deadline_s=LIMIT_S) == 1
        await fill(pool)


@pytest.mark.usefixtures("locked")
async def test_an_exhausted_pool_is_given_up_in_time(pool: Pool) -> None:
    waiting = [
        asyncio.create_task(pool.fetchrow("SELECT FROM numbers", deadline_s=60))
        for _ in range(SIZE)
    ]
    await asyncio.sleep(0)
    await timed_out(pool)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert await pool.fetchval("SELECT 1") == 1


async def test_a_statement_that_was_given_up_is_not_committed_later(
    pool: Pool, locked: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    await timed_out(pool, "UPDATE numbers SET number = 2")
    await until(partial(_nobody_waits, admin), "the server has cancelled what was given up")
    await locked.execute("COMMIT")
    assert await pool.fetchval("SELECT number FROM numbers") == 1


async def _somebody_waits(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


async def _nobody_waits(admin: asyncpg.Connection) -> bool:
    return not await _somebody_waits(admin)


@pytest.mark.usefixtures("locked")
async def test_a_cancelled_statement_leaves_the_pool_whole(
    server: Server, admin: asyncpg.Connection
) -> None:
    async with open_pool(server.dsn, 1) as pool:
        statement = asyncio.create_task(pool.fetchrow("SELECT FROM numbers", deadline_s=60))
        await until(partial(_somebody_waits, admin), "the statement waits for the lock")
        statement.cancel()
        with within(LIMIT_S), pytest.raises(asyncio.CancelledError):
            await statement
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.usefixtures("locked")
async def test_one_that_waits_for_a_lock_does_not_take_the_connections_of_others(
    pool: Pool,
) -> None:
    waiting = asyncio.create_task(timed_out(pool, "SELECT FROM numbers"))
    await asyncio.sleep(0)
    others: set[int] = set()
    while not waiting.done():
        others.add(await pool.fetchval("SELECT pg_backend_pid()"))
    await waiting
    assert await pool.fetchval("SELECT pg_backend_pid()") in others
    assert len(others) == 1


async def test_more_statements_than_connections_are_all_answered(pool: Pool) -> None:
    numbers = range(50 * SIZE)
    responses = await asyncio.gather(*[pool.fetchval("SELECT $1::int", n) for n in numbers])
    assert responses == list(numbers)
