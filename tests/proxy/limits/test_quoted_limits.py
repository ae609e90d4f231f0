"""A quote says what limits would do with a request: the same as the proxy then does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.chat import CHAT
from tests.support.limited_keys import create_limited

if TYPE_CHECKING:
    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool, Sessions

CHATS = "/v1/chat/completions"
UNLIMITED: dict[str, Any] = {key: value for key, value in CHAT.items() if key != "max_tokens"}
LONG: dict[str, Any] = {**CHAT, "messages": [{"role": "user", "content": "word " * 2000}]}


async def quote(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any] = CHAT
) -> httpx2.Response:
    asked = {"path": CHATS, "body": body}
    return await http.post("/api/quote", json=asked, headers=holder.headers)


async def ask(
    http: httpx2.AsyncClient, holder: Holder, body: dict[str, Any] = CHAT
) -> httpx2.Response:
    return await http.post(CHATS, json=body, headers=holder.headers)


@pytest.mark.parametrize("name", ["tokens_per_minute", "credits_per_month", "credits_per_request"])
async def test_a_quote_names_the_limit_that_lowers_an_output(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient, upstream: ScriptedUpstream, name: str
) -> None:
    holder = await create_limited(pool, sessions, {name: 500})
    quoted = (await quote(http, holder, UNLIMITED)).json()
    assert (quoted["limit"], quoted["retry_after_ms"]) == (f"key.{name}", None)
    assert (quoted["admitted"], quoted["capped"], quoted["output_cap"]) == (True, True, 491)
    assert upstream.requests == []
    response = await ask(http, holder, UNLIMITED)
    assert response.headers["x-tokenbalance-output-cap"] == "491"


async def test_a_quote_names_the_limit_that_refuses_and_when_it_does_not(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    limits = {"requests_per_minute": 1, "parallel_requests": 7}
    holder = await create_limited(pool, sessions, limits)
    before = (await quote(http, holder)).json()
    assert (before["admitted"], before["limit"], before["retry_after_ms"]) == (True, None, None)
    assert before["limits"] == [
        {"name": "key.requests_per_minute", "unit": "requests", "amount": 1, "remaining": 1},
        {"name": "key.parallel_requests", "unit": "holds", "amount": 7, "remaining": 7},
    ]
    assert (await ask(http, holder)).status_code == 200
    after = (await quote(http, holder)).json()
    assert (after["admitted"], after["waits"]) == (False, False)
    assert after["limit"] == "key.requests_per_minute"
    assert 0 < after["retry_after_ms"] <= 60_000


async def test_a_quote_says_that_a_request_would_wait_for_others(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"parallel_requests": 1})
    await pool.execute("UPDATE limits SET reserved = 1 WHERE account_id = $1", holder.account_id)
    quoted = (await quote(http, holder)).json()
    assert (quoted["admitted"], quoted["waits"]) == (False, True)
    assert quoted["limit"] == "key.parallel_requests"
    await pool.execute("UPDATE limits SET reserved = 0 WHERE account_id = $1", holder.account_id)


async def test_what_never_fits_is_quoted_without_a_time(
    pool: Pool, sessions: Sessions, http: httpx2.AsyncClient
) -> None:
    holder = await create_limited(pool, sessions, {"tokens_per_minute": 500})
    quoted = (await quote(http, holder, LONG)).json()
    assert (quoted["admitted"], quoted["waits"]) == (False, False)
    assert (quoted["limit"], quoted["retry_after_ms"]) == ("key.tokens_per_minute", None)


@pytest.mark.parametrize(
    ("rules", "status", "code"),
    [
        ({"models": ["o3"]}, 403, "model_not_allowed"),
        ({"endpoints": ["images"]}, 403, "endpoint_not_allowed"),
        ({"credits_per_request": 5}, 402, "request_too_expensive"),
    ],
)
async def test_a_quote_refuses_what_a_rule_forbids(
    pool: Pool,
    sessions: Sessions,
    http: httpx2.AsyncClient,
    rules: dict[str, Any],
    status: int,
    code: str,
) -> None:
    holder = await create_limited(pool, sessions, rules)
    for response in (await quote(http, holder), await ask(http, holder)):
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
