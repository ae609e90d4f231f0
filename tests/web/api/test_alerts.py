"""Alerts, thresholds and webhooks by the management API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

URL = "https://example.com/hook"


async def test_thresholds_are_ones_own_and_a_superusers_to_set(
    http: httpx2.AsyncClient, people: People
) -> None:
    path = "/api/alerts/thresholds"
    own = people.user.headers
    response = await http.put(path, json={"below": [1, 1000]}, headers=own)
    assert (response.status_code, response.json()) == (200, {"below": [1000, 1]})
    params = {"user_id": people.user.user_id}
    seen = await http.get(path, params=params, headers=people.superuser.headers)
    assert seen.json() == {"below": [1000, 1]}
    assert (await http.get(path, headers=people.other.headers)).json() == {"below": []}
    refused = await http.get(path, params=params, headers=people.other.headers)
    assert refused.status_code == 403
    for wrong in ({"below": [0]}, {"below": ["1"]}, {"below": list(range(1, 13))}, {}):
        response = await http.put(path, json=wrong, headers=own)
        assert response.status_code == 400, wrong
        assert response.json()["error"]["param"].startswith("below")
    assert (await http.get(path, headers=own)).json() == {"below": [1000, 1]}


async def test_alerts_are_listed_to_whom_they_are_about(
    http: httpx2.AsyncClient, pool: Pool, people: People
) -> None:
    for account_id, event in (
        (people.user.account_id, "balance.low"),
        (people.user.account_id, "balance.empty"),
        (None, "upstream.quota"),
    ):
        await pool.execute(
            "INSERT INTO alerts (account_id, event, data) VALUES ($1, $2, '{\"n\": 1}')",
            account_id,
            event,
        )

    async def events(headers: dict[str, str], **params: str | int) -> list[Any]:
        response = await http.get("/api/alerts", params=params, headers=headers)
        assert response.status_code == 200, response.text
        page = response.json()
        found = [(row["event"], row["data"]) for row in page["data"]]
        if page["has_more"]:
            found += await events(headers, **{**params, "after": page["next"]})
        return found

    both = [("balance.empty", {"n": 1}), ("balance.low", {"n": 1})]
    assert await events(people.user.headers, limit=1) == both
    assert await events(people.superuser.headers, user_id=people.user.user_id) == both
    assert await events(people.superuser.headers, operator="true") == [("upstream.quota", {"n": 1})]
    assert await events(people.other.headers) == []
    refused = await http.get(
        "/api/alerts", params={"operator": "true"}, headers=people.user.headers
    )
    assert refused.status_code == 403


async def test_a_webhook_is_made_shown_tried_and_removed_by_its_owner_alone(
    http: httpx2.AsyncClient, people: People
) -> None:
    own, others = people.user.headers, people.other.headers
    made = await http.post(
        "/api/webhooks", json={"url": URL, "events": ["balance.low"]}, headers=own
    )
    assert made.status_code == 201
    webhook = made.json()
    assert webhook.pop("secret").startswith("whsec_")
    assert (await http.get("/api/webhooks", headers=own)).json() == {"data": [webhook]}
    assert (await http.get("/api/webhooks", headers=others)).json() == {"data": []}
    path = f"/api/webhooks/{webhook['id']}"
    assert (await http.delete(path, headers=others)).status_code == 404
    assert (await http.post(f"{path}/test", headers=others)).status_code == 404
    assert (await http.post(f"{path}/test", headers=own)).status_code == 202
    assert (await http.delete(path, headers=own)).json() == {"id": webhook["id"]}
    assert (await http.delete(path, headers=own)).status_code == 200
    assert (await http.post(f"{path}/test", headers=own)).status_code == 404
    assert (await http.get("/api/webhooks", headers=own)).json() == {"data": []}


async def test_what_a_webhook_may_not_be_is_refused_by_its_field(
    http: httpx2.AsyncClient, people: People
) -> None:
    for body, param, status in (
        ({"url": "ftp://example.com"}, "url", 400),
        ({"url": URL, "events": ["upstream.quota"]}, "events", 400),
        ({"events": ["balance.low"]}, "url", 400),
        ({"url": URL, "operator": True}, None, 403),
    ):
        response = await http.post("/api/webhooks", json=body, headers=people.user.headers)
        assert response.status_code == status, body
        assert response.json()["error"]["param"] == param
    for number in range(11):
        body = {"url": f"{URL}/{number}", "operator": True, "events": ["upstream.quota"]}
        response = await http.post("/api/webhooks", json=body, headers=people.superuser.headers)
        assert response.status_code == (201 if number < 10 else 400)
