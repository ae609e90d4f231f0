"""Keys that are made with keys: what they inherit, what follows their maker, and what does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.locks import until_blocked
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.key_errors import (
    InvalidExpiry,
    InvalidScopes,
    KeyEnded,
    KeyExceeds,
    MakerEnded,
    ScopesMissing,
)
from tokenbalance.people.key_lists import get_key
from tokenbalance.people.keys import change_key, create_key, rotate_key
from tokenbalance.people.limits import KeyLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import KeyRow

    Make = Callable[..., Awaitable[KeyRow]]

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)
ALL = ("inference", "read", "manage")


@pytest.fixture
async def holder(pool: Pool) -> Holder:
    """Somebody who has one key, with all scopes and without an end."""
    return await create_holder(pool, 100)


@pytest.fixture
def make(sessions: Sessions, holder: Holder) -> Make:
    """Makes keys of the holder, committed; `with_key` is the key that asks."""

    async def make(with_key: int | None = None, **fields: object) -> KeyRow:
        async with sessions.begin() as session:
            key, _ = await create_key(session, holder.account_id, by_key_id=with_key, **fields)  # pyright: ignore[reportArgumentType] - as given
            return key

    return make


async def ends_of(sessions: Sessions, *keys: KeyRow) -> list[datetime | None]:
    async with sessions() as session:
        return [(await get_key(session, key.id, None)).expires_at for key in keys]


async def test_a_key_that_a_person_makes_is_for_inference(make: Make) -> None:
    key = await make()
    assert (key.scopes, key.made_by_key_id) == (("inference",), None)


async def test_a_key_has_the_scopes_end_and_limits_of_the_key_it_is_made_with(make: Make) -> None:
    limits = KeyLimits(credits_total=5, models=("gpt-*",))
    maker = await make(scopes=ALL, expires_at=NOW + DAY, limits=limits, insufficient_status=429)

    key = await make(maker.id)
    narrow = await make(
        maker.id,
        scopes=["read"],
        expires_at=NOW + 2 * DAY,
        limits=KeyLimits(credits_total=9),
        insufficient_status=402,
    )

    assert (key.made_by_key_id, key.terms) == (maker.id, maker.terms)
    assert (narrow.scopes, narrow.expires_at) == (("read",), NOW + DAY)
    assert (narrow.limits, narrow.insufficient_status) == (limits, 402)
    assert (await make(maker.id, expires_at=NOW + DAY / 2)).expires_at == NOW + DAY / 2


async def test_a_key_gives_no_scope_that_it_does_not_have(make: Make) -> None:
    maker = await make(scopes=["manage"])
    with pytest.raises(ScopesMissing):
        await make(maker.id, scopes=["inference"])


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now()"])
async def test_nothing_is_made_with_a_key_that_has_ended(
    make: Make, pool: Pool, holder: Holder, ending: str
) -> None:
    await pool.execute(f"UPDATE api_keys SET {ending}")  # noqa: S608 - a column of ours
    with pytest.raises(MakerEnded):
        await make(holder.key_id)


async def test_an_end_that_moves_earlier_takes_along_what_was_made_with_the_key(
    make: Make, sessions: Sessions
) -> None:
    top = await make(scopes=ALL, expires_at=NOW + 9 * DAY)
    child = await make(top.id)
    early = await make(top.id, expires_at=NOW + DAY)
    grandchild = await make(child.id)
    stranger = await make()

    async with sessions.begin() as session:
        await change_key(session, top.id, None, expires_at=NOW + 2 * DAY)
    ends = await ends_of(sessions, child, early, grandchild, stranger)
    assert ends == [NOW + 2 * DAY, NOW + DAY, NOW + 2 * DAY, None]

    async with sessions.begin() as session:
        await change_key(session, top.id, None, expires_at=None)
    assert await ends_of(sessions, child, early, grandchild, stranger) == ends


async def test_a_key_stays_within_the_end_and_the_scopes_of_its_maker(
    make: Make, sessions: Sessions
) -> None:
    maker = await make(scopes=["inference", "manage"], expires_at=NOW + 2 * DAY)
    child = await make(maker.id, scopes=["inference"], expires_at=NOW + DAY)
    async with sessions.begin() as session:
        for wanted in (NOW + 3 * DAY, None):
            changed = await change_key(session, child.id, None, expires_at=wanted)
            assert changed.expires_at == NOW + 2 * DAY
        with pytest.raises(InvalidScopes, match=f"key {maker.id}, with which"):
            await change_key(session, child.id, None, scopes=["read"])
        changed = await change_key(session, child.id, None, scopes=["manage"])
        assert changed.scopes == ("manage",)


async def test_scopes_that_a_key_loses_are_lost_by_what_was_made_with_it(
    make: Make, sessions: Sessions
) -> None:
    top = await make(scopes=ALL)
    child = await make(top.id)
    grandchild = await make(child.id, scopes=["read", "manage"])
    async with sessions.begin() as session:
        await change_key(session, top.id, None, scopes=["inference", "read"])
        assert (await get_key(session, child.id, None)).scopes == ("inference", "read")
        assert (await get_key(session, grandchild.id, None)).scopes == ("read",)
        with pytest.raises(InvalidScopes, match=f"key {grandchild.id}, made with this key"):
            await change_key(session, top.id, None, scopes=["inference"])


async def test_a_key_widens_no_key_beyond_its_own_scopes(make: Make, sessions: Sessions) -> None:
    asking = await make(scopes=["read", "manage"])
    key = await make(scopes=["inference"])
    async with sessions.begin() as session:
        with pytest.raises(ScopesMissing):
            await change_key(session, asking.id, None, asking.id, scopes=ALL)
        # What it has already it keeps.
        wider = await change_key(session, key.id, None, asking.id, scopes=["inference", "read"])
        assert wider.scopes == ("inference", "read")
        # And a person gives everything.
        assert (await change_key(session, asking.id, None, scopes=ALL)).scopes == ALL


async def test_a_made_key_does_not_get_around_its_end_by_its_maker(
    make: Make, sessions: Sessions
) -> None:
    maker = await make(scopes=ALL, expires_at=NOW + 3 * DAY)
    child = await make(maker.id, expires_at=NOW + DAY)
    async with sessions.begin() as session:
        for end in (None, NOW + 4 * DAY):
            with pytest.raises(InvalidExpiry, match="later than its own"):
                await change_key(session, maker.id, None, child.id, expires_at=end)
        with pytest.raises(KeyExceeds):
            await rotate_key(session, maker.id, None, child.id)
        await rotate_key(session, child.id, None, child.id)
        # Its maker may, as before there were scopes.
        await change_key(session, maker.id, None, maker.id, expires_at=None)


async def test_a_key_gets_no_secret_with_a_scope_that_it_does_not_have(
    make: Make, sessions: Sessions
) -> None:
    asking, key = await make(scopes=["manage"]), await make(scopes=["inference"])
    async with sessions.begin() as session:
        with pytest.raises(ScopesMissing):
            await rotate_key(session, key.id, None, asking.id)
        await rotate_key(session, key.id, None)


async def test_a_rotated_key_keeps_what_was_made_with_it(make: Make, sessions: Sessions) -> None:
    maker = await make(scopes=ALL)
    child = await make(maker.id)
    async with sessions.begin() as session:
        await rotate_key(session, maker.id, None)
        assert not (await get_key(session, child.id, None)).has_ended(NOW)


async def test_a_key_that_is_made_while_its_maker_is_revoked_does_not_survive(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    async with sessions.begin() as revoking, sessions.begin() as making:
        await revoke_key(revoking, holder.key_id)
        made = asyncio.ensure_future(create_key(making, holder.account_id, by_key_id=holder.key_id))
        await until_blocked(pool, 1)
        await revoking.commit()
        with pytest.raises(MakerEnded):
            await made


async def test_a_revocation_finds_what_is_being_made_at_that_moment(
    make: Make, sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    child = await make(holder.key_id)
    async with sessions.begin() as making, sessions.begin() as revoking:
        grandchild, _ = await create_key(making, holder.account_id, by_key_id=child.id)
        revoked = asyncio.ensure_future(revoke_key(revoking, holder.key_id))
        await until_blocked(pool, 1)
        await making.commit()
        assert (await revoked).with_it == 2
    async with sessions.begin() as session:
        with pytest.raises(KeyEnded):
            await rotate_key(session, grandchild.id, None)
