"""A change and its event exist together or not at all, and an event stays as it is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError

from tests.support.security_log import events_said, lines, recorded
from tokenbalance.books.ledger.credits import Cause, add, add_once, set_balance
from tokenbalance.books.ledger.overdrafts import set_balance_and_overdraft, set_overdraft
from tokenbalance.events import Subject, record
from tokenbalance.model import CLI, SERVER, Actor
from tokenbalance.people.first_superuser import create_first_superuser
from tokenbalance.people.key_changes import change_key
from tokenbalance.people.key_ends import revoke_key
from tokenbalance.people.keys import create_key, rotate_key
from tokenbalance.people.users import Changes, EmailTaken, create_user, set_active, update_user

if TYPE_CHECKING:
    from tokenbalance.database.connections import Pool, Sessions


class Undone(Exception):
    """Stops a transaction."""


ADMIN = Actor("root@example.com", user_id=1, key_id=9, address="192.0.2.7", is_superuser=True)
SOMEBODY = Actor("ada@example.com", user_id=1, address="192.0.2.8")


@pytest.fixture
async def user_id(sessions: Sessions) -> int:
    """Somebody whose creation is no event."""
    async with sessions.begin() as session:
        return (await create_user(session, email="ada@example.com", actor=SOMEBODY)).id


@pytest.mark.parametrize("statement", ["UPDATE events SET actor = 'x'", "DELETE FROM events"])
async def test_an_event_can_neither_be_changed_nor_deleted(
    sessions: Sessions, pool: Pool, statement: str
) -> None:
    async with sessions.begin() as session:
        record(session, CLI, "user.created")
    for refused in (statement, "TRUNCATE events"):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await pool.execute(refused)
    assert len(await recorded(pool)) == 1


async def test_a_rollback_leaves_neither_a_row_nor_a_line(
    sessions: Sessions, pool: Pool, caplog: pytest.LogCaptureFixture, user_id: int
) -> None:
    with suppress(Undone):
        async with sessions.begin() as session:
            await update_user(session, user_id, Changes(name="Ada"), actor=ADMIN)
            await session.flush()
            raise Undone
    assert (await recorded(pool), events_said(caplog)) == ([], [])


async def test_a_line_is_written_after_the_commit_and_once(
    sessions: Sessions, caplog: pytest.LogCaptureFixture, user_id: int
) -> None:
    async with sessions() as session:
        await update_user(session, user_id, Changes(name="Ada"), actor=ADMIN)
        await session.flush()
        assert events_said(caplog) == []
        await session.commit()
        assert events_said(caplog) == ["user.renamed"]
        await update_user(session, user_id, Changes(name="Bea"), actor=ADMIN)
        await session.rollback()
        await session.commit()
    assert events_said(caplog) == ["user.renamed"]


async def test_a_savepoint_takes_its_own_events_with_it_and_waits_for_the_commit(
    sessions: Sessions, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with sessions.begin() as session:
        record(session, CLI, "user.created")
        with suppress(Undone):
            async with session.begin_nested():
                record(session, CLI, "user.renamed")
                async with session.begin_nested():
                    record(session, CLI, "user.promoted")
                raise Undone
        async with session.begin_nested():
            record(session, CLI, "user.disabled")
        assert events_said(caplog) == []
    assert events_said(caplog) == ["user.created", "user.disabled"]
    assert [row[0] for row in await recorded(pool)] == ["user.created", "user.disabled"]


async def test_a_savepoint_that_is_rolled_back_takes_those_that_are_open_in_it(
    sessions: Sessions, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with sessions() as session:
        outer = await session.begin_nested()
        _ = await session.begin_nested()
        record(session, CLI, "user.renamed")
        await outer.rollback()
        await session.commit()
    assert (await recorded(pool), events_said(caplog)) == ([], [])


async def test_a_taken_e_mail_leaves_no_event_in_a_transaction_that_goes_on(
    sessions: Sessions, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with sessions.begin() as session:
        first = await create_user(session, email="a@b.c", actor=CLI)
        with pytest.raises(EmailTaken):
            await create_user(session, email="A@B.C", actor=CLI)
    created = {"email": "a@b.c", "name": "", "is_superuser": False}
    assert await recorded(pool) == [("user.created", "cli", first.id, None, created)]
    assert events_said(caplog) == ["user.created"]


async def test_what_ordinary_people_change_is_only_a_line(
    sessions: Sessions, pool: Pool, caplog: pytest.LogCaptureFixture, user_id: int
) -> None:
    async with sessions.begin() as session:
        await update_user(session, user_id, Changes(password_hash="x"), actor=SOMEBODY)
    assert await recorded(pool) == []
    (line,) = lines(caplog)
    assert line == {
        "event": "user.password_set",
        "outcome": "ok",
        "user": user_id,
        "actor": "ada@example.com",
        "address": "192.0.2.8",
    }


async def test_each_change_of_a_user_is_an_event_with_the_old_and_the_new_value(
    sessions: Sessions, pool: Pool, user_id: int
) -> None:
    for changes in (
        Changes(name="Ada", is_superuser=True),
        Changes(name="Ada"),
        Changes(is_active=False),
        Changes(is_active=False),
        Changes(is_superuser=False, is_active=True, password_hash="never shown"),
    ):
        async with sessions.begin() as session:
            # Somebody else, so that the last superuser may be changed.
            _ = await create_user(
                session, email=f"{id(changes)}@b.c", is_superuser=True, actor=SOMEBODY
            )
            await update_user(session, user_id, changes, actor=ADMIN)
    assert [(row[0], row[4]) for row in await recorded(pool)] == [
        ("user.renamed", {"name": {"old": "", "new": "Ada"}}),
        ("user.promoted", {"is_superuser": {"old": False, "new": True}}),
        ("user.disabled", {"is_active": {"old": True, "new": False}}),
        ("user.enabled", {"is_active": {"old": False, "new": True}}),
        ("user.demoted", {"is_superuser": {"old": True, "new": False}}),
        ("user.password_set", {}),
    ]
    row = await pool.fetchrow("SELECT actor, actor_id, actor_key_id, address, user_id FROM events")
    assert row is not None
    assert tuple(row) == ("root@example.com", 1, 9, "192.0.2.7", user_id)


async def test_disabling_a_disabled_user_is_no_event(
    sessions: Sessions, pool: Pool, user_id: int
) -> None:
    assert user_id
    for active in (False, False, True):
        async with sessions.begin() as session:
            await set_active(session, "ADA@example.com", active=active, actor=CLI)
    assert [row[0] for row in await recorded(pool)] == ["user.disabled", "user.enabled"]


async def test_each_change_of_a_key_is_an_event_and_no_change_is_none(
    sessions: Sessions, pool: Pool, user_id: int
) -> None:
    async with sessions.begin() as session:
        account_id = (await update_user(session, user_id, Changes(), actor=CLI)).account.id
        key, first = await create_key(session, account_id, name="laptop", actor=CLI)
    async with sessions.begin() as session:
        await change_key(session, key.id, None, actor=CLI, name="phone")
        await change_key(session, key.id, None, actor=CLI, name="phone")
        rotated, second = await rotate_key(session, key.id, None, actor=CLI)
    async with sessions.begin() as session:
        revoked = (await revoke_key(session, key.id, actor=CLI)).key
        assert (await revoke_key(session, key.id, actor=CLI)).key == revoked
    events = await recorded(pool)
    assert {row[1:4] for row in events} == {("cli", user_id, key.id)}
    created: dict[str, object] = {
        "prefix": key.prefix,
        "name": "laptop",
        "expires_at": None,
        "insufficient_status": None,
        "force_store_false": False,
        "scopes": ["inference"],
        "made_by_key_id": None,
        "limits": {},
        "sub_account_from": None,
        "sub_account_limits": {},
    }
    assert revoked.revoked_at is not None
    assert [(row[0], row[4]) for row in events] == [
        ("key.created", created),
        ("key.changed", {"name": {"old": "laptop", "new": "phone"}}),
        ("key.rotated", {"prefix": {"old": key.prefix, "new": rotated.prefix}}),
        ("key.revoked", {"revoked_at": {"old": None, "new": revoked.revoked_at.isoformat()}}),
    ]
    assert first not in str(events)
    assert second not in str(events)


async def test_each_entry_that_people_make_is_an_event_and_a_retry_is_none(
    sessions: Sessions, pool: Pool, user_id: int
) -> None:
    async with sessions.begin() as session:
        account_id = (await update_user(session, user_id, Changes(), actor=CLI)).account.id
    cause = Cause(ADMIN, "May")
    for _ in range(2):
        async with sessions.begin() as session:
            await add_once(session, account_id, 50, cause, "invoice 1")
    async with sessions.begin() as session:
        await add(session, account_id, -20, cause)
        await set_balance(session, account_id, 100, cause)
    rows = [(row[0], row[2], row[4]["balance"], row[4]["amount"]) for row in await recorded(pool)]
    assert rows == [
        ("balance.added", user_id, {"old": 0, "new": 50}, 50),
        ("balance.adjusted", user_id, {"old": 50, "new": 30}, -20),
        ("balance.set", user_id, {"old": 30, "new": 100}, 70),
    ]


async def test_an_overdraft_is_an_event_of_its_own_and_what_is_kept_for_holds_is_told(
    sessions: Sessions, pool: Pool, user_id: int
) -> None:
    async with sessions.begin() as session:
        account_id = (await update_user(session, user_id, Changes(), actor=CLI)).account.id
        _ = await set_overdraft(session, account_id, 30, Cause(ADMIN, "a good customer"))
        _ = await set_balance_and_overdraft(session, account_id, 50, 20, Cause(ADMIN))
    await pool.execute("UPDATE accounts SET held = 60")
    async with sessions.begin() as session:
        _ = await set_balance(session, account_id, 0, Cause(ADMIN))
    rows = await recorded(pool)
    for row in rows:
        del row[4]["entry"]
    assert [(row[0], row[2], row[4]) for row in rows] == [
        (
            "balance.overdraft_set",
            user_id,
            {
                "overdraft": {"old": 0, "new": 30},
                "note": "overdraft set from 0 to 30: a good customer",
            },
        ),
        ("balance.set", user_id, {"amount": 50, "balance": {"old": 0, "new": 50}, "note": ""}),
        (
            "balance.overdraft_set",
            user_id,
            {"overdraft": {"old": 30, "new": 20}, "note": "overdraft set from 30 to 20"},
        ),
        (
            "balance.set",
            user_id,
            {
                "amount": -10,
                "kept_for_holds": 40,
                "balance": {"old": 50, "new": 40},
                "note": "",
            },
        ),
    ]


async def test_the_first_superuser_is_made_by_the_server(sessions: Sessions, pool: Pool) -> None:
    assert await create_first_superuser(sessions, "root@example.com", "a long password")
    assert not await create_first_superuser(sessions, "other@example.com", "a long password")
    ((event, actor, user_id, _, details),) = await recorded(pool)
    assert (event, actor, user_id) == ("user.created", SERVER.name, 1)
    assert details == {"email": "root@example.com", "name": "", "is_superuser": True}


async def test_an_event_of_a_user_who_does_not_exist_stops_the_change(
    sessions: Sessions, pool: Pool
) -> None:
    async with sessions() as session:
        _ = await create_user(session, email="a@b.c", actor=CLI)
        record(session, CLI, "user.renamed", Subject(user_id=999))
        with pytest.raises(IntegrityError, match="fk_events_user_id"):
            await session.commit()
    assert await pool.fetchval("SELECT count(*) FROM users") == 0
