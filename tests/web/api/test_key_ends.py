"""The end of keys by the management API: with what was made with them, or all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.chat import CHAT

if TYPE_CHECKING:
    from datetime import datetime

    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


async def make(
    http: httpx2.AsyncClient, headers: dict[str, str], **body: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Create a key; returns what is said of it, and the headers of who uses it."""
    response = await http.post("/api/keys", json=body, headers=headers)
    assert response.status_code == 201, response.text
    return response.json(), {"Authorization": f"Bearer {response.json()['key']}"}


async def token_of(pool: Pool, holder: Holder) -> dict[str, str]:
    """Give somebody a second secret, which is a sign-in token."""
    secret = f"tb-token-of-{holder.user_id}"
    await pool.execute(
        "INSERT INTO api_keys (account_id, kind, prefix, secret_sha256)"
        " VALUES ($1, 'sign-in', 'tb-token', sha256($2::text::bytea))",
        holder.account_id,
        secret,
    )
    return {"Authorization": f"Bearer {secret}"}


async def statuses(http: httpx2.AsyncClient, *callers: dict[str, str]) -> list[int]:
    return [(await http.get("/api/balance", headers=headers)).status_code for headers in callers]


async def test_a_revoked_key_takes_along_what_was_made_with_it(
    http: httpx2.AsyncClient, people: People
) -> None:
    admin, user = people.superuser, people.user
    child, child_headers = await make(http, admin.headers, user_id=user.user_id)
    _, grandchild = await make(http, child_headers, name="course")
    assert await statuses(http, child_headers, grandchild, user.headers) == [200] * 3
    revoked = await http.delete(f"/api/keys/{child['id']}", headers=user.headers)
    assert (revoked.status_code, revoked.json()["revoked_with_it"]) == (200, 1)
    assert await statuses(http, child_headers, grandchild, user.headers) == [401, 401, 200]
    chat = await http.post("/v1/chat/completions", json=CHAT, headers=grandchild)
    assert chat.status_code == 401


async def test_a_made_key_ends_with_its_maker_at_the_latest(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    _, manager = await make(http, people.user.headers, expires_at="2999-01-31")
    key, _ = await make(http, manager, expires_at="2999-02-28")
    assert key["expires_at"] == "2999-01-31T00:00:00Z"
    path = f"/api/keys/{key['made_by_key_id']}"
    earlier = await http.patch(path, json={"expires_at": "2998-01-31"}, headers=people.user.headers)
    assert earlier.status_code == 200
    ends: datetime | None = await pool.fetchval(
        "SELECT expires_at FROM api_keys WHERE id = $1", key["id"]
    )
    assert ends is not None
    assert ends.year == 2998


async def test_the_limits_of_a_made_key_are_the_tighter_of_both(
    http: httpx2.AsyncClient, people: People
) -> None:
    limits = {"credits_total": 5, "models": ["gpt-4o-*"]}
    _, manager = await make(http, people.user.headers, **limits)
    key, _ = await make(http, manager, credits_total=7, requests_per_minute=2)
    assert (key["credits_total"], key["requests_per_minute"]) == (5, 2)
    assert key["models"] == ["gpt-4o-*"]
    response = await http.post("/api/keys", json={"models": ["o3"]}, headers=manager)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "models")
    assert "'o3'" in error["message"]


async def test_all_keys_end_and_tokens_only_if_asked(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, token = people.user, await token_of(pool, people.user)
    _, second = await make(http, user.headers)
    _, third = await make(http, token)
    response = await http.post("/api/keys/all/revoke", json={}, headers=user.headers)
    assert (response.status_code, response.json()) == (200, {"revoked": 3})
    assert await statuses(http, user.headers, second, third, token) == [401, 401, 401, 200]
    assert await statuses(http, people.other.headers, people.superuser.headers) == [200, 200]
    response = await http.post("/api/keys/all/revoke", json={"tokens": True}, headers=token)
    assert (response.status_code, response.json()) == (200, {"revoked": 0})
    assert await statuses(http, token) == [401]


async def test_a_superuser_ends_all_keys_of_a_user_who_ends_nobody_elses(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    token = await token_of(pool, people.user)
    body = {"user_id": people.user.user_id, "tokens": True}
    path = "/api/keys/all/revoke"
    refused = await http.post(path, json=body, headers=people.other.headers)
    assert refused.status_code == 403
    assert await statuses(http, people.user.headers, token) == [200, 200]
    response = await http.post(path, json=body, headers=people.superuser.headers)
    assert (response.status_code, response.json()) == (200, {"revoked": 1})
    assert await statuses(http, people.user.headers, token) == [401, 401]
    assert await statuses(http, people.superuser.headers, people.other.headers) == [200, 200]


async def test_ending_all_keys_wants_a_body(http: httpx2.AsyncClient, people: People) -> None:
    response = await http.post("/api/keys/all/revoke", headers=people.user.headers)
    assert response.status_code == 400
    assert await statuses(http, people.user.headers) == [200]
