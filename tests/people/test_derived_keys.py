"""Keys that are made with keys: what they inherit, what follows their maker, and what does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.books import create_holder
from tests.support.locks import until_blocked
from tokenbalance.model import CLI
from tokenbalance.people.key_changes import change_key
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
from tokenbalance.people.keys import create_key, rotate_key
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
            key, _ = await create_key(
                session,
                holder.account_id,
                by_key_id=with_key,
                actor=CLI,
                **fields,  # pyright: ignore[reportArgumentType] - as given
            )
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
        await change_key(session, top.id, None, expires_at=NOW + 2 * DAY, actor=CLI)
    ends = await ends_of(sessions, child, early, grandchild, stranger)
    assert ends == [NOW + 2 * DAY, NOW + DAY, NOW + 2 * DAY, None]

    async with sessions.begin() as session:
        await change_key(session, top.id, None, expires_at=None, actor=CLI)
    assert await ends_of(sessions, child, early, grandchild, stranger) == ends


async def test_a_key_stays_within_the_end_and_the_scopes_of_its_maker(
    make: Make, sessions: Sessions
) -> None:
    maker = await make(scopes=["inference", "manage"], expires_at=NOW + 2 * DAY)
    child = await make(maker.id, scopes=["inference"], expires_at=NOW + DAY)
    async with sessions.begin() as session:
        for wanted in (NOW + 3 * DAY, None):
            changed = await change_key(session, child.id, None, expires_at=wanted, actor=CLI)
            assert changed.expires_at == NOW + 2 * DAY
        with pytest.raises(InvalidScopes, match=f"key {maker.id}, with which"):
            await change_key(session, child.id, None, scopes=["read"], actor=CLI)
        changed = await change_key(session, child.id, None, scopes=["manage"], actor=CLI)
        assert changed.scopes == ("manage",)


async def test_scopes_that_a_key_loses_are_lost_by_what_was_made_with_it(
    make: Make, sessions: Sessions
) -> None:
    top = await make(scopes=ALL)
    child = await make(top.id)
    grandchild = await make(child.id, scopes=["read", "manage"])
    async with sessions.begin() as session:
        await change_key(session, top.id, None, scopes=["inference", "read"], actor=CLI)
        assert (await get_key(session, child.id, None)).scopes == ("inference", "read")
        assert (await get_key(session, grandchild.id, None)).scopes == ("read",)
        with pytest.raises(InvalidScopes, match=f"key {grandchild.id}, made with this key"):
            await change_key(session, top.id, None, scopes=["inference"], actor=CLI)


async def test_a_key_widens_no_key_beyond_its_own_scopes(make: Make, sessions: Sessions) -> None:
    asking = await make(scopes=["read", "manage"])
    key = await make(scopes=["inference"])
    async with sessions.begin() as session:
        with pytest.raises(ScopesMissing):
            await change_key(session, asking.id, None, asking.id, scopes=ALL, actor=CLI)
        # What it has already it keeps.
        wider = await change_key(
            session, key.id, None, asking.id, scopes=["inference", "read"], actor=CLI
        )
        assert wider.scopes == ("inference", "read")
        # And a person gives everything.
        assert (await change_key(session, asking.id, None, scopes=ALL, actor=CLI)).scopes == ALL


async def test_a_made_key_does_not_get_around_its_end_by_its_maker(
    make: Make, sessions: Sessions
) -> None:
    maker = await make(scopes=ALL, expires_at=NOW + 3 * DAY)
    child = await make(maker.id, expires_at=NOW + DAY)
    async with sessions.begin() as session:
        for end in (None, NOW + 4 * DAY):
            with pytest.raises(InvalidExpiry, match="later than its own"):
                await change_key(session, maker.id, None, child.id, expires_at=end, actor=CLI)
        with pytest.raises(KeyExceeds):
            await rotate_key(session, maker.id, None, child.id, actor=CLI)
        await rotate_key(session, child.id, None, child.id, actor=CLI)


async def test_a_key_lifts_no_end_beyond_its_own(make: Make, sessions: Sessions) -> None:
    asking = await make(scopes=ALL, expires_at=NOW + 3 * DAY)
    other = await make(expires_at=NOW + DAY)
    longer = await make(expires_at=NOW + 9 * DAY)
    child = await make(asking.id, expires_at=NOW + DAY)

    async def let_end(key: KeyRow, end: datetime | None) -> datetime | None:
        async with sessions.begin() as session:
            changed = await change_key(session, key.id, None, asking.id, expires_at=end, actor=CLI)
            return changed.expires_at

    for key in (asking, other):
        for end in (None, NOW + 4 * DAY):
            with pytest.raises(InvalidExpiry, match="later than its own"):
                await let_end(key, end)
    assert await let_end(other, NOW + 2 * DAY) == NOW + 2 * DAY
    assert await let_end(longer, NOW + 8 * DAY) == NOW + 8 * DAY
    assert await let_end(child, None) == NOW + 3 * DAY
    assert await let_end(asking, NOW + 2 * DAY) == NOW + 2 * DAY


@pytest.mark.parametrize(
    "terms", [{"expires_at": NOW + DAY}, {"limits": KeyLimits(credits_total=5)}]
)
async def test_a_key_gives_nothing_to_a_key_that_exceeds_it_and_gets_no_secret_of_it(
    make: Make, sessions: Sessions, terms: dict[str, object]
) -> None:
    asking = await make(scopes=["read", "manage"], **terms)
    exceeding = await make(scopes=["read"], expires_at=NOW + 2 * DAY)
    within = await make(scopes=["read"], **terms)
    for key, by_key_id in ((within, asking.id), (exceeding, None)):
        async with sessions.begin() as session:
            await change_key(session, key.id, None, by_key_id, scopes=["manage"], actor=CLI)
            # What a key has already, it keeps.
            await change_key(session, key.id, None, asking.id, scopes=["manage"], actor=CLI)
            await change_key(session, key.id, None, by_key_id, scopes=["read"], actor=CLI)
    async with sessions.begin() as session:
        with pytest.raises(KeyExceeds, match=f"key {exceeding.id} is valid for longer, or has"):
            await change_key(session, exceeding.id, None, asking.id, scopes=["manage"], actor=CLI)
        with pytest.raises(KeyExceeds):
            await rotate_key(session, exceeding.id, None, asking.id, actor=CLI)
        await rotate_key(session, within.id, None, asking.id, actor=CLI)
        await rotate_key(session, asking.id, None, asking.id, actor=CLI)


async def test_a_limited_key_lets_no_key_with_looser_limits_end_later(
    make: Make, sessions: Sessions
) -> None:
    asking = await make(scopes=ALL, limits=KeyLimits(credits_total=5))
    looser = await make(expires_at=NOW + DAY)
    async with sessions.begin() as session:
        with pytest.raises(KeyExceeds):
            await change_key(
                session, looser.id, None, asking.id, expires_at=NOW + 2 * DAY, actor=CLI
            )


async def test_nothing_is_changed_or_rotated_with_a_key_that_has_ended(
    make: Make, sessions: Sessions, holder: Holder
) -> None:
    key = await make()
    async with sessions.begin() as session:
        await revoke_key(session, holder.key_id, actor=CLI)
    async with sessions.begin() as session:
        with pytest.raises(MakerEnded):
            await change_key(session, key.id, None, holder.key_id, scopes=["read"], actor=CLI)
        with pytest.raises(MakerEnded):
            await change_key(session, key.id, None, holder.key_id, name="new", actor=CLI)
        with pytest.raises(MakerEnded):
            await rotate_key(session, key.id, None, holder.key_id, actor=CLI)


async def test_what_was_taken_from_a_key_at_that_moment_is_not_given_back(
    make: Make, sessions: Sessions, pool: Pool
) -> None:
    asking, key = await make(scopes=["manage"]), await make(scopes=["inference", "read"])
    async with sessions.begin() as taking, sessions.begin() as changing:
        await change_key(taking, key.id, None, scopes=["read"], actor=CLI)
        keeping = asyncio.ensure_future(
            change_key(changing, key.id, None, asking.id, scopes=["inference"], actor=CLI)
        )
        await until_blocked(pool, 1)
        await taking.commit()
        with pytest.raises(ScopesMissing):
            await keeping


async def test_a_key_gets_no_secret_with_a_scope_that_it_does_not_have(
    make: Make, sessions: Sessions
) -> None:
    asking, key = await make(scopes=["manage"]), await make(scopes=["inference"])
    async with sessions.begin() as session:
        with pytest.raises(ScopesMissing):
            await rotate_key(session, key.id, None, asking.id, actor=CLI)
        await rotate_key(session, key.id, None, actor=CLI)


async def test_a_rotated_key_keeps_what_was_made_with_it(make: Make, sessions: Sessions) -> None:
    maker = await make(scopes=ALL)
    child = await make(maker.id)
    async with sessions.begin() as session:
        await rotate_key(session, maker.id, None, actor=CLI)
        assert not (await get_key(session, child.id, None)).has_ended(NOW)


async def test_a_key_that_is_made_while_its_maker_is_revoked_does_not_survive(
    sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    async with sessions.begin() as revoking, sessions.begin() as making:
        await revoke_key(revoking, holder.key_id, actor=CLI)
        made = asyncio.ensure_future(
            create_key(making, holder.account_id, by_key_id=holder.key_id, actor=CLI)
        )
        await until_blocked(pool, 1)
        await revoking.commit()
        with pytest.raises(MakerEnded):
            await made


async def test_a_revocation_finds_what_is_being_made_at_that_moment(
    make: Make, sessions: Sessions, pool: Pool, holder: Holder
) -> None:
    child = await make(holder.key_id)
    async with sessions.begin() as making, sessions.begin() as revoking:
        grandchild, _ = await create_key(making, holder.account_id, by_key_id=child.id, actor=CLI)
        revoked = asyncio.ensure_future(revoke_key(revoking, holder.key_id, actor=CLI))
        await until_blocked(pool, 1)
        await making.commit()
        assert (await revoked).with_it == 2
    async with sessions.begin() as session:
        with pytest.raises(KeyEnded):
            await rotate_key(session, grandchild.id, None, actor=CLI)
