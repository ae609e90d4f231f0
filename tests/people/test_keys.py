from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder, placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.paging import InvalidCursor, cursor
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import CLI, Usage
from tokenbalance.people.callers import find_caller
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.key_errors import InvalidExpiry, InvalidKeyName, KeyEnded, UnknownKey
from tokenbalance.people.key_lists import keys_page, list_keys
from tokenbalance.people.keys import create_key, rotate_key
from tokenbalance.people.limits import KeyLimits
from tokenbalance.people.sign_in_tokens import create_token, end_tokens

if TYPE_CHECKING:
    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions

HOUR = timedelta(hours=1)


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    """Somebody who has one key."""
    return await create_holder(pool, 100)


async def works(pool: Pool, secret: str) -> bool:
    try:
        await find_caller(pool, secret)
    except InvalidApiKey:
        return False
    return True


async def test_limits_and_expiry_are_stored(sessions: Sessions, pool: Pool, holder: Holder) -> None:
    expires_at = datetime.now(timezone(5 * HOUR)) + HOUR
    limits = KeyLimits(tokens_per_minute=5, models=("gpt-*",))

    async with sessions.begin() as session:
        key, secret = await create_key(
            session,
            holder.account_id,
            name=" laptop ",
            expires_at=expires_at,
            limits=limits,
            actor=CLI,
        )

    assert (key.name, key.expires_at, key.limits) == ("laptop", expires_at, limits)
    async with sessions.begin() as session:
        *_, stored = await list_keys(session, holder.account_id)
        assert stored == key
    assert await works(pool, secret)


@pytest.mark.parametrize(
    "expires_at",
    [
        datetime.now(UTC) - HOUR,
        datetime.now(UTC).replace(tzinfo=None) + HOUR,
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-12 * HOUR)),
    ],
)
async def test_an_expiry_is_a_time_to_come(
    sessions: Sessions, holder: Holder, expires_at: datetime
) -> None:
    async with sessions.begin() as session:
        with pytest.raises(InvalidExpiry):
            await create_key(session, holder.account_id, expires_at=expires_at, actor=CLI)
        for name in ("a\0", "\udc80", "x" * 201):
            with pytest.raises(InvalidKeyName):
                await create_key(session, holder.account_id, name=name, actor=CLI)
    async with sessions.begin() as session:
        assert len(await list_keys(session, holder.account_id)) == 1


async def test_a_rotated_key_is_the_same_key_with_another_secret(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    async with sessions.begin() as session:
        key, old = await create_key(
            session,
            holder.account_id,
            name="laptop",
            expires_at=datetime.now(UTC) + HOUR,
            limits=KeyLimits(parallel_requests=2),
            actor=CLI,
        )
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 80)
    assert await works(pool, old)
    before = {key.id, key.name, key.created_at, key.expires_at, str(key.limits)}

    async with sessions.begin() as session:
        rotated, new = await rotate_key(session, key.id, holder.account_id, actor=CLI)

    assert not await works(pool, old)
    assert (await find_caller(pool, new)).key_id == key.id
    assert rotated.prefix == new[:12] != old[:12]
    after = {rotated.id, rotated.name, rotated.created_at, rotated.expires_at, str(rotated.limits)}
    assert after == before
    assert await book.settle(hold, Usage({"input": 1}, total=1))


async def test_of_simultaneous_rotations_one_secret_works(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    async def rotate() -> str:
        async with sessions.begin() as session:
            return (await rotate_key(session, holder.key_id, None, actor=CLI))[1]

    secrets = await asyncio.gather(*(rotate() for _ in range(5)))

    assert [await works(pool, secret) for secret in secrets].count(True) == 1
    assert not await works(pool, holder.secret)


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now()"])
async def test_what_has_ended_is_not_rotated(
    sessions: Sessions, pool: Pool, holder: Holder, ending: str
) -> None:
    await pool.execute(f"UPDATE api_keys SET {ending}")  # noqa: S608 - a column of ours
    async with sessions.begin() as session:
        with pytest.raises(KeyEnded):
            await rotate_key(session, holder.key_id, None, actor=CLI)
    assert not await works(pool, holder.secret)


async def test_keys_of_others_and_sign_in_tokens_are_unknown(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    other = await create_holder(pool)
    async with sessions.begin() as session:
        token, secret = await create_token(session, holder.account_id, HOUR)
    async with sessions.begin() as session:
        for key_id in (other.key_id, token.id, 0, -1, 2**63, 10**30):
            with pytest.raises(UnknownKey, match=f"no key has the id {key_id}"):
                await rotate_key(session, key_id, holder.account_id, actor=CLI)
            with pytest.raises(UnknownKey):
                await revoke_key(session, key_id, holder.account_id, actor=CLI)
        for operation in (rotate_key, revoke_key):
            with pytest.raises(UnknownKey):
                await operation(session, token.id, None, actor=CLI)
        assert [key.id for key in await list_keys(session, holder.account_id)] == [holder.key_id]
        # And the other way round.
        await end_tokens(session, holder.account_id, actor=CLI)
    assert [await works(pool, text) for text in (holder.secret, other.secret, secret)] == [
        True,
        True,
        False,
    ]


async def test_pages_of_keys_follow_each_other(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    other = await create_holder(pool)
    async with sessions.begin() as session:
        await create_token(session, holder.account_id, HOUR)
        ids = [(await create_key(session, holder.account_id, actor=CLI))[0].id for _ in range(2)]

        first = await keys_page(session, holder.account_id, None, 2)
        second = await keys_page(session, holder.account_id, first.next, 2)
        everybodys = await keys_page(session, None, None, 100)
        with pytest.raises(InvalidCursor):
            await keys_page(session, None, cursor(("x",)), 2)

    assert [key.id for key in (*first.data, *second.data)] == [holder.key_id, *ids]
    assert (first.has_more, second.has_more) == (True, False)
    assert [key.id for key in everybodys.data] == [holder.key_id, other.key_id, *ids]
