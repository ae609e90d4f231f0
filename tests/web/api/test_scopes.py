"""What keys with fewer scopes may do, for every management route and for `/v1`."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.web.api.test_roles import SIGN_INS, TABLE, WHO, Row, Who, belongings, headers_of

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

SCOPES = (("inference",), ("read",), ("inference", "read"), ("manage",))
OPEN = {"POST /api/user/auth", "GET /api/docs", "GET /api/schema"}
CALLERS: tuple[Who, ...] = ("user", "superuser")
# With `manage` alone: a key of a team needs a scope that its maker has not. And nobody has used the
# invitation up: it is refused to who is in the team already.
MANAGING: dict[str, dict[Who, int]] = {
    "POST /api/teams/{team_id}/keys": {"user": 400, "superuser": 400},
    "POST /api/invitations/accept": {"user": 400, "superuser": 200},
}


async def give(pool: Pool, key_id: int, *scopes: str) -> None:
    """Let a key have these scopes."""
    await pool.execute("UPDATE api_keys SET scopes = $2 WHERE id = $1", key_id, list(scopes))


def expected(row: Row, who: Who, scopes: tuple[str, ...]) -> int:
    """What the table says of a caller whose key has not all scopes."""
    if row.route == "POST /api/quote":
        return 200 if "inference" in scopes else 403
    if row.route in MANAGING and "manage" in scopes:
        return MANAGING[row.route][who]
    if row.route in OPEN or "manage" in scopes:
        return row.responses[WHO.index(who)]
    # A superuser is an ordinary user, and not the one whose things these are.
    ordinary = row.responses[WHO.index("user" if who == "user" else "other")]
    return ordinary if row.method == "GET" else 403


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.route} {row.query}".strip())
async def test_a_key_does_what_its_scopes_say_and_nothing_else(
    http: httpx2.AsyncClient, people: People, pool: Pool, row: Row
) -> None:
    ids = await belongings(pool, people)
    # A key that has more is not rotated with one that has less.
    await give(pool, int(ids["key_id"]), "manage")
    for (number, scopes), who in product(enumerate(SCOPES), CALLERS):
        await give(pool, getattr(people, who).key_id, *scopes)
        response = await http.request(
            row.method,
            row.path(ids),
            params=row.query.format(**ids),
            content=row.content(ids, f"-{number}-{who}"),
            headers={**headers_of(people, who), **row.headers, "content-type": "application/json"},
        )
        status = expected(row, who, scopes)
        assert response.status_code == status, (who, scopes, response.text)
        if "/api/tokens" in row.route:
            # No key may, whatever its scopes.
            assert response.json()["error"]["code"] == "permission_denied", (who, scopes)
        elif row.responses == SIGN_INS and "manage" in scopes and who == "superuser":
            assert response.json()["error"]["code"] == "permission_denied", (who, scopes)
        elif status == 403 and (who == "superuser" or row.responses[WHO.index("user")] < 400):
            assert response.json()["error"]["code"] == "missing_scope", (who, scopes)


@pytest.mark.parametrize("scopes", [("read",), ("manage",), ("read", "manage")])
async def test_a_key_without_inference_sends_nothing_upstream(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    upstream: ScriptedUpstream,
    scopes: tuple[str, ...],
) -> None:
    await give(pool, people.user.key_id, *scopes)
    sent = len(upstream.requests)
    for method, path, body in (
        ("POST", "/v1/chat/completions", CHAT),
        ("GET", "/v1/models", None),
        ("GET", "/v1/nothing", None),
    ):
        response = await http.request(method, path, json=body, headers=people.user.headers)
        assert response.status_code == 403
        assert response.json()["error"] == {
            "message": "You have insufficient permissions for this operation."
            f" Missing scopes: inference. The key has: {', '.join(scopes)}.",
            "type": "invalid_request_error",
            "param": None,
            "code": "missing_scope",
        }
        assert response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == sent
    await give(pool, people.user.key_id, "inference")
    response = await http.post("/v1/chat/completions", json=CHAT, headers=people.user.headers)
    assert response.status_code == 200


async def test_a_sign_in_token_does_everything_whatever_its_row_says(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await pool.execute(
        "UPDATE api_keys SET kind = 'sign-in', scopes = '{read}' WHERE id = $1",
        people.superuser.key_id,
    )
    headers = people.superuser.headers
    assert (await http.get("/api/users", headers=headers)).status_code == 200
    created = await http.post("/api/keys", json={}, headers=headers)
    assert (created.status_code, created.json()["made_by_key_id"]) == (201, None)
    assert created.json()["scopes"] == ["inference", "read", "manage"]
    response = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 200


async def test_a_key_made_with_a_key_says_so_and_has_its_scopes(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await give(pool, people.user.key_id, "read", "manage")
    made = await http.post("/api/keys", json={}, headers=people.user.headers)
    assert made.status_code == 201
    assert made.json()["made_by_key_id"] == people.user.key_id
    assert made.json()["scopes"] == ["read", "manage"]
    body: dict[str, Any] = {"scopes": ["inference", "read"]}
    for method, path in (("POST", "/api/keys"), ("PATCH", f"/api/keys/{made.json()['id']}")):
        response = await http.request(method, path, json=body, headers=people.user.headers)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (403, "missing_scope")
        assert error["param"] == "scopes"
        assert "Missing scopes: inference." in error["message"]
    narrowed = await http.patch(
        f"/api/keys/{made.json()['id']}", json={"scopes": ["read"]}, headers=people.user.headers
    )
    assert narrowed.json()["scopes"] == ["read"]


async def test_a_key_gets_no_secret_of_a_key_that_may_do_more(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    ids = await belongings(pool, people)
    path = f"/api/keys/{ids['key_id']}/rotate"
    await give(pool, people.user.key_id, "manage")
    response = await http.post(path, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope")
    await give(pool, people.user.key_id, "inference", "read", "manage")
    assert (await http.post(path, headers=people.user.headers)).status_code == 200


async def test_a_key_that_only_manages_is_told_what_a_key_of_a_team_needs(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await give(pool, people.user.key_id, "manage")
    headers = people.user.headers
    team = (await http.post("/api/teams", json={"name": "Physics"}, headers=headers)).json()["id"]
    response = await http.post(f"/api/teams/{team}/keys", json={}, headers=headers)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "scopes")
    assert "must have inference or read too" in error["message"]
    await give(pool, people.user.key_id, "inference", "manage")
    made = await http.post(f"/api/teams/{team}/keys", json={}, headers=headers)
    assert made.json()["scopes"] == ["inference"]


@pytest.mark.parametrize("scopes", [[], ["write"], ["inference", 5], "read", None])
async def test_scopes_that_make_no_sense_are_named(
    http: httpx2.AsyncClient, people: People, scopes: object
) -> None:
    path = f"/api/keys/{people.user.key_id}"
    response = await http.patch(path, json={"scopes": scopes}, headers=people.user.headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("scopes")


async def test_sign_up_is_closed_for_a_superusers_inference_key_too(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await give(pool, people.superuser.key_id, "inference")
    body = {"email": "closed@example.com", "password": "password"}
    response = await http.post("/api/user/create", json=body, headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope")
