"""Limits and budgets by commands: of keys, of accounts, and what is left of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_limits_of_a_key_are_set_shown_and_removed(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    limits = ("--limit", "credits_per_day=1_000", "--limit", "models=!gpt-5*|gpt-*")
    created = cli.json("key", "create", "a@b.c", *limits, "--limit", "tools=[]")
    assert (created["credits_per_day"], created["tools"]) == (1000, [])
    assert created["models"] == ["!gpt-5*", "gpt-*"]
    assert "models=!gpt-5*|gpt-*" in cli("key", "list", "a@b.c").out
    changed = cli.json("key", "limit", "1", "models=none", "parallel_requests=3")
    assert (changed["models"], changed["parallel_requests"]) == (None, 3)
    assert changed["credits_per_day"] == 1000
    shown = cli("key", "show", "1").out
    assert ["credits_per_day", "1000"] in [line.split() for line in shown.splitlines()]
    assert cli.json("key", "show", "1") == changed
    left = cli.json("limit", "show", "a@b.c")["data"]
    assert [(row["subject"], row["name"], row["remaining"]) for row in left] == [
        ("key:1", "credits_per_day", 1000),
        ("key:1", "parallel_requests", 3),
    ]


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        ("credits_per_day=0", "credits_per_day: must be an integer from 1"),
        ("credits_per_day", "credits_per_day: must be written NAME=VALUE"),
        ("credits_per_year=1", "credits_per_year: is not a known limit"),
        ("endpoints=chat|chats", "endpoints: must be a list of 1 to 100 of audio, chat,"),
        ("models=gpt-*|!gpt-5*", "models: '!gpt-5*' must come before 'gpt-*'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_in_one_line(
    cli: Cli, limit: str, line: str
) -> None:
    refused = cli.refused("key", "create", "a@b.c", "--limit", limit)
    assert refused.startswith(f"error: {line}")


def test_an_account_has_limits_and_a_time_zone(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    told = cli("limit", "set", "a@b.c", "credits_per_day=50", "--time-zone", "Europe/Berlin").out
    assert told == "Account 1, Europe/Berlin: credits_per_day=50\n"
    shown = cli.json("limit", "show", "a@b.c")
    assert (shown["time_zone"], shown["limits"]) == ("Europe/Berlin", {"credits_per_day": 50})
    assert [row["subject"] for row in shown["data"]] == ["account"]
    assert "no limits" in cli("limit", "set", "a@b.c", "credits_per_day=none").out
    wrong = cli.refused("limit", "set", "a@b.c", "--time-zone", "Mars/Olympus")
    assert wrong == "error: time_zone: must be an IANA name such as 'Europe/Berlin' or 'UTC'\n"
    assert cli("limit", "set", "a@b.c").code == 2


def test_budgets_are_added_listed_and_removed(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    cli("key", "create", "a@b.c")
    told = cli("budget", "add", "a@b.c", "20,000", "--every", "week", "--name", "course").out
    assert told == "Budget added: 1 course, 20,000 credits every week, account\n"
    day = ("--every", "14 days", "--key", "1", "--unit", "tokens", "--from", "2030-01-31")
    of_key = cli.json("budget", "add", "a@b.c", "5", *day)
    assert (of_key["key_id"], of_key["name"], of_key["unit"]) == (1, "14 days", "tokens")
    assert of_key["anchor"] == "2030-01-31T00:00:00+00:00"
    assert [row["id"] for row in cli.json("budget", "list", "a@b.c")] == [1, of_key["id"]]
    left = cli.json("limit", "show", "a@b.c")["data"]
    assert [row["name"] for row in left] == ["budget:course", "budget:14 days"]
    assert "name: another budget" in cli.refused(
        "budget", "add", "a@b.c", "1", "--every", "day", "--name", "course"
    )
    assert "every: must be one of day," in cli.refused(
        "budget", "add", "a@b.c", "1", "--every", "year"
    )
    assert "Budget removed: 1 course" in cli("budget", "remove", "a@b.c", "1").out
    assert "id 1" in cli.refused("budget", "remove", "a@b.c", "1")
    cli("limit", "set", "a@b.c", "credits_per_day=50", "--time-zone", "Asia/Tokyo")
    events = cli.json("events", "list")
    assert [event["event"] for event in events if event["event"][:3] in {"bud", "acc"}] == [
        "budget.added",
        "budget.added",
        "budget.removed",
        "account.limits_set",
    ]
    assert events[-1]["details"]["time_zone"] == {"old": "UTC", "new": "Asia/Tokyo"}


def test_new_keys_have_the_limits_of_the_setting_unless_they_are_lifted(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    setting = "requests_per_minute=60, models=gpt-*"
    limited = replace(cli, settings={**cli.settings, "TOKENBALANCE_KEY_LIMITS": setting})
    created = limited.json("key", "create", "a@b.c", "--limit", "requests_per_minute=90")
    assert (created["requests_per_minute"], created["models"]) == (90, ["gpt-*"])
    lifted = limited.json("key", "create", "a@b.c", "--limit", "models=none")
    assert (lifted["requests_per_minute"], lifted["models"]) == (60, None)
    wrong = replace(cli, settings={**cli.settings, "TOKENBALANCE_KEY_LIMITS": "tokens=5"})
    line = wrong.refused("key", "create", "a@b.c")
    assert line.startswith("error: TOKENBALANCE_KEY_LIMITS: tokens: is not a known limit")


def test_a_key_says_where_its_end_users_are_named(cli: Cli) -> None:
    cli("user", "create", "a@b.c")
    named = ("--end-users", "header:X-OpenWebUI-User-Email")
    created = cli.json("key", "create", "a@b.c", *named, "--end-user-limit", "credits_per_day=5")
    assert created["sub_account_from"] == "header:x-openwebui-user-email"
    assert created["sub_account_limits"] == {"credits_per_day": 5}
    assert cli.json("key", "change", "1", "--end-users", "none")["sub_account_from"] is None
    wrong = cli.refused("key", "create", "a@b.c", "--end-users", "header:cookie")
    assert wrong.startswith("error: sub_account_from: must be 'user', 'safety_identifier'")
    useless = cli("key", "create", "a@b.c", "--end-user-limit", "credits_per_day=5")
    assert (useless.code, useless.out) == (2, "")
    assert "--end-user-limit needs --end-users" in useless.err


def test_keys_of_imported_users_have_the_limits_of_the_setting(cli: Cli) -> None:
    setting = {"TOKENBALANCE_KEY_LIMITS": "credits_per_day=9"}
    limited = replace(cli, settings={**cli.settings, **setting})
    done = limited("user", "import", "-", stdin="email,parallel_requests\na@b.c,2\n")
    assert done.code == 0, done.err
    shown = cli.json("limit", "show", "a@b.c")
    assert shown["limits"] == {"parallel_requests": 2}
    assert [(row["subject"], row["name"], row["amount"]) for row in shown["data"]] == [
        ("account", "parallel_requests", 2),
        ("key:1", "credits_per_day", 9),
    ]
    assert cli.json("key", "show", "1")["credits_per_day"] == 9
