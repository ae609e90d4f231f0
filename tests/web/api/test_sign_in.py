"""Signing in by the management API; how often one may try is tested with the accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

PASSWORD = "analytical"


@pytest.mark.parametrize(
    ("changed", "param", "code"),
    [
        ({"password": "wrong"}, None, "invalid_credentials"),
        ({"password": ""}, None, "invalid_credentials"),
        ({"email": ""}, None, "invalid_credentials"),
        ({"email": "nobody@example.com"}, None, "invalid_credentials"),
        ({"email": "a\x00b@example.com"}, None, "invalid_credentials"),
        ({"password": "a\x00"}, None, "invalid_credentials"),
        ({"email": None}, "email", "invalid_type"),
        ({"password": 5}, "password", "invalid_type"),
        ({"next": "/"}, "next", "unknown_parameter"),
    ],
)
async def test_bad_credentials_are_refused(
    http: httpx2.AsyncClient,
    people: People,
    email: str,
    changed: dict[str, Any],
    param: str | None,
    code: str,
) -> None:
    person = {"email": email, "password": PASSWORD}
    await http.post("/api/user/create", json=person, headers=people.superuser.headers)
    response = await http.post("/api/user/auth", json={**person, **changed})
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert PASSWORD not in response.text


@pytest.mark.parametrize("missing", ["email", "password"])
async def test_missing_credentials_are_refused(http: httpx2.AsyncClient, missing: str) -> None:
    body = {"email": "a@example.com", "password": PASSWORD}
    del body[missing]
    response = await http.post("/api/user/auth", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, missing)
    assert error["code"] == "missing_required_parameter"


async def test_a_disabled_user_cannot_sign_in(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    headers = people.superuser.headers
    person = {"email": email, "password": PASSWORD}
    created = (await http.post("/api/user/create", json=person, headers=headers)).json()
    await http.patch(f"/api/users/{created['id']}", json={"is_active": False}, headers=headers)
    response = await http.post("/api/user/auth", json=person)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_credentials")


async def test_who_fails_too_often_is_told_how_long_to_wait(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    assert people
    body = {"email": "somebody@example.com", "password": "guess"}
    assert (await http.post("/api/user/auth", json=body)).status_code == 400
    await pool.execute("UPDATE sign_in_failures SET next_at = now() + interval '1 minute'")
    response = await http.post("/api/user/auth", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 50 <= int(response.headers["retry-after"]) <= 60
