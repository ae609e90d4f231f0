"""What commands change is recorded, and can be listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def events_of(cli: Cli, *arguments: str) -> list[str]:
    found: list[dict[str, Any]] = cli.json("events", "list", *arguments)
    return [event["event"] for event in found]


async def test_what_commands_change_is_listed_oldest_first(cli: Cli) -> None:
    assert cli.json("events", "list") == []
    cli("user", "create", "a@b.c", "--balance", "50")
    cli("createsuperuser", "root@b.c", "--password-stdin", stdin="a long password")
    for arguments in (
        ("user", "disable", "a@b.c"),
        ("user", "enable", "a@b.c"),
        ("key", "create", "a@b.c", "--name", "laptop"),
        ("key", "rotate", "1"),
        ("key", "revoke", "1"),
        ("balance", "add", "a@b.c", "-5"),
        ("balance", "set", "a@b.c", "70", "--note", "May"),
    ):
        assert cli(*arguments).code == 0, arguments
    cli("user", "password", "a@b.c", "--password-stdin", stdin="another long one")

    found: list[dict[str, Any]] = cli.json("events", "list")
    assert [event["event"] for event in found] == [
        "user.created",
        "balance.granted",
        "user.created",
        "user.disabled",
        "user.enabled",
        "key.created",
        "key.rotated",
        "key.revoked",
        "balance.adjusted",
        "balance.set",
        "user.password_set",
    ]
    assert {(event["actor"], event["actor_id"], event["address"]) for event in found} == {
        ("cli", None, "")
    }
    assert found[5]["key_id"] == 1
    assert found[9]["email"] == "a@b.c"
    assert found[9]["details"] == {
        "entry": 3,
        "amount": 25,
        "balance": {"old": 45, "new": 70},
        "note": "May",
    }

    assert events_of(cli, "--user", "ROOT@b.c") == ["user.created"]
    assert events_of(cli, "--event", "key.rotated") == ["key.rotated"]
    assert events_of(cli, "--actor", "CLI", "--since", found[9]["at"]) == [
        "balance.set",
        "user.password_set",
    ]
    assert events_of(cli, "--until", found[1]["at"]) == ["user.created"]
    assert events_of(cli, "--actor", "server") == []
    table = cli("events", "list", "--event", "balance.set").out
    assert table.split()[:4] == ["id", "at", "event", "actor"]
    assert '"balance":{"new":70,"old":45}' in table.replace(" ", "")


@pytest.mark.parametrize(
    "arguments", [("--event", "user.signed_in"), ("--since", "May"), ("--actor", "a\nb")]
)
def test_a_filter_that_cannot_match_is_wrong_usage(cli: Cli, arguments: tuple[str, str]) -> None:
    response = cli("events", "list", *arguments)
    assert (response.code, response.out) == (2, "")
    assert response.err.startswith(f"error: Invalid value for {arguments[0]}: ")


def test_a_command_that_fails_leaves_no_event(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    cli.refused("user", "create", "A@b.c", "--balance", "5")
    cli.refused("balance", "set", "a@b.c", "--", "-5")
    assert events_of(cli) == ["user.created"]
