"""Servers that only speak OpenAI's language: other vocabularies, other fields, other defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.books import account_of, create_holder
from tests.support.chat import MESSAGES
from tests.support.product import serving
from tests.support.upstream import json_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool
    from tokenbalance.model import Json

UNASKED = 512
FULL = 200_000


@pytest.fixture
async def url(dsn: str, upstream: ScriptedUpstream) -> AsyncIterator[str]:
    """The product in front of a server whose address says that it is not OpenAI."""
    async with serving(dsn, upstream.base_url, upstream_kind=None) as url:
        yield url


def responded(prompt: int, output: int) -> Json:
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a " * output},
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        },
    }


async def ask(url: str, path: str, holder: Holder, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.post(f"{url}{path}", json=body, headers=holder.headers)


async def test_a_vocabulary_smaller_than_openais_never_leaves_less_than_nothing(
    url: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    text = "wonderful international transportation " * 10
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
    poor = await create_holder(pool, 80)
    assert (await ask(url, "/v1/chat/completions", poor, body)).status_code == 402
    upstream.always(json_response(responded(311, 8)))
    holder = await create_holder(pool, 500)
    response = await ask(url, "/v1/chat/completions", holder, body)
    assert response.status_code == 200
    assert int(response.headers["x-tokenbalance-hold"]) > len(text)
    assert (await account_of(pool, holder)).balance == 500 - 319


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 4_000}, 400 - 7 - 24 - 32 - len(str(MESSAGES[0]["content"]))),
    ],
)
async def test_the_limit_that_the_hold_pays_for_is_told_in_both_fields(
    url: str, pool: Pool, upstream: ScriptedUpstream, asked: dict[str, int], told: int
) -> None:
    holder = await create_holder(pool, 400)
    upstream.always(json_response(responded(9, 4)))
    body = {"model": "tiny", "messages": MESSAGES, **asked}
    assert (await ask(url, "/v1/chat/completions", holder, body)).status_code == 200
    limits = {"max_tokens": told, "max_completion_tokens": told}
    assert upstream.requests[0].json() == body | limits


async def test_a_limit_that_nobody_asked_for_is_small_and_so_is_its_hold(
    url: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 50_000)
    upstream.always(json_response(responded(9, 4)))
    body = {"model": "tiny", "messages": MESSAGES}
    response = await ask(url, "/v1/chat/completions", holder, body)
    assert response.headers["x-tokenbalance-output-cap"] == str(UNASKED)
    assert int(response.headers["x-tokenbalance-hold"]) < UNASKED + 100
    limits = {"max_tokens": UNASKED, "max_completion_tokens": UNASKED}
    assert upstream.requests[0].json() == body | limits


async def test_nothing_is_told_where_all_that_may_come_is_covered(
    url: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, FULL)
    upstream.always(json_response(responded(9, 1_024)))
    body = {"model": "tiny", "messages": MESSAGES}
    response = await ask(url, "/v1/chat/completions", holder, body)
    assert "x-tokenbalance-output-cap" not in response.headers
    assert upstream.requests[0].json() == body
    assert (await account_of(pool, holder)).balance == FULL - 1_033


async def test_a_completion_is_always_told_where_it_ends(
    url: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, FULL)
    body = {"model": "tiny", "prompt": "Hello there"}
    _ = await ask(url, "/v1/completions", holder, body)
    assert upstream.requests[0].json() == body | {"max_tokens": 16}


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "/models/tiny.gguf", "llama3.2:1b"])
async def test_what_the_upstream_lists_can_be_asked_for(
    url: str, pool: Pool, upstream: ScriptedUpstream, name: str
) -> None:
    holder = await create_holder(pool, 400)
    upstream.always(json_response(responded(9, 4)))
    body = {"model": name, "messages": MESSAGES, "max_tokens": 8}
    assert (await ask(url, "/v1/chat/completions", holder, body)).status_code == 200
    assert upstream.requests[0].json()["model"] == name


@pytest.mark.parametrize(("kind", "held"), [(None, False), ("compatible", True)])
async def test_openais_models_are_openais_behind_a_gateway_unless_it_is_said_otherwise(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, kind: str | None, *, held: bool
) -> None:
    holder = await create_holder(pool, FULL)
    upstream.always(json_response(responded(9, 4)))
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_completion_tokens": 8}
    async with serving(dsn, upstream.base_url, upstream_kind=kind) as url:
        response = await ask(url, "/v1/chat/completions", holder, body)
    assert response.status_code == 200
    assert ("max_tokens" in upstream.requests[0].json()) is held
    assert (int(response.headers["x-tokenbalance-hold"]) > 60) is held


@pytest.mark.parametrize("balance", [100, 50_000, FULL])
async def test_a_quote_foretells_what_is_held_and_told(
    url: str, pool: Pool, upstream: ScriptedUpstream, balance: int
) -> None:
    holder = await create_holder(pool, balance)
    upstream.always(json_response(responded(9, 4)))
    body: dict[str, Any] = {"model": "tiny", "messages": MESSAGES}
    foretold = await ask(url, "/api/quote", holder, {"path": "/v1/chat/completions", "body": body})
    response = await ask(url, "/v1/chat/completions", holder, body)
    quote = foretold.json()
    assert str(quote["hold"]) == response.headers["x-tokenbalance-hold"]
    told = upstream.requests[0].json().get("max_tokens", quote["output_cap"])
    assert quote["output_cap"] == told
    assert quote["capped"] is ("x-tokenbalance-output-cap" in response.headers)


async def test_the_operators_limit_is_held_and_told_where_the_client_names_none(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, FULL)
    async with serving(dsn, upstream.base_url, default_output_limit=100) as url:
        body = {"model": "gpt-4o-mini", "messages": MESSAGES}
        for path, asked, field in (
            ("/v1/chat/completions", body, "max_completion_tokens"),
            ("/v1/responses", {"model": "gpt-4o-mini", "input": "Hi"}, "max_output_tokens"),
        ):
            response = await ask(url, path, holder, asked)
            assert upstream.requests[-1].json() == asked | {field: 100}
            assert int(response.headers["x-tokenbalance-hold"]) < 200
        named = body | {"max_tokens": 300}
        _ = await ask(url, "/v1/chat/completions", holder, named)
        assert upstream.requests[-1].json() == named


@pytest.mark.parametrize("field", ["models", "fallbacks", "extra_body"])
async def test_a_gateway_is_not_told_of_other_models_or_limits_than_those_held_for(
    pool: Pool, url: str, upstream: ScriptedUpstream, field: str
) -> None:
    holder = await create_holder(pool, FULL)
    body = {"model": "tiny", "messages": MESSAGES, field: [{"model": "dear"}]}
    response = await ask(url, "/v1/chat/completions", holder, body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        *(400, "unsupported_parameter"),
        field,
    )
    assert upstream.requests == []


async def test_a_role_is_words_to_a_server_that_takes_any(
    pool: Pool, url: str, upstream: ScriptedUpstream
) -> None:
    holder = await create_holder(pool, 200)
    said = [{"role": "word " * 5_000, "content": "x"}]
    body = {"model": "tiny", "max_tokens": 50, "messages": said}
    response = await ask(url, "/v1/chat/completions", holder, body)
    assert response.status_code == 402
    assert upstream.requests == []
