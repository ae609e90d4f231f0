"""`tokenbalance team ...`: teams, their members and projects, and links by which users join."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.cli.conftest import Cli

if TYPE_CHECKING:
    from pathlib import Path

    from tokenbalance.database.connections import Pool


def _users(cli: Cli, *emails: str) -> None:
    for email in emails:
        assert cli("user", "create", email).code == 0


def test_a_team_is_created_shown_renamed_and_closed(cli: Cli) -> None:
    _users(cli, "ann@b.c")
    made = cli.json("team", "create", " Crew ", "--owner", "ANN@b.c", "--balance", "1,000")
    assert (made["name"], made["time_zone"], made["available"]) == ("Crew", "UTC", 1000)
    assert made["credits_per_day"] is None
    team = str(made["id"])
    shown = cli.json("team", "show", "crew")
    (owner,) = shown.pop("members")
    assert shown == made
    assert (owner["email"], owner["role"], owner["disabled_at"]) == ("ann@b.c", "owner", None)
    assert cli("team", "rename", team, "Ship").out == f"Team renamed: {team} Ship\n"
    cli("team", "create", "Empty")
    assert [row["name"] for row in cli.json("team", "list")] == ["Ship", "Empty"]
    assert [row["name"] for row in cli.json("team", "list", "--search", "SHI")] == ["Ship"]
    closed = cli("team", "close", "ship")
    assert closed.out == f"Team closed: {team} Ship\n"
    assert closed.err == "1,000 credits are left: `transfer` moves them\n"
    assert "was deleted" in cli.refused("team", "rename", team, "Crew")
    assert cli.json("team", "list")[0]["closed_at"] is not None
    assert "ann@b.c" in cli("team", "show", team).out


def test_a_team_goes_by_its_id_or_by_a_name_that_no_other_has(cli: Cli) -> None:
    first = cli.json("team", "create", "Crew")["id"]
    second = cli.json("team", "create", "crew")["id"]
    twice = cli.refused("team", "show", "CREW")
    assert twice == (f"error: 2 teams have the name 'CREW': use one of the ids {first}, {second}\n")
    assert cli.json("team", "show", str(second))["name"] == "crew"
    # A closed team keeps its name from no other.
    cli("team", "close", str(first))
    assert cli.json("team", "show", "CREW")["id"] == second
    assert cli.refused("team", "show", "crews") == (
        "error: no team has the name 'crews': `team list` shows them\n"
    )
    assert cli.refused("team", "show", "9" * 30) == f"error: no team has the id {'9' * 30}\n"


async def test_members_are_added_changed_suspended_and_removed(cli: Cli, pool: Pool) -> None:
    _users(cli, "ann@b.c", "bob@b.c")
    cli("team", "create", "Crew", "--owner", "ann@b.c")
    limit = ("--limit", "credits_per_day=5")
    added = cli.json("team", "member", "add", "Crew", "BOB@b.c", *limit)
    assert (added["email"], added["role"], added["credits_per_day"]) == ("bob@b.c", "member", 5)
    told = cli("team", "member", "set", "Crew", "bob@b.c", "--role", "admin").out
    assert told == "Member changed: bob@b.c, admin, credits_per_day=5\n"
    cli("key", "create", "bob@b.c", "--team", "Crew")
    suspended = "SELECT is_suspended FROM api_keys"
    assert cli.json("team", "member", "disable", "Crew", "bob@b.c")["disabled_at"] is not None
    assert await pool.fetchval(suspended) is True
    assert cli.json("team", "member", "enable", "Crew", "bob@b.c")["disabled_at"] is None
    assert await pool.fetchval(suspended) is False
    listed = cli("team", "member", "list", "Crew").out.splitlines()
    assert [line.split()[1:3] for line in listed[1:]] == [
        ["ann@b.c", "owner"],
        ["bob@b.c", "admin"],
    ]
    assert "last owner" in cli.refused("team", "member", "remove", "Crew", "ann@b.c")
    cli("team", "member", "remove", "Crew", "bob@b.c")
    assert await pool.fetchval("SELECT revoked_at FROM api_keys") is not None
    gone = "error: bob@b.c is not a member of the team 'Crew'\n"
    assert cli.refused("team", "member", "remove", "Crew", "bob@b.c") == gone
    assert cli.refused("key", "create", "bob@b.c", "--team", "Crew") == gone
    events = [event["event"] for event in cli.json("events", "list", "--user", "bob@b.c")]
    assert [name for name in events if name.startswith("member.")] == [
        "member.added",
        *(["member.changed"] * 3),
        "member.removed",
    ]


def test_projects_group_keys_and_are_archived(cli: Cli) -> None:
    cli("team", "create", "Crew")
    added = cli.json("team", "project", "add", "Crew", "web", "--limit", "parallel_requests=2")
    assert (added["name"], added["parallel_requests"]) == ("web", 2)
    number = str(added["id"])
    key = cli.json("key", "create", "--team", "Crew", "--service", "--project", "WEB")
    assert (key["user_id"], key["project_id"]) == (None, added["id"])
    changed = cli("team", "project", "set", "Crew", number, "--name", "site").out
    assert changed == f"Project changed: {number} site, parallel_requests=2\n"
    assert cli.json("team", "project", "archive", "Crew", "Site")["archived_at"] is not None
    assert [row["is_suspended"] for row in cli.json("team", "keys", "Crew")] == [True]
    assert cli.json("team", "project", "restore", "Crew", number)["archived_at"] is None
    (row,) = cli.json("team", "keys", "Crew")
    assert (row["is_suspended"], row["project"], row["email"]) == (False, "site", "")
    assert "parallel_requests=2" in cli("team", "project", "list", "Crew").out
    assert cli.refused("team", "project", "archive", "Crew", "web") == (
        "error: the team 'Crew' has no project 'web'\n"
    )


async def test_the_link_of_an_invitation_is_printed_once(cli: Cli, pool: Pool) -> None:
    cli("team", "create", "Crew")
    base = ("--base-url", "https://proxy.example.com/")
    made = cli("team", "invite", "Crew", "New@b.c", "--role", "admin", *base)
    link = made.out.strip()
    assert link.startswith("https://proxy.example.com/invitations/")
    assert made.err == "Invitation created: 1. Its link is shown only once:\n"
    anybody = cli.json("team", "invite", "Crew")
    assert anybody["link"] == f"/invitations/{anybody['secret']}"
    listed = cli.json("team", "invitations", "Crew")
    assert [(row["email"], row["role"], row["created_by"]) for row in listed] == [
        ("New@b.c", "admin", "cli"),
        (None, "member", "cli"),
    ]
    secret = link.rpartition("/")[2]
    assert secret not in orjson.dumps(listed).decode()
    assert secret not in str(await pool.fetch("SELECT * FROM invitations"))
    assert cli("team", "withdraw", "Crew", "1").out == "Invitation withdrawn: 1\n"
    assert len(cli.json("team", "invitations", "Crew")) == 1
    assert cli("team", "invite", "Crew", "--base-url", "proxy").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("balance show", "Missing argument 'EMAIL' or option '--team'"),
        ("balance show a@b.c --team 1", "EMAIL and --team exclude each other"),
        ("balance add a@b.c 5 --team 1", "EMAIL and --team exclude each other"),
        ("balance add --team 1", "Missing argument 'N'"),
        ("limit set a@b.c models=gpt-* --team 1", "EMAIL and --team exclude each other"),
        ("limit set a@b.c models=gpt-* --member b@b.c", "--team is missing"),
        ("limit set --team 1 --member b@b.c --time-zone UTC", "a team has one time zone"),
        ("alert list --user a@b.c --team 1", "--user and --team exclude each other"),
        ("budget add a@b.c 5 --every day --project web", "--team is missing"),
        ("budget add --team 1 5 --every day --project web --key 1", "exclude each other"),
        ("key revoke-all --team 1 --tokens", "--team excludes --tokens"),
        ("key create", "EMAIL is missing: who answers for the key"),
        ("key create --team 1", "EMAIL is missing: who answers for the key, or --service"),
        ("key create a@b.c --team 1 --service", "EMAIL and --service exclude each other"),
        ("key create a@b.c --service", "--team is missing"),
        ("key create a@b.c --project web", "--team is missing"),
        ("team member set 1 a@b.c", "nothing to change"),
        ("team member add 1 a@b.c --role boss", "'boss' is not one of"),
        ("usage export --since 2026-01-01 --team 1 --user a@b.c", "--team excludes --user"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(tmp_path: Path, arguments: str, said: str) -> None:
    response = Cli(tmp_path)(*arguments.split())
    assert (response.code, response.out) == (2, "")
    assert said in response.err
