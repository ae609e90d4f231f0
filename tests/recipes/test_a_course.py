"""The day of a course: a class is imported, works, gets more, and is closed."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import TYPE_CHECKING

import httpx2
import orjson
import pytest

from tests.support.chat import CHAT, DONE, STREAM, USAGE, content
from tests.support.product import serving
from tests.support.sending import until
from tests.support.upstream import Gate, Response, ScriptedUpstream, event_stream
from tokenbalance.books.ledger.audit import audit
from tokenbalance.model import CLI
from tokenbalance.people.keys import create_key
from tokenbalance.people.users import create_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokenbalance.database.connections import Pool, Sessions

STUDENTS = 200
TABLE = "email,name\n" + "".join(f"s{n}@x.org,Student {n}\n" for n in range(STUDENTS))
AT_ONCE = 3
EACH = {
    "tag": "cs101",
    "allowance": "100",
    "every": "week",
    "parallel_requests": f"{AT_ONCE}",
}
ASK = "/v1/chat/completions"


@pytest.fixture
async def product(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[str]:
    """The product, which may send alerts to this machine."""
    async with serving(dsn, upstream.base_url, webhooks_to_private=True) as url:
        yield url


@pytest.fixture
async def office() -> AsyncIterator[ScriptedUpstream]:
    """Where alerts arrive."""
    async with ScriptedUpstream() as receiver:
        receiver.always(Response(status=204))
        yield receiver


@pytest.fixture
async def teacher(product: str, sessions: Sessions) -> AsyncIterator[httpx2.AsyncClient]:
    """The teacher's client of the API."""
    async with sessions.begin() as session:
        user = await create_user(session, email="t@x.org", is_superuser=True, actor=CLI)
        _, secret = await create_key(session, user.account.id, scopes=["manage"], actor=CLI)
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(base_url=product, headers=headers, timeout=60) as client:
        yield client


async def test_the_day_of_a_course(
    teacher: httpx2.AsyncClient,
    http: httpx2.AsyncClient,
    pool: Pool,
    upstream: ScriptedUpstream,
    office: ScriptedUpstream,
) -> None:
    body = {"csv": TABLE, "defaults": EACH}
    plan = (await teacher.post("/api/users/import", json={**body, "dry_run": True})).json()
    assert (plan["new"], plan["errors"]) == (STUDENTS, [])
    once = {"idempotency-key": "cs101", "accept": "text/csv"}
    done = await teacher.post("/api/users/import", json=body, headers=once)
    assert done.status_code == 201
    keys = {row["email"]: row["key"] for row in csv.DictReader(io.StringIO(done.text))}
    assert len(set(keys.values())) == STUDENTS

    def key_of(email: str) -> dict[str, str]:
        return {"authorization": f"Bearer {keys[email]}"}

    async def ask(email: str) -> httpx2.Response:
        return await http.post(ASK, json=CHAT, headers=key_of(email))

    hook = {"url": f"{office.base_url}/alerts", "events": ["balance.low"], "operator": True}
    assert (await teacher.post("/api/webhooks", json=hook)).status_code == 201
    student = int(await pool.fetchval("SELECT id FROM users WHERE email = 's1@x.org'"))
    told = await teacher.put(f"/api/alerts/thresholds?user_id={student}", json={"below": [50]})
    assert told.json() == {"below": [50]}
    spent = 0
    while (response := await ask("s1@x.org")).status_code == 200:
        spent += response.json()["usage"]["total_tokens"]
    assert (response.status_code, response.json()["error"]["code"]) == (402, "insufficient_quota")
    assert 0 < spent <= 100
    await until(lambda: office.requests)
    alert = orjson.loads(office.requests[0].body)
    assert alert["type"] == "balance.low"
    assert 0 < alert["data"]["balance"] < alert["data"]["below"] == 50
    balance = (await http.get("/api/balance", headers=key_of("s1@x.org"))).json()
    assert (balance["next"]["amount"], balance["next"]["every"]) == (100, "week")
    credited = await teacher.post(
        "/api/tags/cs101/credits",
        json={"amount": 1000, "note": "week 2"},
        headers={"idempotency-key": "week-2"},
    )
    assert credited.json() == {"users": STUDENTS, "amount": 1000, "total": STUDENTS * 1000}
    assert (await ask("s1@x.org")).status_code == 200

    gates = [Gate() for _ in range(AT_ONCE)]
    upstream.script(*(event_stream(content("Hi"), gate, USAGE, DONE) for gate in gates))
    before = len(upstream.requests)
    async with asyncio.TaskGroup() as group:
        burst = [
            group.create_task(http.post(ASK, json=STREAM, headers=key_of("s2@x.org")))
            for _ in range(2 * AT_ONCE)
        ]
        _ = await asyncio.gather(*(gate.reached.wait() for gate in gates))
        # Those beyond what the account may have at once wait, and nobody else does.
        assert (await ask("s3@x.org")).status_code == 200
        assert len(upstream.requests) == before + AT_ONCE + 1
        for gate in gates:
            gate.open()
    assert [one.result().status_code for one in burst] == [200] * 2 * AT_ONCE
    usage = await teacher.get("/api/usage?tag=cs101&group_by=user")
    assert len(usage.json()["data"]) == 3
    closed = await teacher.post("/api/tags/cs101/disable")
    assert closed.json() == {"changed": STUDENTS, "superusers": 0}
    assert [(await ask(email)).status_code for email in ("s1@x.org", "s199@x.org")] == [401, 401]
    asked = len(upstream.requests)
    assert asked == await pool.fetchval("SELECT count(*) FROM ledger WHERE kind = 'charge'")
    assert (await audit(pool)).violations == []
    assert len(office.requests) == 1
