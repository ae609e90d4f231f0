"""Sign-in tokens by the management API: listed, and ended one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

PASSWORD = "analytical"


async def created(http: httpx2.AsyncClient, people: People, email: str) -> int:
    """Create a user with a password."""
    person = {"email": email, "password": PASSWORD}
    headers = people.superuser.headers
    response = await http.post("/api/user/create", json=person, headers=headers)
    return int(response.json()["id"])


async def signed_in(
    http: httpx2.AsyncClient, email: str, agent: str = "curl/8.5.0"
) -> dict[str, str]:
    """Sign in; returns the headers that prove it."""
    response = await http.post(
        "/api/user/auth",
        json={"email": email, "password": PASSWORD},
        headers={"user-agent": agent},
    )
    return {"Authorization": f"Bearer {response.json()['token']}"}


async def test_tokens_are_listed_newest_first_and_end_one_by_one(
    http: httpx2.AsyncClient, people: People, email: str
) -> None:
    await created(http, people, email)
    one, two, three = [await signed_in(http, email, f"program-{n}/1 x") for n in "abc"]
    page = (await http.get("/api/tokens", params={"limit": "2"}, headers=two)).json()
    rest = await http.get("/api/tokens", params={"after": page["next"]}, headers=two)
    listed = page["data"] + rest.json()["data"]
    assert [token["agent"] for token in listed] == ["program-c/1", "program-b/1", "program-a/1"]
    assert [token["is_current"] for token in listed] == [False, True, False]
    assert {(token["via"], token["address"]) for token in listed} == {("api", "127.0.0.1")}
    assert "tb-" not in rest.text

    ended = await http.delete(f"/api/tokens/{listed[2]['id']}", headers=two)
    assert (ended.status_code, ended.json()["id"]) == (200, listed[2]["id"])
    again = await http.delete(f"/api/tokens/{listed[2]['id']}", headers=two)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
    for headers, status in ((one, 401), (two, 200), (three, 200)):
        assert (await http.get("/api/user/me", headers=headers)).status_code == status
    left = (await http.get("/api/tokens", headers=two)).json()["data"]
    assert [token["id"] for token in left] == [token["id"] for token in listed[:2]]


async def test_tokens_and_keys_of_others_are_out_of_reach_but_for_superusers(
    http: httpx2.AsyncClient, people: People, pool: Pool, email: str
) -> None:
    user_id = await created(http, people, email)
    other_id = await created(http, people, f"other.{email}")
    user, other = await signed_in(http, email), await signed_in(http, f"other.{email}")
    token_id = (await http.get("/api/tokens", headers=user)).json()["data"][0]["id"]

    for path in (
        f"/api/tokens/{token_id}",
        f"/api/tokens/{people.user.key_id}",
        "/api/tokens/9999999",
    ):
        assert (await http.delete(path, headers=other)).status_code == 404
    theirs = {"user_id": str(user_id)}
    assert (await http.get("/api/tokens", params=theirs, headers=other)).status_code == 403
    path = f"/api/tokens/{token_id}"
    assert (await http.delete(path, params=theirs, headers=other)).status_code == 403
    # A leaked key, even a superuser's, must not sign anybody out.
    for holder in (people.user, people.superuser):
        response = await http.delete(path, params=theirs, headers=holder.headers)
        assert (response.status_code, response.json()["error"]["code"]) == (
            403,
            "permission_denied",
        )
    assert (await http.get("/api/user/me", headers=user)).status_code == 200

    await pool.execute("UPDATE users SET is_superuser = true WHERE id = $1", other_id)
    listed = (await http.get("/api/tokens", params=theirs, headers=other)).json()["data"]
    assert [(token["id"], token["is_current"]) for token in listed] == [(token_id, False)]
    assert (await http.delete(path, headers=other)).status_code == 404
    assert (await http.delete(path, params=theirs, headers=other)).status_code == 200
    assert (await http.get("/api/user/me", headers=user)).status_code == 401


async def test_what_is_known_of_a_token_is_forgotten_after_its_end(
    http: httpx2.AsyncClient, people: People, pool: Pool, email: str
) -> None:
    user_id = await created(http, people, email)
    for _ in range(2):
        await signed_in(http, email)
    headers = await signed_in(http, email)
    mine = "(SELECT id FROM accounts WHERE user_id = $1)"
    await pool.execute(
        f"UPDATE api_keys SET expires_at = now() WHERE account_id = {mine}",  # noqa: S608 - fixed text
        user_id,
    )
    assert (await http.get("/api/tokens", headers=headers)).status_code == 401
    headers = await signed_in(http, email)
    assert len((await http.get("/api/tokens", headers=headers)).json()["data"]) == 1
    count = f"SELECT count(*) FROM sign_ins WHERE account_id = {mine}"  # noqa: S608 - fixed text
    assert await pool.fetchval(count, user_id) == 1
