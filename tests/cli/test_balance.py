from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.books import create_holder, placed
from tokenbalance.books.ledger.book import Book

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


def test_balances_are_set_and_added_to_and_the_ledger_tells_how(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "100")
    left = {"user": 1, "held": 0, "overdraft": 0, "kept_for_holds": 0}

    added = cli.json("balance", "add", "A@b.c", "50", "--note", "paid in ü")
    taken = cli.json("balance", "add", "a@b.c", "-20", "--note", "typo")
    also_taken = cli("balance", "add", "--json", "a@b.c", "--", "-5")
    was_set = cli.json("balance", "set", "a@b.c", "1000")
    again = cli.json("balance", "set", "a@b.c", "1000")

    for response, balance in (
        *(
            (added, 150),
            (taken, 130),
            (orjson.loads(also_taken.out), 125),
            (was_set, 1000),
            (again, 1000),
        ),
    ):
        assert response == {**left, "balance": balance, "available": balance}
    shown = cli("balance", "show", "a@b.c").out.split()
    assert shown[-5:] == ["a@b.c", "1,000", "0", "1,000", "0"]

    entries = cli.json("ledger", "list", "A@B.c")
    assert [
        (entry["kind"], entry["amount"], entry["balance_after"], entry["note"]) for entry in entries
    ] == [
        ("grant", 100, 100, ""),
        ("top-up", 50, 150, "paid in ü"),
        ("adjustment", -20, 130, "typo"),
        ("adjustment", -5, 125, ""),
        ("set", 875, 1000, ""),
        ("set", 0, 1000, ""),
    ]
    assert {(entry["actor"], entry["request_id"], entry["estimated"]) for entry in entries} == {
        ("cli", None, False)
    }
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    offset = datetime.fromisoformat(entries[0]["created_at"]).utcoffset()
    assert offset == timedelta(0)
    assert len(cli("ledger", "list", "a@b.c").out.splitlines()) == 1 + len(entries)


def test_what_an_account_cannot_have_is_refused_and_nothing_is_written(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "10")

    assert "-1" in cli.refused("balance", "add", "a@b.c", "-11")
    assert "-7" in cli.refused("balance", "set", "a@b.c", "-7")
    assert "9,007,199,254,740,991" in cli.refused("balance", "set", "a@b.c", "9" * 30)
    assert "'x@y.z'" in cli.refused("balance", "add", "x@y.z", "1")

    assert len(cli.json("ledger", "list", "a@b.c")) == 1


async def test_what_running_requests_hold_stays_and_is_told(cli: Cli, pool: Pool) -> None:
    holder = await create_holder(pool, 1000)
    email = cli.json("user", "list")[0]["email"]
    hold = await placed(Book(pool), holder, "tb_1", 200)

    was_set = cli("balance", "set", email, "0")
    taken = cli.json("balance", "add", email, "-1")

    assert was_set.out.split()[-5:] == [email, "200", "200", "0", "0"]
    assert was_set.err == (
        "200 credits stayed: requests in flight hold them. Set the balance again when those"
        " requests have ended\n"
    )
    assert (taken["balance"], taken["kept_for_holds"]) == (200, 1)
    await Book(pool).void(hold)
    assert cli("balance", "set", email, "0").err == ""
    assert cli("ledger", "verify").code == 0


def test_an_overdraft_is_set_and_shown(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "10")

    was_set = cli.json("balance", "overdraft", "a@b.c", "1,500", "--note", "May")

    funds = {"user": 1, "balance": 10, "held": 0, "available": 1510, "overdraft": 1500}
    assert was_set == {**funds, "kept_for_holds": 0}
    assert cli.json("balance", "show", "a@b.c") == funds
    assert cli.json("ledger", "list", "a@b.c")[-1]["note"] == "overdraft set from 0 to 1,500: May"
    cli("balance", "add", "a@b.c", "-110")
    assert "at least 100 credits" in cli.refused("balance", "overdraft", "a@b.c", "99")
    assert "0 to 9,007" in cli.refused("balance", "overdraft", "a@b.c", "-1")


@pytest.mark.parametrize("text", ["abc", "1.5", "1e3", "", "--5", "1 000", ",1", "٣"])
def test_what_is_no_amount_is_told_in_words(cli: Cli, text: str) -> None:
    for command in (
        ("balance", "set", "a@b.c", text),
        ("balance", "overdraft", "a@b.c", text),
        ("ledger", "refund", "tb_1", "--amount", text),
        ("user", "create", "a@b.c", "--balance", text),
    ):
        response = cli(*command)
        assert response.code == 2
        if text != "--5":
            assert "must be a whole number of credits, such as 1000" in response.err


def test_an_amount_of_any_length_is_refused_as_too_large(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "1,000")
    for command in (("set", "a@b.c"), ("add", "a@b.c")):
        assert "9,007,199,254,740,991" in cli.refused("balance", *command, "9" * 5000)
    assert cli.json("balance", "show", "a@b.c")["balance"] == 1000
