"""Tags by the management API: given, found, and everybody who has one handled at once."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

_numbers = count(1)


@pytest.fixture
async def tag(http: httpx2.AsyncClient, people: People) -> str:
    """A tag of the test's own, which the user, the other and the superuser have."""
    tag = f"class-{next(_numbers)}"
    for holder in (people.user, people.other, people.superuser):
        response = await http.patch(
            f"/api/users/{holder.user_id}",
            json={"tags": [tag.upper(), "all", tag]},
            headers=people.superuser.headers,
        )
        assert response.json()["tags"] == ["all", tag]
    return tag


async def balance(pool: Pool, holder: Holder) -> int:
    return await pool.fetchval("SELECT balance FROM accounts WHERE id = $1", holder.account_id)


async def test_users_are_found_by_tag(http: httpx2.AsyncClient, people: People, tag: str) -> None:
    response = await http.get("/api/users", params={"tag": tag}, headers=people.superuser.headers)
    found = [row["id"] for row in response.json()["data"]]
    assert found == [people.user.user_id, people.other.user_id, people.superuser.user_id]
    tags = (await http.get("/api/tags", headers=people.superuser.headers)).json()["data"]
    assert {"tag": tag, "users": 3, "disabled": 0, "balance": 300} in tags


@pytest.mark.parametrize(
    "tags", [["two words"], [""], ["-a"], ["a" * 41], ["ä"], [f"t{n}" for n in range(21)], "cs101"]
)
async def test_what_is_no_tag_is_refused(
    http: httpx2.AsyncClient, people: People, tags: object
) -> None:
    response = await http.patch(
        f"/api/users/{people.user.user_id}", json={"tags": tags}, headers=people.superuser.headers
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] in {"tag", "tags"}


async def test_everybody_with_a_tag_is_credited_once_for_each_key(
    http: httpx2.AsyncClient, people: People, pool: Pool, tag: str
) -> None:
    path, headers = f"/api/tags/{tag}/credits", people.superuser.headers
    for _ in range(2):
        response = await http.post(
            path,
            json={"amount": 50, "note": "week 3"},
            headers={**headers, "idempotency-key": tag},
        )
        assert response.status_code == 201
        assert response.json() == {"users": 3, "amount": 50, "total": 150}
    assert [await balance(pool, one) for one in (people.user, people.other)] == [150, 150]
    assert await balance(pool, people.disabled) == 100
    other = await http.post(path, json={"amount": 51}, headers={**headers, "idempotency-key": tag})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("amount", [0, -5, 2**53])
async def test_a_tag_gets_all_of_an_amount_or_nothing(
    http: httpx2.AsyncClient, people: People, pool: Pool, tag: str, amount: int
) -> None:
    response = await http.post(
        f"/api/tags/{tag}/credits",
        json={"amount": amount},
        headers={**people.superuser.headers, "idempotency-key": "k"},
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "amount")
    assert await balance(pool, people.user) == 100


async def test_one_balance_that_would_be_too_large_keeps_all_from_being_credited(
    http: httpx2.AsyncClient, people: People, pool: Pool, tag: str
) -> None:
    # The last one in the order of accounts.
    response = await http.put(
        f"/api/balance/{people.superuser.user_id}",
        json={"balance": 2**53 - 1},
        headers=people.superuser.headers,
    )
    assert response.status_code == 200
    response = await http.post(
        f"/api/tags/{tag}/credits",
        json={"amount": 1},
        headers={**people.superuser.headers, "idempotency-key": "k"},
    )
    assert response.json()["error"]["code"] == "integer_above_max_value"
    assert await balance(pool, people.user) == 100


async def test_a_tag_is_disabled_and_enabled_except_its_superusers(
    http: httpx2.AsyncClient, people: People, tag: str
) -> None:
    async def statuses() -> list[int]:
        all_of_it = (people.user, people.other, people.superuser)
        return [
            (await http.get("/api/balance", headers=one.headers)).status_code for one in all_of_it
        ]

    for action, changed, expected in (
        ("disable", 2, [401, 401, 200]),
        ("disable", 0, [401, 401, 200]),
        ("enable", 2, [200, 200, 200]),
    ):
        response = await http.post(f"/api/tags/{tag}/{action}", headers=people.superuser.headers)
        assert response.json() == {"changed": changed, "superusers": 1}
        assert await statuses() == expected


async def test_a_tag_that_nobody_has_is_not_found(http: httpx2.AsyncClient, people: People) -> None:
    for path, body in (("credits", {"amount": 1}), ("disable", None), ("enable", None)):
        response = await http.post(
            f"/api/tags/nobodys/{path}",
            json=body,
            headers={**people.superuser.headers, "idempotency-key": "k"},
        )
        assert response.status_code == 404, path
    usage = await http.get("/api/usage?tag=nobodys", headers=people.superuser.headers)
    assert usage.status_code == 404


async def test_usage_of_a_tag_is_for_superusers_and_of_no_single_user(
    http: httpx2.AsyncClient, people: People, tag: str
) -> None:
    query = f"/api/usage?tag={tag}&group_by=user"
    assert (await http.get(query, headers=people.user.headers)).status_code == 403
    mine = await http.get(f"{query}&user_id=1", headers=people.superuser.headers)
    assert (mine.status_code, mine.json()["error"]["param"]) == (400, "user_id")
    all_of_it = await http.get(query, headers=people.superuser.headers)
    assert (all_of_it.status_code, all_of_it.json()["data"]) == (200, [])
