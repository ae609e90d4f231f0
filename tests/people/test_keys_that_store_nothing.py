"""A key that stores nothing gives that on, and no key takes it away that has it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tokenbalance.model import CLI, SCOPES
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.key_errors import KeyExceeds
from tokenbalance.people.keys import create_key

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import KeyRow


@pytest.fixture
async def account_id(pool: Pool) -> int:
    return (await create_holder(pool)).account_id


async def made(sessions: Sessions, account_id: int, by: KeyRow | None, *, stores: bool) -> KeyRow:
    async with sessions.begin() as session:
        key, _ = await create_key(
            session,
            account_id,
            scopes=SCOPES,
            force_store_false=not stores,
            by_key_id=by and by.id,
            actor=CLI,
        )
    return key


async def test_a_key_that_is_made_with_it_stores_nothing_either(
    sessions: Sessions, account_id: int
) -> None:
    maker = await made(sessions, account_id, None, stores=False)
    below = await made(sessions, account_id, maker, stores=True)
    assert below.force_store_false
    async with sessions.begin() as session:
        changed = await change_key(session, below.id, None, actor=CLI, force_store_false=False)
    assert changed.force_store_false


async def test_a_key_that_stores_nothing_from_now_on_passes_it_down(
    sessions: Sessions, pool: Pool, account_id: int
) -> None:
    maker = await made(sessions, account_id, None, stores=True)
    below = await made(sessions, account_id, maker, stores=True)
    async with sessions.begin() as session:
        _ = await change_key(session, maker.id, None, actor=CLI, force_store_false=True)
    stored = "SELECT force_store_false FROM api_keys WHERE id = $1"
    assert await pool.fetchval(stored, below.id) is True


async def test_a_key_that_stores_nothing_lets_no_other_store(
    sessions: Sessions, account_id: int
) -> None:
    asking, other, free = [
        await made(sessions, account_id, None, stores=stores) for stores in (False, False, True)
    ]
    with pytest.raises(KeyExceeds):
        async with sessions.begin() as session:
            _ = await change_key(
                session, other.id, None, asking.id, actor=CLI, force_store_false=False
            )
    async with sessions.begin() as session:
        changed = await change_key(
            session, other.id, None, free.id, actor=CLI, force_store_false=False
        )
    assert not changed.force_store_false
