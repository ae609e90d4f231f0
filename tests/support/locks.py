"""Statements that have to wait, for as long as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tokenbalance.database.connections import Pool

LIMIT_S = 20.0
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@asynccontextmanager
async def accounts_locked(pool: Pool) -> AsyncGenerator[None]:
    """Keep the rows of all accounts locked: holds and their ends wait."""
    async with pool.acquire() as session, session.transaction():
        await session.execute("SELECT FROM accounts ORDER BY id FOR UPDATE")
        yield


async def until_blocked(pool: Pool) -> None:
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(LIMIT_S):
        while not await pool.fetchval(_WAITING):
            await asyncio.sleep(0.002)


async def until_waiting(pool: Pool, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until each of them waits for a lock."""
    async with asyncio.timeout(LIMIT_S):
        while await pool.fetchval(_WAITING) < len(tasks):
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0)
