"""Ledger, usage and requests by the management API: pages, files, one charge explained."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.upstream import json_response

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tests.web.api.conftest import People
    from tokenbalance.model import Json

FORMULA = '=HYPERLINK("http://evil.example","x")'


async def add(http: httpx2.AsyncClient, people: People, amount: int, note: str = "") -> None:
    response = await http.post(
        f"/api/balance/{people.user.user_id}/credits",
        json={"amount": amount, "note": note},
        headers={**people.superuser.headers, "Idempotency-Key": str(amount)},
    )
    assert response.status_code == 201


async def chat(http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder) -> str:
    """Make a request that uses 12 tokens; returns its id."""
    usage: Json = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    upstream.script(json_response({"choices": [], "usage": usage}))
    response = await http.post("/v1/chat/completions", json=CHAT, headers=holder.headers)
    assert response.status_code == 200
    return response.headers["x-tokenbalance-request-id"]


async def get(
    http: httpx2.AsyncClient, path: str, holder: Holder, **params: str | int
) -> dict[str, Any]:
    response = await http.get(path, params=params, headers=holder.headers)
    assert response.status_code == 200, response.text
    return response.json()


async def rows_of(
    http: httpx2.AsyncClient, path: str, holder: Holder, **params: str | int
) -> list[dict[str, str]]:
    headers = {**holder.headers, "accept": "text/csv"}
    response = await http.get(path, params=params, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].startswith('attachment; filename="')
    assert response.headers["cache-control"] == "no-store"
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def test_a_request_has_the_same_moments_in_the_list_and_in_the_file(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream
) -> None:
    await add(http, people, 1000)
    await chat(http, upstream, people.user)
    (listed,) = (await get(http, "/api/requests", people.user))["data"]
    (row,) = await rows_of(http, "/api/requests", people.user)
    for name in ("arrived_at", "ended_at"):
        assert datetime.fromisoformat(row[name]) == datetime.fromisoformat(listed[name])
    assert listed["arrived_at"] == listed["created_at"] < listed["ended_at"]
    assert row["created_at"] == row["ended_at"]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_pages_of_entries_keep_their_order_while_entries_are_added(
    http: httpx2.AsyncClient, people: People, order: str
) -> None:
    for amount in range(1, 6):
        await add(http, people, amount)
    amounts: list[int] = []
    query: dict[str, str | int] = {"limit": 2, "order": order}
    added = 100
    while True:
        page = await get(http, "/api/ledger", people.user, **query)
        assert len(page["data"]) <= 2
        amounts += [entry["amount"] for entry in page["data"]]
        assert page["has_more"] is (page["next"] is not None)
        if not page["has_more"]:
            break
        query["after"] = page["next"]
        if added < 102:
            added += 1
            await add(http, people, added)
    listed = [100, 1, 2, 3, 4, 5]
    assert amounts == ([*listed, 101, 102] if order == "oldest" else listed[::-1])


async def test_entries_are_all_in_one_file_and_no_note_is_a_formula(
    http: httpx2.AsyncClient, people: People
) -> None:
    await add(http, people, 5, FORMULA)
    await add(http, people, -3)
    rows = await rows_of(http, "/api/ledger", people.user, limit=1)
    assert [row["amount"] for row in rows] == ["100", "5", "-3"]
    assert rows[1]["note"] != FORMULA
    assert rows[1]["note"].lstrip("'") == FORMULA
    assert rows[2]["balance_after"] == "102"


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv, */*;q=0.5", True),
        ("text/csv, */*", True),
        ("application/json;q=0.5, text/csv;q=0.9", True),
        ("TEXT/CSV; charset=utf-8", True),
        ("text/*", True),
        ("*/*", False),
        ("application/json", False),
        ("text/csv;q=0", False),
        ("text/csv;q=0.1, application/json", False),
        ("text/csv, application/json", False),
        ("text/html", False),
        ("", False),
        (";;q=,", False),
        ("text/csv;q=x", False),
    ],
)
async def test_a_file_is_for_who_prefers_one(
    http: httpx2.AsyncClient, people: People, accept: str, is_csv: bool
) -> None:
    headers = {**people.user.headers, "accept": accept}
    response = await http.get("/api/usage", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/csv") is is_csv


async def test_a_period_begins_with_since_and_ends_before_until(
    http: httpx2.AsyncClient, people: People
) -> None:
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1)).date().isoformat()
    for since, until, number in (
        ("2020-01-01", tomorrow, 1),
        (tomorrow, "2999-01-01T00:00:00+05:00", 0),
        ("2020-01-01", "2020-01-02", 0),
    ):
        page = await get(http, "/api/ledger", people.user, since=since, until=until)
        assert len(page["data"]) == number


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/api/ledger", "limit=0", "limit"),
        ("/api/ledger", "limit=1001", "limit"),
        ("/api/ledger", "limit=1.0", "limit"),
        ("/api/ledger", "limit=", "limit"),
        ("/api/ledger", "limit=1&limit=2", "limit"),
        ("/api/ledger", "after=x", "after"),
        ("/api/ledger", "after=" + "x" * 1001, "after"),
        ("/api/ledger", "page=2", "page"),
        ("/api/ledger", "a%00b=2", ascii("a\0b")),
        ("/api/ledger", "order=worst", "order"),
        ("/api/ledger", "since=yesterday", "since"),
        ("/api/ledger", "since=9999-12-31T23:59:59-14:00", "since"),
        ("/api/ledger", "since=2030-01-02&until=2030-01-01", "until"),
        ("/api/ledger", "user_id=x", "user_id"),
        ("/api/ledger", f"user_id={2**63}", "user_id"),
        ("/api/usage", "group_by=", "group_by"),
        ("/api/usage", "group_by=day,day", "group_by"),
        ("/api/usage", "group_by=week", "group_by"),
        ("/api/requests", "state=lost", "state"),
        ("/api/requests", "model=a%00", "model"),
        ("/api/requests", "key_id=0", "key_id"),
        ("/api/users", "search=a%00", "search"),
        ("/api/balance", "user=1", "user"),
    ],
)
async def test_what_is_wrong_with_a_query_is_named(
    http: httpx2.AsyncClient, people: People, path: str, query: str, param: str
) -> None:
    response = await http.get(f"{path}?{query}", headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_cursor_of_another_list_is_refused(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream
) -> None:
    for _ in range(2):
        await chat(http, upstream, people.user)
    cursor = (await get(http, "/api/requests", people.user, limit=1))["next"]
    response = await http.get("/api/ledger", params={"after": cursor}, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "after")


async def test_usage_is_added_up_by_what_is_asked_for(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream
) -> None:
    for _ in range(2):
        await chat(http, upstream, people.user)
    page = await get(http, "/api/usage", people.user, group_by="day,model,key")
    (row,) = page["data"]
    assert (row["requests"], row["total"], row["charge"]) == (2, 24, 24)
    assert (row["model"], row["key"]["id"]) == ("gpt-4o-mini", people.user.key_id)
    assert row["user"] is None
    assert set(row["key"]) == {"id", "prefix", "name", "kind"}
    (line,) = await rows_of(http, "/api/usage", people.user, group_by="model")
    assert (line["model"], line["day"], line["charge"]) == ("gpt-4o-mini", "", "24")
    everybody = await get(http, "/api/usage", people.superuser, group_by="user", limit=1000)
    by_user = {row["user"]: row["charge"] for row in everybody["data"]}
    assert by_user[people.user.user_id] == 24
    assert people.other.user_id not in by_user


async def test_a_charge_is_explained(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream
) -> None:
    request_id = await chat(http, upstream, people.user)
    found = await get(http, f"/api/requests/{request_id}", people.user)
    assert (found["state"], found["hold"], found["charge"], found["cost"]) == (
        "settled",
        59,
        12,
        12,
    )
    assert found["estimate"] == {"input": 9, "output": 50}
    assert (found["usage"]["input"], found["usage"]["output"]) == (9, 3)
    total = {"kind": "total", "tokens": 12, "rate": "1", "credits": "12"}
    more = {"label": "Tokens, all kinds", "factor": "1", "model": None}
    assert found["lines"] == [total | more]
    assert (found["factors"], found["tier_asked"], found["tier_served"]) == ([], None, None)
    assert (found["sum"], found["rounding"], found["rates"]) == ("12", "0", None)
    (charge,) = found["entries"]
    assert (charge["kind"], charge["amount"], charge["balance_after"]) == ("charge", -12, 88)
    (listed,) = (await get(http, "/api/requests", people.user, state="settled"))["data"]
    assert listed == {name: found[name] for name in listed}
    (line,) = await rows_of(http, "/api/requests", people.user)
    assert (line["request_id"], line["charge"]) == (request_id, "12")
    assert (found["upstream_status"], found["streamed"], found["output_cap"]) == (200, False, 50)
    assert (found["error_code"], found["capped"], found["notes"]) == (None, False, [])
    assert line["first_byte_ms"] == str(found["first_byte_ms"])
    assert line["total_ms"] == str(found["total_ms"])
    assert (line["upstream_status"], line["streamed"]) == ("200", "false")
    assert found["first_byte_ms"] <= found["total_ms"]


@pytest.mark.parametrize("request_id", ["tb_nothing", "%00", "a%0Ab", "x" * 5000, "é"])
async def test_a_request_that_nobody_made_is_not_found(
    http: httpx2.AsyncClient, people: People, request_id: str
) -> None:
    response = await http.get(f"/api/requests/{request_id}", headers=people.superuser.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_a_quote_says_what_would_be_held_and_dispatches_nothing(
    http: httpx2.AsyncClient, people: People, upstream: ScriptedUpstream
) -> None:
    sent = len(upstream.requests)
    body = {"path": "/v1/chat/completions", "body": CHAT}
    response = await http.post("/api/quote", json=body, headers=people.user.headers)
    assert response.status_code == 200
    found = response.json()
    assert (found["hold"], found["output_cap"], found["admitted"]) == (59, 50, True)
    assert (found["balance"], found["held"], found["available"]) == (100, 0, 100)
    assert len(upstream.requests) == sent
    assert (await get(http, "/api/balance", people.user))["held"] == 0


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"path": "/v1/nothing"}, 404, "unknown_url"),
        ({"path": "/v1/fine_tuning/jobs"}, 403, "endpoint_not_allowed"),
        ({"path": "/v1/\x00"}, 404, "unknown_url"),
        ({"path": 5}, 400, "invalid_type"),
        ({"body": {**CHAT, "max_tokens": 0}}, 400, "integer_below_min_value"),
        ({"body": {"model": "gpt-4o-mini"}}, 400, "missing_required_parameter"),
        ({"body": []}, 400, "invalid_type"),
    ],
)
async def test_a_quote_refuses_what_the_proxy_would_refuse(
    http: httpx2.AsyncClient, people: People, changed: dict[str, Any], status: int, code: str
) -> None:
    body = {"path": "/v1/chat/completions", "body": CHAT, **changed}
    response = await http.post("/api/quote", json=body, headers=people.user.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
