"""Who may do what in a team, for every right: members of each role, and a disabled one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from tests.support.books import Holder
    from tokenbalance.database.connections import Pool

WHO = ("viewer", "member", "admin", "owner", "disabled")
OTHERS = {"other": "member", "second": "owner"}
"""Members about whom something is asked, with their roles."""
ROLES = ("viewer", "member", "admin", "owner", "admin", *OTHERS.values())
TEAM = """
WITH team AS (INSERT INTO accounts (kind, name) VALUES ('team', 'Crew') RETURNING id),
     crew AS (SELECT * FROM unnest($1::bigint[], $2::text[]) AS crew (user_id, role)),
     members AS (
         INSERT INTO memberships (account_id, user_id, role, disabled_at)
         SELECT team.id, user_id, role, CASE user_id WHEN $3 THEN now() END FROM team, crew),
     keys AS (
         INSERT INTO api_keys (account_id, user_id, prefix, secret_sha256, scopes)
         SELECT team.id, user_id, 'tb-', sha256(gen_random_uuid()::text::bytea), '{inference}'
           FROM team, crew RETURNING user_id, id),
     project AS (INSERT INTO projects (account_id, name) SELECT id, 'x' FROM team RETURNING id),
     invitation AS (
         INSERT INTO invitations (account_id, secret_sha256, role, created_by, expires_at)
         SELECT id, sha256(gen_random_uuid()::text::bytea), 'member', '', 'infinity' FROM team
         RETURNING id)
SELECT team.id AS team, project.id AS project, invitation.id AS invitation,
       (SELECT jsonb_object_agg(user_id, id)::text FROM keys) AS keys
  FROM team, project, invitation
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked, and how each one is answered, in the order of `WHO`."""

    route: str
    responses: tuple[int, int, int, int, int]
    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)


SEE = (200, 200, 200, 200, 404)
ADMINISTER = (403, 403, 200, 200, 404)
CREATE = (403, 403, 201, 201, 404)
OWN = (403, 403, 403, 200, 404)
KEY_OF_OTHERS = (404, 404, 200, 200, 404)
TABLE = [
    Row("GET /api/teams/{team}", SEE),
    Row("GET /api/teams/{team}/members", SEE),
    Row("GET /api/teams/{team}/projects", SEE),
    Row("GET /api/teams/{team}/keys", SEE),
    Row("GET /api/accounts/{team}/limits", SEE),
    Row("GET /api/accounts/{team}/budgets", SEE),
    Row("PATCH /api/teams/{team}", OWN, {"name": "Ours"}),
    Row("DELETE /api/teams/{team}", OWN),
    Row("POST /api/teams/{team}/members", CREATE, {"email": "{guest}"}),
    Row(
        "POST /api/teams/{team}/members",
        (403, 403, 403, 201, 404),
        {"email": "{guest}", "role": "owner"},
    ),
    Row("PATCH /api/teams/{team}/members/{other}", ADMINISTER, {"role": "admin"}),
    Row("PATCH /api/teams/{team}/members/{other}", ADMINISTER, {"is_active": False}),
    Row("PATCH /api/teams/{team}/members/{other}", ADMINISTER, {"credits_per_day": 5}),
    Row("PATCH /api/teams/{team}/members/{other}", OWN, {"role": "owner"}),
    Row("PATCH /api/teams/{team}/members/{second}", OWN, {"credits_per_day": 5}),
    Row("PATCH /api/teams/{team}/members/{second}", OWN, {"role": "member"}),
    Row("DELETE /api/teams/{team}/members/{other}", ADMINISTER),
    Row("DELETE /api/teams/{team}/members/{second}", OWN),
    # Oneself: whoever is something in the team may leave it.
    Row("DELETE /api/teams/{team}/members/{self}", SEE),
    Row("GET /api/teams/{team}/invitations", ADMINISTER),
    Row("POST /api/teams/{team}/invitations", CREATE, {"role": "admin"}),
    Row("POST /api/teams/{team}/invitations", (403, 403, 403, 201, 404), {"role": "owner"}),
    Row("DELETE /api/teams/{team}/invitations/{invitation}", ADMINISTER),
    Row("POST /api/teams/{team}/projects", CREATE, {"name": "New"}),
    Row("PATCH /api/teams/{team}/projects/{project}", ADMINISTER, {"archived": True}),
    Row("POST /api/teams/{team}/keys", (403, 201, 201, 201, 404), {}),
    Row("POST /api/keys", (403, 201, 201, 201, 404), {"team_id": "{team}"}),
    Row("POST /api/teams/{team}/keys", CREATE, {"service": True}),
    Row("POST /api/teams/{team}/keys", CREATE, {"user_id": "{other}"}),
    Row("GET /api/limits", (200, 404, 200, 200, 404), query={"key_id": "{key}"}),
    Row("PATCH /api/keys/{key}", KEY_OF_OTHERS, {"name": "theirs"}),
    Row("PATCH /api/keys/{key}", KEY_OF_OTHERS, {"credits_per_day": 5}),
    Row("POST /api/keys/{key}/rotate", KEY_OF_OTHERS),
    Row("DELETE /api/keys/{key}", KEY_OF_OTHERS),
    # A viewer's was made before the role was: the key is suspended.
    Row("GET /api/limits", SEE, query={"key_id": "{own_key}"}),
    Row("PATCH /api/keys/{own_key}", (404, 200, 200, 200, 404), {"name": "mine"}),
    Row("PATCH /api/keys/{own_key}", (404, 403, 200, 200, 404), {"credits_per_day": 5}),
    Row("POST /api/keys/{own_key}/rotate", (404, 200, 200, 200, 404)),
    Row("DELETE /api/keys/{own_key}", (404, 200, 200, 200, 404)),
    Row("POST /api/accounts/{team}/budgets", CREATE, {"amount": 5, "every": "day"}),
    Row(
        "POST /api/accounts/{team}/budgets",
        CREATE,
        {"amount": 5, "every": "day", "member_id": "{other}"},
    ),
    Row(
        "POST /api/accounts/{team}/budgets",
        CREATE,
        {"amount": 5, "every": "day", "key_id": "{own_key}"},
    ),
    Row("PATCH /api/accounts/{team}/limits", (403, 403, 403, 403, 403), {"credits_per_day": 5}),
]


@pytest.fixture(scope="module")
async def crew(pool: Pool) -> dict[str, Holder]:
    """The members of all teams of this file."""
    return {name: await create_holder(pool) for name in (*WHO, *OTHERS, "guest")}


async def a_team(pool: Pool, crew: Mapping[str, Holder]) -> dict[str, Any]:
    """Create a team of which all but the guest are members; returns the ids of what it has."""
    members = [crew[name].user_id for name in (*WHO, *OTHERS)]
    row = await pool.fetchrow(TEAM, members, ROLES, crew["disabled"].user_id)
    assert row is not None
    ids = {name: holder.user_id for name, holder in crew.items()}
    return {**ids, **row, "keys": json.loads(row["keys"])}


def filled(body: dict[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    """A body with ids, which are numbers, and an e-mail, which is not."""
    return {
        name: (int(text) if (text := value.format_map(ids)).isdigit() else text)
        if isinstance(value, str)
        else value
        for name, value in body.items()
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.route} {row.body or ''}".strip())
async def test_members_are_answered_as_their_role_says(
    http: httpx2.AsyncClient, pool: Pool, crew: dict[str, Holder], row: Row
) -> None:
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", crew["guest"].user_id)
    ids: dict[str, Any] | None = None
    for who, status in zip(WHO, row.responses, strict=True):
        ids = ids or await a_team(pool, crew)
        mine, other = crew[who].user_id, ids["other"]
        keys = {"own_key": ids["keys"][str(mine)], "key": ids["keys"][str(other)]}
        asked = {**ids, **keys, "guest": email, "self": mine}
        method, _, path = row.route.format_map(asked).partition(" ")
        response = await http.request(
            method,
            path,
            params=filled(row.query, asked),
            json=None if row.body is None else filled(row.body, asked),
            headers=crew[who].headers,
        )
        assert response.status_code == status, (who, response.text)
        if response.is_success and method != "GET":
            # The next one finds a team as it was.
            ids = None
