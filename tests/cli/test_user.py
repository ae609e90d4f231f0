from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from tests.cli.conftest import COMMAND
from tokenbalance.database.connections import open_sessions
from tokenbalance.errors import InvalidApiKey
from tokenbalance.people.callers import find_caller
from tokenbalance.people.sign_in import API_SIGN_IN, Attempt, sign_in
from tokenbalance.people.users import InvalidEmail, clean_email

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


def test_a_user_is_created_with_a_grant_and_found_in_any_case(cli: Cli) -> None:
    ada = {"id": 1, "email": "Ada@Example.com", "name": "Ada [b]", "is_superuser": False}
    funds = {"balance": 1_234_567, "held": 0, "available": 1_234_567}
    tags: list[str] = []
    expected = {**ada, "is_active": True, **funds, "tags": tags}

    created = cli.json(
        *("user", "create", " Ada@Example.com ", "--name", "Ada [b]", "--balance", "1234567")
    )

    assert created == expected
    assert cli.json("user", "show", "ADA@example.COM") == expected
    assert cli.json("user", "list") == [expected]
    # Aligned, with thousands separators, and the name as it is rather than as markup.
    assert cli("user", "list").out.splitlines() == [
        "id  email            name     is_superuser  is_active    balance  held  available  tags",
        "1   Ada@Example.com  Ada [b]  no            yes        1,234,567     0  1,234,567",
    ]


def test_an_e_mail_that_is_taken_in_other_case_is_refused(cli: Cli) -> None:
    assert cli("user", "create", "a@b.c").out == "User created: 1 a@b.c\n"

    assert "A@B.C already exists" in cli.refused("user", "create", "A@B.C", "--balance", "5")

    assert [user["balance"] for user in cli.json("user", "list")] == [0]


def test_a_user_is_disabled_and_enabled(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    assert cli.json("user", "disable", "A@b.c")["is_active"] is False
    assert cli("user", "enable", "a@b.c").out == "User enabled: 1 a@b.c\n"
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
    response = cli("user", "create", "a@b.c", "--password-stdin", stdin="abcd\n")

    assert response.code == 1
    assert response.err == "error: the password must have at least 8 characters\n"
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


async def test_a_new_password_ends_what_was_given_for_the_old_one(cli: Cli, pool: Pool) -> None:
    cli("user", "create", "a@b.c", "--password-stdin", stdin="old word\n")
    async with open_sessions(cli.settings["DATABASE_URL"]) as sessions:
        old = await sign_in(sessions, Attempt("a@b.c", "old word", ""), API_SIGN_IN)

    changed = cli.json("user", "password", "A@b.c", "--password-stdin", stdin="neü word\r\n")

    assert changed == cli.json("user", "show", "a@b.c")
    assert PasswordHasher().verify(
        await pool.fetchval("SELECT password_hash FROM users"), "neü word"
    )
    with pytest.raises(InvalidApiKey):
        await find_caller(pool, old.secret)


def test_a_password_that_cannot_be_had_is_refused(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    for email, stdin, code, line in (
        ("a@b.c", "abcd\n", 1, "the password must have at least 8 characters"),
        ("x@y.z", "long enough\n", 1, "no user has the e-mail 'x@y.z'"),
    ):
        response = cli("user", "password", email, "--password-stdin", stdin=stdin)
        assert (response.code, response.out, response.err) == (code, "", f"error: {line}\n")
    response = cli("user", "password", "a@b.c", stdin="long enough\n")
    assert (response.code, response.out) == (2, "")
    assert "--password-stdin" in response.err


def test_a_password_that_is_not_utf_8_is_not_repeated(cli: Cli) -> None:
    done = cli("createsuperuser", "a@b.c", "--password-stdin", stdin=b"secret\xff\n")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "UTF-8" in done.err
    assert "secret" not in done.err
    assert cli.json("user", "list") == []


def on_a_terminal(cli: Cli, *arguments: str, responses: list[tuple[bytes, bytes]]) -> bytes:
    """Type a response when its question has been asked; returns all that was shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cli.folder,
        env=cli.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as command:
        os.close(theirs)
        try:
            shown = b""
            for question, response in responses:
                # The last character of a question says that the program waits.
                shown += read_terminal(ours, until=question)
                os.write(ours, response + b"\n")
            shown += read_terminal(ours)
        finally:
            os.close(ours)
        assert command.wait() == 0, shown
    return shown


def read_terminal(terminal: int, until: bytes | None = None) -> bytes:
    """What is shown up to and including `until`; to the end of the program if it is None."""
    shown = b""
    while until is None or not shown.endswith(until):
        try:
            byte = os.read(terminal, 1)
        except OSError:  # how Linux says that nobody has the other side open
            byte = b""
        if not byte:
            assert until is None, shown
            break
        shown += byte
    return shown


async def test_on_a_terminal_createsuperuser_asks_twice_and_shows_nothing(
    cli: Cli, pool: Pool
) -> None:
    questions = (b"Password (empty for none): ", b"Repeat for confirmation: ")

    shown = on_a_terminal(
        *(cli, "createsuperuser", "root@b.c"),
        responses=[(questions[0], b"pass word"), (questions[1], b"pass word")],
    )
    without = on_a_terminal(
        *(cli, "createsuperuser", "none@b.c"),
        responses=[(questions[0], b""), (questions[1], b"")],
    )
    assert b"none@b.c cannot sign in until" in without
    on_a_terminal(
        *(cli, "user", "password", "root@b.c"),
        responses=[
            (b"New password: ", b"a typo"),
            (b"Repeat for confirmation: ", b"other word"),
            (b"New password: ", b"other word"),
            (b"Repeat for confirmation: ", b"other word"),
        ],
    )

    assert b"pass word" not in shown
    assert b"User created: 1 root@b.c" in shown
    rows = await pool.fetch("SELECT password_hash FROM users ORDER BY id")
    assert PasswordHasher().verify(rows[0]["password_hash"], "other word")
    assert rows[1]["password_hash"] is None


async def test_without_a_terminal_createsuperuser_asks_nothing(cli: Cli, pool: Pool) -> None:
    response = cli("createsuperuser", "root@b.c", stdin="not a password\n")
    assert (response.code, response.out) == (0, "User created: 1 root@b.c\n")
    assert "root@b.c cannot sign in until" in response.err
    assert await pool.fetchval("SELECT password_hash FROM users") is None
