"""Sign-in tokens by command, and an end to waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.database.connections import open_sessions
from tokenbalance.errors import InvalidApiKey
from tokenbalance.people import sign_in as signing_in
from tokenbalance.people.callers import find_caller
from tokenbalance.people.sign_in import API_SIGN_IN, Attempt, WrongCredentials, sign_in

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

EMAIL = "ada@example.com"


@pytest.fixture(autouse=True)
def _responses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_in, "FAILURE_RESPONSE_AFTER_S", 0.001)


async def test_a_user_s_sign_ins_are_listed_and_ended(cli: Cli, pool: Pool) -> None:
    cli("user", "create", EMAIL, "--password-stdin", stdin="analytical\n")
    attempt = Attempt(EMAIL, "analytical", "192.0.2.1", "curl/8.5.0")
    async with open_sessions(cli.settings["DATABASE_URL"]) as sessions:
        one, two = [await sign_in(sessions, attempt, API_SIGN_IN) for _ in range(2)]

    listed = cli.json("sign-in", "list", EMAIL.upper())
    assert [token["agent"] for token in listed] == ["curl/8.5.0"] * 2
    assert {(token["via"], token["address"]) for token in listed} == {("api", "192.0.2.1")}
    lines = cli("sign-in", "list", EMAIL).out.splitlines()
    assert lines[0].split()[:4] == ["id", "via", "agent", "address"]
    token_id = str(listed[1]["id"])
    assert cli("sign-in", "end", token_id).out == f"Sign-in token ended: {token_id}\n"
    assert "no sign-in token" in cli.refused("sign-in", "end", token_id)
    assert cli.json("sign-in", "end", str(listed[0]["id"])) == listed[0]
    for ended in (one, two):
        with pytest.raises(InvalidApiKey):
            await find_caller(pool, ended.secret)
    assert cli.json("sign-in", "list", EMAIL) == []


async def test_who_is_kept_waiting_is_unlocked(cli: Cli, pool: Pool) -> None:
    cli("user", "create", EMAIL, "--password-stdin", stdin="analytical\n")
    async with open_sessions(cli.settings["DATABASE_URL"]) as sessions:
        for number in range(2):
            with pytest.raises(WrongCredentials):
                await sign_in(sessions, Attempt(EMAIL, "x", f"192.0.2.{number}"), API_SIGN_IN)

    unlocked = cli("sign-in", "unlock", "ADA@example.com")
    assert unlocked.out == (
        "Failed sign-ins cleared: 2 of ada@example.com, from all addresses."
        " Counts of an address for all e-mails were kept.\n"
    )
    # Of the two addresses.
    assert await pool.fetchval("SELECT count(*) FROM sign_in_failures") == 2
    again = cli.json("sign-in", "unlock", EMAIL)
    assert again == {"id": 1, "email": EMAIL, "failures": 0}
    assert "'nobody@b.c'" in cli.refused("sign-in", "unlock", "nobody@b.c")
