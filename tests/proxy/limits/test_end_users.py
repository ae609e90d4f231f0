"""End users behind one key: each has limits of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.limited_keys import create_limited, limit
from tokenbalance.model import Policy
from tokenbalance.model.limits import EndUsers
from tokenbalance.proxy.limits.end_users import subject_of, without_name

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

AMPLE = 10_000_000
CHATS = "/v1/chat/completions"
EMAIL = "X-OpenWebUI-User-Email"
BY_HEADER = f"header:{EMAIL}"


async def ask(
    http: httpx2.AsyncClient, holder: Holder, email: str | None = None, **more: Any
) -> httpx2.Response:
    headers = holder.headers if email is None else {**holder.headers, EMAIL: email}
    return await http.post(CHATS, json={**CHAT, **more}, headers=headers)


async def subjects(pool: Pool, holder: Holder) -> list[str]:
    rows = await pool.fetch(
        "SELECT subject FROM limits WHERE account_id = $1 ORDER BY id", holder.account_id
    )
    return [row[0] for row in rows]


async def test_users_of_open_webui_have_budgets_of_their_own(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    each = {"credits_per_day": 70}
    holder = await create_limited(pool, sessions, balance=AMPLE, end_users=(BY_HEADER, each))
    for email in ("ada@example.com", "bob@example.com"):
        first = await ask(http, holder, email)
        assert first.status_code == 200
        beyond = await ask(http, holder, email.upper())
        while beyond.status_code == 200:
            beyond = await ask(http, holder, email)
        assert (beyond.status_code, beyond.json()["error"]["type"]) == (429, "credits_per_day")
        assert beyond.headers["x-tokenbalance-limit"] == "end.credits_per_day"
        assert "this end user" in beyond.json()["error"]["message"]
    named = [subject_of(holder.key_id, name) for name in ("ada@example.com", "bob@example.com")]
    assert await subjects(pool, holder) == named
    assert all(EMAIL.lower() not in dict(each.headers) for each in upstream.requests)


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
async def test_a_field_of_the_body_may_name_them(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, field: str
) -> None:
    each = {"requests_per_minute": 1}
    holder = await create_limited(pool, sessions, balance=AMPLE, end_users=(field, each))
    for name in ("ada", "bob"):
        assert (await ask(http, holder, **{field: name})).status_code == 200
        for _ in range(2):
            refused = await ask(http, holder, **{field: name})
            assert refused.headers["x-tokenbalance-limit"] == "end.requests_per_minute"
    assert [(await ask(http, holder)).status_code for _ in range(3)] == [200, 429, 429]
    assert (await ask(http, holder, **{field: "eve"})).status_code == 200


async def test_requests_that_name_nobody_share_the_limits_of_one_more(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    each = {"requests_per_minute": 1}
    holder = await create_limited(pool, sessions, balance=AMPLE, end_users=(BY_HEADER, each))
    assert [(await ask(http, holder)).status_code for _ in range(2)] == [200, 429]
    assert (await ask(http, holder, "")).status_code == 429
    assert (await ask(http, holder, "ada@example.com")).status_code == 200


async def test_rules_of_end_users_bind_them_too(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    each = {"models": ["o3*"], "credits_per_request": 20}
    holder = await create_limited(pool, sessions, balance=AMPLE, end_users=(BY_HEADER, each))
    refused = await ask(http, holder, "ada@example.com")
    assert refused.headers["x-tokenbalance-limit"] == "end.models"
    await limit(sessions, holder, end_users=(BY_HEADER, {"credits_per_request": 20}))
    capped = await ask(http, holder, "ada@example.com")
    assert capped.headers["x-tokenbalance-output-cap"] == str(20 - 9)
    assert len(upstream.requests) == 1


async def test_a_key_that_is_not_marked_names_nobody(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"requests_per_minute": 100}, balance=AMPLE)
    for _ in range(3):
        assert (await ask(http, holder, "ada@example.com", user="ada")).status_code == 200
    assert len(await subjects(pool, holder)) == 1


async def test_changed_limits_of_end_users_count_with_the_next_request(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    email = "ada@example.com"
    of_each = {"tokens_per_day": 1000}
    holder = await create_limited(pool, sessions, balance=AMPLE, end_users=(BY_HEADER, of_each))
    for _ in range(2):
        assert (await ask(http, holder, email)).status_code == 200
    await limit(sessions, holder, end_users=(BY_HEADER, {"tokens_per_day": 10}))
    assert (await ask(http, holder, email)).status_code == 429
    await limit(sessions, holder, end_users=(BY_HEADER, {"tokens_per_day": 1000}))
    assert (await ask(http, holder, email)).status_code == 200


def test_the_header_that_names_them_stays_here_whatever_passes() -> None:
    names = EndUsers(BY_HEADER, (("tokens_per_day", 5),), None)
    headers = [(EMAIL.lower().encode(), b"ada@example.com"), (b"accept", b"*/*")]
    assert without_name(Policy(1, ("key:1",), (), names), headers) == headers[1:]
    assert without_name(Policy(1, ("key:1",), ()), headers) == headers


def test_the_same_name_is_another_subject_behind_another_key() -> None:
    assert subject_of(1, "ada") == subject_of(1, " ADA ")
    assert subject_of(1, "ada") != subject_of(2, "ada")
    assert len(subject_of(1, "ada")) == len("end:") + 32
