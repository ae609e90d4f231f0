"""What the sandbox reports of tiers, cache writes and searches, with which cards can be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from openai.types.responses import Response

from tests.support.books import create_holder
from tests.support.rate_cards import priced, written
from tests.support.sandbox_client import HELLO, MODEL, streamed_chat, streamed_response

if TYPE_CHECKING:
    from pathlib import Path

    import openai

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

SEARCH = {"type": "web_search"}


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (None, "default"),
        ("auto", "default"),
        ("default", "default"),
        ("flex", "flex"),
        ("fast", "priority"),
        ("priority", "priority"),
    ],
)
def test_the_tier_is_the_one_that_was_asked_for(
    client: openai.OpenAI, asked: str | None, served: str
) -> None:
    body: Any = {"service_tier": asked}
    chat = client.chat.completions.create(model=MODEL, messages=HELLO, extra_body=body)
    response = client.responses.create(model=MODEL, input="Hi", extra_body=body)
    assert (chat.service_tier, response.service_tier) == (served, served)
    assert {chunk.service_tier for chunk in streamed_chat(client, extra_body=body)} == {served}
    last = streamed_response(client, extra_body=body)[-1]
    assert last.type == "response.completed"
    assert last.response.service_tier == served


@pytest.mark.parametrize(("lifetime", "longer"), [("30m", False), ("12h", True)])
def test_the_prompt_is_written_into_the_cache_for_as_long_as_was_asked(
    client: openai.OpenAI, lifetime: str, *, longer: bool
) -> None:
    body: Any = {"prompt_cache_options": {"ttl": lifetime}}
    usage = client.responses.create(model=MODEL, input="Hi", extra_body=body).usage
    assert usage is not None
    details = usage.input_tokens_details
    assert details.cache_write_tokens == usage.input_tokens
    divided = details.cache_write_tokens_details
    assert divided is not None
    expected = (0, usage.input_tokens) if longer else (usage.input_tokens, 0)
    assert (divided.ttl_30m_tokens, divided.ttl_12h_tokens) == expected


def test_nothing_is_written_into_the_cache_unless_a_lifetime_is_asked_for(
    client: openai.OpenAI,
) -> None:
    usage = client.responses.create(model=MODEL, input="Hi").usage
    assert usage is not None
    assert usage.input_tokens_details.cache_write_tokens == 0


def test_a_search_that_is_offered_is_made_and_reported(client: openai.OpenAI) -> None:
    tools: Any = [SEARCH]
    raw = client.responses.with_raw_response.create(model=MODEL, input="Hi", tools=tools)
    response = Response.model_validate_json(raw.http_response.content)
    search, message = response.output
    assert (search.type, message.type) == ("web_search_call", "message")
    assert response.tool_usage is not None
    assert response.tool_usage.web_search.num_requests == 1
    assert response.tool_usage.image_gen.total_tokens == 0
    # Not validated: OpenAI's has no action when it is added, which the SDK's type requires.
    events = list(client.responses.create(model=MODEL, input="Hi", tools=tools, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["web_search_call", "message"]
    (done,) = [event for event in events if event.type == "response.web_search_call.completed"]
    assert done.item_id == last.response.output[0].id
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert {event.output_index for event in deltas} == {1}


@pytest.mark.parametrize(
    "fields", [{}, {"tools": [SEARCH], "tool_choice": "none"}, {"tools": [{"type": "x"}]}]
)
def test_nothing_is_searched_unless_it_is_offered(
    client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    response = client.responses.create(model=MODEL, input="Hi", extra_body=fields)
    assert [item.type for item in response.output] == ["message"]
    assert response.tool_usage is None


async def test_a_card_can_be_tried_with_the_sandbox(
    pool: Pool, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    card = (
        'version = 2\n[[models]]\nmatch = "gpt-6.2-sol"\ninput = 2\ncache_write_12h = 5\n'
        "output = 10\ntier = { ultrafast = 3 }\ncalls = { web_search = 10000 }\n"
    )
    holder = await create_holder(pool, 10**9)
    body = {
        "model": "gpt-6.2-sol",
        "input": "Hello",
        "max_output_tokens": 50,
        "service_tier": "ultrafast",
        "prompt_cache_options": {"ttl": "12h"},
        "tools": [SEARCH],
    }
    async with priced(dsn, upstream, written(tmp_path, card)) as http:
        response = await http.post("/v1/responses", json=body, headers=holder.headers)
    usage = response.json()["usage"]
    tokens = usage["input_tokens"] * 5 + usage["output_tokens"] * 10
    assert response.headers["x-tokenbalance-charge"] == str(3 * tokens + 10_000)
