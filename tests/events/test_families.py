"""Keys and sign-in tokens that change or end together leave an event each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.actors import NOBODY
from tests.support.security_log import events_said, lines, recorded
from tokenbalance.model import CLI, SCOPES, Actor
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.key_ends import revoke_all_keys, revoke_key
from tokenbalance.people.keys import create_key
from tokenbalance.people.sign_in import unlock
from tokenbalance.people.sign_in_tokens import create_token, end_token_by_id, end_tokens
from tokenbalance.people.users import Changes, create_user, update_user

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import KeyRow, UserRow

ADMIN = Actor("root@example.com", user_id=1, key_id=9, address="192.0.2.7", is_superuser=True)
HOUR = timedelta(hours=1)


@pytest.fixture
async def users(sessions: Sessions) -> tuple[UserRow, UserRow]:
    """Two users whose creation is no event."""
    async with sessions.begin() as session:
        return (
            await create_user(session, email="ada@example.com", actor=NOBODY),
            await create_user(session, email="bea@example.com", actor=NOBODY),
        )


async def family(session: AsyncSession, users: tuple[UserRow, UserRow]) -> list[KeyRow]:
    """A key, one made with it, and one of another user made with that one; no events."""
    keys: list[KeyRow] = []
    for user in (users[0], users[0], users[1]):
        maker_id = keys[-1].id if keys else None
        key, _ = await create_key(
            session, user.account.id, scopes=SCOPES, by_key_id=maker_id, actor=NOBODY
        )
        keys.append(key)
    return keys


async def test_each_key_that_ends_with_its_maker_is_an_event_of_its_owner(
    sessions: Sessions,
    pool: Pool,
    users: tuple[UserRow, UserRow],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ada, bea = users
    async with sessions.begin() as session:
        top, made, far = await family(session, users)
        ended = await revoke_key(session, made.id, actor=NOBODY)
        assert ended.with_it == 1
    caplog.clear()
    async with sessions.begin() as session:
        other, _ = await create_key(session, bea.account.id, by_key_id=top.id, actor=NOBODY)
        assert (await revoke_key(session, top.id, actor=ADMIN)).with_it == 1
    # Those that had ended before are none.
    assert [row[:4] for row in await recorded(pool)] == [
        ("key.revoked", "root@example.com", ada.id, top.id),
        ("key.revoked", "root@example.com", bea.id, other.id),
    ]
    assert [(line["event"], line["key_id"]) for line in lines(caplog)] == [
        ("key.created", other.id),
        ("key.revoked", top.id),
        ("key.revoked", other.id),
    ]
    assert far.id not in {row[3] for row in await recorded(pool)}


async def test_each_of_all_keys_that_are_ended_is_an_event(
    sessions: Sessions, pool: Pool, users: tuple[UserRow, UserRow]
) -> None:
    async with sessions.begin() as session:
        keys = await family(session, users)
        for _ in range(2):
            _ = await revoke_all_keys(session, users[0].account.id, actor=CLI)
    events = [(row[0], row[3]) for row in await recorded(pool)]
    assert events == [("key.revoked", key.id) for key in keys]


async def test_each_key_that_follows_a_change_of_its_maker_is_an_event(
    sessions: Sessions, pool: Pool, users: tuple[UserRow, UserRow]
) -> None:
    end = datetime.now(UTC) + HOUR
    async with sessions.begin() as session:
        keys = await family(session, users)
        await change_key(session, keys[0].id, None, actor=CLI, scopes=["read"], expires_at=end)
    details = {
        "scopes": {"old": ["inference", "read", "manage"], "new": ["read"]},
        "expires_at": {"old": None, "new": end.isoformat()},
    }
    assert [(row[0], row[3], row[4]) for row in await recorded(pool)] == [
        ("key.changed", key.id, details) for key in keys
    ]


async def test_a_key_that_was_made_with_a_key_names_it(
    sessions: Sessions, pool: Pool, users: tuple[UserRow, UserRow]
) -> None:
    account_id = users[0].account.id
    async with sessions.begin() as session:
        maker, _ = await create_key(session, account_id, scopes=SCOPES, actor=NOBODY)
        made, secret = await create_key(
            session, account_id, scopes=["read"], by_key_id=maker.id, actor=ADMIN
        )
    ((event, _, _, key_id, details),) = await recorded(pool)
    assert (event, key_id) == ("key.created", made.id)
    assert (details["made_by_key_id"], details["scopes"]) == (maker.id, ["read"])
    assert secret not in str(details)


async def test_each_token_that_is_ended_is_an_event_and_those_of_a_change_are_none(
    sessions: Sessions,
    pool: Pool,
    users: tuple[UserRow, UserRow],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ada, _ = users
    async with sessions.begin() as session:
        tokens = [(await create_token(session, ada.account.id, HOUR))[0].id for _ in range(4)]
        gone = (await create_token(session, ada.account.id, timedelta()))[0].id
    async with sessions.begin() as session:
        await end_token_by_id(session, tokens[0], actor=ADMIN)
        await end_tokens(session, ada.account.id, tokens[3], actor=ADMIN)
        await end_tokens(session, ada.account.id, tokens[3], actor=ADMIN)
    events = await recorded(pool)
    assert events == [
        ("token.ended", "root@example.com", ada.id, token_id, {}) for token_id in tokens[:3]
    ]
    assert gone not in {row[3] for row in events}
    assert [line["key_id"] for line in lines(caplog)] == tokens[:3]
    caplog.clear()
    async with sessions.begin() as session:
        await update_user(session, ada.id, Changes(is_active=False), actor=ADMIN)
    assert events_said(caplog) == ["user.disabled"]


async def test_clearing_failed_sign_ins_is_an_event(
    sessions: Sessions, pool: Pool, users: tuple[UserRow, UserRow]
) -> None:
    async with sessions.begin() as session:
        assert (await unlock(session, "ADA@example.com", actor=CLI))[1] == 0
    assert await recorded(pool) == [
        ("user.unlocked", "cli", users[0].id, None, {"failures": 0}),
    ]
