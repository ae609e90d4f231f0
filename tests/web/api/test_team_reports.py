"""What members, strangers and keys see of a team: its requests, usage, ledger and objects."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import Holder, create_holder
from tests.support.chat import CHAT
from tests.support.refused import refuse
from tests.support.stored_objects import store
from tests.support.teams import Team, create_full_team, team_key
from tests.support.upstream import json_response
from tokenbalance.books.ledger.credits import Cause
from tokenbalance.books.ledger.refunds import refund
from tokenbalance.database.connections import open_sessions
from tokenbalance.model import CLI
from tokenbalance.people.teams.members import (
    add_member,
    change_member,
    remove_member,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions
    from tokenbalance.model import Json

PATHS = ("/api/ledger", "/api/usage", "/api/requests", "/api/refusals", "/api/objects")


@dataclass(frozen=True, slots=True)
class Crew:
    """A team whose keys were used once each, and who else asks."""

    team: Team
    people: dict[str, Holder]
    """By what they are to the team, with keys of their own accounts."""
    keys: dict[str, Holder]
    """Keys of the team, by who answers for them; `service`: nobody."""
    requests: dict[str, str]
    """Ids of the requests, by the same."""
    emails: dict[str, str]
    """By the same; empty: nobody."""


@pytest.fixture(scope="module")
async def sessions(dsn: str) -> AsyncIterator[Sessions]:
    async with open_sessions(dsn) as sessions:
        yield sessions


@pytest.fixture(scope="module")
async def crew(
    http: httpx2.AsyncClient, pool: Pool, sessions: Sessions, upstream: ScriptedUpstream
) -> Crew:
    """Two members with keys, a service key, and a member who was removed after a request."""
    team, other = [await create_full_team(pool, sessions, 1000) for _ in range(2)]
    people = {**team.members, "stranger": other.owner}
    for name in ("removed", "disabled", "superuser"):
        people[name] = await create_holder(pool)
    await pool.execute(
        "UPDATE users SET is_superuser = true WHERE id = $1", people["superuser"].user_id
    )
    async with sessions.begin() as session:
        for name in ("removed", "disabled"):
            await add_member(session, team.id, people[name].user_id, "admin", actor=CLI)
    keys: dict[str, Holder] = {}
    for name in ("member", "admin", "service", "removed"):
        user_id = None if name == "service" else people[name].user_id
        keys[name] = Holder(user_id or 0, team.id, *await team_key(sessions, team.id, user_id))
    requests = {name: await chat(http, upstream, key) for name, key in keys.items()}
    for key in keys.values():
        await refuse(pool, team.id, key.key_id, "balance_held", 1)
        files = await store(pool, key, "file")
        made_with = "UPDATE objects SET key_id = $1 WHERE object_id = any($2)"
        await pool.execute(made_with, key.key_id, files)
    async with sessions.begin() as session:
        _ = await refund(session, requests["member"], 5, Cause(CLI))
        _ = await remove_member(session, team.id, people["removed"].user_id, actor=CLI)
        disabled = people["disabled"].user_id
        _ = await change_member(session, team.id, disabled, is_active=False, actor=CLI)
    rows = await pool.fetch("SELECT id, email FROM users")
    named = {row["id"]: row["email"] for row in rows}
    emails = {name: named.get(key.user_id, "") for name, key in keys.items()}
    return Crew(team, people, keys, requests, emails)


async def chat(http: httpx2.AsyncClient, upstream: ScriptedUpstream, key: Holder) -> str:
    """Make a request that uses 12 tokens; returns its id."""
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    upstream.script(json_response({"choices": [], "usage": usage}))
    response = await http.post("/v1/chat/completions", json=CHAT, headers=key.headers)
    assert response.status_code == 200, response.text
    return response.headers["x-tokenbalance-request-id"]


async def get(
    http: httpx2.AsyncClient, path: str, holder: Holder, **params: str | int
) -> list[dict[str, Any]]:
    response = await http.get(path, params=params, headers=holder.headers)
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def file(
    http: httpx2.AsyncClient, path: str, holder: Holder, **params: str | int
) -> list[dict[str, str]]:
    headers = {**holder.headers, "accept": "text/csv"}
    response = await http.get(path, params=params, headers=headers)
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def test_each_row_of_a_team_says_who_answers_for_its_key(
    http: httpx2.AsyncClient, crew: Crew
) -> None:
    owner, team_id = crew.team.owner, crew.team.id
    for path, number in (("/api/requests", 4), ("/api/refusals", 4), ("/api/usage", 4)):
        by = {"group_by": "user"} if path == "/api/usage" else {}
        rows = await get(http, path, owner, team_id=team_id, **by)
        assert len(rows) == number, path
        assert {row["email"] for row in rows} == {*crew.emails.values()}, path
        assert {(row["team"], row["account_id"]) for row in rows} == {("Crew", team_id)}
        assert {row["user"] for row in rows if not row["email"]} == {None}
    entries = await get(http, "/api/ledger", owner, team_id=team_id)
    assert Counter((row["kind"], row["email"]) for row in entries) == {
        ("grant", ""): 1,
        **{("charge", email): 1 for email in crew.emails.values()},
        ("refund", crew.emails["member"]): 1,
    }
    assert {row["team"] for row in entries} == {"Crew"}


async def test_files_of_a_team_have_its_name_in_a_column(
    http: httpx2.AsyncClient, crew: Crew
) -> None:
    for path, number in (("/api/requests", 4), ("/api/ledger", 6), ("/api/usage", 4)):
        by = {"group_by": "user"} if path == "/api/usage" else {}
        rows = await file(http, path, crew.team.owner, team_id=crew.team.id, **by)
        assert len(rows) == number, path
        assert {row["user"] for row in rows} == {*crew.emails.values()}, path
        assert {row["team"] for row in rows} == {"Crew"}
        own = await file(http, path, crew.people["member"], team_id=crew.team.id)
        assert len(own) == (2 if path == "/api/ledger" else 1), path


@pytest.mark.parametrize("who", ["owner", "admin", "viewer", "superuser"])
async def test_who_sees_all_of_a_team_gets_everything(
    http: httpx2.AsyncClient, crew: Crew, who: str
) -> None:
    asking = crew.people[who]
    listed = {path: await get(http, path, asking, team_id=crew.team.id) for path in PATHS}
    numbers = {"/api/ledger": 6, "/api/usage": 1}
    assert {path: len(rows) for path, rows in listed.items()} == {
        path: numbers.get(path, 4) for path in PATHS
    }
    assert listed["/api/usage"][0]["requests"] == 4
    for request_id in crew.requests.values():
        response = await http.get(f"/api/requests/{request_id}", headers=asking.headers)
        assert (response.status_code, response.json()["team"]) == (200, "Crew")
    assert await get(http, "/api/requests", asking) == [], "the own account is another one"


@pytest.mark.parametrize("path", PATHS)
async def test_a_member_gets_what_is_of_the_own_keys_and_a_key_what_is_of_it(
    http: httpx2.AsyncClient, crew: Crew, path: str
) -> None:
    for name, params in (("member", {"team_id": crew.team.id}), ("service", {})):
        asking = crew.keys[name] if name == "service" else crew.people[name]
        rows = await get(http, path, asking, **params)
        match path:
            case "/api/ledger":
                kinds = ["charge", "refund"] if name == "member" else ["charge"]
                assert [row["kind"] for row in rows] == kinds
                assert {row["email"] for row in rows} == {crew.emails[name]}
            case "/api/usage":
                assert [row["requests"] for row in rows] == [1]
            case "/api/objects":
                assert len(rows) == 1
            case _:
                assert [row["key"]["id"] for row in rows] == [crew.keys[name].key_id]


async def test_a_member_finds_the_own_requests_of_a_team_by_filter_and_id_and_no_others(
    http: httpx2.AsyncClient, crew: Crew
) -> None:
    member, team_id = crew.people["member"], crew.team.id
    for name, key in crew.keys.items():
        rows = await get(http, "/api/requests", member, team_id=team_id, key_id=key.key_id)
        assert len(rows) == (name == "member")
        for asking, finds in (
            (member, name == "member"),
            (crew.keys["service"], name == "service"),
            (crew.keys["admin"], name == "admin"),
        ):
            path = f"/api/requests/{crew.requests[name]}"
            response = await http.get(path, headers=asking.headers)
            assert response.status_code == (200 if finds else 404), name


@pytest.mark.parametrize("who", ["stranger", "removed", "disabled", "service"])
async def test_a_team_is_not_found_by_who_does_not_belong_to_it(
    http: httpx2.AsyncClient, crew: Crew, who: str
) -> None:
    asking = crew.keys[who] if who == "service" else crew.people[who]
    missing = await http.get(
        "/api/ledger", params={"team_id": 10**9}, headers=crew.people["superuser"].headers
    )
    assert missing.status_code == 404
    for path in (*PATHS, "/api/alerts", "/api/alerts/thresholds", "/api/webhooks"):
        response = await http.get(path, params={"team_id": crew.team.id}, headers=asking.headers)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path
    for name, request_id in crew.requests.items():
        if name != who:
            response = await http.get(f"/api/requests/{request_id}", headers=asking.headers)
            assert response.status_code == 404
    usage = {"team_id": crew.team.id, "group_by": "user"}
    response = await http.get("/api/usage", params=usage, headers=asking.headers)
    assert response.status_code == 404


async def test_a_personal_account_is_no_team(http: httpx2.AsyncClient, crew: Crew) -> None:
    for who in ("member", "superuser"):
        params = {"team_id": crew.people["member"].account_id}
        for path in PATHS:
            response = await http.get(path, params=params, headers=crew.people[who].headers)
            assert response.status_code == 404


async def test_usage_of_a_team_by_user_is_for_who_sees_all_of_it(
    http: httpx2.AsyncClient, crew: Crew
) -> None:
    by_user = {"group_by": "user", "team_id": crew.team.id}
    for asking, params in (
        (crew.people["member"], by_user),
        (crew.people["member"], {"group_by": "user"}),
        (crew.keys["member"], {"group_by": "user"}),
        (crew.keys["member"], {"user_id": crew.people["member"].user_id}),
    ):
        response = await http.get("/api/usage", params=params, headers=asking.headers)
        assert response.status_code == 403, params
    rows = await get(http, "/api/usage", crew.people["viewer"], **by_user, limit=3)
    assert [row["requests"] for row in rows] == [1, 1, 1]
    everybody = await get(http, "/api/usage", crew.people["superuser"], group_by="user", limit=1000)
    of_team = [row for row in everybody if row["account_id"] == crew.team.id]
    assert {row["email"]: row["charge"] for row in of_team} == dict.fromkeys(
        crew.emails.values(), 12
    )


@pytest.mark.parametrize("path", PATHS)
async def test_either_a_user_or_a_team_is_named(
    http: httpx2.AsyncClient, crew: Crew, path: str
) -> None:
    params = {"team_id": crew.team.id, "user_id": crew.people["member"].user_id}
    headers = crew.people["superuser"].headers
    response = await http.get(path, params=params, headers=headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "team_id")
    if path == "/api/usage":
        tagged = {"team_id": crew.team.id, "tag": "class"}
        response = await http.get(path, params=tagged, headers=headers)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "team_id")


async def test_only_owners_and_admins_say_what_a_team_is_told_and_where(
    http: httpx2.AsyncClient, crew: Crew, pool: Pool
) -> None:
    named = {"team_id": crew.team.id}
    for who in ("owner", "admin", "viewer", "member", "stranger", "superuser"):
        headers = crew.people[who].headers
        may = who in {"owner", "admin", "superuser"}
        refused = 404 if who == "stranger" else 403
        sees_all = 200 if may or who == "viewer" else refused
        for path in ("/api/alerts", "/api/alerts/thresholds"):
            response = await http.get(path, params=named, headers=headers)
            assert response.status_code == sees_all, who
        put = await http.put(
            "/api/alerts/thresholds", params=named, json={"below": [9]}, headers=headers
        )
        assert put.status_code == (200 if may else refused), who
        body = {"url": "https://example.com/hook", **named}
        made = await http.post("/api/webhooks", json=body, headers=headers)
        assert made.status_code == (201 if may else refused), who
        listed = await http.get("/api/webhooks", params=named, headers=headers)
        assert listed.status_code == (200 if may else refused), who
    (hook, *_) = await get(http, "/api/webhooks", crew.team.owner, **named)
    one = f"/api/webhooks/{hook['id']}"
    for who, found in (("viewer", False), ("member", False), ("stranger", False), ("admin", True)):
        headers = crew.people[who].headers
        tried = await http.post(f"{one}/test", headers=headers)
        assert tried.status_code == (202 if found else 404), who
        removed = await http.delete(one, headers=headers)
        assert removed.status_code == (200 if found else 404), who
    for path in ("/api/alerts", "/api/alerts/thresholds", "/api/webhooks"):
        response = await http.get(path, headers=crew.keys["admin"].headers)
        assert response.status_code == 403, "a key of a team acts for nobody"
    query = {"event": "alert.thresholds_set", **named}
    events = await get(http, "/api/events", crew.people["superuser"], **query)
    rows = await pool.fetch(
        "SELECT email FROM users WHERE id = any($1)",
        [crew.people[who].user_id for who in ("owner", "admin", "superuser")],
    )
    assert {row["actor"] for row in events} == {row["email"] for row in rows}
    assert {(row["team"], row["user_id"]) for row in events} == {("Crew", None)}
