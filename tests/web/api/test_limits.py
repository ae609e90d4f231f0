"""Limits and budgets by the management API: who sets them, what binds whom, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.web.api.test_key_ends import token_of
from tokenbalance.people.limits import LIMITS

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

ALL = {
    **{name: number for number, name in enumerate(LIMITS[:9], 5)},
    "models": ["!gpt-5*", "gpt-*"],
    "endpoints": ["chat", "responses"],
    "addresses": ["192.0.2.0/24", "2001:db8::1/128"],
    "service_tiers": ["default"],
    "tools": [],
}


async def test_a_key_has_all_limits_that_are_given_and_loses_those_that_are_null(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    token = await token_of(pool, people.user)
    given = {**ALL, "addresses": ["::ffff:192.0.2.0/120", "2001:db8::1"]}
    created = (await http.post("/api/keys", json=given, headers=token)).json()
    assert {name: created[name] for name in LIMITS} == ALL
    path = f"/api/keys/{created['id']}"
    changed = await http.patch(path, json={"models": None, "credits_total": 3}, headers=token)
    assert {name: changed.json()[name] for name in LIMITS} == {
        **ALL,
        "models": None,
        "credits_total": 3,
    }
    rotated = await http.post(f"{path}/rotate", headers=token)
    assert {name: rotated.json()[name] for name in LIMITS} == {
        name: changed.json()[name] for name in LIMITS
    }
    version = "SELECT limits_version <> 0 FROM api_keys WHERE id = $1"
    assert await pool.fetchval(version, created["id"])
    nothing = await http.patch(path, json=dict.fromkeys(LIMITS), headers=token)
    assert {nothing.json()[name] for name in LIMITS} == {None}
    assert not await pool.fetchval(version, created["id"])


async def test_what_a_superuser_has_set_is_loosened_by_superusers_only(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    path = f"/api/keys/{people.user.key_id}"
    token = await token_of(pool, people.user)
    by_superuser = {"tokens_per_day": 100, "endpoints": ["chat", "files"]}
    response = await http.patch(path, json=by_superuser, headers=people.superuser.headers)
    assert response.status_code == 200, response.text
    looser = await http.patch(path, json={"tokens_per_day": 101}, headers=token)
    assert (looser.status_code, looser.json()["error"]["param"]) == (400, "tokens_per_day")
    assert "at most 100" in looser.json()["error"]["message"]
    wider = await http.patch(path, json={"endpoints": ["chat", "images"]}, headers=token)
    assert (wider.status_code, wider.json()["error"]["param"]) == (400, "endpoints")
    tighter = await http.patch(
        path, json={"tokens_per_day": 50, "endpoints": ["chat"]}, headers=token
    )
    assert (tighter.json()["tokens_per_day"], tighter.json()["endpoints"]) == (50, ["chat"])
    removed = await http.patch(path, json=dict.fromkeys(by_superuser), headers=token)
    assert {name: removed.json()[name] for name in by_superuser} == by_superuser
    lifted = await http.patch(
        path, json=dict.fromkeys(by_superuser), headers=people.superuser.headers
    )
    assert {lifted.json()[name] for name in by_superuser} == {None}
    free = await http.patch(path, json={"tokens_per_day": 10**6}, headers=token)
    assert free.json()["tokens_per_day"] == 10**6


async def test_a_key_loosens_no_limit_of_its_own(http: httpx2.AsyncClient, people: People) -> None:
    path, headers = f"/api/keys/{people.user.key_id}", people.user.headers
    assert (await http.patch(path, json={"credits_total": 9}, headers=headers)).status_code == 200
    for value in (10, None):
        looser = await http.patch(path, json={"credits_total": value}, headers=headers)
        assert looser.status_code == 403
    tighter = await http.patch(path, json={"credits_total": 8}, headers=headers)
    assert tighter.json()["credits_total"] == 8
    made = await http.post("/api/keys", json={"credits_total": 10}, headers=headers)
    assert made.json()["credits_total"] == 8
    await http.patch(path, json={"credits_total": 7}, headers=headers)
    listed = (await http.get("/api/keys", headers=headers)).json()["data"]
    assert [key["credits_total"] for key in listed] == [7, 7]


async def test_limits_of_end_users_need_to_know_where_requests_name_them(
    http: httpx2.AsyncClient, people: People
) -> None:
    body: dict[str, Any] = {"sub_account_limits": {"credits_per_month": 5}}
    refused = await http.post("/api/keys", json=body, headers=people.user.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "sub_account_from")
    path = f"/api/keys/{people.user.key_id}"
    changed = await http.patch(path, json=body, headers=people.user.headers)
    assert (changed.status_code, changed.json()["error"]["param"]) == (400, "sub_account_from")
    named = {**body, "sub_account_from": "user"}
    assert (await http.patch(path, json=named, headers=people.user.headers)).status_code == 200
    made = await http.post("/api/keys", json=named, headers=people.user.headers)
    assert made.json()["sub_account_limits"] == {"credits_per_month": 5}
    named["sub_account_limits"] = {"credits_per_mont": 5}
    wrong = await http.post("/api/keys", json=named, headers=people.user.headers)
    message = wrong.json()["error"]["message"]
    assert message.startswith("Invalid 'sub_account_limits': credits_per_mont: is not a known")


async def test_an_account_is_limited_by_superusers(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    path = f"/api/accounts/{people.user.account_id}/limits"
    body = {"credits_per_day": 50, "models": ["o3"], "time_zone": "Europe/Berlin"}
    assert (await http.patch(path, json=body, headers=people.user.headers)).status_code == 403
    changed = await http.patch(path, json=body, headers=people.superuser.headers)
    assert changed.status_code == 200, changed.text
    assert {name: changed.json()[name] for name in body} == body
    assert (await http.get(path, headers=people.user.headers)).json() == changed.json()
    assert (await http.get(path, headers=people.other.headers)).status_code == 404
    versions = "SELECT limits_version <> 0 FROM api_keys WHERE account_id = $1"
    assert await pool.fetchval(versions, people.user.account_id)
    await http.post("/api/keys", json={}, headers=people.user.headers)
    assert [row[0] for row in await pool.fetch(versions, people.user.account_id)] == [True, True]
    shown = await http.patch(
        f"/api/users/{people.user.user_id}",
        json={"name": "Ada"},
        headers=people.superuser.headers,
    )
    assert shown.json()["limits"] == {"credits_per_day": 50, "models": ["o3"]}
    await http.patch(path, json={"credits_per_day": None}, headers=people.superuser.headers)
    assert (await http.get(path, headers=people.user.headers)).json()["credits_per_day"] is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"time_zone": "Europe/Nowhere"}, "time_zone"),
        ({"time_zone": None}, "time_zone"),
        ({"credits_per_day": -1}, "credits_per_day"),
        ({"endpoints": ["chats"]}, "endpoints"),
        ({"addresses": ["192.0.2.1/24"]}, "addresses"),
    ],
)
async def test_what_is_wrong_with_limits_of_an_account_is_named(
    http: httpx2.AsyncClient, people: People, body: dict[str, Any], param: str | None
) -> None:
    path = f"/api/accounts/{people.user.account_id}/limits"
    response = await http.patch(path, json=body, headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_an_owner_has_budgets_of_own_keys_and_cannot_change_a_superusers(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    path = f"/api/accounts/{people.user.account_id}/budgets"
    token, key_id = await token_of(pool, people.user), people.user.key_id
    own = {"amount": 20, "every": "week", "key_id": key_id}
    added = (await http.post(path, json=own, headers=token)).json()
    assert (added["name"], added["unit"], added["key_id"]) == ("week", "credits", key_id)
    of_account = {"amount": 5, "every": "day", "name": "all"}
    assert (await http.post(path, json=of_account, headers=token)).status_code == 403
    admin = people.superuser.headers
    theirs = [
        (await http.post(path, json=body, headers=admin)).json()
        for body in (of_account, {**own, "name": "course", "unit": "tokens"})
    ]
    for budget in theirs:
        one = f"{path}/{budget['id']}"
        assert (await http.patch(one, json={"amount": 99}, headers=token)).status_code == 403
        assert (await http.delete(one, headers=token)).status_code == 403
    one = f"{path}/{added['id']}"
    assert (await http.delete(one, headers=people.user.headers)).status_code == 403
    assert (await http.patch(one, json={"name": "course"}, headers=token)).status_code == 400
    changed = await http.patch(one, json={"amount": 99, "name": "mine"}, headers=token)
    assert (changed.json()["amount"], changed.json()["name"]) == (99, "mine")
    listed = (await http.get(path, headers=people.user.headers)).json()["data"]
    assert [budget["name"] for budget in listed] == ["mine", "all", "course"]
    assert (await http.get(path, headers=people.other.headers)).status_code == 404
    assert (await http.delete(one, headers=token)).json() == changed.json()
    assert (await http.delete(one, headers=token)).status_code == 404
    other = {**own, "key_id": people.other.key_id}
    assert (await http.post(path, json=other, headers=admin)).status_code == 404


async def test_limits_bind_requests_as_soon_as_they_are_set(
    http: httpx2.AsyncClient, people: People
) -> None:
    headers, admin = people.user.headers, people.superuser.headers

    async def chat() -> tuple[int, str | None]:
        response = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
        return response.status_code, response.headers.get("x-tokenbalance-limit")

    more, once = f"/api/balance/{people.user.user_id}/credits", {"Idempotency-Key": "more"}
    await http.post(more, json={"amount": 10_000}, headers={**admin, **once})
    assert await chat() == (200, None)
    path, account = f"/api/keys/{people.user.key_id}", f"/api/accounts/{people.user.account_id}"
    await http.patch(path, json={"models": ["!gpt-4o-mini", "*"]}, headers=admin)
    assert await chat() == (403, "key.models")
    await http.patch(path, json={"models": None}, headers=admin)
    budget = {"amount": 20, "every": "day", "name": "course"}
    budget = (await http.post(f"{account}/budgets", json=budget, headers=admin)).json()
    assert await chat() == (200, None)
    assert await chat() == (429, "account.budget:course")
    left = (await http.get("/api/limits", headers=headers)).json()["data"]
    assert [(state["name"], state["used"]) for state in left] == [("budget:course", 20)]
    await http.delete(f"{account}/budgets/{budget['id']}", headers=admin)
    assert await chat() == (200, None)
    await http.patch(f"{account}/limits", json={"requests_per_minute": 1}, headers=admin)
    assert await chat() == (200, None)
    assert await chat() == (429, "account.requests_per_minute")
    left = (await http.get("/api/limits", headers=headers)).json()["data"]
    assert [(state["name"], state["remaining"]) for state in left] == [("requests_per_minute", 0)]


async def test_what_is_left_is_told_to_the_owner_of_the_key(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    headers, admin = people.user.headers, people.superuser.headers
    none = (await http.get("/api/limits", headers=headers)).json()
    assert none == {"key_id": people.user.key_id, "time_zone": "UTC", "data": []}
    path = f"/api/accounts/{people.user.account_id}"
    await http.patch(f"/api/keys/{people.user.key_id}", json={"credits_per_day": 50}, headers=admin)
    await http.patch(f"{path}/limits", json={"requests_per_minute": 6}, headers=admin)
    await http.post(f"{path}/budgets", json={"amount": 70, "every": "month"}, headers=admin)
    await pool.execute(
        "UPDATE limits SET used = 20, reserved = 3, window_end = now() + interval '1 hour'"
        " WHERE unit = 'credits' AND account_id = $1",
        people.user.account_id,
    )
    await pool.execute(
        "UPDATE limits SET taken_until = now() + interval '59 seconds'"
        " WHERE unit = 'requests' AND account_id = $1",
        people.user.account_id,
    )
    states = (await http.get("/api/limits", headers=headers)).json()["data"]
    shown = ("subject", "name", "period", "amount", "used", "reserved", "remaining")
    assert [tuple(state[name] for name in shown) for state in states] == [
        (f"key:{people.user.key_id}", "credits_per_day", "day", 50, 20, 3, 27),
        ("account", "requests_per_minute", "minute", 6, 6, 0, 0),
        ("account", "budget:month", "month", 70, 20, 3, 47),
    ]
    assert None not in [state["resets_at"] for state in states]
    named = f"/api/limits?key_id={people.user.key_id}"
    assert (await http.get(named, headers=admin)).status_code == 200
    assert (await http.get(named, headers=people.other.headers)).status_code == 404
    # A window that has ended is empty.
    await pool.execute("UPDATE limits SET window_end = now() WHERE unit = 'credits'")
    states = (await http.get("/api/limits", headers=headers)).json()["data"]
    windows = [state for state in states if state["unit"] == "credits"]
    assert [(state["used"], state["remaining"]) for state in windows] == [(0, 50), (0, 70)]
    assert None not in [state["resets_at"] for state in windows]
