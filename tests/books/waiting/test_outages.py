"""Waiters when a process dies, when connections are cut, and when the database fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.support.books import account_of, placed
from tests.support.waiters import PATIENCE_S, Process, nobody_stands, until, void
from tokenbalance.books.holds import waiting
from tokenbalance.database import statements
from tokenbalance.database.connections import UNAVAILABLE

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.books.ledger.book import Book, Funds
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Caller, Hold


async def test_the_row_of_a_waiter_that_lives_is_kept_alive(
    here: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ALIVE_S", 0.5)
    monkeypatch.setattr(waiting, "HEARTBEAT_S", 0.05)
    _ = await placed(here.book, holder, "a", 100)
    waiting_here = await here.begin(holder, "b", 100)
    entered = await here.pool.fetchval("SELECT alive_until FROM waiters")
    passed = "SELECT (now() > $1)::integer"
    await until(lambda: here.pool.fetchval(passed, entered), 1)
    assert await here.pool.fetchval("SELECT alive_until > now() FROM waiters")
    waiting_here.cancel()
    await nobody_stands(here.pool)


async def test_a_waiter_whose_process_was_killed_stops_counting(
    here: Process, there: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ALIVE_S", 0.5)
    hold = await placed(here.book, holder, "a", 100)
    killed = await there.begin(holder, "b", 100)
    position = await here.pool.fetchval("SELECT position FROM waiters")
    # What is left of a killed process: a row that nobody renews, and nobody takes away.
    assert there.waiters._polling
    there.waiters._polling.cancel()
    alive = await here.begin(holder, "c", 100)
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await alive is not None
    rows = await here.pool.fetch("SELECT position, alive_until < now() AS dead FROM waiters")
    assert [(row["position"], row["dead"]) for row in rows if row["position"] == position] == [
        (position, True)
    ]
    killed.cancel()
    await nobody_stands(here.pool)


async def cut(dsn: str, *pools: Pool) -> None:
    """Terminate every session of these pools; returns when both sides know."""
    cut = [one for pool in pools for one in pool._connections.open_connections]
    connection = await asyncpg.connect(dsn)
    try:
        _ = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    async with asyncio.timeout(PATIENCE_S):
        while not all(session.is_closed() for session in cut):
            await asyncio.sleep(0.001)


def tries_of(process: Process, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tells of every try of a waiter that was in vain and is over."""
    tries: list[int] = []
    funds_of = process.book.funds_of

    async def counted(caller: Caller) -> Funds | None:
        found = await funds_of(caller)
        tries.append(caller.account_id)
        return found

    monkeypatch.setattr(process.book, "funds_of", counted)
    return tries


@pytest.mark.direct_sessions
async def test_a_cut_of_every_connection_loses_no_waiter_and_admits_nobody_too_many(
    dsn: str, here: Process, there: Process, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await placed(here.book, holder, "a", 100)
    tries_here, tries_there = (tries_of(process, monkeypatch) for process in (here, there))
    waiting = [
        await process.begin(holder, f"r{number}", 60)
        for number, process in enumerate([here, there, here, there])
    ]
    async with asyncio.timeout(PATIENCE_S):
        # One that meets the cut while it tries is told that the database is away.
        while not (tries_here and tries_there):
            await asyncio.sleep(0.001)
    for _ in range(5):
        await cut(dsn, here.pool, there.pool)
    for number, task in enumerate(waiting):
        await until_ended(here.book, hold)
        async with asyncio.timeout(PATIENCE_S):
            next_hold = await task
        assert next_hold is not None
        assert [other for other in waiting if other.done()] == waiting[: number + 1]
        hold = next_hold
    assert (await account_of(here.pool, holder)).held == 60


async def until_ended(book: Book, hold: Hold) -> None:
    """Void a hold, as often as the database has to be asked."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await book.void(hold)
            except UNAVAILABLE:
                await asyncio.sleep(0.01)


async def test_who_lost_its_row_still_gets_its_turn(here: Process, holder: Holder) -> None:
    hold = await placed(here.book, holder, "a", 100)
    waiting = await here.begin(holder, "b", 100)
    # The table is empty after a crash of the database.
    await here.pool.execute("TRUNCATE waiters")
    await void(here.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None


async def test_a_look_that_fails_is_not_the_last(
    here: Process,
    there: Process,
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold = await placed(there.book, holder, "a", 100)
    with monkeypatch.context() as broken:
        broken.setattr(statements, "PROMISING", f"{statements.PROMISING} AND 1 / 0 > 0")
        waiting = await here.begin(holder, "b", 100)
        async with asyncio.timeout(PATIENCE_S):
            while "the poll of waiters failed" not in caplog.text:
                await asyncio.sleep(0.005)
    await void(there.book, hold)
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is not None
