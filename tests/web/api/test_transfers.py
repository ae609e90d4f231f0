"""The money of teams by the management API: who sees it, sets it, and moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder, entries_of
from tests.support.grants import LATER, end
from tests.web.api.conftest import create_people
from tokenbalance.books.ledger.audit import audit
from tokenbalance.people.secrets import new_secret, sha256

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

ROLES = ("viewer", "member", "admin", "owner")


@dataclass(frozen=True, slots=True)
class Team:
    """A team with one member of each role, a disabled one, and strangers."""

    id: int
    members: dict[str, Holder]
    key: dict[str, str]
    """The headers of a service key of the team."""
    people: People

    @property
    def path(self) -> str:
        """Where its account is."""
        return f"/api/accounts/{self.id}"


@pytest.fixture
async def team(pool: Pool, product: str) -> Team:
    """A team of the test's own, with 100 credits."""
    assert product
    team_id = await pool.fetchval(
        "INSERT INTO accounts (kind, name, balance) VALUES ('team', 'Research', 100) RETURNING id"
    )
    await pool.execute(
        "INSERT INTO ledger (account_id, kind, amount, balance_after, actor)"
        " VALUES ($1, 'grant', 100, 100, 'tests')",
        team_id,
    )
    members = {role: await create_holder(pool, 100) for role in (*ROLES, "disabled")}
    for role, holder in members.items():
        await pool.execute(
            "INSERT INTO memberships (account_id, user_id, role, disabled_at)"
            " VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END)",
            team_id,
            holder.user_id,
            "admin" if role == "disabled" else role,
            role == "disabled",
        )
    secret = new_secret()
    await pool.execute(
        "INSERT INTO api_keys (account_id, prefix, secret_sha256, scopes)"
        " VALUES ($1, 'sk-tb-team', $2, '{inference,read}')",
        team_id,
        sha256(secret),
    )
    key = {"Authorization": f"Bearer {secret}"}
    return Team(team_id, members, key, await create_people(pool))


async def move(
    http: httpx2.AsyncClient,
    sender: int,
    receiver: int,
    headers: dict[str, str],
    *,
    amount: int = 10,
    key: str = "1",
    **body: Any,
) -> httpx2.Response:
    return await http.post(
        f"/api/accounts/{sender}/transfers",
        json={"to_account_id": receiver, "amount": amount, **body},
        headers={**headers, "Idempotency-Key": key},
    )


async def test_members_and_keys_of_a_team_see_its_balance_and_strangers_do_not(
    http: httpx2.AsyncClient, team: Team
) -> None:
    funds = {
        "account_id": team.id,
        "team": "Research",
        "balance": 100,
        "held": 0,
        "available": 100,
    }
    for role in ROLES:
        response = await http.get(f"{team.path}/balance", headers=team.members[role].headers)
        assert (response.status_code, response.json()) == (200, funds), role
    superuser = team.people.superuser.headers
    assert (await http.get(f"{team.path}/balance", headers=superuser)).json() == funds
    for path in (f"{team.path}/balance", "/api/balance"):
        assert (await http.get(path, headers=team.key)).json() == funds
    for holder in (team.members["disabled"], team.people.user):
        response = await http.get(f"{team.path}/balance", headers=holder.headers)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    own = await http.get(
        f"/api/accounts/{team.people.user.account_id}/balance", headers=team.people.user.headers
    )
    assert (own.json()["team"], own.json()["balance"]) == ("", 100)
    theirs = f"/api/accounts/{team.people.user.account_id}/balance"
    assert (await http.get(theirs, headers=team.key)).status_code == 404


async def test_superusers_fund_a_team_as_they_fund_a_user(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    admin = team.people.superuser.headers
    once = {**admin, "Idempotency-Key": "1"}
    set_ = await http.put(f"{team.path}/balance", json={"balance": 30}, headers=admin)
    assert (set_.json()["team"], set_.json()["balance"]) == ("Research", 30)
    lower = await http.patch(f"{team.path}/balance", json={"overdraft": 5}, headers=admin)
    assert (lower.json()["overdraft"], lower.json()["available"]) == (5, 35)
    for _ in range(2):
        added = await http.post(f"{team.path}/credits", json={"amount": 50}, headers=once)
        assert (added.status_code, added.json()["balance"]) == (201, 80)
    body = {"amount": 40, "expires_at": LATER.isoformat()}
    granted = await http.post(
        f"{team.path}/grants", json=body, headers={**admin, "Idempotency-Key": "2"}
    )
    made = await http.post(
        f"{team.path}/allowances", json={"amount": 20, "every": "week"}, headers=admin
    )
    listed = (await http.get(f"{team.path}/grants", headers=admin)).json()["data"]
    assert granted.json()["entry"]["id"] in [row["id"] for row in listed]
    seen = (await http.get("/api/balance", headers=team.key)).json()
    assert (seen["balance"], len(seen["grants"]), seen["next"]["amount"]) == (140, 3, 20)
    one = f"{team.path}/allowances/{made.json()['id']}"
    assert (await http.patch(one, json={"amount": 9}, headers=admin)).json()["amount"] == 9
    assert (await http.get(f"{team.path}/allowances", headers=admin)).json()["data"][0]["id"]
    assert (await http.delete(one, headers=admin)).json()["next_at"] is None
    assert (await audit(pool)).violations == []


async def test_an_account_that_nobody_has_is_not_found(
    http: httpx2.AsyncClient, team: Team
) -> None:
    admin = {**team.people.superuser.headers, "Idempotency-Key": "1"}
    nobody = "/api/accounts/999999"
    for method, path, body in (
        ("GET", "balance", None),
        ("PUT", "balance", {"balance": 1}),
        ("POST", "credits", {"amount": 1}),
        ("POST", "grants", {"amount": 1}),
        ("GET", "grants", None),
        ("POST", "allowances", {"amount": 1, "every": "day"}),
        ("GET", "allowances", None),
        ("POST", "transfers", {"to_account_id": team.id, "amount": 1}),
    ):
        response = await http.request(method, f"{nobody}/{path}", json=body, headers=admin)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found"), path


async def test_members_give_to_their_team_and_its_owners_and_admins_give_back(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    viewer, owner = team.members["viewer"], team.members["owner"]
    given = await move(http, viewer.account_id, team.id, viewer.headers, note="for May")
    assert given.status_code == 201
    again = await move(http, viewer.account_id, team.id, viewer.headers, note="for May")
    assert (again.status_code, again.json()) == (201, given.json())
    assert given.json()["sent"]["note"] == f"to account {team.id}: for May"
    received = given.json()["received"]
    assert (received["amount"], received["balance_after"]) == (10, 110)
    for number, role in enumerate(("admin", "owner")):
        back = await move(
            http, team.id, viewer.account_id, team.members[role].headers, key=str(number), amount=5
        )
        assert back.status_code == 201
    assert [entry[:2] for entry in await entries_of(pool, viewer)] == [
        ("grant", 100),
        ("transfer", -10),
        ("transfer", 5),
        ("transfer", 5),
    ]
    too_much = await move(http, owner.account_id, team.id, owner.headers, amount=101)
    error = too_much.json()["error"]
    assert (too_much.status_code, error["param"], error["code"]) == (400, "amount", "invalid_value")
    assert "at most 100 credits can be moved" in error["message"].lower()
    assert (await audit(pool)).violations == []


async def test_nobody_moves_what_is_not_theirs_to_move(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    members, people = team.members, team.people
    viewer, admin, stranger = members["viewer"], members["admin"], people.user
    before = await pool.fetchval("SELECT count(*) FROM ledger")
    for sender, receiver, headers, status in (
        # Who is no owner or admin takes nothing out, not even for oneself.
        (team.id, viewer.account_id, viewer.headers, 403),
        (team.id, members["member"].account_id, members["member"].headers, 403),
        (team.id, viewer.account_id, members["disabled"].headers, 404),
        (team.id, stranger.account_id, stranger.headers, 404),
        # Keys of teams act for nobody.
        (team.id, viewer.account_id, team.key, 403),
        # Only to members, and from the own account only to the own teams.
        (team.id, stranger.account_id, admin.headers, 404),
        (team.id, 999_999, admin.headers, 404),
        (stranger.account_id, team.id, stranger.headers, 404),
        (members["disabled"].account_id, team.id, members["disabled"].headers, 404),
        (admin.account_id, viewer.account_id, admin.headers, 404),
        # Nobody else's.
        (viewer.account_id, team.id, admin.headers, 404),
        (viewer.account_id, admin.account_id, admin.headers, 404),
    ):
        response = await move(http, sender, receiver, headers, amount=1)
        assert response.status_code == status, (sender, receiver, response.text)
    assert await pool.fetchval("SELECT count(*) FROM ledger") == before
    root = people.superuser.headers
    for number, pair in enumerate(
        (
            (stranger.account_id, viewer.account_id),
            (viewer.account_id, team.id),
            (team.id, stranger.account_id),
        )
    ):
        assert (await move(http, *pair, root, key=f"r{number}")).status_code == 201


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": "5"}, "amount"),
        ({"note": "a\0b"}, "note"),
        ({"to_account_id": 0}, "to_account_id"),
        ({"to_account_id": "own"}, "to_account_id"),
        ({"from_account_id": 1}, "from_account_id"),
        ({"key": ""}, "Idempotency-Key"),
    ],
)
async def test_what_is_no_transfer_is_refused_by_the_name_of_its_field(
    http: httpx2.AsyncClient, team: Team, change: dict[str, Any], param: str
) -> None:
    owner = team.members["owner"]
    fields: dict[str, Any] = {"amount": 1, **change}
    response = await move(http, owner.account_id, team.id, owner.headers, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_transfer_is_refused_where_it_cannot_arrive_and_when_its_key_was_used(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    root, user = team.people.superuser.headers, team.people.user
    same = await move(http, team.id, team.id, root)
    assert (same.status_code, same.json()["error"]["param"]) == (400, "to_account_id")
    assert (await move(http, team.id, user.account_id, root)).status_code == 201
    reused = await move(http, team.id, user.account_id, root, amount=11)
    assert (reused.status_code, reused.json()["error"]["code"]) == (409, "idempotency_key_reused")
    await pool.execute("UPDATE accounts SET closed_at = now() WHERE id = $1", team.id)
    closed = await move(http, user.account_id, team.id, root)
    assert (closed.status_code, closed.json()["error"]["param"]) == (400, "to_account_id")


async def test_a_transfer_by_a_superuser_leaves_an_event_for_each_account(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    root, user = team.people.superuser, team.people.user
    moved = await move(http, user.account_id, team.id, root.headers)
    assert moved.status_code == 201
    events = await pool.fetch(
        "SELECT event, actor_id, user_id, account_id, details ->> 'transfer' AS transfer"
        " FROM events WHERE account_id IN ($1, $2) ORDER BY id",
        user.account_id,
        team.id,
    )
    assert [tuple(event) for event in events] == [
        ("balance.transferred", root.user_id, user.user_id, user.account_id, moved.json()["id"]),
        ("balance.transferred", root.user_id, None, team.id, moved.json()["id"]),
    ]


async def test_credits_with_an_end_are_not_moved(
    http: httpx2.AsyncClient, team: Team, pool: Pool
) -> None:
    root, user = team.people.superuser.headers, team.people.user
    made = await http.post(
        f"{team.path}/grants",
        json={"amount": 40, "expires_at": LATER.isoformat()},
        headers={**root, "Idempotency-Key": "g"},
    )
    refused = await move(http, team.id, user.account_id, root, amount=101)
    assert "of which 40 have an end" in refused.json()["error"]["message"]
    moved = await move(http, team.id, user.account_id, root, amount=100)
    assert moved.json()["sent"]["balance_after"] == 40
    await end(pool, made.json()["entry"]["id"])
    seen = (await http.get(f"{team.path}/balance", headers=root)).json()
    assert seen["balance"] == 0
    assert (await audit(pool)).violations == []
