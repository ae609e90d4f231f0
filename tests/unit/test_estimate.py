"""The ceiling of a request by hand-made examples: what is counted, capped, refused."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support import hostile
from tokenbalance.document import parse_document
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
from tokenbalance.ledger.rates import wanted_for
from tokenbalance.model import Endpoint, Estimate, Metering
from tokenbalance.stages.estimate import bound, count

if TYPE_CHECKING:
    from tokenbalance.model import Document

CHAT = Endpoint("POST", "/chat/completions", Metering.CHAT, "")
COMPLETIONS = Endpoint("POST", "/completions", Metering.COMPLETIONS, "")
RESPONSES = Endpoint("POST", "/responses", Metering.RESPONSES, "")
EMBEDDINGS = Endpoint("POST", "/embeddings", Metering.EMBEDDINGS, "")
ENDPOINTS = {f"/v1{each.path}": each for each in (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)}


def chat(**fields: object) -> Document:
    plain = [{"role": "user", "content": "hello world"}]
    return cast("Document", {"model": "gpt-4o", "messages": plain, **fields})


def messages(*each: object) -> Document:
    return chat(messages=list(each))


def response(**fields: object) -> Document:
    return cast("Document", {"model": "gpt-4.1", "input": "hello world", **fields})


def request(**fields: object) -> Document:
    return cast("Document", fields)


def parts(*each: object) -> Document:
    return messages({"role": "user", "content": list(each)})


def refusal(endpoint: Endpoint, document: Document) -> tuple[type[ProxyError], str | None]:
    with pytest.raises(ProxyError) as caught:
        bound(endpoint, document)
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
        ({"model": "nobody-knows-it-yet"}, 128_000, "max_completion_tokens"),
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
        (None, InvalidType, "prompt"),
        ([1, "x"], InvalidType, "prompt[1]"),
        (["x", 1], InvalidType, "prompt[1]"),
        ([True], InvalidType, "prompt[0]"),
        ([[1.5]], InvalidType, "prompt[0][0]"),
    ],
)
def test_prompts_are_texts_or_tokens(prompt: object, error: type[ProxyError], param: str) -> None:
    document = request(model="davinci-002", prompt=prompt)
    assert refusal(COMPLETIONS, document) == (error, param)


def test_a_prompt_is_not_empty_and_no_object() -> None:
    nothing: list[object] = []
    assert refusal(COMPLETIONS, request(model="m", prompt=nothing)) == (EmptyArray, "prompt")
    assert refusal(COMPLETIONS, request(model="m", prompt=[nothing])) == (EmptyArray, "prompt[0]")
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
        and case.get("path") in ENDPOINTS
    ]


def outcome_of(case: dict[str, Any]) -> Estimate | ProxyError:
    try:
        return bound(ENDPOINTS[case["path"]], parse_document(hostile.body_of(case)))
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
