"""Balances by the management API: read, set, added to once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import entries_of, placed
from tokenbalance.books.ledger.book import Book
from tokenbalance.books.ledger.credits import TOO_LARGE
from tokenbalance.model import Usage

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_setting_a_balance_leaves_an_entry_with_who_and_why(
    http: httpx2.AsyncClient, people: People, pool: Pool, method: str
) -> None:
    path = f"/api/balance/{people.user.user_id}"
    body = {"balance": 30, "note": "as agreed"}
    response = await http.request(method, path, json=body, headers=people.superuser.headers)
    assert response.status_code == 200
    assert response.json() == {
        "user": people.user.user_id,
        "balance": 30,
        "held": 0,
        "available": 30,
    }
    assert await entries_of(pool, people.user) == [("grant", 100, 100), ("set", -70, 30)]
    by = await pool.fetchrow(
        "SELECT e.note, u.email = e.actor AS own FROM ledger e, users u"
        " WHERE e.kind = 'set' AND u.id = $1 AND e.account_id = $2",
        people.superuser.user_id,
        people.user.account_id,
    )
    assert by is not None
    assert tuple(by) == ("as agreed", True)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ('{"balance": true}', "balance", "invalid_type"),
        ('{"balance": "30"}', "balance", "invalid_type"),
        ('{"balance": 30.0}', "balance", "invalid_type"),
        ('{"balance": 1e2}', "balance", "invalid_type"),
        ('{"balance": null}', "balance", "invalid_type"),
        ('{"balance": [30]}', "balance", "invalid_type"),
        ('{"balance": 1e309}', "balance", "invalid_type"),
        ('{"balance": -1}', "balance", "integer_below_min_value"),
        ('{"balance": 9007199254740992}', "balance", "integer_above_max_value"),
        ('{"balance": 99999999999999999999}', "balance", "integer_above_max_value"),
        ("{}", "balance", "missing_required_parameter"),
        ('{"note": "nothing"}', "balance", "missing_required_parameter"),
        ('{"overdraft": null}', "overdraft", "invalid_type"),
        ('{"overdraft": -1}', "overdraft", "integer_below_min_value"),
        ('{"overdraft": 9007199254740992}', "overdraft", "integer_above_max_value"),
        ('{"balance": 30, "overdraft": "1"}', "overdraft", "invalid_type"),
        ('{"balance": 30, "user": 1}', "user", "unknown_parameter"),
        ('{"balance": 30, "note": "a\\u0000b"}', "note", "invalid_value"),
        ('{"balance": 30, "balance": 31}', None, "invalid_json"),
        ('{"balance": NaN}', "balance", "invalid_json"),
        ('{"balance": 30} x', None, "invalid_json"),
        ("[30]", None, "invalid_json"),
        ("30", None, "invalid_json"),
        ("", None, "invalid_json"),
        ('{"balance": ' + "[" * 2000, "balance", "invalid_json"),
    ],
)
async def test_what_is_no_balance_is_refused_and_named(
    http: httpx2.AsyncClient, people: People, pool: Pool, body: str, param: str | None, code: str
) -> None:
    response = await http.patch(
        f"/api/balance/{people.user.user_id}",
        content=body,
        headers={**people.superuser.headers, "content-type": "application/json"},
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert await entries_of(pool, people.user) == [("grant", 100, 100)]


async def test_a_body_of_another_kind_or_size_is_refused(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = f"/api/balance/{people.user.user_id}"
    for kind, content, status in (
        ("text/plain", b'{"balance": 30}', 415),
        ("application/x-www-form-urlencoded", b"balance=30", 415),
        ("application/json; charset=latin-1", b'{"balance": 30}', 415),
        ("application/json", b'{"balance": 30, "note": "' + b"n" * 1024 * 1024 + b'"}', 413),
    ):
        headers = {**people.superuser.headers, "content-type": kind}
        response = await http.put(path, content=content, headers=headers)
        assert response.status_code == status


@pytest.mark.parametrize(
    "user_id", ["0", "-1", "x", "1.0", "+1", "1_0", "%00", str(2**63), "9" * 40]
)
async def test_an_id_that_nobody_can_have_is_refused(
    http: httpx2.AsyncClient, people: People, user_id: str
) -> None:
    response = await http.get(f"/api/balance/{user_id}", headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "user_id")


async def test_somebody_unknown_is_not_found(http: httpx2.AsyncClient, people: People) -> None:
    response = await http.get("/api/balance/999999", headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def add(
    http: httpx2.AsyncClient, people: People, body: dict[str, Any], key: str | None
) -> httpx2.Response:
    headers = {**people.superuser.headers, **({"Idempotency-Key": key} if key else {})}
    path = f"/api/balance/{people.user.user_id}/credits"
    return await http.post(path, json=body, headers=headers)


async def test_adding_credits_again_with_the_same_key_gives_the_same_answer(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    body = {"amount": 50, "note": "May"}
    first = await add(http, people, body, "may-2030")
    assert (await add(http, people, {"amount": -5}, "other")).status_code == 201
    again = await add(http, people, body, "may-2030")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.json()["balance"] == first.json()["entry"]["balance_after"] == 150
    assert set(first.json()["entry"]) == {
        *("id", "kind", "amount", "balance_after", "request_id", "actor", "note"),
        *("estimated", "created_at"),
    }
    assert [entry[0] for entry in await entries_of(pool, people.user)] == [
        *("grant", "top-up", "adjustment")
    ]


async def test_the_same_key_at_once_adds_once(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    responses = await asyncio.gather(*(add(http, people, {"amount": 7}, "k") for _ in range(5)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert await entries_of(pool, people.user) == [("grant", 100, 100), ("top-up", 7, 107)]


async def test_a_key_with_other_contents_is_refused(
    http: httpx2.AsyncClient, people: People
) -> None:
    await add(http, people, {"amount": 50}, "k")
    for body in ({"amount": 51}, {"amount": 50, "note": "other"}):
        response = await add(http, people, body, "k")
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("key", "body", "param"),
    [
        (None, {"amount": 1}, "Idempotency-Key"),
        ("k" * 256, {"amount": 1}, "Idempotency-Key"),
        ("a\tb", {"amount": 1}, "Idempotency-Key"),
        ("k", {"amount": 0}, "amount"),
        ("k", {"amount": 1.5}, "amount"),
        ("k", {"amount": -101}, "amount"),
        ("k", {"amount": 2**53 - 1}, "amount"),
        ("k", {"note": "no amount"}, "amount"),
    ],
)
async def test_what_cannot_be_added_is_refused_and_named(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    key: str | None,
    body: dict[str, Any],
    param: str,
) -> None:
    response = await add(http, people, body, key)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert await entries_of(pool, people.user) == [("grant", 100, 100)]


async def test_what_requests_in_flight_hold_stays_and_the_answer_says_so(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, path = people.user, f"/api/balance/{people.user.user_id}"
    hold = await placed(Book(pool), user, f"tb_{user.account_id}", 70)
    taken = await add(http, people, {"amount": -90}, "take")
    was_set = await http.put(path, json={"balance": 0}, headers=people.superuser.headers)
    assert await Book(pool).settle(hold, Usage(total=70))
    again = await add(http, people, {"amount": -90}, "take")
    other = await add(http, people, {"amount": -30}, "take")

    assert (taken.status_code, taken.json()["kept_for_holds"]) == (201, 60)
    assert (taken.json()["balance"], taken.json()["entry"]["amount"]) == (70, -30)
    funds = {"balance": 70, "held": 70, "available": 0}
    assert was_set.json() == {"user": user.user_id, **funds, "kept_for_holds": 70}
    assert again.json() == taken.json()
    assert other.status_code == 409
    assert [amount for _, amount, _ in await entries_of(pool, user)] == [100, -30, 0, -70]


async def test_an_overdraft_is_set_shown_and_available(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, path = people.user, f"/api/balance/{people.user.user_id}"
    headers = people.superuser.headers
    alone = await http.patch(path, json={"overdraft": 50, "note": "May"}, headers=headers)
    funds = {"user": user.user_id, "balance": 100, "held": 0, "available": 150, "overdraft": 50}
    assert alone.json() == funds
    assert (await http.get(path, headers=headers)).json() == funds
    assert (await http.get("/api/balance", headers=user.headers)).json() == funds
    assert await placed(Book(pool), user, f"tb_{user.account_id}", 130)

    refused = await http.put(path, json={"overdraft": 29}, headers=headers)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "overdraft")
    assert error["code"] == "integer_below_min_value"
    assert "at least 30 credits" in error["message"]

    both = await http.put(path, json={"balance": 300, "overdraft": 0}, headers=headers)
    assert both.json() == {"user": user.user_id, "balance": 300, "held": 130, "available": 170}
    own = await http.put(path, json={"overdraft": 1}, headers=user.headers)
    assert own.status_code == 403


async def test_the_largest_amount_is_told_in_the_same_words_everywhere(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = f"/api/balance/{people.user.user_id}"
    for number in (2**53, 10**30):
        added = await add(http, people, {"amount": number}, "k")
        was_set = await http.put(path, json={"balance": number}, headers=people.superuser.headers)
        for response in (added, was_set):
            message = response.json()["error"]["message"]
            assert TOO_LARGE in message.replace("An amount", "an amount")
