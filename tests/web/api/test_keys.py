"""API keys by the management API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.web.api.test_key_ends import token_of
from tokenbalance.people.limits import LIMITS

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

FIELDS = {
    *("id", "prefix", "name", "created_at", "expires_at", "revoked_at", "last_used_at"),
    *("insufficient_status", "force_store_false", "scopes", "made_by_key_id"),
    *("user_id", "team_id", "project_id", "is_suspended"),
    *("sub_account_from", "sub_account_limits"),
    *LIMITS,
}


async def test_a_new_key_works_and_shows_its_secret_once(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    body = {
        "name": "laptop",
        "expires_at": "2999-01-31T01:00:00+01:00",
        "credits_total": 5,
        "insufficient_status": 429,
        "force_store_false": True,
        "models": ["gpt-4o-*"],
    }
    response = await http.post("/api/keys", json=body, headers=people.user.headers)
    assert response.status_code == 201
    created = response.json()
    secret = created.pop("key")
    assert set(created) == FIELDS
    assert created["expires_at"] == "2999-01-31T00:00:00Z"
    assert (created["credits_total"], created["requests_per_minute"]) == (5, None)
    assert (created["insufficient_status"], created["force_store_false"]) == (429, True)
    assert secret.startswith("sk-tb-")
    assert created["prefix"] == secret[:12]
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await http.get("/api/user/me", headers=headers)).status_code == 200
    listed = await http.get("/api/keys", headers=people.user.headers)
    assert [key["prefix"] for key in listed.json()["data"]][1:] == [secret[:12]]
    assert secret not in listed.text
    stored = await pool.fetch("SELECT to_jsonb(k)::text FROM api_keys k")
    assert not [row for row in stored if secret in row[0]]


async def test_a_revoked_key_stops_working_and_revoking_can_be_repeated(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = f"/api/keys/{people.user.key_id}"
    first = await http.delete(path, headers=people.user.headers)
    assert first.status_code == 200
    assert first.json()["revoked_at"] is not None
    assert (await http.delete(path, headers=people.user.headers)).status_code == 401
    again = await http.delete(path, headers=people.superuser.headers)
    assert (again.status_code, again.json()["revoked_at"]) == (200, first.json()["revoked_at"])
    rotated = await http.post(f"{path}/rotate", headers=people.superuser.headers)
    assert rotated.status_code == 400


async def test_a_rotated_key_has_another_secret_and_the_same_id(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = f"/api/keys/{people.user.key_id}/rotate"
    response = await http.post(path, headers=people.user.headers)
    assert (response.status_code, response.json()["id"]) == (200, people.user.key_id)
    assert set(response.json()) == FIELDS | {"key"}
    new = {"Authorization": f"Bearer {response.json()['key']}"}
    assert (await http.get("/api/balance", headers=new)).status_code == 200
    assert (await http.get("/api/balance", headers=people.user.headers)).status_code == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "n" * 201}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2001-01-01"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"expires_at": 4102444800}, "expires_at"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": 1.0}, "tokens_per_minute"),
        ({"parallel_requests": True}, "parallel_requests"),
        ({"credits_total": 2**53}, "credits_total"),
        ({"models": []}, "models"),
        ({"models": ["a b"]}, "models"),
        ({"models": "gpt"}, "models"),
        ({"models": [5]}, "models.0"),
        ({"user_id": 2**63}, "user_id"),
        ({"insufficient_status": 403}, "insufficient_status"),
        ({"insufficient_status": "429"}, "insufficient_status"),
        ({"kind": "sign-in"}, "kind"),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_named(
    http: httpx2.AsyncClient, people: People, body: dict[str, Any], param: str
) -> None:
    response = await http.post("/api/keys", json=body, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_key_is_changed_in_what_is_said_and_in_nothing_else(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    path, headers = f"/api/keys/{people.user.key_id}", people.user.headers
    body: dict[str, Any] = {
        "name": "desk",
        "expires_at": "2999-01-31",
        "insufficient_status": 429,
        "force_store_false": True,
    }
    response = await http.patch(path, json=body, headers=headers)
    assert response.status_code == 200
    changed = response.json()
    assert set(changed) == FIELDS
    assert (changed["name"], changed["insufficient_status"]) == ("desk", 429)
    assert changed["force_store_false"] is True
    assert changed["expires_at"] == "2999-01-31T00:00:00Z"
    again = await http.patch(path, json={"insufficient_status": None}, headers=headers)
    assert again.json() == {
        **changed,
        "insufficient_status": None,
        "last_used_at": again.json()["last_used_at"],
    }
    lifted = await http.patch(path, json={"expires_at": None}, headers=headers)
    assert (lifted.status_code, lifted.json()["error"]["param"]) == (400, "expires_at")
    token = await token_of(pool, people.user)
    again = await http.patch(path, json={"expires_at": None}, headers=token)
    assert (again.json()["expires_at"], again.json()["name"]) == (None, "desk")
    listed = await http.get("/api/keys", headers=headers)
    assert [key["name"] for key in listed.json()["data"]] == ["desk"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"name": None}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"expires_at": "2001-01-01"}, "expires_at"),
        ({"insufficient_status": 500}, "insufficient_status"),
        ({"insufficient_status": True}, "insufficient_status"),
        ({"credits_total": 0}, "credits_total"),
        ({"sub_account_from": "header:cookie"}, "sub_account_from"),
        ({"sub_account_limits": {"models": []}}, "sub_account_limits"),
        ({"user_id": 1}, "user_id"),
    ],
)
async def test_what_is_wrong_with_a_change_of_a_key_is_named(
    http: httpx2.AsyncClient, people: People, body: dict[str, Any], param: str | None
) -> None:
    path = f"/api/keys/{people.user.key_id}"
    response = await http.patch(path, json=body, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("ending", ["revoked_at = now()", "expires_at = now()"])
async def test_a_key_that_has_ended_is_not_changed(
    http: httpx2.AsyncClient, people: People, pool: Pool, ending: str
) -> None:
    key_id = people.user.key_id
    await pool.execute(f"UPDATE api_keys SET {ending} WHERE id = $1", key_id)  # noqa: S608 - a column of ours
    response = await http.patch(
        f"/api/keys/{key_id}", json={"expires_at": None}, headers=people.superuser.headers
    )
    assert response.status_code == 400
    assert "was revoked or has expired" in response.json()["error"]["message"]


async def test_a_key_from_before_its_mark_goes_on_working(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    await pool.execute(
        "UPDATE api_keys SET secret_sha256 = sha256('tb-older'), prefix = 'tb-older' WHERE id = $1",
        people.user.key_id,
    )
    headers = {"Authorization": "Bearer tb-older"}
    assert (await http.get("/api/user/me", headers=headers)).status_code == 200
    renewed = await http.post(f"/api/keys/{people.user.key_id}/rotate", headers=headers)
    assert renewed.json()["key"].startswith("sk-tb-")


@pytest.mark.parametrize("key_id", ["0", "x", str(2**63)])
async def test_an_id_that_no_key_can_have_is_refused(
    http: httpx2.AsyncClient, people: People, key_id: str
) -> None:
    for method, path in (("DELETE", f"/api/keys/{key_id}"), ("POST", f"/api/keys/{key_id}/rotate")):
        response = await http.request(method, path, headers=people.user.headers)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "key_id")


async def test_sign_in_tokens_are_no_keys(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    token_id = await pool.fetchval(
        "INSERT INTO api_keys (account_id, kind, prefix, secret_sha256)"
        " VALUES ($1, 'sign-in', 'tb-token', sha256('token')) RETURNING id",
        people.user.account_id,
    )
    listed = await http.get("/api/keys", headers=people.user.headers)
    assert token_id not in [key["id"] for key in listed.json()["data"]]
    for method, path in (
        ("DELETE", f"/api/keys/{token_id}"),
        ("POST", f"/api/keys/{token_id}/rotate"),
        ("PATCH", f"/api/keys/{token_id}"),
    ):
        body = {"name": "mine"} if method == "PATCH" else None
        response = await http.request(method, path, json=body, headers=people.superuser.headers)
        assert response.status_code == 404
