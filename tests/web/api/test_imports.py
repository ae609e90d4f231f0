"""Imports by the management API: all of a table or nothing, its secrets once."""

from __future__ import annotations

import csv
import io
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2

    from tests.web.api.conftest import People
    from tokenbalance.database.connections import Pool

PATH = "/api/users/import"
_numbers = count(1)


@pytest.fixture
def name() -> str:
    """Of an import of the test's own, and in its e-mails."""
    return f"import{next(_numbers)}"


def table(name: str) -> str:
    return (
        f"Name;E-Mail;credits;Tag;parallel_requests\r\n"
        f"Ann;Ann.{name}@example.com;1,000;cs101 {name};3\r\n"
        f'"Bob; ""B""";bob.{name}@example.com;;{name};\r\n'
    )


async def send(
    http: httpx2.AsyncClient, people: People, key: str | None = None, **body: Any
) -> httpx2.Response:
    headers = {**people.superuser.headers, **({"idempotency-key": key} if key else {})}
    return await http.post(PATH, json=body, headers=headers)


async def count_of(pool: Pool, name: str) -> int:
    return await pool.fetchval(
        "SELECT count(*) FROM users WHERE email LIKE '%.' || $1 || '@%'", name
    )


async def test_an_import_makes_users_whose_keys_work(
    http: httpx2.AsyncClient, people: People, pool: Pool, name: str
) -> None:
    response = await send(http, people, name, csv=table(name))
    assert response.status_code == 201
    done = response.json()
    ann, bob = done.pop("users")
    assert done == {
        "dry_run": False,
        "gives": "keys",
        "new": 2,
        "added": 0,
        "skipped": 0,
        "credits": 1000,
        "errors": [],
    }
    assert (ann["line"], ann["email"], ann["name"]) == (2, f"Ann.{name}@example.com", "Ann")
    assert (bob["line"], bob["name"], bob["status"]) == (3, 'Bob; "B"', "new")
    own = {"authorization": f"Bearer {ann['secret']}"}
    balance = (await http.get("/api/balance", headers=own)).json()
    assert balance == {"user": ann["id"], "balance": 1000, "held": 0, "available": 1000}
    found = await http.get(f"/api/users?tag={name}", headers=people.superuser.headers)
    assert [row["tags"] for row in found.json()["data"]] == [["cs101", name], [name]]
    limits = await pool.fetch(
        "SELECT a.limits, l.subject, l.name, l.unit, l.period, l.amount, k.limits_version > 0 AS on"
        "  FROM accounts a JOIN limits l ON l.account_id = a.id JOIN api_keys k"
        "    ON k.account_id = a.id WHERE a.user_id = $1",
        ann["id"],
    )
    stored = ('{"parallel_requests": 3}', "account", "parallel_requests", "holds", "open", 3, True)
    assert [tuple(row) for row in limits] == [stored]


async def test_secrets_are_returned_once(
    http: httpx2.AsyncClient, people: People, pool: Pool, name: str
) -> None:
    first = await send(http, people, name, csv=table(name))
    again = await send(http, people, name, csv=table(name))
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["error"]["code"] == "idempotency_key_reused"
    assert await count_of(pool, name) == 2
    secrets = [user["secret"] for user in first.json()["users"]]
    events = await pool.fetch("SELECT details FROM events")
    assert not [row for row in events if any(secret in row["details"] for secret in secrets)]


async def test_a_dry_run_tells_all_errors_and_changes_nothing(
    http: httpx2.AsyncClient, people: People, pool: Pool, name: str
) -> None:
    wrong = table(name) + f";ANN.{name}@example.com;many;two,tags;0\r\n;;;;\r\nx;nobody;;;\r\n"
    response = await send(http, people, csv=wrong, dry_run=True)
    assert response.status_code == 200
    errors = [(one["line"], one["field"]) for one in response.json()["errors"]]
    assert errors == [
        (4, "credits"),
        (4, "tag"),
        (4, "parallel_requests"),
        (4, "email"),
        (6, "email"),
    ]
    refused = await send(http, people, name, csv=wrong)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "csv"
    assert refused.json()["error"]["message"].startswith("Line 4, credits: must be")
    assert await count_of(pool, name) == 0
    # What was refused has not used its key up.
    assert (await send(http, people, name, csv=table(name))).status_code == 201


async def test_an_import_without_an_idempotency_key_is_refused(
    http: httpx2.AsyncClient, people: People, pool: Pool, name: str
) -> None:
    response = await send(http, people, csv=table(name))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "Idempotency-Key"
    assert await count_of(pool, name) == 0


async def test_who_is_a_user_already_is_refused_left_out_or_added_to(
    http: httpx2.AsyncClient, people: People, name: str
) -> None:
    assert (await send(http, people, name, csv=table(name))).status_code == 201
    more = (
        "email,name,credits,tag,parallel_requests\n"
        f"aNN.{name}@example.com,Other,50,late,9\n"
        f"cy.{name}@example.com,Cy,7,late,\n"
    )
    refused = await send(http, people, f"{name}-2", csv=more)
    assert "already exists" in refused.json()["error"]["message"]
    plan = (await send(http, people, csv=more, dry_run=True, existing="skip")).json()
    assert [user["status"] for user in plan["users"]] == ["skipped", "new"]
    done = (await send(http, people, f"{name}-2", csv=more, existing="add")).json()
    assert (done["new"], done["added"], done["credits"]) == (1, 1, 57)
    assert [user["secret"] is None for user in done["users"]] == [True, False]
    users = await http.get(f"/api/users?search={name}", headers=people.superuser.headers)
    told = {user["name"]: (user["balance"], user["tags"]) for user in users.json()["data"]}
    assert told["Ann"] == (1050, ["cs101", name, "late"])
    assert told["Cy"] == (7, ["late"])


async def test_a_table_may_be_sent_and_returned_as_csv(
    http: httpx2.AsyncClient, people: People, name: str
) -> None:
    headers = {
        **people.superuser.headers,
        "content-type": "text/csv; charset=utf-8",
        "accept": "text/csv",
        "idempotency-key": name,
    }
    lines = f"\ufeffemail,name\n=1.{name}@example.com,-Ann\n".encode()
    response = await http.post(f"{PATH}?gives=links", content=lines, headers=headers)
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    header, row = csv.reader(io.StringIO(response.text))
    assert header == ["email", "name", "link"]
    # No spreadsheet takes them for formulas.
    assert row[:2] == [f"'=1.{name}@example.com", "'-Ann"]
    assert row[2].startswith(f"{http.base_url}".rstrip("/") + "/welcome/")
    wrong = await http.post(PATH, content=b"\xff", headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "csv")
    elsewhere = await http.post(
        f"{PATH}?dry_run=true", json={"csv": "a@b.c"}, headers=people.superuser.headers
    )
    assert elsewhere.json()["error"]["param"] == "dry_run"
