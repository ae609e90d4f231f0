"""The ceiling of model responses, and of tools that the upstream runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.documents import (
    CHAT,
    RESPONSES,
    chat,
    refusal,
    request,
    response,
)
from tokenbalance.errors import (
    UnsupportedParameter,
)
from tokenbalance.model import OPENAI
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import bound, count
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from tokenbalance.model import Document


# Tools that the upstream runs.


def test_a_hosted_tool_in_a_chat_is_held_for_by_its_calls() -> None:
    tools: list[dict[str, object]] = [
        {"type": "web_search"},
        {"type": "of_next_year"},
        {"google_search": {}},
        {"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]},
        {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example.com/"},
    ]
    for tool in tools:
        estimate = bound(CHAT, chat(tools=[tool]))
        assert estimate.input_tokens > 100_000
        # No field can be set that would bound them.
        assert estimate.least_input == estimate.input_tokens
        assert bound(CHAT, chat(tools=[tool], tool_choice="none")).input_tokens < 6_000


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "f"}},
        {"function": {"name": "f"}},
        {"name": "f", "parameters": {"properties": {"file_id": {"type": "string"}}}},
    ],
)
def test_a_tool_that_the_client_runs_is_its_words_alone(tool: dict[str, object]) -> None:
    estimate = bound(CHAT, chat(tools=[tool]))
    assert estimate.calls is None
    assert estimate.input_tokens < 100


def test_a_model_that_searches_does_so_once() -> None:
    size = {"search_context_size": "low"}
    estimate = bound(CHAT, chat(model="gpt-5-search-api", web_search_options=size))
    assert 10_240 < estimate.input_tokens < 11_000
    assert estimate.least_input == estimate.input_tokens


def test_what_a_search_preview_finds_is_no_input() -> None:
    options = {"user_location": {"type": "approximate", "approximate": {"city": "Utrecht"}}}
    document = chat(model="gpt-4o-search-preview", web_search_options=options)
    assert 9 < count(CHAT, document).input_tokens < 60


# Responses.


def test_a_response_costs_one_token_more_than_the_chat() -> None:
    estimate = count(RESPONSES, response(instructions="hello", max_output_tokens=32))
    assert estimate.input_tokens == 9 + 5 + 1
    assert estimate.output_cap == 32
    assert (estimate.cap_fields, estimate.output_minimum) == (("max_output_tokens",), 16)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    assert count(RESPONSES, response(input=[item])).input_tokens == 9


def test_a_cap_below_the_upstreams_minimum_passes_as_it_is() -> None:
    assert bound(RESPONSES, response(max_output_tokens=1)).output_cap == 1


def test_hosted_tools_are_held_for_by_calls_and_context() -> None:
    def search(**fields: object) -> int:
        tools = [{"type": "web_search"}]
        return bound(RESPONSES, response(tools=tools, **fields)).input_tokens

    assert 4_400 < search(max_tool_calls=0) < 6_000
    assert 14_000 < search(max_tool_calls=1) < 24_000
    assert 116_000 < search() < 500_000
    assert search(model="gpt-4o", max_tool_calls=2_147_483_647) <= 2_147_483_648 * 128_000


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "mcp", "tunnel_id": "t"}]}, "tools[0].tunnel_id"),
        ({"tools": [{"type": "mcp", "vault_ids": ["v"]}]}, "tools[0].vault_ids"),
        ({"tools": [{"type": "mcp", "credential_id": "c"}]}, "tools[0].credential_id"),
    ],
)
def test_what_nobody_can_own_here_is_refused(fields: Document, param: str) -> None:
    assert refusal(RESPONSES, response(**fields)) == (UnsupportedParameter, param)


ADDED: dict[str, object] = {
    "type": "additional_tools",
    "role": "developer",
    "tools": [{"type": "web_search"}],
}
ADDED_FUNCTION: dict[str, object] = {
    **ADDED,
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
}


def test_a_tool_of_the_upstreams_is_not_offered_to_requests_that_do_not_show_it() -> None:
    refused = (UnsupportedParameter, "input[0].tools[0]")
    assert refusal(RESPONSES, response(input=[ADDED])) == refused
    assert refusal(RESPONSES, response(input=[ADDED], store=False, conversation="c")) == refused
    assert bound(RESPONSES, response(input=[ADDED], store=False)).calls
    items = {"items": [{"role": "user", "content": "Hi"}, ADDED]}
    assert refusal(find_operation("POST", b"/conversations"), request(**items)) == (
        UnsupportedParameter,
        "items[1].tools[0]",
    )
    for document in (response(input=[ADDED], store=False), response(input=[ADDED_FUNCTION])):
        _ = read_document(RESPONSES, json.dumps(document).encode(), OPENAI)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/mcp",
        "https://169.254.169.254/",
        "https://[::1]/mcp",
        "https://127.1/",
        "https://0x7f000001/",
        "https://10.0.0.0x1/",
        "https://localhost/",
        "https://x.localhost./",
        "https://db.internal/",
        "https://[",
        "https://",
        "ftp://example.com",
    ],
)
def test_an_mcp_server_must_have_a_public_name(url: str) -> None:
    tools = [{"type": "mcp", "server_label": "x", "server_url": url}]
    assert refusal(RESPONSES, response(tools=tools)) == (
        UnsupportedParameter,
        "tools[0].server_url",
    )


def test_public_mcp_servers_and_containers_of_ones_own_pass() -> None:
    tools: list[object] = [
        {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example.com/sse"},
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": None}},
    ]
    assert bound(RESPONSES, response(tools=tools, store=None)).input_tokens > 3_000
