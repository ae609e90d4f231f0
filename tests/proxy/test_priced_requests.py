"""With a card of version 2: what of a request is held for, what is refused, what a quote says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.books import create_holder, hold_states
from tests.support.chat import CHAT
from tests.support.rate_cards import post, priced, written
from tokenbalance.proxy.quote import Quotes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

CARD = """
version = 2

[[models]]
match = "gpt-4o-mini*"
input = 2
cache_write = 2.5
cache_write_12h = 5
output = 10
long = { above = 2000, input = 2, output = 1.5 }
tier = { flex = 0.5, priority = 2, fast = 2.5, ultrafast = "10/3" }
calls = { web_search = 10_000, code_interpreter = 30_000 }

[[models]]
match = "gpt-5-search-api"
input = 1
output = 1
calls = { file_search = 2_500 }

[[models]]
match = "gpt-image-2"
input = 5
image_input = 8
output = 30
"""
WORLD = {"type": "web_search"}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
IMAGES = {"type": "image_generation"}
RESPONSE: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 50}
RICH = 10**9


@pytest.fixture
async def http(
    dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    async with priced(dsn, upstream, written(tmp_path, CARD), hold_wait_s=0) as client:
        yield client


async def respond(http: httpx2.AsyncClient, holder: Holder, **fields: Any) -> httpx2.Response:
    body = {**RESPONSE, **fields}
    return await http.post("/v1/responses", json=body, headers=holder.headers)


async def quoted(
    http: httpx2.AsyncClient, holder: Holder, path: str, **body: Any
) -> dict[str, Any]:
    asked = {"path": path, "body": body}
    answer = await http.post("/api/quote", json=asked, headers=holder.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def held(http: httpx2.AsyncClient, holder: Holder, **fields: Any) -> int:
    """The hold of a chat, which is also what its quote says."""
    response = await post(http, holder, **fields)
    assert response.status_code == 200, response.text
    quote = await quoted(http, holder, "/v1/chat/completions", **{**CHAT, **fields})
    hold = int(response.headers["x-tokenbalance-hold"])
    assert quote["hold"] == hold
    return hold


# What is held. The chat has 9 tokens of input, and 50 of output at most.


@pytest.mark.parametrize(
    ("fields", "hold"),
    [
        ({}, 523),
        ({"service_tier": None}, 523),
        ({"service_tier": "standard"}, 523),
        ({"service_tier": "flex"}, 262),
        ({"service_tier": "priority"}, 1307),
        ({"service_tier": "fast"}, 1307),
        ({"service_tier": "ultrafast"}, 1742),
        ({"prompt_cache_options": {"ttl": "12h"}}, 545),
        ({"prompt_cache_retention": "24h"}, 545),
        ({"prompt_cache_retention": "in_memory"}, 523),
    ],
)
async def test_the_dearest_that_a_chat_can_become_is_held(
    pool: Pool, http: httpx2.AsyncClient, fields: dict[str, Any], hold: int
) -> None:
    holder = await create_holder(pool, 100_000)
    assert await held(http, holder, **fields) == hold


async def test_a_long_input_is_held_with_its_factors(pool: Pool, http: httpx2.AsyncClient) -> None:
    holder = await create_holder(pool, 20_000)
    border = [{"role": "user", "content": "word " * 1992}]
    longer = [{"role": "user", "content": "word " * 1993}]
    assert await held(http, holder, messages=border) == 2_000 * 2.5 + 500
    assert await held(http, holder, messages=longer) == 2 * 2_001 * 2.5 + 1.5 * 500


async def test_calls_are_lowered_to_the_fees_that_the_balance_affords(
    pool: Pool, http: httpx2.AsyncClient, upstream: ScriptedUpstream
) -> None:
    # Little enough that everything is counted.
    rich = await create_holder(pool, 10**7)
    searching = {**RESPONSE, "max_output_tokens": 16, "tools": [WORLD]}
    for calls in (1, 3):
        asked = {**searching, "max_tool_calls": calls}
        enough = (await quoted(http, rich, "/v1/responses", **asked))["hold"]
        assert enough > 10_000 * calls
        for balance, told in ((enough, calls), (enough - 1, calls - 1)):
            holder = await create_holder(pool, balance)
            response = await respond(http, holder, **searching)
            assert response.headers["x-tokenbalance-tool-calls-cap"] == str(told)
            assert upstream.requests[-1].json()["max_tool_calls"] == told
            assert int(response.headers["x-tokenbalance-hold"]) <= balance


async def test_a_call_that_is_insisted_on_needs_its_fee(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    rich = await create_holder(pool, RICH)
    choice = {"tools": [CODE], "tool_choice": {"type": "code_interpreter"}}
    forced = await quoted(http, rich, "/v1/responses", **RESPONSE, **choice)
    free = await quoted(http, rich, "/v1/responses", **RESPONSE, tools=[CODE])
    assert forced["minimum"] > free["minimum"] + 30_000
    poor = await create_holder(pool, forced["minimum"] - 1)
    assert (await respond(http, poor, **choice)).status_code == 402
    enough = await create_holder(pool, forced["minimum"])
    assert (await respond(http, enough, **choice)).status_code == 200


# What is refused.


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"service_tier": "scale"}, 403, "service_tier_not_allowed", "service_tier"),
        ({"service_tier": ""}, 403, "service_tier_not_allowed", "service_tier"),
        ({"service_tier": 3}, 400, "invalid_type", "service_tier"),
        (
            {"prompt_cache_options": {"ttl": 3}},
            400,
            "invalid_type",
            "prompt_cache_options.ttl",
        ),
        (
            {"background_options": {"completion_window": "8h"}},
            400,
            "unsupported_parameter",
            "background_options.completion_window",
        ),
        ({"tools": [WORLD, {"type": "time_travel"}]}, 403, "tool_not_allowed", "tools[1]"),
        (
            {
                "input": [{"type": "additional_tools", "tools": [{"type": "Time travel"}]}],
                "store": False,
            },
            403,
            "tool_not_allowed",
            "input[0].tools[0]",
        ),
        ({"tools": [IMAGES]}, 404, "model_not_found", "tools[0].model"),
        ({"tools": [{**IMAGES, "model": "`\n"}]}, 404, "model_not_found", "tools[0].model"),
        (
            {
                "tools": [
                    WORLD,
                    {
                        **IMAGES,
                        "model": "gpt-image-2",
                        "output_format": "svg",
                        "svg": {"model": "gpt-6-sol"},
                    },
                ]
            },
            404,
            "model_not_found",
            "tools[1].svg.model",
        ),
    ],
)
async def test_what_the_card_has_no_price_for_is_refused_by_name(
    pool: Pool,
    http: httpx2.AsyncClient,
    upstream: ScriptedUpstream,
    fields: dict[str, Any],
    status: int,
    code: str,
    param: str,
) -> None:
    holder = await create_holder(pool, RICH)
    response = await respond(http, holder, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert response.headers["x-should-retry"] == "false"
    assert upstream.requests == []
    assert await hold_states(pool, holder) == []
    asked = {"path": "/v1/responses", "body": {**RESPONSE, **fields}}
    quote = await http.post("/api/quote", json=asked, headers=holder.headers)
    assert quote.status_code == status
    assert quote.json()["error"] == error


async def test_a_refusal_names_the_model_that_draws_by_default(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, RICH)
    error = (await respond(http, holder, tools=[IMAGES])).json()["error"]
    assert "`gpt-image-2.6-sunburst`" in error["message"]
    odd = (await respond(http, holder, tools=[{**IMAGES, "model": "`\n"}])).json()["error"]
    assert "`??`" in odd["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "time_travel"}], "tool_choice": "none"},
        {"tools": [IMAGES], "tool_choice": "none"},
        {"tools": [{**IMAGES, "model": "gpt-image-2"}]},
        {"tools": [CODE, {"type": "custom", "name": "x"}]},
    ],
)
async def test_what_cannot_be_called_or_has_a_price_is_served(
    pool: Pool, http: httpx2.AsyncClient, fields: dict[str, Any]
) -> None:
    response = await respond(http, await create_holder(pool, RICH), **fields)
    assert response.status_code == 200, response.text


async def test_a_search_model_needs_the_fee_of_a_search(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, RICH)
    searched: dict[str, Any] = {"web_search_options": {}}
    for param, fields in (("model", dict[str, Any]()), ("web_search_options", searched)):
        response = await post(http, holder, model="gpt-5-search-api", **fields)
        assert response.status_code == 403
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("tool_not_allowed", param)
        assert "`web_search`" in error["message"]
        assert f"`{param}`" in error["message"]
        assert "tool_choice" not in error["message"]


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ({"type": "time_travel"}, "The tool `time_travel` in `tools[1]` cannot be used"),
        ({"type": "Time travel"}, "its `type` is not the name of a tool"),
        ({"type": 1}, "its `type` is not the name of a tool"),
        ({}, "its `type` is not the name of a tool"),
    ],
)
async def test_a_tool_without_a_fee_is_named_with_its_place(
    pool: Pool, http: httpx2.AsyncClient, tool: dict[str, Any], said: str
) -> None:
    response = await respond(http, await create_holder(pool, RICH), tools=[WORLD, tool])
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (403, "tools[1]")
    assert said in error["message"]
    assert "`tools[1]`" in error["message"]


# What a quote says.


def named(quote: dict[str, Any]) -> dict[str, tuple[int, str | None]]:
    rows = quote["assumptions"]
    assert [row["credits"] for row in rows] == sorted(row["credits"] for row in rows)[::-1]
    assert all(row["text"].endswith(".") for row in rows)
    return {row["name"]: (row["credits"], row["factor"]) for row in rows}


async def test_a_quote_says_which_assumption_makes_a_request_dear(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, 20_000)
    chat = await quoted(http, holder, "/v1/chat/completions", **CHAT, service_tier="priority")
    # 9 x 0.5 for the cache, and all of it two and a half times.
    assert named(chat) == {"service_tier": (1307 - 523, "2.5"), "token_kinds": (12, None)}
    longer = {**CHAT, "messages": [{"role": "user", "content": "word " * 1993}]}
    lasting = {"prompt_cache_options": {"ttl": "12h"}}
    dear = await quoted(http, holder, "/v1/chat/completions", **longer, **lasting)
    assert named(dear) == {
        "long_context": (10_255, "2"),
        "cache_lifetime": (10_005, None),
        "token_kinds": (2_001, None),
    }
    assert dear["hold"] == 2 * 2_001 * 5 + 1.5 * 500


async def test_a_quote_counts_the_calls_and_their_fees(
    pool: Pool, http: httpx2.AsyncClient
) -> None:
    holder = await create_holder(pool, RICH)
    searching = {**RESPONSE, "max_tool_calls": 3}
    quote = await quoted(http, holder, "/v1/responses", **searching, tools=[WORLD])
    found = named(quote)
    assert found["tool_fees"] == (30_000, None)
    assert found["tool_calls"][0] > 10_000
    assert "10000 credits" in next(
        row["text"] for row in quote["assumptions"] if row["name"] == "tool_fees"
    )
    image = {**IMAGES, "model": "gpt-image-2", "size": "1024x1024", "quality": "low"}
    drawing = await quoted(http, holder, "/v1/responses", **searching, tools=[image])
    assert named(drawing)["image_tool"][0] > 3 * 30 * 3_000


async def test_without_a_card_only_calls_make_a_request_dear(pool: Pool) -> None:
    quotes = Quotes(pool)
    holder = await create_holder(pool, RICH)
    chat = await quotes.quote(holder.caller, "/v1/chat/completions", {**CHAT})
    assert chat.assumptions == ()
    asked: dict[str, Any] = {**RESPONSE, "tools": [WORLD, IMAGES]}
    drawing = await quotes.quote(holder.caller, "/v1/responses", asked)
    assert {row.name for row in drawing.assumptions} == {"tool_calls", "image_tool"}
    moderated = await quotes.quote(holder.caller, "/v1/moderations", {"input": "x"})
    assert moderated.assumptions == ()
