"""Grants and allowances by the management API: one call for "20,000 every Monday"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import entries_of
from tests.support.grants import LATER, end, pass_time
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool


async def test_a_grant_with_an_end_is_made_once_seen_by_its_owner_and_ends(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, admin = people.user, people.superuser.headers
    path = f"/api/balance/{user.user_id}/grants"
    body = {"amount": 40, "expires_at": LATER.isoformat(), "priority": 3, "note": "May"}
    once = {**admin, "Idempotency-Key": "1"}
    made = await http.post(path, json=body, headers=once)
    assert made.status_code == 201
    assert (made.json()["balance"], made.json()["entry"]["kind"]) == (140, "grant")
    assert (await http.post(path, json=body, headers=once)).json() == made.json()
    other = await http.post(path, json={**body, "priority": 4}, headers=once)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")

    listed = (await http.get(path, headers=admin)).json()["data"]
    shown = [(row["amount"], row["remaining"], row["priority"], row["note"]) for row in listed]
    assert shown == [(40, 40, 3, "May"), (100, 100, 50, "")]
    assert listed[0]["id"] == made.json()["entry"]["id"]
    own = (await http.get("/api/balance", headers=user.headers)).json()
    assert own["balance"] == 140
    assert [(row["remaining"], row["expires_at"] is None) for row in own["grants"]] == [
        (40, False),
        (100, True),
    ]
    assert "next" not in own

    await end(pool, listed[0]["id"])
    own = (await http.get("/api/balance", headers=user.headers)).json()
    assert (own["balance"], own["grants"]) == (100, [{"remaining": 100, "expires_at": None}])
    assert (await audit(pool)).violations == []


async def test_20000_every_monday_is_one_call(http: httpx2.AsyncClient, people: People) -> None:
    user, admin = people.user, people.superuser.headers
    path = f"/api/balance/{user.user_id}/allowances"
    made = await http.post(path, json={"amount": 20_000, "every": "week"}, headers=admin)
    assert made.status_code == 201
    assert datetime.fromisoformat(made.json()["next_at"]).weekday() == 0
    own = (await http.get("/api/balance", headers=user.headers)).json()
    assert own["balance"] == 20_100
    assert own["next"] == {"amount": 20_000, "at": made.json()["next_at"], "every": "week"}
    assert own["grants"][0] == {"remaining": 20_000, "expires_at": made.json()["next_at"]}

    assert (await http.get(path, headers=admin)).json() == {"data": [made.json()]}


async def test_an_allowance_is_changed_issues_its_next_period_and_is_removed(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    user, admin = people.user, people.superuser.headers
    path = f"/api/balance/{user.user_id}/allowances"
    begun = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    new = {"amount": 20_000, "every": "week", "starts_at": begun}
    made = (await http.post(path, json=new, headers=admin)).json()
    one = f"{path}/{made['id']}"
    changes = {"amount": 30_000, "rollover_max": 5}
    changed = (await http.patch(one, json=changes, headers=admin)).json()
    assert changed == {**made, **changes}
    await pass_time(pool, user, 7)
    # Every way in which a superuser or the user looks enters what is due.
    users = (await http.get("/api/users", headers=admin)).json()["data"]
    assert {row["id"]: row["balance"] for row in users}[user.user_id] == 30_105
    removed = await http.delete(one, headers=admin)
    assert (removed.status_code, removed.json()["next_at"]) == (200, None)
    assert (await http.get(path, headers=admin)).json() == {"data": []}
    assert (await http.delete(one, headers=admin)).status_code == 404
    kinds = [entry[:2] for entry in await entries_of(pool, user)]
    assert kinds[1:] == [("grant", 20_000), ("grant", 30_000), ("expiry", -19_995)]


async def test_changing_a_balance_enters_what_is_due_first(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    path = f"/api/balance/{people.user.user_id}"
    once = {**people.superuser.headers, "Idempotency-Key": "1"}
    body = {"amount": 40, "expires_at": LATER.isoformat()}
    made = (await http.post(f"{path}/grants", json=body, headers=once)).json()
    await end(pool, made["entry"]["id"])
    changed = await http.put(path, json={"balance": 120}, headers=people.superuser.headers)
    assert changed.json()["balance"] == 120
    kinds = [entry[:2] for entry in await entries_of(pool, people.user)]
    assert kinds[-2:] == [("expiry", -40), ("set", 20)]


@pytest.mark.parametrize(
    ("what", "body", "param"),
    [
        ("grants", {"amount": 0}, "amount"),
        ("grants", {"amount": -5}, "amount"),
        ("grants", {"amount": 1, "priority": 101}, "priority"),
        ("grants", {"amount": 1, "expires_at": "2020-01-01"}, "expires_at"),
        ("grants", {"amount": 1, "expires_at": "soon"}, "expires_at"),
        ("allowances", {"amount": 1}, "every"),
        ("allowances", {"amount": 1, "every": "monday"}, "every"),
        ("allowances", {"amount": 0, "every": "week"}, "amount"),
        ("allowances", {"amount": 1, "every": "week", "rollover_max": -1}, "rollover_max"),
        ("allowances", {"amount": 1, "every": "week", "ends_at": "2020-01-01"}, "ends_at"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(
    http: httpx2.AsyncClient, people: People, what: str, body: dict[str, Any], param: str
) -> None:
    headers = {**people.superuser.headers, "Idempotency-Key": "1"}
    path = f"/api/balance/{people.user.user_id}/{what}"
    refused = await http.post(path, json=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
