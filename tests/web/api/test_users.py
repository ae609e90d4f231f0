"""Users by the management API: created, listed, changed, disabled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.product import serving
from tests.web.api.test_key_ends import token_of

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

PASSWORD = "analytical"


def ada(email: str) -> dict[str, Any]:
    """Somebody to be created."""
    return {"email": email, "password": PASSWORD, "name": "Ada"}


async def test_a_superuser_creates_a_user_with_a_balance_of_0(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    response = await http.post(
        "/api/user/create", json=ada(email), headers=people.superuser.headers
    )
    assert response.status_code == 201
    created = response.json()
    assert set(created) == {"id", "email", "name"}
    assert (created["email"], created["name"]) == (email, "Ada")
    balance = await http.get(f"/api/balance/{created['id']}", headers=people.superuser.headers)
    funds = {"balance": 0, "held": 0, "available": 0}
    assert balance.json() == {"user": created["id"], **funds}


@pytest.mark.parametrize(
    ("changed", "param", "code"),
    [
        ({"email": "no address"}, "email", "invalid_value"),
        ({"email": ""}, "email", "invalid_value"),
        ({"email": "a\x00@example.com"}, "email", "invalid_value"),
        ({"email": 5}, "email", "invalid_type"),
        ({"password": "1234"}, "password", "invalid_value"),
        ({"password": ""}, "password", "invalid_value"),
        ({"password": "Sunshine1"}, "password", "invalid_value"),
        ({"password": None}, "password", "invalid_type"),
        ({"password": "p" * 1025}, "password", "invalid_value"),
        ({"name": "n" * 201}, "name", "invalid_value"),
        ({"name": "a\nb"}, "name", "invalid_value"),
        ({"name": None}, "name", "invalid_type"),
        ({"is_superuser": True}, "is_superuser", "unknown_parameter"),
    ],
)
async def test_what_is_wrong_with_a_new_user_is_named(
    http: httpx2.AsyncClient,
    people: People,
    email: str,
    changed: dict[str, Any],
    param: str,
    code: str,
) -> None:
    body = {**ada(email), **changed}
    response = await http.post("/api/user/create", json=body, headers=people.superuser.headers)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert PASSWORD not in response.text


async def test_an_e_mail_is_taken_in_any_case(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    headers = people.superuser.headers
    for spelling, status in ((email, 201), (email, 400), (f" {email.upper()} ", 400)):
        response = await http.post("/api/user/create", json=ada(spelling), headers=headers)
        assert response.status_code == status
    assert response.json()["error"]["param"] == "email"


async def test_sign_up_when_it_is_open_is_for_anybody(
    dsn: str, http: httpx2.AsyncClient, email: str
) -> None:
    closed = await http.post("/api/user/create", json=ada(email))
    assert (closed.status_code, closed.headers["www-authenticate"]) == (401, "Bearer")
    async with serving(dsn, None, signup="open") as url:
        opened = await http.post(f"{url}/api/user/create", json=ada(email))
    assert opened.status_code == 201


async def test_people_change_their_own_name_and_password(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    await http.post("/api/user/create", json=ada(email), headers=people.superuser.headers)
    credentials = {"email": email.lower(), "password": PASSWORD}
    tokens = [
        (await http.post("/api/user/auth", json=credentials)).json()["token"] for _ in range(2)
    ]
    used, unused = [{"Authorization": f"Bearer {token}"} for token in tokens]
    response = await http.patch(
        "/api/user/me",
        json={"name": "Countess", "password": "difference", "current_password": PASSWORD},
        headers=used,
    )
    assert response.status_code == 200
    assert response.json()["name"] == "Countess"
    assert (await http.get("/api/user/me", headers=used)).json() == response.json()
    assert (await http.get("/api/user/me", headers=unused)).status_code == 401
    assert (await http.post("/api/user/auth", json=credentials)).status_code == 400


@pytest.mark.parametrize(
    ("current", "param", "code"),
    [
        ({}, "current_password", "missing_required_parameter"),
        ({"current_password": "wrong"}, "current_password", "invalid_credentials"),
        ({"current_password": ""}, "current_password", "invalid_credentials"),
        ({"current_password": None}, "current_password", "invalid_type"),
    ],
)
async def test_a_new_password_requires_the_one_until_now(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    email: str,
    current: dict[str, Any],
    param: str,
    code: str,
) -> None:
    await http.post("/api/user/create", json=ada(email), headers=people.superuser.headers)
    credentials = {"email": email, "password": PASSWORD}
    token = (await http.post("/api/user/auth", json=credentials)).json()["token"]
    response = await http.patch(
        "/api/user/me",
        json={"name": "Mallory", "password": "difference", **current},
        headers={"Authorization": f"Bearer {token}"},
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert "difference" not in response.text
    assert await pool.fetchval("SELECT name FROM users WHERE email = $1", email) == "Ada"
    assert (await http.post("/api/user/auth", json=credentials)).status_code == 200


async def test_guesses_of_the_current_password_count_like_sign_ins(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    await http.post("/api/user/create", json=ada(email), headers=people.superuser.headers)
    credentials = {"email": email, "password": PASSWORD}
    token = (await http.post("/api/user/auth", json=credentials)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    change = {"password": "difference", "current_password": "a guess"}
    for _ in range(10):
        await http.patch("/api/user/me", json=change, headers=headers)
    response = await http.patch("/api/user/me", json=change, headers=headers)
    assert (response.status_code, "retry-after" in response.headers) == (429, True)
    # It is refused whatever the current one is, and so is no guess.
    change["password"] = "short"
    response = await http.patch("/api/user/me", json=change, headers=headers)
    assert response.json()["error"]["param"] == "password"


async def test_a_key_that_a_program_was_given_does_not_change_its_owner_s_password(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    change = {"name": "Mallory", "password": "difference"}
    response = await http.patch("/api/user/me", json=change, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    row = await pool.fetchrow(
        "SELECT name, password_hash FROM users WHERE id = $1", people.user.user_id
    )
    assert row is not None
    assert tuple(row) == ("", None)


async def test_changing_nothing_is_refused(http: httpx2.AsyncClient, people: People) -> None:
    for path in ("/api/user/me", f"/api/users/{people.user.user_id}"):
        response = await http.patch(path, json={}, headers=people.superuser.headers)
        assert response.status_code == 400
        assert "at least one of 'name'" in response.json()["error"]["message"]


async def test_a_method_that_a_path_has_not_is_405_and_names_those_it_has(
    http: httpx2.AsyncClient,
) -> None:
    for path in ("/api/user/me", "/api/user/me/"):
        response = await http.post(path, json={})
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, PATCH")
        assert response.json()["error"]["code"] == "method_not_allowed"


async def test_users_are_found_by_a_part_of_their_e_mail_and_listed_in_pages(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    headers = people.superuser.headers
    created = [
        (await http.post("/api/user/create", json=ada(f"{part}.{email}"), headers=headers)).json()
        for part in "abc"
    ]
    query = {"search": f".{email.upper()}", "limit": "2"}
    first = (await http.get("/api/users", params=query, headers=headers)).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    late = (await http.post("/api/user/create", json=ada(f"d.{email}"), headers=headers)).json()
    query["after"] = first["next"]
    rest = (await http.get("/api/users", params=query, headers=headers)).json()
    listed = [user["id"] for user in first["data"] + rest["data"]]
    assert listed == [user["id"] for user in [*created, late]]
    assert (rest["has_more"], rest["next"]) == (False, None)
    assert set(first["data"][0]) == {
        *("id", "email", "name", "is_superuser", "is_active", "balance", "held", "available"),
        *("account_id", "time_zone", "limits", "tags"),
    }


async def test_who_is_disabled_is_refused_at_once_and_let_in_again_later(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = f"/api/users/{people.user.user_id}"
    for active, status in ((False, 401), (True, 200)):
        response = await http.patch(
            path, json={"is_active": active}, headers=people.superuser.headers
        )
        assert (response.status_code, response.json()["is_active"]) == (200, active)
        mine = await http.get("/api/balance", headers=people.user.headers)
        assert mine.status_code == status


async def test_the_last_superuser_stays_one(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    alone = "UPDATE users SET is_superuser = false WHERE id <> $1"
    await pool.execute(alone, people.superuser.user_id)
    path = f"/api/users/{people.superuser.user_id}"
    token = await token_of(pool, people.superuser)
    for change in ({"is_superuser": False}, {"is_active": False}):
        response = await http.patch(path, json=change, headers=token)
        assert response.status_code == 400
    listed = await http.get("/api/users", headers=people.superuser.headers)
    assert listed.status_code == 200


async def test_a_key_changes_no_role_and_disables_no_superuser(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    admin, user, other = people.superuser, people.user, people.other
    change = "UPDATE users SET is_superuser = true WHERE id = $1"
    await pool.execute(change, other.user_id)
    token = await token_of(pool, admin)
    for user_id, body in (
        (user.user_id, {"is_superuser": True}),
        (other.user_id, {"is_active": False}),
        (other.user_id, {"name": "Taken back", "is_active": True}),
        (other.user_id, {"is_superuser": False}),
    ):
        path = f"/api/users/{user_id}"
        refused = await http.patch(path, json=body, headers=admin.headers)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (403, "permission_denied")
        assert "sign-in token" in error["message"]
        allowed = await http.patch(path, json=body, headers=token)
        assert allowed.status_code == 200
        assert {**allowed.json(), **body} == allowed.json()
    renamed = await http.patch(
        f"/api/users/{admin.user_id}", json={"name": "Root"}, headers=admin.headers
    )
    assert renamed.status_code == 200


async def test_a_refused_change_of_a_superuser_changes_nothing(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    admin = people.superuser
    path = f"/api/users/{people.other.user_id}"
    await pool.execute("UPDATE users SET is_superuser = true WHERE id = $1", people.other.user_id)
    events = "SELECT count(*) FROM events"
    before = await pool.fetchval(events)
    refused = await http.patch(path, json={"is_active": False}, headers=admin.headers)
    assert refused.status_code == 403
    assert await pool.fetchval(events) == before
    response = await http.get("/api/balance", headers=people.other.headers)
    assert response.status_code == 200


async def test_neither_a_hash_nor_a_secret_is_in_any_list(
    http: httpx2.AsyncClient, people: People, pool: Pool, email: str
) -> None:
    headers = people.superuser.headers
    await http.post("/api/user/create", json=ada(email), headers=headers)
    stored = await pool.fetchval("SELECT password_hash FROM users WHERE email = $1", email)
    for path in ("/api/users?limit=1000", "/api/keys", "/api/user/me"):
        text = (await http.get(path, headers=headers)).text
        assert stored not in text
        assert "sha256" not in text
        assert people.superuser.secret not in text
