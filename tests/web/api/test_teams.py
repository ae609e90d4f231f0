"""Teams by the management API: what its routes say, beyond who may use them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import Holder, create_holder
from tests.support.teams import create_full_team, team_key
from tokenbalance.database.connections import open_sessions
from tokenbalance.errors import InvalidApiKey
from tokenbalance.model import CLI
from tokenbalance.people.callers import find_caller
from tokenbalance.people.teams import teams
from tokenbalance.people.teams.members import change_member
from tokenbalance.people.teams.projects import create_project

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.support.teams import Team
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool, Sessions


@pytest.fixture(scope="module")
async def sessions(dsn: str) -> AsyncIterator[Sessions]:
    """Of the management side."""
    async with open_sessions(dsn) as sessions:
        yield sessions


@pytest.fixture
async def team(pool: Pool, sessions: Sessions) -> Team:
    """A team with a member of each role."""
    await pool.execute("DELETE FROM sign_in_failures")
    return await create_full_team(pool, sessions)


async def call(
    http: httpx2.AsyncClient, who: Holder, route: str, body: object = None
) -> tuple[int, Any]:
    """Ask as somebody; returns the status and the document, or the error."""
    method, _, path = route.partition(" ")
    response = await http.request(method, path, json=body, headers=who.headers)
    document = response.json()
    return response.status_code, document.get("error", document)


async def holder_of(sessions: Sessions, team: Team, user_id: int | None) -> Holder:
    """Make a key of the team that may also read."""
    key_id, secret = await team_key(sessions, team.id, user_id)
    return Holder(user_id or 0, team.id, key_id, secret)


async def test_a_team_is_created_renamed_found_and_deleted(
    http: httpx2.AsyncClient, people: People
) -> None:
    status, made = await call(http, people.user, "POST /api/teams", {"name": " Physics "})
    assert status == 201
    funds = (made["name"], made["role"], made["balance"], made["available"])
    assert funds == ("Physics", "owner", 0, 0)
    one = f"/api/teams/{made['id']}"
    changes = {"name": "Optics", "time_zone": "Europe/Berlin"}
    _, changed = await call(http, people.user, f"PATCH {one}", changes)
    assert changed == {**made, **changes}
    for who, path, listed in (
        (people.user, "/api/teams?search=OPT", [changed]),
        (people.user, "/api/teams?search=physics", []),
        (people.other, "/api/teams", []),
        (people.superuser, "/api/teams", []),
        (people.superuser, "/api/teams?all=true&search=opti", [{**changed, "role": None}]),
    ):
        assert (await call(http, who, f"GET {path}"))[1]["data"] == listed
    for body, field in (
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"time_zone": "Moon"}, "time_zone"),
    ):
        status, error = await call(http, people.user, f"PATCH {one}", body)
        assert (status, error["param"]) == (400, field)
    status, closed = await call(http, people.user, f"DELETE {one}")
    assert (status, bool(closed["closed_at"])) == (200, True)
    status, error = await call(http, people.user, f"DELETE {one}")
    assert (status, error["message"]) == (
        400,
        f"Team {made['id']} was deleted: nothing of it can be changed any more.",
    )
    assert (await call(http, people.user, "GET /api/teams"))[1]["data"] == []


async def test_a_superuser_names_the_owner_and_others_own_a_limited_number(
    http: httpx2.AsyncClient, people: People, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", people.other.user_id)
    body = {"name": "Theirs", "owner": email.upper()}
    assert (await call(http, people.user, "POST /api/teams", body))[0] == 403
    status, made = await call(http, people.superuser, "POST /api/teams", body)
    assert (status, made["role"]) == (201, None)
    monkeypatch.setattr(teams, "OWNED_MAX", 1)
    status, error = await call(http, people.other, "POST /api/teams", {"name": "Second"})
    assert status == 400
    assert "at most 1 teams" in error["message"]
    assert (await call(http, people.superuser, "POST /api/teams", body))[0] == 201


async def test_a_user_is_added_once_and_who_is_none_is_to_be_invited(
    http: httpx2.AsyncClient, people: People, pool: Pool, team: Team
) -> None:
    add = f"POST /api/teams/{team.id}/members"
    emails = {
        holder.user_id: await pool.fetchval("SELECT email FROM users WHERE id = $1", holder.user_id)
        for holder in (people.user, people.disabled)
    }
    body = {"email": emails[people.user.user_id], "role": "viewer", "credits_per_day": 5}
    status, added = await call(http, team.admin, add, body)
    assert (status, added["user_id"], added["role"], added["credits_per_day"]) == (
        201,
        people.user.user_id,
        "viewer",
        5,
    )
    status, error = await call(http, team.admin, add, body)
    assert (status, error["param"]) == (400, "email")
    for email in ("nobody@example.com", emails[people.disabled.user_id], "\0"):
        status, error = await call(http, team.admin, add, {"email": email})
        assert (status, error["param"]) == (404, "email")
        assert "make an invitation" in error["message"]
    for body, field in (({"role": "boss"}, "role"), ({"models": [""]}, "models")):
        member = f"PATCH /api/teams/{team.id}/members/{people.user.user_id}"
        status, error = await call(http, team.admin, member, body)
        assert (status, error["param"]) == (400, field)
    alone = f"DELETE /api/teams/{team.id}/members/{team.owner.user_id}"
    status, error = await call(http, team.owner, alone)
    assert (status, error["code"]) == (400, "invalid_request")
    assert "last owner" in error["message"]


async def test_an_invitation_is_shown_once_and_lets_one_user_join(
    http: httpx2.AsyncClient, people: People, team: Team
) -> None:
    path = f"/api/teams/{team.id}/invitations"
    status, made = await call(http, team.admin, f"POST {path}", {"role": "viewer"})
    secret = made.pop("secret")
    link = f"{str(http.base_url).rstrip('/')}/invitations/{secret}"
    assert (status, made.pop("link")) == (201, link)
    assert (await call(http, team.admin, f"GET {path}"))[1] == {"data": [made]}
    accept = "POST /api/invitations/accept"
    status, error = await call(http, team.member, accept, {"secret": secret})
    assert status == 400
    assert "member of the team already" in error["message"]
    status, joined = await call(http, people.user, accept, {"secret": secret})
    assert (status, joined) == (200, {"team_id": team.id, "role": "viewer"})
    for wrong in (secret, "x" * 43, "", "é"):
        assert (await call(http, people.other, accept, {"secret": wrong}))[0] == 404


async def test_a_key_of_a_team_manages_nothing_and_sees_nothing_but_itself(
    http: httpx2.AsyncClient, sessions: Sessions, team: Team
) -> None:
    keys = f"POST /api/teams/{team.id}/keys"
    for scopes in (["manage"], ["inference", "manage"]):
        status, error = await call(http, team.owner, keys, {"scopes": scopes})
        assert (status, error["param"]) == (400, "scopes")
    # What is left out are those of the key that asks, as far as a key of a team may have them.
    status, made = await call(http, team.owner, keys, {})
    assert (status, made["scopes"]) == (201, ["inference", "read"])
    one = f"PATCH /api/keys/{made['id']}"
    status, error = await call(http, team.owner, one, {"scopes": ["manage"]})
    assert (status, error["param"]) == (400, "scopes")

    own = Holder(team.owner.user_id, team.id, made["id"], made["key"])
    other = await holder_of(sessions, team, team.owner.user_id)
    for route in ("user/me", "keys", f"keys?team_id={team.id}", "teams"):
        status, error = await call(http, own, f"GET /api/{route}")
        assert (status, error["code"]) == (403, "permission_denied"), route
        assert "belongs to a team" in error["message"]
    for route in (
        f"teams/{team.id}",
        f"teams/{team.id}/members",
        f"teams/{team.id}/keys",
        f"limits?key_id={other.key_id}",
        f"limits?key_id={team.owner.key_id}",
    ):
        assert (await call(http, own, f"GET /api/{route}"))[0] == 404, route
    assert (await call(http, own, "GET /api/limits"))[1]["key_id"] == own.key_id
    for route in (f"DELETE /api/keys/{own.key_id}", "POST /api/keys", "POST /api/teams"):
        status, error = await call(http, own, route, {"name": "x"})
        assert (status, error["code"]) == (403, "missing_scope"), route


async def test_keys_say_whose_they_are_and_that_they_are_suspended(
    http: httpx2.AsyncClient, sessions: Sessions, team: Team
) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "Optics", actor=CLI)
    keys = f"/api/teams/{team.id}/keys"
    bodies = (
        {"project_id": project.id},
        {"service": True},
        {"user_id": team.member.user_id},
    )
    made = [(await call(http, team.admin, f"POST {keys}", body))[1] for body in bodies]
    assert [(one["user_id"], one["team_id"], one["project_id"]) for one in made] == [
        (team.admin.user_id, team.id, project.id),
        (None, team.id, None),
        (team.member.user_id, team.id, None),
    ]
    async with sessions.begin() as session:
        await change_member(session, team.id, team.member.user_id, is_active=False, actor=CLI)
    listed = (await call(http, team.viewer, f"GET /api/keys?team_id={team.id}"))[1]["data"]
    assert [one["is_suspended"] for one in listed] == [False, False, True]
    assert [one["id"] for one in listed] == [one["id"] for one in made]
    _, personal = await call(http, team.admin, "GET /api/keys")
    (own,) = personal["data"]
    assert (own["id"], own["user_id"], own["team_id"]) == (
        team.admin.key_id,
        team.admin.user_id,
        None,
    )


@pytest.mark.parametrize(
    ("route", "body", "status", "field"),
    [
        ("keys", {"project_id": 1}, 400, "project_id"),
        ("keys", {"team_id": 2**40}, 404, None),
        ("teams/{id}/keys", {"service": True, "user_id": 1}, 400, "user_id"),
        ("teams/{id}/keys", {"user_id": "{viewer}"}, 400, "user_id"),
        ("teams/{id}/keys", {"user_id": 2**40}, 404, None),
        ("teams/{id}/keys", {"project_id": 2**40}, 404, None),
        ("teams/{id}/keys", {"project_id": "{archived}"}, 400, "project_id"),
    ],
)
async def test_a_key_is_made_for_a_member_and_a_project_that_are_there(
    http: httpx2.AsyncClient,
    sessions: Sessions,
    team: Team,
    route: str,
    body: dict[str, Any],
    status: int,
    field: str | None,
) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "Old", actor=CLI)
    path = f"/api/teams/{team.id}/projects/{project.id}"
    assert (await call(http, team.admin, f"PATCH {path}", {"archived": True}))[0] == 200
    ids = {"{viewer}": team.viewer.user_id, "{archived}": project.id}
    asked = {name: ids.get(str(value), value) for name, value in body.items()}
    answered, error = await call(http, team.admin, f"POST /api/{route.format(id=team.id)}", asked)
    assert (answered, error["param"]) == (status, field)


async def test_a_key_that_makes_a_key_of_a_team_is_not_exceeded(
    http: httpx2.AsyncClient, team: Team
) -> None:
    scopes = ["inference", "manage"]
    limited = {"scopes": scopes, "credits_per_day": 5, "expires_at": "2999-01-01"}
    _, made = await call(http, team.admin, "POST /api/keys", limited)
    maker = Holder(team.admin.user_id, team.admin.account_id, made["id"], made["key"])
    body = {"service": True, "credits_per_day": 9}
    status, key = await call(http, maker, f"POST /api/teams/{team.id}/keys", body)
    assert status == 201
    assert (key["credits_per_day"], key["scopes"]) == (5, ["inference"])
    assert (key["expires_at"], key["made_by_key_id"]) == ("2999-01-01T00:00:00Z", made["id"])
    status, error = await call(http, maker, f"POST /api/teams/{team.id}/keys", {"scopes": ["read"]})
    assert (status, error["code"]) == (403, "missing_scope")


async def test_what_is_left_names_the_member_and_the_project(
    http: httpx2.AsyncClient, sessions: Sessions, team: Team, pool: Pool
) -> None:
    async with sessions.begin() as session:
        project = await create_project(session, team.id, "Optics", {"tokens_per_day": 3}, actor=CLI)
        limits = {"tokens_per_day": 2}
        await change_member(session, team.id, team.member.user_id, limits=limits, actor=CLI)
    budgets = f"/api/accounts/{team.id}/budgets"
    body = {"project_id": project.id, "scopes": ["inference", "read"]}
    _, key = await call(http, team.member, f"POST /api/teams/{team.id}/keys", body)
    other = await create_holder(pool)
    for subject in (
        {},
        {"member_id": team.member.user_id},
        {"member_id": team.admin.user_id},
        {"key_id": key["id"]},
    ):
        body = {"amount": 9, "every": "day", **subject}
        assert (await call(http, team.admin, f"POST {budgets}", body))[0] == 201
    own = Holder(team.member.user_id, team.id, key["id"], key["key"])
    for who, route in (
        (own, "GET /api/limits"),
        (team.member, f"GET /api/limits?key_id={key['id']}"),
    ):
        _, left = await call(http, who, route)
        assert [(state["subject"], state["name"]) for state in left["data"]] == [
            (f"key:{key['id']}", "budget:day"),
            (f"member:{team.member.user_id}", "tokens_per_day"),
            (f"member:{team.member.user_id}", "budget:day"),
            (f"project:{project.id}", "tokens_per_day"),
            ("account", "budget:day"),
        ]
    for who, seen in ((own, 3), (team.member, 3), (team.viewer, 4), (team.admin, 4)):
        _, listed = await call(http, who, f"GET {budgets}")
        assert len(listed["data"]) == seen
        assert all(one["member_id"] != team.admin.user_id for one in listed["data"]) is (seen == 3)
    assert (await call(http, other, f"GET {budgets}"))[0] == 404


async def test_what_a_superuser_sets_in_a_team_its_owners_do_not_loosen(
    http: httpx2.AsyncClient, people: People, team: Team
) -> None:
    keys, budgets = f"/api/teams/{team.id}/keys", f"/api/accounts/{team.id}/budgets"
    _, key = await call(http, team.owner, f"POST {keys}", {"service": True})
    limited = (
        f"PATCH /api/keys/{key['id']}",
        f"PATCH /api/teams/{team.id}/members/{team.admin.user_id}",
    )
    for route in limited:
        assert (await call(http, people.superuser, route, {"tokens_per_day": 5}))[0] == 200
        status, error = await call(http, team.owner, route, {"tokens_per_day": 6})
        assert (status, error["param"]) == (400, "tokens_per_day")
        assert "which a superuser has set" in error["message"]
    body = {"amount": 9, "every": "day"}
    _, budget = await call(http, people.superuser, f"POST {budgets}", body)
    for method in ("PATCH", "DELETE"):
        route = f"{method} {budgets}/{budget['id']}"
        assert (await call(http, team.owner, route, {"amount": 10}))[0] == 403
    assert (await call(http, team.owner, f"POST {budgets}", {**body, "name": "own"}))[0] == 201


async def test_a_key_that_is_made_while_its_member_is_removed_does_not_work(
    http: httpx2.AsyncClient, pool: Pool, team: Team
) -> None:
    member = team.member
    made, removed, own = await asyncio.gather(
        call(http, team.admin, f"POST /api/teams/{team.id}/keys", {"user_id": member.user_id}),
        call(http, team.owner, f"DELETE /api/teams/{team.id}/members/{member.user_id}"),
        call(http, member, f"POST /api/teams/{team.id}/keys", {}),
    )
    assert removed[0] == 200
    for status, key in (made, own):
        assert status in {201, 404}
        if status == 201:
            with pytest.raises(InvalidApiKey):
                await find_caller(pool, key["key"])
    active = "SELECT count(*) FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL"
    assert await pool.fetchval(active, team.id) == 0
