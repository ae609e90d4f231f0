"""Tasks that wait for a lock of the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenbalance.database.connections import Pool

PATIENCE_S = 20.0
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def until_waiting(pool: Pool, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until each of them waits for a lock."""
    async with asyncio.timeout(PATIENCE_S):
        while await pool.fetchval(_WAITING) < len(tasks):
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0)
