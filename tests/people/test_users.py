from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.books import create_holder, hold_states, placed
from tests.support.locks import until_waiting
from tokenbalance.books.ledger.book import Book
from tokenbalance.database.paging import InvalidCursor, cursor
from tokenbalance.model import CLI, Usage
from tokenbalance.people.users import (
    Changes,
    InvalidName,
    LastSuperuser,
    UnknownUser,
    UserError,
    create_user,
    find_user,
    get_user,
    list_users,
    set_active,
    update_user,
    users_page,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow

    Create = Callable[..., Awaitable[UserRow]]


async def test_a_user_is_found_by_id_with_the_account(sessions: Sessions, create: Create) -> None:
    user = await create("ada@example.com", name="Ada")
    async with sessions.begin() as session:
        found = await get_user(session, user.id)
        assert (found.email, found.account.available) == ("ada@example.com", 0)
        for unknown in (user.id + 1, 0, -1, 2**63, 10**30):
            with pytest.raises(UnknownUser, match=f"no user has the id {unknown}"):
                await get_user(session, unknown)


async def emails(sessions: Sessions, search: str) -> list[str]:
    async with sessions() as session:
        page = await users_page(session, search, None, 100)
    assert not page.has_more
    return [user.email for user in page.data]


async def test_search_takes_what_is_typed_as_text(sessions: Sessions, create: Create) -> None:
    await create("ada@example.com", name="Ada Lövelace")
    await create("a_b@example.com", name="100%")
    await create("bob@example.org", name=r"back\slash and /")

    assert await emails(sessions, "") == ["ada@example.com", "a_b@example.com", "bob@example.org"]
    assert await emails(sessions, " ADA@ ") == ["ada@example.com"]
    assert await emails(sessions, "LÖVE") == ["ada@example.com"]
    assert await emails(sessions, "a_b") == ["a_b@example.com"]
    assert await emails(sessions, "d_@") == []
    assert await emails(sessions, "%") == ["a_b@example.com"]
    assert await emails(sessions, "k\\s") == ["bob@example.org"]
    assert await emails(sessions, "/") == ["bob@example.org"]
    for nobody in ("a\0", "\0", "\udc80", "x" * 10**6, "'; DROP TABLE users; --"):
        assert await emails(sessions, nobody) == []


async def test_pages_follow_each_other(sessions: Sessions, create: Create) -> None:
    for number in range(5):
        await create(f"{number}@example.com", name="even" if number % 2 == 0 else "odd")
    seen: list[str] = []
    after = None
    async with sessions() as session:
        while True:
            page = await users_page(session, "EVEN", after, 2)
            assert len(page.data) <= 2
            seen += [f"{user.email} {user.account.balance}" for user in page.data]
            after = page.next
            if after is None:
                break
        assert seen == ["0@example.com 0", "2@example.com 0", "4@example.com 0"]
        for bad in ("x", cursor(("x",)), cursor((2**63,)), "\0", "ü", ""):
            with pytest.raises(InvalidCursor):
                await users_page(session, "", bad, 2)


async def test_only_what_is_named_is_changed(sessions: Sessions, create: Create) -> None:
    user = await create("ada@example.com", name="Ada", password_hash="!")
    async with sessions.begin() as session:
        await update_user(session, user.id, Changes(), actor=CLI)
        await update_user(session, user.id, Changes(name=" Countess "), actor=CLI)
        await update_user(session, user.id, Changes(is_superuser=True), actor=CLI)
    async with sessions.begin() as session:
        changed = await get_user(session, user.id)
        state = (changed.name, changed.is_active, changed.is_superuser, changed.has_password)
        assert state == ("Countess", True, True, True)
        await update_user(session, user.id, Changes(name=""), actor=CLI)
        with pytest.raises(InvalidName):
            await update_user(session, user.id, Changes(name="a\0b", is_active=False), actor=CLI)
        with pytest.raises(UnknownUser):
            await update_user(session, 10**30, Changes(name="x"), actor=CLI)
        # Even where the caller goes on and commits.
    async with sessions() as session:
        changed = await get_user(session, user.id)
        assert (changed.name, changed.is_active) == ("", True)
    assert "hash" not in repr(Changes(password_hash="$argon2id$"))


@pytest.mark.parametrize("change", [Changes(is_active=False), Changes(is_superuser=False)])
async def test_the_last_active_superuser_stays(
    sessions: Sessions, create: Create, change: Changes
) -> None:
    last = await create("root@example.com", is_superuser=True)
    other = await create("off@example.com", is_superuser=True)
    user = await create("user@example.com")
    async with sessions.begin() as session:
        await set_active(session, other.email, active=False, actor=CLI)
        with pytest.raises(LastSuperuser):
            await update_user(session, last.id, change, actor=CLI)
        await update_user(session, user.id, change, actor=CLI)
        await update_user(session, other.id, change, actor=CLI)
        await update_user(session, last.id, Changes(name="Root"), actor=CLI)
    async with sessions.begin() as session:
        found = await get_user(session, last.id)
        assert (found.is_active, found.is_superuser) == (True, True)
        # Whoever has the command line can make another.
        await set_active(session, last.email, active=False, actor=CLI)


async def test_superusers_who_demote_each_other_at_once_leave_one(
    sessions: Sessions, pool: Pool, create: Create
) -> None:
    ids = [(await create(f"{n}@example.com", is_superuser=True)).id for n in range(3)]

    async def demote(user_id: int) -> None:
        async with sessions.begin() as session:
            await update_user(session, user_id, Changes(is_superuser=False), actor=CLI)

    async with pool.acquire() as connection, connection.transaction():
        # Until all of them are at the first superuser's row, none gets past it.
        await connection.execute("SELECT FROM users ORDER BY id LIMIT 1 FOR UPDATE")
        demotions = [asyncio.create_task(demote(user_id)) for user_id in ids]
        await until_waiting(pool, demotions)
    outcomes = await asyncio.gather(*demotions, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes].count(LastSuperuser) == 1
    assert outcomes.count(None) == 2
    assert await pool.fetchval("SELECT count(*) FROM users WHERE is_superuser") == 1


async def test_what_a_disabled_user_has_in_progress_is_settled(
    sessions: Sessions, pool: Pool
) -> None:
    holder = await create_holder(pool, 100)
    book = Book(pool)
    hold = await placed(book, holder, "tb_1", 80)

    async with sessions.begin() as session:
        await update_user(session, holder.user_id, Changes(is_active=False), actor=CLI)
    charge = await book.settle(hold, Usage({"input": 30}, total=30))

    assert charge
    assert (charge.amount, charge.balance) == (30, 70)
    assert await hold_states(pool, holder) == ["settled"]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    local=st.text(st.characters(), max_size=30),
    name=st.text(st.characters(), max_size=300),
)
async def test_what_is_no_e_mail_or_name_is_refused_before_the_database_sees_it(
    sessions: Sessions, local: str, name: str
) -> None:
    async with sessions() as session:
        # Undone at the end.
        try:
            user = await create_user(session, email=f"{local}@example.com", name=name, actor=CLI)
        except UserError:
            pass
        else:
            assert (await find_user(session, user.email)).id == user.id
        for text in (local, name):
            await users_page(session, text, None, 1)
            with pytest.raises(UnknownUser):
                await find_user(session, text + " ")


async def test_a_megabyte_is_neither_an_e_mail_nor_a_name(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        for email, name in (("a@" + "b" * 10**6, ""), ("a@b.c", "x" * 10**6)):
            with pytest.raises(UserError):
                await create_user(session, email=email, name=name, actor=CLI)
        with pytest.raises(UnknownUser):
            await find_user(session, "a@" + "b" * 10**6)
        assert await list_users(session) == []


async def test_an_error_of_the_database_does_not_repeat_what_it_was_given(
    sessions: Sessions,
) -> None:
    secret = "a-password-hash"
    statement = text("SELECT CAST(:secret AS text), 1 / CAST(:zero AS int)")
    async with sessions() as session:
        with pytest.raises(DBAPIError) as refusal:
            await session.execute(statement, {"secret": secret, "zero": 0})
    assert "division by zero" in str(refusal.value)
    assert secret not in "".join(traceback.format_exception(refusal.value))
