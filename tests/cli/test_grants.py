"""Grants and allowances by command: one line for "20,000 every Monday"."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.grants import LATER, end

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


async def test_a_grant_is_made_listed_and_ends(cli: Cli, pool: Pool) -> None:
    cli("user", "create", "a@b.c", "--balance", "100")
    options = ("--expires", LATER.isoformat(), "--priority", "7", "--note", "May")
    (made,) = cli.json("grant", "add", "A@b.c", "1,000", *options)
    assert (made["remaining"], made["priority"], made["note"]) == (1000, 7, "May")
    assert datetime.fromisoformat(made["expires_at"]) == LATER
    listed = cli.json("grant", "list", "a@b.c")
    assert [row["remaining"] for row in listed] == [1000, 100]
    assert len(cli("grant", "list", "a@b.c").out.splitlines()) == 3
    await end(pool, made["id"])
    assert cli.json("balance", "show", "a@b.c")["balance"] == 100


def test_20000_every_monday_is_one_line(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    (made,) = cli.json("allowance", "set", "a@b.c", "20,000", "--every", "week")
    assert datetime.fromisoformat(made["next_at"]).weekday() == 0
    assert cli.json("balance", "show", "a@b.c")["balance"] == 20_000
    until = ("--until", LATER.isoformat())
    (again,) = cli.json(
        "allowance", "set", "a@b.c", "30000", "--every", "week", "--rollover", "5", *until
    )
    assert (again["id"], again["amount"], again["rollover_max"]) == (made["id"], 30_000, 5)
    assert cli.json("balance", "show", "a@b.c")["balance"] == 20_000
    (daily,) = cli.json("allowance", "set", "a@b.c", "10", "--every", "day")
    assert [row["id"] for row in cli.json("allowance", "list", "a@b.c")] == [
        made["id"],
        daily["id"],
    ]
    assert "Name one of the allowances" in cli("allowance", "remove", "a@b.c").err
    cli("allowance", "remove", "a@b.c", str(daily["id"]))
    cli("allowance", "remove", "a@b.c")
    assert cli.json("allowance", "list", "a@b.c") == []
    assert "The account has no allowance" in cli("allowance", "remove", "a@b.c").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grant", "add", "a@b.c", "0"), "a grant must be at least 1 credit"),
        (("grant", "add", "a@b.c", "5", "--expires", "2020-01-01"), "must be in the future"),
        (("allowance", "set", "a@b.c", "5", "--every", "year"), "day, week, month"),
    ],
)
def test_what_makes_no_sense_is_refused(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    cli("user", "create", "a@b.c")
    assert said in cli(*arguments).err
