"""Statements that have to wait, for as long as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tokenbalance.database.connections import Pool

LIMIT_S = 20.0


@asynccontextmanager
async def accounts_locked(pool: Pool) -> AsyncGenerator[None]:
    """Keep the rows of all accounts locked: holds and their ends wait."""
    async with pool.acquire() as session, session.transaction():
        await session.execute("SELECT FROM accounts ORDER BY id FOR UPDATE")
        yield


async def until_blocked(pool: Pool) -> None:
    """Wait until a statement waits for a lock."""
    async with asyncio.timeout(LIMIT_S):
        while not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.002)
