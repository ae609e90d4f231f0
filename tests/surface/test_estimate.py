"""The ceiling of a request by hand-made examples: what is counted, capped, refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support import hostile
from tokenbalance.books.pricing.rates import affordable, paid_for, wanted_for
from tokenbalance.errors import (
    EmptyArray,
    IntegerAboveMaximum,
    IntegerBelowMinimum,
    InvalidType,
    InvalidValue,
    MissingParameter,
    ModelNotFound,
    ProxyError,
    UnsupportedParameter,
)
from tokenbalance.model import OPENAI, Estimate, UpstreamTraits
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.estimate import UsageCounter, bound, count
from tokenbalance.openai.operation import Metering, Operation
from tokenbalance.proxy.reading import read_request

if TYPE_CHECKING:
    from tokenbalance.model import Document

CHAT = Operation("POST", "/chat/completions", Metering.CHAT, "")
COMPLETIONS = Operation("POST", "/completions", Metering.COMPLETIONS, "")
RESPONSES = Operation("POST", "/responses", Metering.RESPONSES, "")
EMBEDDINGS = Operation("POST", "/embeddings", Metering.EMBEDDINGS, "")
OPERATIONS = {f"/v1{each.path}": each for each in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)}

GATEWAY = UpstreamTraits(is_openai=False)
COMPATIBLE = UpstreamTraits(is_openai=False, knows_openai_models=False)

USER = {"role": "user", "content": "hello world"}


def chat(**fields: object) -> Document:
    return cast("Document", {"model": "gpt-4o", "messages": [USER], **fields})


def messages(*each: object) -> Document:
    return chat(messages=list(each))


def response(**fields: object) -> Document:
    return cast("Document", {"model": "gpt-4.1", "input": "hello world", **fields})


def request(**fields: object) -> Document:
    return cast("Document", fields)


def parts(*each: object) -> Document:
    return messages({"role": "user", "content": list(each)})


def refusal(endpoint: Operation, document: Document) -> tuple[type[ProxyError], str | None]:
    with pytest.raises(ProxyError) as caught:
        read_request(endpoint, json.dumps(document).encode(), OPENAI)
    return type(caught.value), caught.value.param


# Input.


def test_a_plain_chat_is_counted_exactly() -> None:
    estimate = count(CHAT, chat())
    # 3 a message, 1 for the role, 2 for the text, 3 for the reply.
    assert estimate.input_tokens == 9
    assert estimate.counted


def test_a_name_costs_itself_and_one_more() -> None:
    named = messages({"role": "user", "name": "bob", "content": "hello world"})
    assert count(CHAT, named).input_tokens == 9 + 2


def test_the_bound_takes_bytes_for_tokens() -> None:
    estimate = bound(CHAT, chat())
    assert estimate.input_tokens == 7 + len(b"hello world")
    assert not estimate.counted
    assert bound(CHAT, messages({"role": "user", "content": "é"})).input_tokens == 7 + 2


def test_functions_and_schemas_cost_input() -> None:
    function = {"name": "f", "description": "does", "parameters": {"enum": ["x" * 50]}}
    plain = bound(CHAT, chat()).input_tokens
    for fields in (
        {"tools": [{"type": "function", "function": function}]},
        {"functions": [function]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": function}}},
        {"some_field_of_next_year": function},
    ):
        assert bound(CHAT, chat(**fields)).input_tokens > plain + 55


def test_tool_calls_refusals_and_unknown_members_of_messages_cost_input() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 100}}
    for member in ({"tool_calls": [call]}, {"refusal": "x" * 100}, {"novelty": ["x" * 100]}):
        assert bound(CHAT, messages({"role": "assistant", **member})).input_tokens >= 107


def test_the_words_of_a_prediction_are_held_for_each_choice_beside_the_cap() -> None:
    content = {"type": "content", "content": "x" * 100}
    estimate = bound(CHAT, chat(n=2, max_tokens=5, prediction=content))
    assert estimate.input_tokens == bound(CHAT, chat()).input_tokens + 200
    assert estimate.output_cap == 5
    assert bound(CHAT, chat(prediction=content)).cap_fields == ("max_tokens",)


@pytest.mark.parametrize("role", ["assistant", "developer", "function", "system", "tool"])
@pytest.mark.parametrize("content", [None, "", []])
def test_a_message_may_say_nothing(role: str, content: object) -> None:
    # Three a message and one for its role.
    said = [{"role": "user", "content": "hello world"}, {"role": role, "content": content}]
    assert count(CHAT, chat(messages=said)).input_tokens == 9 + 4


def test_what_is_null_or_empty_costs_nothing() -> None:
    nothing = request(n=None, tools=None, functions=None, stream=None, stop=None, reasoning=None)
    message: dict[str, object] = {"tool_calls": None, "annotations": [], **USER}
    assert count(CHAT, chat(**nothing, messages=[message])) == count(CHAT, chat())


def test_options_of_a_stream_are_of_any_type_but_for_that_of_usage() -> None:
    options = {"later": "sequential_cutoff", "number": 3, "more": {"a": [1]}, "include_usage": None}
    assert count(CHAT, chat(stream=True, stream_options=options)) == count(CHAT, chat())
    assert bound(RESPONSES, response(stream=True, stream_options=options))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "", "beside": "x" * 500},
        {"type": "of_next_year", "result": "x" * 500},
        {"type": ["text"], "text": "x" * 500},
        {"text": "x" * 500},
        {"type": "image_url", "image_url": {"url": "u", "caption": "x" * 500}},
        {"type": "image_url", "image_url": "u", "caption": "x" * 500},
        {"type": "input_audio", "input_audio": {"data": ""}, "transcript": "x" * 500},
        {"type": "input_audio", "input_audio": "x" * 500},
        {"type": "file", "file": {"file_data": "", "filename": "x" * 500}},
        {"type": "file", "text": "x" * 500},
    ],
)
def test_the_words_of_a_part_count_whatever_its_type(part: dict[str, object]) -> None:
    without = json.loads(json.dumps(part).replace("x" * 500, ""))
    words = bound(CHAT, parts(part)).input_tokens - bound(CHAT, parts(without)).input_tokens
    assert 500 <= words <= 520


def test_only_what_is_known_to_be_an_image_is_one() -> None:
    url = "data:image/png;base64," + "A" * 100_000
    for image in (
        {"type": "image_url", "image_url": url},
        {"type": "input_image", "image_url": url},
        {"type": "image", "image": url},
    ):
        assert bound(CHAT, parts(image)).input_tokens == 7 + 1_445
    assert bound(CHAT, parts({"type": "picture", "image_url": url})).input_tokens > 100_000


def test_a_video_may_fill_the_context() -> None:
    document = parts({"type": "video_url", "video_url": {"url": "u"}})
    assert bound(CHAT, document).input_tokens == 7 + 128_000
    assert bound(CHAT, document).has_media


def test_a_number_beyond_64_bit_is_allowed_all_its_digits() -> None:
    schema = {"enum": [float("9" * 300)]}
    plain = {"enum": [1]}
    sizes = [
        bound(CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": p}}]))
        for p in (schema, plain)
    ]
    assert sizes[0].input_tokens - sizes[1].input_tokens >= 300


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
        # Nothing can be told that would bound them.
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


def test_a_hosted_tool_in_a_chat_must_not_reach_for_the_state_of_others() -> None:
    tool = {"type": "file_search", "vector_store_ids": ["vs"]}
    assert refusal(CHAT, chat(tools=[tool])) == (
        UnsupportedParameter,
        "tools[0].vector_store_ids",
    )


def test_a_model_that_searches_does_so_once() -> None:
    size = {"search_context_size": "low"}
    estimate = bound(CHAT, chat(model="gpt-5-search-api", web_search_options=size))
    assert 10_240 < estimate.input_tokens < 11_000
    assert estimate.least_input == estimate.input_tokens


def test_what_a_search_preview_finds_is_no_input() -> None:
    options = {"user_location": {"type": "approximate", "approximate": {"city": "Utrecht"}}}
    document = chat(model="gpt-4o-search-preview", web_search_options=options)
    assert 9 < count(CHAT, document).input_tokens < 60


# Media.


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o", "high", 85 + 8 * 170),
        ("gpt-4o", None, 85 + 8 * 170),
        ("gpt-4o-mini", "auto", 2_833 + 8 * 5_667),
        ("gpt-4.1-mini", "low", 2_489),
        ("o3", "high", 75 + 8 * 150),
        ("gpt-5", "high", 70 + 8 * 140),
    ],
)
def test_an_image_costs_what_the_worst_image_costs(
    model: str, detail: str | None, tokens: int
) -> None:
    url = "data:image/png;base64," + "A" * 100_000
    document = parts({"type": "image_url", "image_url": {"url": url, "detail": detail}})
    assert bound(CHAT, document | {"model": model}).input_tokens == 7 + tokens
    item = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": url, "detail": detail}],
    }
    wanted = bound(RESPONSES, request(model=model, input=[item])).input_tokens
    assert tokens < wanted < tokens + 100


def test_an_images_url_is_never_fetched_nor_judged() -> None:
    document = parts({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})
    assert bound(CHAT, document).input_tokens == 7 + 1_445


def test_audio_and_files_are_bounded_by_their_bytes_and_the_context() -> None:
    def audio(size: int) -> int:
        data = base64.b64encode(bytes(size)).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return bound(CHAT, parts(part) | {"model": "gpt-audio"}).input_tokens

    def file(size: int) -> int:
        data = "data:application/pdf;base64," + base64.b64encode(bytes(size)).decode()
        return bound(CHAT, parts({"type": "file", "file": {"file_data": data}})).input_tokens

    assert 100 <= audio(10_000) <= 300
    assert 1_000 <= file(1_000) <= 4_000
    assert audio(20_000_000) == file(1_000_000) == 7 + 128_000


def test_a_file_that_the_upstream_fetches_may_fill_the_context() -> None:
    part = {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    document = response(input=[{"role": "user", "content": [part]}])
    assert bound(RESPONSES, document).input_tokens >= 1_047_576


# Output.


@pytest.mark.parametrize(
    ("fields", "cap", "field"),
    [
        ({"max_completion_tokens": 7}, 7, "max_completion_tokens"),
        ({"max_tokens": 7}, 7, "max_tokens"),
        ({"max_tokens": None, "max_completion_tokens": 9}, 9, "max_completion_tokens"),
        ({}, 16_384, "max_completion_tokens"),
        ({"model": "nobody-knows-it-yet"}, 272_000, "max_completion_tokens"),
    ],
)
def test_the_cap_is_the_clients_or_the_models(fields: Document, cap: int, field: str) -> None:
    estimate = bound(CHAT, chat(**fields))
    assert (estimate.output_cap, estimate.cap_fields) == (cap, (field,))


def test_both_caps_at_once_are_refused_as_upstream_refuses_them() -> None:
    both = chat(max_tokens=1, max_completion_tokens=10_000)
    assert refusal(CHAT, both) == (InvalidValue, "max_tokens")


def test_every_choice_is_held_for() -> None:
    estimate = bound(CHAT, chat(n=128, max_tokens=16_384))
    assert wanted_for(estimate, None) == estimate.input_tokens + 128 * 16_384


@pytest.mark.parametrize(
    ("prompt", "tokens", "prompts"),
    [
        ("hello world", 2, 1),
        (["hello world", "hello"], 3, 2),
        ([1, 2, 3], 3, 1),
        ([[1, 2, 3], [4]], 4, 2),
    ],
)
def test_completions_have_answers_for_each_prompt(
    prompt: object, tokens: int, prompts: int
) -> None:
    document = request(model="davinci-002", prompt=prompt, n=2, best_of=3)
    assert count(COMPLETIONS, document) == Estimate(
        input_tokens=tokens,
        choices=prompts * 3,
        output_cap=16,
        output_minimum=1,
        cap_fields=("max_tokens",),
        counted=True,
    )


def test_embeddings_have_no_output() -> None:
    document = request(model="text-embedding-3-small", input=["hello world", "hello"])
    assert count(EMBEDDINGS, document) == Estimate(input_tokens=3, counted=True)


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
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"type": None, "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"type": "image_generation_call", "id": "ig_1"}]}, "input[0].id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"type": "computer_call_output", "output": {"file_id": "f"}}]},
            "input[0].output.file_id",
        ),
        (
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs"]}]},
            "tools[0].vector_store_ids",
        ),
        ({"tools": [{"type": "code_interpreter", "container": "c"}]}, "tools[0].container"),
        (
            {"tools": [{"type": "code_interpreter", "container": {"file_ids": ["f"]}}]},
            "tools[0].container.file_ids",
        ),
        (
            {"tools": [{"type": "shell", "environment": {"container_id": "c"}}]},
            "tools[0].environment.container_id",
        ),
        (
            {"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "f"}}]},
            "tools[0].input_image_mask.file_id",
        ),
    ],
)
def test_what_needs_the_state_of_others_is_refused(fields: Document, param: str) -> None:
    assert refusal(RESPONSES, response(**fields)) == (UnsupportedParameter, param)


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


def test_a_stored_file_in_a_chat_is_refused() -> None:
    document = parts({"type": "file", "file": {"file_id": "file_1"}})
    assert refusal(CHAT, document) == (
        UnsupportedParameter,
        "messages[0].content[0].file.file_id",
    )


# Upstreams that are not OpenAI.


def test_of_an_unknown_vocabulary_no_token_is_shorter_than_a_byte() -> None:
    document = chat(model="tiny")
    estimate = count(CHAT, document, COMPATIBLE)
    assert estimate.counted
    assert replace(estimate, counted=False) == bound(CHAT, document, COMPATIBLE)
    assert estimate.input_tokens == 7 + 24 + 32 + len("hello world")
    texts, tokens = request(model="m", input=["hello", "x"]), request(model="m", prompt=[7, 8])
    assert count(EMBEDDINGS, texts, COMPATIBLE).input_tokens == 2 * 4 + 6
    assert count(COMPLETIONS, tokens, COMPATIBLE).input_tokens == 4 + 2


def test_a_template_marks_each_turn_and_writes_tools_as_json() -> None:
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}] * 10
    marked = count(CHAT, chat(model="tiny", messages=said), COMPATIBLE)
    assert marked.input_tokens == 3 + 32 + 20 * (4 + 24 + 2)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": ["x"] * 100}}}
    told = count(CHAT, chat(model="tiny", tools=[tool]), COMPATIBLE)
    assert told.input_tokens > len(json.dumps(tool, indent=1))
    call = {"id": "i" * 100, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = chat(model="tiny", messages=[{"role": "assistant", "tool_calls": [call]}])
    assert count(CHAT, called, COMPATIBLE).input_tokens > 7 + len(json.dumps(call, indent=1))


def test_openais_models_keep_their_rules_behind_a_gateway_and_others_do_not() -> None:
    assert count(CHAT, chat(), GATEWAY) == count(CHAT, chat())
    assert count(CHAT, chat(model="tiny"), GATEWAY) == count(CHAT, chat(model="tiny"), COMPATIBLE)
    assert count(CHAT, chat(), COMPATIBLE).input_tokens > count(CHAT, chat()).input_tokens


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 9, "n_predict": 5}, 5),
    ],
)
def test_servers_are_told_the_smallest_limit_in_every_field_that_they_read(
    fields: Document, cap: int
) -> None:
    estimate = bound(CHAT, chat(model="tiny", **fields), COMPATIBLE)
    assert estimate.output_cap == cap
    assert set(estimate.cap_fields) == {"max_tokens", "max_completion_tokens"} | fields.keys()
    assert estimate.tells_cap


def test_what_stands_for_no_limit_elsewhere_is_refused() -> None:
    for fields in ({"n_predict": -1}, {"max_tokens": 0}):
        for endpoint, document in (
            (CHAT, chat(model="tiny", **fields)),
            (COMPLETIONS, request(model="tiny", prompt="x", **fields)),
        ):
            with pytest.raises(IntegerBelowMinimum):
                bound(endpoint, document, COMPATIBLE)


def test_other_words_for_choices_are_choices_where_servers_read_them() -> None:
    document = chat(model="tiny", best_of=3, n_cmpl=4)
    assert bound(CHAT, document, COMPATIBLE).choices == 4
    assert bound(CHAT, document).choices == 1


def test_a_template_of_the_clients_own_is_refused_where_it_would_be_run() -> None:
    with pytest.raises(UnsupportedParameter):
        bound(CHAT, chat(model="tiny", chat_template="{{ x * 1000000 }}"), COMPATIBLE)


def test_a_completion_without_a_limit_is_told_the_one_that_is_held_for() -> None:
    estimate = bound(COMPLETIONS, request(model="tiny", prompt="x"), COMPATIBLE)
    assert (estimate.output_cap, estimate.tells_cap) == (16, True)
    assert not bound(COMPLETIONS, request(model="tiny", prompt="x")).tells_cap


def test_a_limit_that_nobody_asked_for_is_small_unless_everything_is_covered() -> None:
    estimate = bound(CHAT, chat(model="tiny"), COMPATIBLE)
    assert (estimate.output_cap, estimate.tells_cap) == (128_000, False)
    full = wanted_for(estimate, None)
    assert affordable(estimate, full, None) == estimate
    assert affordable(estimate, full - 1, None).output_cap == 512
    assert paid_for(estimate, full, None).output_cap == 128_000
    assert paid_for(estimate, full - 1, None).output_cap == 512
    assert paid_for(estimate, estimate.input_tokens + 3, None).output_cap == 3


@pytest.mark.parametrize(
    ("endpoint", "document", "upstream", "cap", "told"),
    [
        (CHAT, chat(), OPENAI, 1_000, True),
        (CHAT, chat(max_tokens=5), OPENAI, 5, False),
        (CHAT, chat(model="gpt-4-turbo"), OPENAI, 1_000, True),
        (CHAT, chat(model="tiny"), COMPATIBLE, 1_000, True),
        (CHAT, chat(model="tiny", max_tokens=2_000), COMPATIBLE, 2_000, True),
        (RESPONSES, response(), OPENAI, 1_000, True),
        (COMPLETIONS, request(model="davinci-002", prompt="x"), OPENAI, 16, False),
        (COMPLETIONS, request(model="tiny", prompt="x"), COMPATIBLE, 1_000, True),
        (EMBEDDINGS, request(model="m", input="x"), OPENAI, 0, False),
    ],
)
def test_the_operators_limit_is_for_requests_that_name_none(
    endpoint: Operation, document: Document, upstream: UpstreamTraits, cap: int, *, told: bool
) -> None:
    estimate = bound(endpoint, document, replace(upstream, default_output_limit=1_000))
    assert (estimate.output_cap, estimate.tells_cap) == (cap, told)
    assert estimate.unasked_cap is None


def test_an_operators_limit_above_the_models_own_is_not_told() -> None:
    upstream = replace(OPENAI, default_output_limit=1_000_000)
    assert bound(CHAT, chat(), upstream) == bound(CHAT, chat())


def test_what_an_unknown_vocabulary_used_is_estimated_by_words_not_by_bytes() -> None:
    counter = UsageCounter(CHAT, chat(model="tiny"), COMPATIBLE)
    assert counter("hello world").total == 9 + 2


# Refusals.


@pytest.mark.parametrize(
    ("document", "error", "param"),
    [
        ({"messages": []}, MissingParameter, "model"),
        ({"model": None, "messages": []}, InvalidType, "model"),
        ({"model": ["m"], "messages": []}, InvalidType, "model"),
        ({"model": "gpt-4o"}, MissingParameter, "messages"),
        (chat(model="GPT-4o"), ModelNotFound, "model"),
        (chat(messages=[]), EmptyArray, "messages"),
        (chat(messages="hi"), InvalidType, "messages"),
        (messages(1), InvalidType, "messages[0]"),
        (messages({"content": "x"}), MissingParameter, "messages[0].role"),
        (messages({"role": "user"}), MissingParameter, "messages[0].content"),
        (messages({"role": "user", "content": None}), InvalidType, "messages[0].content"),
        (messages({"role": "tool", "content": 5}), InvalidType, "messages[0].content"),
        (parts({"type": "text", "text": 5}), InvalidType, "messages[0].content[0].text"),
        (chat(max_tokens=-1), IntegerBelowMinimum, "max_tokens"),
        (chat(max_tokens=0), IntegerBelowMinimum, "max_tokens"),
        (chat(max_tokens="16"), InvalidType, "max_tokens"),
        (chat(max_tokens=16.0), InvalidType, "max_tokens"),
        (chat(max_tokens=True), InvalidType, "max_tokens"),
        (chat(max_tokens=2**31), IntegerAboveMaximum, "max_tokens"),
        (chat(n=129), IntegerAboveMaximum, "n"),
        (chat(n=0), IntegerBelowMinimum, "n"),
        (chat(stream="false"), InvalidType, "stream"),
        (chat(stream=1), InvalidType, "stream"),
        (chat(stream_options=[]), InvalidType, "stream_options"),
        (
            chat(stream_options={"include_usage": "no"}),
            InvalidType,
            "stream_options.include_usage",
        ),
        (chat(tools={}), InvalidType, "tools"),
        (chat(tools=[1]), InvalidType, "tools[0]"),
    ],
)
def test_a_wrong_field_that_decides_the_cost_is_refused(
    document: Document, error: type[ProxyError], param: str
) -> None:
    assert refusal(CHAT, document) == (error, param)


@pytest.mark.parametrize("content", [None, "", "hi", [{"type": "refusal", "refusal": "no"}]])
def test_an_assistant_may_have_said_nothing(content: object) -> None:
    document = messages({"role": "assistant", "content": content})
    assert bound(CHAT, document).input_tokens >= 7


@pytest.mark.parametrize(
    ("prompt", "error", "param"),
    [
        (5, InvalidType, "prompt"),
        ([1, "x"], InvalidType, "prompt[1]"),
        (["x", 1], InvalidType, "prompt[1]"),
        ([True], InvalidType, "prompt[0]"),
        ([[1.5]], InvalidType, "prompt[0][0]"),
    ],
)
def test_prompts_are_texts_or_tokens(prompt: object, error: type[ProxyError], param: str) -> None:
    document = request(model="davinci-002", prompt=prompt)
    assert refusal(COMPLETIONS, document) == (error, param)


def test_a_completion_without_a_prompt_begins_a_text_of_its_own() -> None:
    absent: list[dict[str, object]] = [{}, {"prompt": None}, {"prompt": []}]
    for fields in absent:
        estimate = count(COMPLETIONS, request(model="davinci-002", n=2, **fields))
        assert (estimate.input_tokens, estimate.choices) == (1, 2)


def test_a_completion_has_limits_of_its_own() -> None:
    echoed = request(model="davinci-002", prompt="hello world", echo=True, max_tokens=0, best_of=0)
    estimate = count(COMPLETIONS, echoed)
    assert (estimate.output_cap, estimate.choices) == (0, 1)
    assert wanted_for(estimate, None) == 2
    for fields in ({"max_tokens": -1}, {"best_of": -1}, {"n": 0}):
        wrong = request(model="davinci-002", prompt="x", **fields)
        assert refusal(COMPLETIONS, wrong)[0] is IntegerBelowMinimum


def test_a_prompt_has_no_empty_list_in_it_and_is_no_object() -> None:
    nothing: list[object] = []
    assert refusal(COMPLETIONS, request(model="m", prompt=[nothing])) == (EmptyArray, "prompt[0]")
    assert refusal(EMBEDDINGS, request(model="m", input=nothing)) == (EmptyArray, "input")
    assert refusal(EMBEDDINGS, request(model="m", input=chat())) == (InvalidType, "input")


def test_a_huge_hostile_request_is_bounded() -> None:
    body = json.dumps(chat(messages=[{"role": "user", "content": ""}] * 20_000)).encode()
    assert bound(CHAT, parse_document(body)).input_tokens == 3 + 4 * 20_000


# Everything hostile that is at hand.


def bad_inputs() -> list[Any]:
    return [
        pytest.param(case, id=case["id"])
        for case in hostile.lines()
        if case["category"] in {"json-syntax", "priced-params", "billing-bypass"}
        and case.get("path") in OPERATIONS
    ]


def outcome_of(case: dict[str, Any]) -> Estimate | ProxyError:
    try:
        return read_request(OPERATIONS[case["path"]], hostile.body_of(case), OPENAI)[1]
    except ProxyError as error:
        return error


@pytest.mark.parametrize("case", bad_inputs())
def test_a_hostile_request_is_refused_as_expected_or_bounded(case: dict[str, Any]) -> None:
    outcome = outcome_of(case)
    if isinstance(outcome, ProxyError):
        assert outcome.status in case["expect_status"], outcome.message
        assert outcome.code in case.get("expect_code", [outcome.code])
    elif 200 in case["expect_status"]:
        assert wanted_for(outcome, None) > 0
    else:
        # What is neither refused here nor sent on is refused for its price.
        assert 402 in case["expect_status"]
        assert wanted_for(outcome, None) > 100_000


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (chat(), False),
        (chat(modalities=["text"]), False),
        (chat(modalities=["text", "audio"]), True),
        (chat(audio={"voice": "alloy", "format": "wav"}), True),
        (chat(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]), False),
        (
            chat(
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
                ]
            ),
            True,
        ),
        (chat(prediction={"type": "content", "content": "Hi"}), False),
    ],
)
def test_a_chat_says_whether_anything_but_text_may_cost_something(
    document: Document, expected: bool
) -> None:
    assert bound(CHAT, document).has_media is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"input": "Hi"}, False),
        ({"input": [{"role": "user", "content": "Hi"}]}, False),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}, False),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, True),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, False),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, True),
        ({"input": [{"type": "computer_call_output", "output": {"type": "x"}}]}, True),
        ({"input": [{"type": "image_generation_call", "result": "AAAA"}]}, True),
        ({"input": [{"type": "of a later year"}]}, True),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, False),
        ({"tools": [{"type": "image_generation"}]}, True),
        ({"tools": [{"type": ["function"]}]}, True),
        ({"modalities": ["audio"]}, True),
    ],
)
def test_a_response_says_whether_anything_but_text_may_cost_something(
    members: Document, expected: bool
) -> None:
    document: Document = {"model": "gpt-4o", "input": "Hi", **members}
    assert bound(RESPONSES, document).has_media is expected


def test_only_a_prediction_may_be_billed_as_output_beyond_the_cap() -> None:
    predicted = bound(CHAT, chat(n=2, prediction={"type": "content", "content": "abc"}))
    assert predicted.predicted == 6
    assert bound(CHAT, chat()).predicted == 0


@pytest.mark.parametrize(
    "members",
    [
        {"input": [{"role": "user", "content": [{"type": ["a"], "text": "a"}]}]},
        {"input": [{"role": "user", "content": [{"type": {"a": 1}, "text": "a"}]}]},
    ],
)
def test_a_part_whose_type_is_no_text_is_refused(members: Document) -> None:
    with pytest.raises(InvalidType):
        bound(RESPONSES, {"model": "gpt-4o", **members})


def test_a_format_whose_type_is_no_text_is_left_to_the_upstream() -> None:
    document: Document = {"model": "gpt-4o", "input": "Hi", "text": {"format": {"type": []}}}
    assert bound(RESPONSES, document).input_tokens > 0
