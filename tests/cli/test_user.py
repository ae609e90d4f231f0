from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from tokenbalance.accounts.users import InvalidEmail, clean_email

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


def test_a_user_is_created_with_a_grant_and_found_in_any_case(cli: Cli) -> None:
    ada = {"id": 1, "email": "Ada@Example.com", "name": "Ada [b]", "is_superuser": False}
    funds = {"balance": 1_234_567, "held": 0, "available": 1_234_567}
    expected = {**ada, "is_active": True, **funds}

    created = cli.json(
        *("user", "create", " Ada@Example.com ", "--name", "Ada [b]", "--balance", "1234567")
    )

    assert created == expected
    assert cli.json("user", "show", "ADA@example.COM") == expected
    assert cli.json("user", "list") == [expected]
    # Aligned, with thousands separators, and the name as it is rather than as markup.
    assert cli("user", "list").out.splitlines() == [
        "id  email            name     is_superuser  is_active    balance  held  available",
        "1   Ada@Example.com  Ada [b]  no            yes        1,234,567     0  1,234,567",
    ]


def test_an_e_mail_that_is_taken_in_other_case_is_refused(cli: Cli) -> None:
    assert cli("user", "create", "a@b.c").out == "created user 1 a@b.c\n"

    assert "A@B.C exists already" in cli.refused("user", "create", "A@B.C", "--balance", "5")

    assert [user["balance"] for user in cli.json("user", "list")] == [0]


def test_a_user_is_disabled_and_enabled(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    assert cli.json("user", "disable", "A@b.c")["is_active"] is False
    assert cli("user", "enable", "a@b.c").out == "enabled user 1 a@b.c\n"
    assert cli.json("user", "show", "a@b.c")["is_active"] is True
    assert "'nobody@b.c'" in cli.refused("user", "disable", "nobody@b.c")


async def test_a_password_is_one_line_and_stored_as_argon2(cli: Cli, pool: Pool) -> None:
    created = cli.json(
        "createsuperuser", "root@b.c", "--password-stdin", stdin="pass word\nnot this\n"
    )

    assert created["is_superuser"] is True
    stored = await pool.fetchval("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$")
    assert PasswordHasher().verify(stored, "pass word")


async def test_a_short_password_creates_nobody(cli: Cli, pool: Pool) -> None:
    answer = cli("user", "create", "a@b.c", "--password-stdin", stdin="abcd\n")

    assert answer.code == 1
    assert answer.err == "error: a password has at least 5 characters\n"
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@b.c", "a@", "a@b@c", "a b@c", "a@b\tc", "a@b\0c", "a@b.\udc80", "a@" + "b" * 253],
)
def test_what_cannot_be_an_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidEmail):
        clean_email(email)


def test_the_longest_address_is_accepted() -> None:
    assert clean_email("é@" + "b" * 252) == "é@" + "b" * 252
