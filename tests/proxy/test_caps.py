"""The output is capped to what the balance affords, and the upstream itself stops there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from tests.support.books import account_of, create_holder, hold_states
from tests.support.chat import MESSAGES
from tests.support.product import serving

if TYPE_CHECKING:
    from tests.support.chat import Sdk
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

LONG: Any = [{"role": "user", "content": "All work and no play makes Jack a dull boy. " * 5}]


async def test_an_input_that_costs_more_than_the_balance_is_refused_with_402(
    pool: Pool, sdk: Sdk, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 30)
    with pytest.raises(openai.APIStatusError) as refusal:
        await sdk(holder).chat.completions.create(model="gpt-4o-mini", messages=LONG)
    assert refusal.value.status_code == 402
    assert refusal.value.code == "insufficient_quota"
    assert refusal.value.response.headers["x-should-retry"] == "false"
    assert "30 are available" in refusal.value.message
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []
    assert (await account_of(pool, holder)).balance == 30


@pytest.mark.parametrize("stream", [False, True])
async def test_an_input_that_fits_is_answered_up_to_what_is_left(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream, stream: bool
) -> None:
    holder = await create_holder(pool, 30)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": stream}
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    assert response.status_code == 200
    assert response.headers["x-tokenbalance-output-cap"] == "21"
    assert upstream.requests[0].json()["max_completion_tokens"] == 21
    assert b'"finish_reason":"length"' in response.content
    assert (await account_of(pool, holder)).balance == 0


@pytest.mark.parametrize(
    ("path", "body", "field", "cap"),
    [
        ("/chat/completions", {"messages": MESSAGES, "max_tokens": 400}, "max_tokens", 91),
        (
            "/chat/completions",
            {"messages": MESSAGES, "max_completion_tokens": 400},
            "max_completion_tokens",
            91,
        ),
        ("/chat/completions", {"messages": MESSAGES, "n": 3}, "max_completion_tokens", 30),
        ("/completions", {"prompt": "Hello there", "max_tokens": 400}, "max_tokens", 98),
        (
            "/completions",
            {"prompt": ["Hello there", "Hello there"], "max_tokens": 400},
            "max_tokens",
            48,
        ),
        (
            "/responses",
            {"input": "Hello there", "max_output_tokens": 400},
            "max_output_tokens",
            None,
        ),
    ],
)
async def test_the_field_that_the_client_used_is_lowered(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    path: str,
    body: dict[str, Any],
    field: str,
    cap: int | None,
) -> None:
    holder = await create_holder(pool, 100)
    model = "gpt-3.5-turbo-instruct" if path == "/completions" else "gpt-4o-mini"
    response = await http.post(f"/v1{path}", json={"model": model, **body}, headers=holder.headers)
    assert response.status_code == 200
    sent = upstream.requests[0].json()
    assert str(sent[field]) == response.headers["x-tokenbalance-output-cap"]
    assert 16 <= sent[field] < 100
    if cap is not None:
        assert sent[field] == cap
    assert {name: value for name, value in sent.items() if name != field} == {
        name: value for name, value in {"model": model, **body}.items() if name != field
    }
    assert (await account_of(pool, holder)).balance >= 0


async def test_a_limit_that_fits_goes_upstream_byte_for_byte(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 100)
    raw = (
        b'{ "model":"gpt-4o-mini",\n\t"messages":'
        b'[{"role":"user","content":"\\u0048i"}], "max_tokens" : 20 }'
    )
    response = await http.post(
        "/v1/chat/completions",
        content=raw,
        headers={**holder.headers, "content-type": "application/json"},
    )
    assert response.status_code == 200
    assert upstream.requests[0].body == raw


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{ "seed":12345678901234567890123,"max_tokens" : 999,\n"messages":%b, "top_p":1.00 }',
            b'{ "seed":12345678901234567890123,"max_tokens" : 91,\n"messages":%b, "top_p":1.00 }',
        ),
        (
            b'{"stream" : true,"stream_options":{"later":["\\u0048", 1e2]},"messages":%b }',
            (
                b'{"max_completion_tokens":91,"stream" : true,"stream_options":'
                b'{"include_usage":true,"later":["\\u0048", 1e2]},"messages":%b }'
            ),
        ),
    ],
    ids=["lowered", "added"],
)
async def test_what_is_not_ours_to_set_goes_upstream_byte_for_byte(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    body: bytes,
    expected: bytes,
) -> None:
    holder = await create_holder(pool, 100)
    message = b'[{"role":"user","content":"Hello there"}], "model":"gpt-4o-mini"'
    response = await http.post(
        "/v1/chat/completions",
        content=body % message,
        headers={**holder.headers, "content-type": "application/json"},
    )
    assert response.status_code == 200
    assert upstream.requests[0].body == expected % message


async def test_a_balance_that_affords_the_model_maximum_changes_nothing(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 20_000)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    response = await http.post("/v1/chat/completions", json=body, headers=holder.headers)
    assert upstream.requests[0].json() == body
    assert "x-tokenbalance-output-cap" not in response.headers


async def test_a_response_that_cannot_have_the_least_output_is_refused(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 20)
    body = {"model": "gpt-4o-mini", "input": "Hello there"}
    response = await http.post("/v1/responses", json=body, headers=holder.headers)
    assert response.status_code == 402
    assert upstream.requests == []


async def test_embeddings_have_no_output_to_cap(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 3)
    body = {"model": "text-embedding-3-small", "input": "one two three four"}
    response = await http.post("/v1/embeddings", json=body, headers=holder.headers)
    assert response.status_code == 402
    assert upstream.requests == []


async def test_the_status_of_a_refusal_can_be_429(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 1)
    async with (
        serving(dsn, upstream.base_url, insufficient_status=429) as url,
        httpx2.AsyncClient() as client,
    ):
        body = {"model": "gpt-4o-mini", "messages": MESSAGES}
        response = await client.post(
            f"{url}/v1/chat/completions", json=body, headers=holder.headers
        )
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "insufficient_quota"
