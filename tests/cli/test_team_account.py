"""What a team pays with, and what limits it: `--team` in place of EMAIL."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import page
from tests.support.books import Holder
from tests.support.days import midnight
from tests.support.refused import refuse
from tests.support.usage import Used, use

if TYPE_CHECKING:
    from tests.cli.conftest import Cli
    from tokenbalance.database.connections import Pool


@pytest.fixture
def crew(cli: Cli) -> int:
    """A team with an owner and a member."""
    for email in ("ann@b.c", "bob@b.c"):
        cli("user", "create", email, "--balance", "50")
    team: int = cli.json("team", "create", "Crew", "--owner", "ann@b.c", "--balance", "100")["id"]
    cli("team", "member", "add", "Crew", "bob@b.c")
    return team


def test_a_team_has_a_balance_grants_and_an_allowance(cli: Cli, crew: int) -> None:
    team = ("--team", "crew")
    added = cli.json("balance", "add", *team, "40", "--note", "May")
    assert (added["account_id"], added["team"], added["balance"]) == (crew, "Crew", 140)
    assert cli.json("balance", "add", "-15", *team)["balance"] == 125
    assert "120" in cli("balance", "add", "--team", str(crew), "--", "-5").out.split()
    assert cli.json("balance", "set", "90", *team)["balance"] == 90
    assert cli.json("balance", "overdraft", "10", *team)["available"] == 100
    assert cli("balance", "show", *team).out.split()[-5:] == ["Crew", "90", "0", "100", "10"]
    cli.json("grant", "add", "7", *team, "--expires", "2099-01-01")
    assert [row["remaining"] for row in cli.json("grant", "list", *team)] == [7, 90]
    (made,) = cli.json("allowance", "set", "3", *team, "--every", "week")
    assert [row["id"] for row in cli.json("allowance", "list", *team)] == [made["id"]]
    cli("allowance", "remove", *team)
    assert cli("allowance", "remove", *team).err == "error: The account has no allowance\n"
    kinds = [entry["kind"] for entry in cli.json("ledger", "list", *team)]
    assert kinds == ["grant", "top-up", "adjustment", "adjustment", "set", "set", "grant", "grant"]
    assert cli.json("balance", "show", "ann@b.c")["balance"] == 50
    assert cli("ledger", "verify").code == 0


def test_keys_of_a_team_have_a_member_or_are_for_a_service(cli: Cli, crew: int) -> None:
    own = cli.json("key", "create", "BOB@b.c", "--team", "Crew", "--name", "laptop")
    service = cli("key", "create", "--team", "Crew", "--service")
    assert service.out.startswith("sk-tb-")
    cli("key", "create", "bob@b.c")
    listed = cli.json("team", "keys", "Crew")
    assert [(row["team_id"], row["email"], row["name"]) for row in listed] == [
        (crew, "bob@b.c", "laptop"),
        (crew, "", ""),
    ]
    assert cli.json("key", "list", "--team", "Crew") == listed
    assert cli("team", "keys", "Crew").out == cli("key", "list", "--team", "Crew").out
    assert len(cli.json("key", "list", "bob@b.c")) == 1
    refused = cli.refused("key", "create", "bob@b.c", "--team", "Crew", "--scope", "manage")
    assert "cannot have the scope manage" in refused
    assert cli.json("key", "revoke-all", "--team", "Crew") == {"revoked": 2}
    shown = cli.json("key", "show", str(own["id"]))
    assert (shown["team_id"], shown["revoked_at"] is None) == (crew, False)


def test_no_key_of_a_team_is_made_that_would_not_work(cli: Cli, crew: int) -> None:
    cli("team", "member", "set", "Crew", "bob@b.c", "--role", "viewer")
    assert "viewers of a team have no keys" in cli.refused(
        "key", "create", "bob@b.c", "--team", "Crew"
    )
    cli("team", "project", "add", "Crew", "web")
    cli("team", "project", "archive", "Crew", "web")
    service = ("key", "create", "--team", str(crew), "--service")
    assert "this project is archived" in cli.refused(*service, "--project", "web")
    cli("team", "close", "Crew")
    assert "was deleted" in cli.refused(*service)
    assert cli.json("team", "keys", str(crew)) == []


def test_limits_and_budgets_bind_a_team_a_member_or_a_project(cli: Cli, crew: int) -> None:
    team = ("--team", "Crew")
    member, project = ("--member", "bob@b.c"), ("--project", "web")
    number = cli.json("team", "project", "add", "Crew", "web")["id"]
    user = cli.json("user", "show", "bob@b.c")["id"]
    told = cli("limit", "set", *team, "credits_per_day=9", "--time-zone", "Asia/Tokyo").out
    assert told == f"Account {crew}, Asia/Tokyo: credits_per_day=9\n"
    told = cli("limit", "set", *team, *member, "credits_per_day=5").out
    assert told == "Member bob@b.c: credits_per_day=5\n"
    assert cli.json("limit", "set", *team, *project, "parallel_requests=2")["id"] == number
    every = ("--every", "week")
    told = cli("budget", "add", *team, "70", *every).out
    assert told.endswith("week, 70 credits every week, account\n")
    assert cli.json("budget", "add", *team, "50", *every, *member)["member_id"] == user
    made = cli.json("budget", "add", *team, "60", *every, *project)
    assert (made["project_id"], made["key_id"], made["member_id"]) == (number, None, None)
    left = cli.json("limit", "show", *team)
    assert (left["account_id"], left["user_id"], left["time_zone"]) == (crew, None, "Asia/Tokyo")
    assert [(row["subject"], row["name"], row["remaining"]) for row in left["data"]] == [
        ("account", "credits_per_day", 9),
        ("account", "budget:week", 70),
        (f"project:{number}", "parallel_requests", 2),
        (f"project:{number}", "budget:week", 60),
        (f"member:{user}", "credits_per_day", 5),
        (f"member:{user}", "budget:week", 50),
    ]
    shown = cli("limit", "show", *team).out
    assert ("member bob@b.c" in shown, "project web" in shown) == (True, True)
    assert "Budget removed" in cli("budget", "remove", str(made["id"]), *team).out
    assert [row["amount"] for row in cli.json("budget", "list", *team)] == [70, 50]


async def test_credits_move_between_users_and_teams(cli: Cli, pool: Pool, crew: int) -> None:
    moved = cli.json("transfer", "ann@b.c", "Crew", "20", "--note", "lunch")
    sent, received = moved["sent"], moved["received"]
    assert (sent["kind"], sent["amount"], sent["balance_after"]) == ("transfer", -20, 30)
    assert (received["account_id"], received["amount"]) == (crew, 20)
    assert received["balance_after"] == 120
    ids = await pool.fetch("SELECT transfer_id FROM ledger WHERE kind = 'transfer'")
    assert [str(row["transfer_id"]) for row in ids] == [moved["id"]] * 2
    table = cli("transfer", str(crew), "BOB@b.c", "5").out.splitlines()
    assert [line.split()[0] for line in table] == ["account", "Crew", "bob@b.c"]
    assert "at most 30 credits can be moved" in cli.refused("transfer", "ann@b.c", "Crew", "31")
    assert "another account" in cli.refused("transfer", "Crew", str(crew), "1")
    assert cli.json("balance", "show", "--team", "Crew")["balance"] == 115
    assert cli("ledger", "verify").code == 0


async def test_what_a_team_uses_and_is_told_of_is_its_own(cli: Cli, pool: Pool, crew: int) -> None:
    key = cli.json("key", "create", "bob@b.c", "--team", "Crew")
    own = cli.json("key", "create", "bob@b.c")
    _ = await use(pool, Holder(key["user_id"], crew, key["id"], key["key"]), Used(tokens=7))
    cli("team", "member", "remove", "Crew", "bob@b.c")
    entries = cli.json("ledger", "list", "--team", "Crew")
    assert [(row["kind"], row["email"]) for row in entries] == [
        ("grant", ""),
        ("charge", "bob@b.c"),
    ]
    assert "bob@b.c" in cli("ledger", "list", "--team", "Crew").out
    account = cli.json("limit", "show", "bob@b.c")["account_id"]
    holder = Holder(own["user_id"], account, own["id"], own["key"])
    _ = await use(pool, holder, Used(tokens=12, at=midnight()))
    await refuse(pool, crew, key["id"], "insufficient_quota", 3)
    export = ("usage", "export", "--since", str(midnight().date()))
    assert cli(*export, "--user", "bob@b.c").out.count("\n") == 2
    assert cli(*export, "--team", "Crew").out.count("\n") == 2
    _ = await pool.execute(
        "INSERT INTO alerts (account_id, event, data) VALUES ($1, 'balance.empty', '{}')", crew
    )
    (alert,) = cli.json("alert", "list", "--team", "Crew")
    assert (alert["event"], cli.json("alert", "list")) == ("balance.empty", [])
    assert cli("alert", "below", "--team", "Crew", "9", "1").out == "9, 1\n"
    assert cli.json("objects", "list", "--team", "Crew") == []
    (refused,) = cli.json("usage", "refusals", "--team", "Crew")
    assert (refused["key_id"], refused["count"]) == (key["id"], 3)


def test_the_team_of_five_in_the_pages_is_made_as_they_say(cli: Cli) -> None:
    for name in ("you", "ann", "bob", "cy", "dora"):
        cli("user", "create", f"{name}@example.com", "--balance", "600")
    section = page("docs/administer.md").section("A team of five with budgets")
    commands = re.findall(r"(?:^|\$\()tokenbalance ([^)\n]+)", section, re.MULTILINE)
    assert len(commands) == section.count("tokenbalance ")
    said = {command: cli(*shlex.split(command)) for command in commands}
    assert {command: one.err for command, one in said.items() if one.code} == {}
    left = cli.json("limit", "show", "--team", "Research")["data"]
    assert [(row["subject"][:7], row["amount"]) for row in left] == [
        ("account", 5000),
        ("project", 3000),
        *[("member:", 2000)] * 4,
    ]
    keys = cli.json("team", "keys", "Research")
    assert [row["revoked_at"] is None for row in keys] == [False, True]
    assert cli.json("balance", "show", "--team", "Research")["balance"] == 10_500
