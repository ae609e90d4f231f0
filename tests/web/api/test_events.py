"""What superusers do by the management API leaves events, which superusers can read."""

from __future__ import annotations

import csv
import io
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.security_log import lines
from tests.web.api.test_roles import SIGN_INS, TABLE, Row, belongings
from tests.web.api.test_tokens import created, signed_in
from tokenbalance.events import RECORDED, refusals

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

CHANGES_NOTHING = {
    "POST /api/user/auth",
    "POST /api/quote",
    # As the table has them: a dry run, and nobody is disabled.
    "POST /api/users/import",
    "POST /api/tags/{tag}/enable",
}
ENDING = {"POST /api/keys/all/revoke", "DELETE /api/tokens/{token_id}"}
"""They would end what the superuser acts with, or want a sign-in token: they have their own test.
"""
WRITING = [
    row
    for row in TABLE
    if not row.route.startswith("GET ") and row.route not in CHANGES_NOTHING | ENDING
    # Not with a key.
    if row.responses != SIGN_INS
    # One event for each account: it has its own test.
    if row.route != "POST /api/accounts/{account_id}/transfers"
]


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refusals._windows.clear()


async def last_event(pool: Pool) -> int:
    return await pool.fetchval("SELECT coalesce(max(id), 0) FROM events")


async def page_of(
    http: httpx2.AsyncClient, reader: Holder, **params: str | int
) -> list[dict[str, Any]]:
    response = await http.get("/api/events", params=params, headers=reader.headers)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_the_routes_that_leave_no_event_are_few() -> None:
    assert len(WRITING) == 45
    assert {row.route for row in TABLE} >= CHANGES_NOTHING | ENDING


@pytest.mark.parametrize("row", WRITING, ids=lambda row: row.route)
async def test_whatever_a_superuser_does_leaves_an_event_and_a_line(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    row: Row,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ids = await belongings(pool, people)
    before = await last_event(pool)
    response = await http.request(
        row.method,
        row.path(ids),
        content=row.content(ids, "-event-superuser"),
        headers={**people.superuser.headers, **row.headers, "content-type": "application/json"},
    )
    assert response.is_success, response.text
    events = await pool.fetch(
        "SELECT event, actor_id, actor_key_id, address, user_id, account_id FROM events"
        " WHERE id > $1",
        before,
    )
    assert len(events) == 1, f"{row.route} leaves no trace of who did it"
    event = events[0]
    assert event["event"] in RECORDED
    assert event["actor_id"] == people.superuser.user_id
    assert event["actor_key_id"] == people.superuser.key_id
    assert event["address"] == "127.0.0.1"
    assert event["user_id"] or event["account_id"]
    (line,) = lines(caplog)
    assert (line["event"], line["outcome"]) == (event["event"], "ok")
    assert line["actor_key_id"] == people.superuser.key_id


async def test_ending_keys_and_tokens_leaves_an_event_and_a_line_for_each(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    email: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin_id = await created(http, people, email)
    user_id = await created(http, people, f"user-{email}")
    await pool.execute("UPDATE users SET is_superuser = true WHERE id = $1", admin_id)
    admin, user = await signed_in(http, email), await signed_in(http, f"user-{email}")
    key = (await http.post("/api/keys", json={"name": "laptop"}, headers=user)).json()
    tokens = (await http.get(f"/api/tokens?user_id={user_id}", headers=admin)).json()["data"]
    last = await signed_in(http, f"user-{email}")
    before = await last_event(pool)
    caplog.clear()

    path, params = f"/api/tokens/{tokens[0]['id']}", {"user_id": user_id}
    assert (await http.delete(path, params=params, headers=admin)).is_success
    body = {"user_id": user_id, "tokens": True}
    assert (await http.post("/api/keys/all/revoke", json=body, headers=admin)).is_success
    assert (await http.get("/api/user/me", headers=last)).status_code == 401

    events = await pool.fetch(
        "SELECT event, key_id, user_id, actor, address FROM events WHERE id > $1 ORDER BY id",
        before,
    )
    assert [event["event"] for event in events] == ["token.ended", "key.revoked", "token.ended"]
    assert [event["key_id"] for event in events[:2]] == [tokens[0]["id"], key["id"]]
    assert {tuple(event)[2:] for event in events} == {(user_id, email, "127.0.0.1")}
    said = [line for line in lines(caplog) if line["event"] != "key.refused"]
    assert [line["event"] for line in said] == [event["event"] for event in events]
    assert {line["actor"] for line in said} == {email}


async def test_what_is_refused_leaves_no_event(
    http: httpx2.AsyncClient, people: People, pool: Pool
) -> None:
    before = await last_event(pool)
    for path, body in (
        (f"/api/balance/{people.user.user_id}", {"balance": -1}),
        (f"/api/users/{people.user.user_id}", {"name": "a\nb"}),
        ("/api/users/999999", {"is_active": False}),
    ):
        response = await http.patch(path, json=body, headers=people.superuser.headers)
        assert response.is_client_error
    assert await last_event(pool) == before


async def test_events_are_filtered_newest_first_and_paged(
    http: httpx2.AsyncClient, people: People
) -> None:
    admin, user_id = people.superuser, people.user.user_id
    for body in ({"name": "Ada"}, {"is_active": False}, {"is_active": True}, {"name": "Bea"}):
        await http.patch(f"/api/users/{user_id}", json=body, headers=admin.headers)
    await http.post("/api/keys", json={"name": "spare"}, headers=admin.headers)

    about = await page_of(http, admin, user_id=user_id)
    assert [event["event"] for event in about] == [
        "user.renamed",
        "user.enabled",
        "user.disabled",
        "user.renamed",
    ]
    assert about[0]["details"] == {"name": {"old": "Ada", "new": "Bea"}}
    assert about[0]["actor_id"] == admin.user_id
    actor = about[0]["actor"].upper()
    own = await page_of(http, admin, actor=actor)
    assert [event["event"] for event in own] == ["key.created", *(e["event"] for e in about)]
    assert await page_of(http, admin, actor=actor, event="user.enabled") == [about[1]]
    assert await page_of(http, admin, user_id=user_id, since=about[1]["at"]) == about[:2]
    assert await page_of(http, admin, user_id=user_id, until=about[1]["at"]) == about[2:]

    first = await http.get(f"/api/events?user_id={user_id}&limit=3", headers=admin.headers)
    assert first.json()["data"] == about[:3]
    after = first.json()["next"]
    assert await page_of(http, admin, user_id=user_id, after=after) == about[3:]


async def test_events_are_a_file_of_all_that_match(
    http: httpx2.AsyncClient, people: People
) -> None:
    admin = people.superuser
    formula = "=1+1"
    path = f"/api/users/{people.user.user_id}"
    await http.patch(path, json={"name": formula}, headers=admin.headers)
    await http.patch(path, json={"is_active": False}, headers=admin.headers)
    response = await http.get(
        "/api/events",
        params={"user_id": people.user.user_id},
        headers={**admin.headers, "accept": "text/csv"},
    )
    assert response.headers["content-disposition"] == 'attachment; filename="events.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["event"] for row in rows] == ["user.renamed", "user.disabled"]
    assert orjson.loads(rows[0]["details"]) == {"name": {"old": "", "new": formula}}
    assert rows[0]["actor_id"] == str(admin.user_id)


async def test_events_are_for_superusers_and_their_filters_are_checked(
    http: httpx2.AsyncClient, people: People
) -> None:
    response = await http.get("/api/events", headers=people.user.headers)
    assert response.status_code == 403
    now = datetime.now(UTC)
    for query in (
        {"event": "user.signed_in"},
        {"actor": "\0"},
        {"user_id": "x"},
        {"since": now.isoformat(), "until": (now - timedelta(days=1)).isoformat()},
        {"after": "x"},
    ):
        response = await http.get("/api/events", params=query, headers=people.superuser.headers)
        assert response.status_code == 400, query
        assert response.json()["error"]["param"] in {*query}


async def test_a_refused_key_is_a_line_that_says_whose_it_is_and_why(
    http: httpx2.AsyncClient, people: People, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    revoked, expired, disabled = people.user, people.other, people.disabled
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", revoked.key_id)
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired.key_id)
    unknown = "sk-tb-not-a-key"
    for path in ("/api/user/me", "/v1/models"):
        caplog.clear()
        for secret in (revoked.secret, expired.secret, disabled.secret, unknown):
            response = await http.get(path, headers={"Authorization": f"Bearer {secret}"})
            assert response.status_code == 401
        assert (await http.get(path)).status_code == 401
        said = {"event": "key.refused", "outcome": "refused", "address": "127.0.0.1"}
        assert lines(caplog) == [
            {**said, "reason": "revoked", "user": revoked.user_id, "key_id": revoked.key_id},
            {**said, "reason": "expired", "user": expired.user_id, "key_id": expired.key_id},
            {
                **said,
                "reason": "user_disabled",
                "user": disabled.user_id,
                "key_id": disabled.key_id,
            },
            {**said, "reason": "unknown"},
        ]


async def test_a_key_that_is_not_for_this_is_a_line_that_says_whose_it_is(
    http: httpx2.AsyncClient,
    people: People,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenbalance.events.security.LINES_MAX", 3)
    for holder, scope in ((people.user, "read"), (people.superuser, "inference")):
        await pool.execute(
            "UPDATE api_keys SET scopes = ARRAY[$2] WHERE id = $1", holder.key_id, scope
        )
    for method, path, holder in (
        ("POST", "/v1/chat/completions", people.user),
        ("POST", "/api/keys", people.superuser),
        ("GET", "/api/users", people.superuser),
        ("GET", "/api/users", people.superuser),
    ):
        response = await http.request(method, path, json={}, headers=holder.headers)
        assert response.json()["error"]["code"] == "missing_scope"
    said = {
        "event": "key.out_of_scope",
        "outcome": "refused",
        "reason": "missing_scope",
        "address": "127.0.0.1",
    }
    user, admin = people.user, people.superuser
    assert lines(caplog) == [
        {**said, "user": user.user_id, "key_id": user.key_id},
        {**said, "user": admin.user_id, "key_id": admin.key_id},
        {**said, "user": admin.user_id, "key_id": admin.key_id},
    ]


async def test_a_flood_of_refused_keys_is_looked_up_and_written_a_bounded_number_of_times(
    http: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tokenbalance.events.security.LINES_MAX", 3)
    for number in range(10):
        await http.get("/v1/models", headers={"Authorization": f"Bearer sk-tb-{number}"})
    assert len(lines(caplog)) == 3
    refusals.sum_up("key.refused")
    assert lines(caplog)[-1]["left_out"] == 7
