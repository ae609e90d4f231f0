"""When a key was last used is noted beside the requests, and never in their way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import create_holder
from tokenbalance.people.callers import find_caller

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool


async def test_a_key_that_is_being_changed_is_not_waited_for(pool: Pool) -> None:
    holder = await create_holder(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE api_keys SET name = 'x' WHERE id = $1", holder.key_id)
        assert await find_caller(pool, holder.secret) == holder.caller
    assert await _last_used_at(pool, holder.key_id) is None
    await find_caller(pool, holder.secret)
    assert await _last_used_at(pool, holder.key_id) is not None


async def _last_used_at(pool: Pool, key_id: int) -> object:
    return await pool.fetchval("SELECT last_used_at FROM api_keys WHERE id = $1", key_id)
