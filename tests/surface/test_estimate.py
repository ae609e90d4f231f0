"""The ceiling of a request by hand-made examples: its input, and its output."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documents import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    RESPONSES,
    USER,
    chat,
    messages,
    parts,
    refusal,
    request,
    response,
)
from tokenbalance.books.pricing.ceilings import wanted_for
from tokenbalance.errors import InvalidRequest, InvalidValue
from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings import chat as rule
from tokenbalance.openai.estimate import bound, count

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json


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


@given(
    role=st.sampled_from(["user", "assistant", "tool", "critic", "", None, 1, ["user"]]),
    content=st.sampled_from(["hi", "", "é", None, 1, [], [{"type": "text", "text": "hi"}]]),
    more=st.sampled_from([{}, {"name": "bob"}, {"content": "no"}, {"refusal": None}]),
)
def test_the_usual_message_costs_what_it_would_without_the_short_cut(
    role: Json, content: Json, more: dict[str, Json]
) -> None:
    message = {"role": role, "content": content, **more}

    def outcome() -> int | str:
        try:
            return bound(CHAT, messages(message)).input_tokens
        except InvalidRequest as error:
            return str(error)

    short = outcome()
    with mock.patch.object(rule, "plain_tokens", return_value=None):
        assert outcome() == short


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
def test_completions_have_choices_for_each_prompt(
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
