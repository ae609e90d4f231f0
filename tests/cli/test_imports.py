"""`tokenbalance user import` and `tokenbalance tag`."""

from __future__ import annotations

import csv
import stat
from typing import TYPE_CHECKING

import orjson
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool

TABLE = "email,name,credits,tag\nann@x.org,Ann,5,cs101\nbob@x.org,Bob,,cs101\n"


async def test_a_table_is_tried_and_then_imported_to_a_private_file(cli: Cli, pool: Pool) -> None:
    file, output = cli.folder / "class.csv", cli.folder / "keys.csv"
    _ = file.write_text(TABLE, "utf-8")
    tried = cli("user", "import", "class.csv", "--dry-run", "--set", "credits=7")
    assert (tried.code, tried.out) == (0, "")
    assert tried.err == (
        "2 users would be created; 12 credits in all\n0 errors; nothing was changed\n"
    )
    assert await pool.fetchval("SELECT count(*) FROM users") == 0
    arguments = ("user", "import", "class.csv", "--set", "credits=7", "--output", "keys.csv")
    done = cli(*arguments)
    assert (done.code, done.out) == (0, "")
    assert done.err == "2 users created; 12 credits in all\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    ann, bob = csv.DictReader(output.read_text("utf-8").splitlines())
    assert (ann["email"], bob["name"]) == ("ann@x.org", "Bob")
    assert ann["key"].startswith("sk-tb-")
    assert [row["balance"] for row in cli.json("user", "list", "--tag", "CS101")] == [5, 7]
    # A file that is there is kept, and nobody is created.
    again = cli(*arguments)
    assert (again.code, "File exists" in again.err) == (2, True)
    assert ann["key"] in output.read_text("utf-8")


def test_errors_are_told_by_line_and_leave_no_file(cli: Cli) -> None:
    table = TABLE + "bob@x.org,,x,\n"
    tried = cli("user", "import", "-", "--dry-run", stdin=table)
    assert tried.code == 1
    assert tried.err.splitlines() == [
        "error: line 4, credits: must be a whole number from 1 to 9,007,199,254,740,991",
        "error: line 4, email: is on line 3 already",
        "2 errors; nothing was changed",
    ]
    document = orjson.loads(cli("user", "import", "-", "--dry-run", "--json", stdin=table).out)
    assert [(one["line"], one["field"]) for one in document["errors"]] == [
        (4, "credits"),
        (4, "email"),
    ]
    done = cli("user", "import", "-", "--output", "keys.csv", stdin=table)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.endswith("and 1 more\n")
    assert not (cli.folder / "keys.csv").exists()
    assert cli.json("user", "list") == []


def test_links_are_below_the_address_that_is_given(cli: Cli) -> None:
    url = ("--links", "--base-url", "https://proxy.example.com/")
    document = cli.json("user", "import", "-", *url, stdin="ann@x.org\n")
    (user,) = document["users"]
    assert user["link"].startswith("https://proxy.example.com/welcome/")
    assert (document["new"], user["email"], user["line"]) == (1, "ann@x.org", 1)
    assert cli("user", "import", "-", "--links", stdin="b@x.org\n").code == 2
    assert cli("user", "import", "-", "--links", "--keys", stdin="b@x.org\n").code == 2
    assert cli("user", "import", "-", "--set", "tag", stdin="b@x.org\n").code == 2
    assert cli("user", "import", "missing.csv").code == 2


@pytest.mark.parametrize(("existing", "balance"), [("skip", 5), ("add", 10)])
def test_who_is_there_already_is_left_out_or_added_to(
    cli: Cli, existing: str, balance: int
) -> None:
    _ = cli.json("user", "import", "-", stdin=TABLE)
    refused = cli("user", "import", "-", stdin=TABLE)
    assert "line 2, email: a user with this e-mail already exists, and 1 more" in refused.err
    document = cli.json("user", "import", "-", "--existing", existing, stdin=TABLE)
    assert document["new"] == 0
    assert cli.json("balance", "show", "ann@x.org")["balance"] == balance


def test_everybody_with_a_tag_is_credited_disabled_and_enabled(cli: Cli) -> None:
    _ = cli.json("user", "import", "-", stdin=TABLE)
    _ = cli("createsuperuser", "root@x.org")
    assert (
        cli("user", "tag", "root@x.org", "CS101", "x").out
        == "Tags are now cs101, x: 3 root@x.org\n"
    )
    assert cli.json("user", "tag", "root@x.org", "x", "--remove")["tags"] == ["cs101"]
    assert "a tag must have" in cli.refused("user", "tag", "root@x.org", "a b")
    row = {"tag": "cs101", "users": 3, "disabled": 0, "balance": 5}
    assert cli.json("tag", "list") == [row]
    credited = cli("tag", "credit", "cs101", "1,000", "--note", "week 3")
    assert credited.out == "1,000 credits added to 3 users: 3,000 in all\n"
    entry = cli.json("ledger", "list", "bob@x.org")[-1]
    assert (entry["kind"], entry["amount"], entry["note"]) == ("top-up", 1000, "week 3")
    disabled = cli("tag", "disable", "cs101")
    assert (disabled.out, disabled.err) == ("2 users disabled\n", "1 superuser left as they are\n")
    assert [user["is_active"] for user in cli.json("user", "list")] == [False, False, True]
    assert cli.json("tag", "enable", "cs101") == {"changed": 2, "superusers": 1}
    assert "no user has the tag nobody" in cli.refused("tag", "credit", "nobody", "1")
    assert "at least 1 credit" in cli.refused("tag", "credit", "cs101", "0")
    everything = ("usage", "export", "--since", "2020-01-01")
    assert cli(*everything, "--tag", "cs101").out.startswith("created_at,")
    assert cli(*everything, "--tag", "nobody").code == 1
