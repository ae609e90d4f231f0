from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_balances_are_set_and_added_to_and_the_ledger_tells_how(cli: Cli) -> None:
    cli("user", "create", "a@b.c", "--balance", "100")
    left = {"user": 1, "held": 0}

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
    assert cli("balance", "show", "a@b.c").out.split()[-4:] == ["a@b.c", "1,000", "0", "1,000"]

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
