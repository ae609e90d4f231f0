"""Rows that another session has locked, and statements that have to wait for them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokenbalance.database.connections import Pool

LIMIT_S = 20.0
_POLL_S = 0.002
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@asynccontextmanager
async def locked(pool: Pool, statement: str, *arguments: object) -> AsyncGenerator[None]:
    """Keep the locks of a statement, which must find rows, as a session that has not committed."""
    async with pool.acquire() as session, session.transaction():
        assert await session.execute(statement, *arguments) not in {"SELECT 0", "UPDATE 0"}
        yield


@asynccontextmanager
async def accounts_locked(pool: Pool) -> AsyncGenerator[None]:
    """Keep the rows of all accounts locked: holds and their ends wait."""
    async with locked(pool, "SELECT FROM accounts ORDER BY id FOR UPDATE"):
        yield


async def until_blocked(pool: Pool, sessions: int | None = None) -> None:
    """Wait until exactly so many sessions wait for a lock; None: any."""
    async with asyncio.timeout(LIMIT_S):
        waiting = await pool.fetchval(_WAITING)
        while not waiting if sessions is None else waiting != sessions:
            await asyncio.sleep(_POLL_S)
            waiting = await pool.fetchval(_WAITING)


async def until_waiting(pool: Pool, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until each of them waits for a lock."""
    async with asyncio.timeout(LIMIT_S):
        while await pool.fetchval(_WAITING) < len(tasks):
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0)
