"""E-mails in different forms of Unicode are one, as far as they can be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from alembic import command

from tokenbalance.database.migrate import alembic_config
from tokenbalance.people.users import (
    EmailTaken,
    InvalidEmail,
    clean_email,
    find_user,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.people.rows import UserRow

    Create = Callable[..., Awaitable[UserRow]]

FULL_WIDTH = "\uff41da@example.com"
LIGATURE = "\ufb01ona@example.com"
COMBINED, DECOMPOSED = "zo\u00eb@example.com", "zoe\u0308@example.com"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (f" {FULL_WIDTH} ", "ada@example.com"),
        (LIGATURE, "fiona@example.com"),
        (DECOMPOSED, COMBINED),
        ("ada\uff20example.com", "ada@example.com"),
        ("Ada@Example.com", "Ada@Example.com"),
    ],
)
async def test_an_e_mail_is_stored_normalised_and_found_in_every_form(
    sessions: Sessions, create: Create, typed: str, stored: str
) -> None:
    assert (await create(typed)).email == stored
    for spelling in (typed, stored, stored.upper()):
        async with sessions() as session:
            assert (await find_user(session, spelling)).email == stored
        with pytest.raises(EmailTaken):
            await create(spelling)


@pytest.mark.parametrize(
    "email", ["a\uff20b@c", "a\u00a8b@c", "\ufdfa" * 20 + "@c", "\u2000@c", "\ufdfa" * 10**5]
)
def test_what_is_no_address_once_it_is_normalised_is_refused(email: str) -> None:
    with pytest.raises(InvalidEmail):
        clean_email(email)


async def test_users_from_before_are_normalised_unless_two_would_be_one(
    dsn: str, sessions: Sessions, pool: Pool, create: Create
) -> None:
    config = alembic_config(dsn)
    await asyncio.to_thread(command.downgrade, config, "0006")
    before = [LIGATURE, "ada@example.com", FULL_WIDTH, DECOMPOSED, COMBINED.upper(), "x\uff20y@z"]
    await pool.execute("INSERT INTO users (email) SELECT unnest($1::text[])", before)
    await pool.execute("INSERT INTO accounts (user_id) SELECT id FROM users")

    await asyncio.to_thread(command.upgrade, config, "head")

    after = [row["email"] for row in await pool.fetch("SELECT email FROM users ORDER BY id")]
    assert after == ["fiona@example.com", *before[1:]]
    # Whoever signs in as before is who they were.
    for number, email in enumerate(before, start=1):
        async with sessions() as session:
            assert (await find_user(session, email)).id == number
    for email in (*before[:5], "FIONA@example.com"):
        with pytest.raises(EmailTaken):
            await create(email)
