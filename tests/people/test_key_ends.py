"""The end of keys: with all keys that were made with them, whosever they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.books import create_holder
from tokenbalance.people.key_ends import revoke_all_keys, revoke_key
from tokenbalance.people.key_families import families_of
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.keys import create_key
from tokenbalance.people.sign_in_tokens import create_token

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import KeyRow

HOUR = timedelta(hours=1)


async def make(sessions: Sessions, holder: Holder, with_key: int | None = None) -> KeyRow:
    async with sessions.begin() as session:
        return (await create_key(session, holder.account_id, by_key_id=with_key))[0]


async def working(sessions: Sessions, *key_ids: int) -> list[bool]:
    async with sessions() as session:
        keys = [await get_key(session, key_id, None) for key_id in key_ids]
    return [not key.has_ended(datetime.now(UTC)) for key in keys]


async def test_what_was_made_with_a_key_ends_with_it_over_accounts_too(
    sessions: Sessions, pool: Pool
) -> None:
    admin, user, other = [await create_holder(pool) for _ in range(3)]
    child = await make(sessions, user, admin.key_id)
    grandchild = await make(sessions, other, child.id)
    sibling = await make(sessions, user, user.key_id)

    async with sessions.begin() as session:
        revoked = await revoke_key(session, admin.key_id)

    assert (revoked.key.id, revoked.with_it) == (admin.key_id, 2)
    assert await working(sessions, admin.key_id, child.id, grandchild.id) == [False] * 3
    assert await working(sessions, user.key_id, other.key_id, sibling.id) == [True] * 3
    async with sessions.begin() as session:
        again = await revoke_key(session, admin.key_id)
    assert (again.key.revoked_at, again.with_it) == (revoked.key.revoked_at, 0)


async def test_what_had_ended_before_is_not_counted_and_keeps_its_end(
    sessions: Sessions, pool: Pool
) -> None:
    holder = await create_holder(pool)
    expired = await make(sessions, holder, holder.key_id)
    gone = await make(sessions, holder, holder.key_id)
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired.id)
    async with sessions.begin() as session:
        await revoke_key(session, gone.id)
        before = [await get_key(session, key.id, None) for key in (expired, gone)]
        assert (await revoke_key(session, holder.key_id)).with_it == 0
        assert [await get_key(session, key.id, None) for key in (expired, gone)] == before


async def test_all_keys_of_an_account_end_and_its_tokens_stay(
    sessions: Sessions, pool: Pool
) -> None:
    holder, other = await create_holder(pool), await create_holder(pool)
    await make(sessions, holder)
    child = await make(sessions, other, holder.key_id)
    grandchild = await make(sessions, holder, child.id)
    async with sessions.begin() as session:
        token, _ = await create_token(session, holder.account_id, HOUR)
        assert await revoke_all_keys(session, holder.account_id) == 4
    assert await working(sessions, holder.key_id, child.id, grandchild.id) == [False] * 3
    assert await working(sessions, other.key_id) == [True]
    stays = "SELECT revoked_at IS NULL FROM api_keys WHERE id = $1"
    assert await pool.fetchval(stays, token.id)
    async with sessions.begin() as session:
        assert await revoke_all_keys(session, holder.account_id) == 0


async def test_it_is_shown_who_made_a_key_and_how_many_end_with_it(
    sessions: Sessions, pool: Pool
) -> None:
    admin, user = await create_holder(pool), await create_holder(pool)
    child = await make(sessions, user, admin.key_id)
    grandchild = await make(sessions, user, child.id)
    await make(sessions, user, admin.key_id)
    async with sessions.begin() as session:
        keys = [await get_key(session, key_id, None) for key_id in (admin.key_id, child.id)]
        families = await families_of(session, [*keys, grandchild])
        assert await families_of(session, []) == {}
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", admin.user_id)
    top, middle, leaf = (families[key.id] for key in (*keys, grandchild))
    assert (top.maker, top.maker_email, top.made) == (None, None, 3)
    assert (middle.maker, middle.maker_email) == (f"{keys[0].prefix}…", email)
    assert (middle.made, leaf.made) == (1, 0)
