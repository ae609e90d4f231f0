"""Who calls a management route, and whom a superuser names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.books import create_holder

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


async def test_a_superuser_may_name_somebody_in_a_body(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    stranger = await create_holder(pool)
    body = {"user_id": stranger.user_id}
    for holder, status in ((people.user, 403), (stranger, 201), (people.superuser, 201)):
        response = await http.post("/api/keys", json=body, headers=holder.headers)
        assert response.status_code == status
    listed = await http.get("/api/keys", headers=stranger.headers)
    assert len(listed.json()["data"]) == 3


async def test_who_is_not_known_is_not_told_what_is_wrong_with_the_request(
    http: httpx2.AsyncClient, people: People
) -> None:
    for headers, status in (({}, 401), (people.user.headers, 403)):
        response = await http.put("/api/balance/x", content=b"{", headers=headers)
        assert response.status_code == status


async def test_tokens_of_the_original_are_accepted(
    http: httpx2.AsyncClient, people: People
) -> None:
    for headers in (
        {"Authorization": f"Token {people.user.secret}"},
        {"Authorization": f"token {people.user.secret}"},
    ):
        assert (await http.get("/api/balance/", headers=headers)).status_code == 200
