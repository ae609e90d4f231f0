"""The calls of hosted tools that a hold pays for are what the upstream is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import account_of, create_holder

if TYPE_CHECKING:
    import httpx2

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SEARCH = {"type": "web_search"}
RICH = 10_000_000


async def ask(
    http: httpx2.AsyncClient, pool: Pool, credits_: int, **fields: Any
) -> httpx2.Response:
    holder = await create_holder(pool, credits_)
    body = {"model": "gpt-5", "input": "hi", "max_output_tokens": 1_000, "tools": [SEARCH]}
    response = await http.post("/v1/responses", json=body | fields, headers=holder.headers)
    assert (await account_of(pool, holder)).balance >= 0
    return response


@pytest.mark.parametrize(
    ("credits_", "fields", "told"),
    [
        (RICH, {}, 8),
        (60_000, {}, 2),
        (30_000, {}, 1),
        (10_000, {}, 0),
        (60_000, {"max_tool_calls": 20}, 2),
    ],
)
async def test_the_upstream_is_told_how_many_calls_the_hold_covers(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    credits_: int,
    fields: dict[str, Any],
    told: int,
) -> None:
    response = await ask(http, pool, credits_, **fields)
    assert response.status_code == 200
    assert response.headers["x-tokenbalance-tool-calls-cap"] == str(told)
    assert upstream.requests[0].json()["max_tool_calls"] == told
    assert int(response.headers["x-tokenbalance-hold"]) <= credits_


@pytest.mark.parametrize(
    "fields",
    [{"max_tool_calls": 3}, {"tool_choice": "none"}, {"tools": [{"type": "custom", "name": "x"}]}],
)
async def test_a_request_that_needs_no_word_of_ours_arrives_as_it_was_sent(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, fields: dict[str, Any]
) -> None:
    response = await ask(http, pool, RICH, **fields)
    assert response.status_code == 200
    assert "x-tokenbalance-tool-calls-cap" not in response.headers
    assert upstream.requests[0].body == response.request.content


async def test_a_call_that_is_insisted_on_and_not_affordable_is_refused(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    response = await ask(http, pool, 10_000, tool_choice=SEARCH)
    assert response.status_code == 402
    assert upstream.requests == []


async def test_the_quote_tells_how_many_calls_would_be_allowed(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 60_000)
    body = {"model": "gpt-5", "input": "hi", "max_output_tokens": 1_000, "tools": [SEARCH]}
    asked = {"path": "/v1/responses", "body": body}
    quote = (await http.post("/api/quote", json=asked, headers=holder.headers)).json()
    assert (quote["tool_calls_cap"], quote["admitted"], quote["capped"]) == (2, True, False)
