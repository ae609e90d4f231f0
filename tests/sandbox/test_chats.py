"""Chats of the sandbox over a real socket, by the official SDK and by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.support.sandbox_client import (
    HELLO,
    MODEL,
    WEATHER,
    chat,
    content_of,
    streamed_chat,
    tokens,
)

if TYPE_CHECKING:
    import httpx2
    import openai


def test_a_chat_reports_what_it_cost(client: openai.OpenAI) -> None:
    response = chat(client)
    [choice] = response.choices
    assert "sandbox" in (choice.message.content or "")
    assert "Hello there, sandbox!" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert response.usage is not None
    assert response.usage.completion_tokens == tokens(choice.message.content)
    assert (
        response.usage.total_tokens
        == response.usage.prompt_tokens + response.usage.completion_tokens
    )


@pytest.mark.parametrize(
    ("model", "messages", "expected"),
    [
        # Counted by hand: 4 a message, 3 for the reply, and the words.
        ("gpt-4o", [{"role": "user", "content": "Hello"}], 8),
        ("gpt-3.5-turbo", [{"role": "user", "content": "Hello"}], 8),
        ("gpt-4o", [{"role": "user", "content": ""}], 7),
        ("gpt-4o", [{"role": "user", "content": "Hello", "name": "Ann"}], 10),
        ("gpt-5", [{"role": "user", "content": "Hello"}], 7),
        (
            "gpt-4o",
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            ],
            15,
        ),
    ],
)
def test_a_prompt_costs_what_openai_would_charge(
    client: openai.OpenAI, model: str, messages: list[Any], expected: int
) -> None:
    usage = chat(client, model=model, messages=messages).usage
    assert usage is not None
    assert usage.prompt_tokens == expected


def test_the_same_prompt_gets_the_same_words_and_another_id(client: openai.OpenAI) -> None:
    first, second = chat(client), chat(client)
    assert first.choices == second.choices
    assert first.id != second.id


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("cap", [1, 2, 17])
def test_a_cap_is_kept_to_the_token(client: openai.OpenAI, field: str, cap: int) -> None:
    response = chat(client, **{field: cap})
    [choice] = response.choices
    assert choice.finish_reason == "length"
    assert response.usage is not None
    assert response.usage.completion_tokens == cap == tokens(choice.message.content)


def test_an_output_that_just_fits_its_cap_ends_by_itself(client: openai.OpenAI) -> None:
    usage = chat(client).usage
    assert usage is not None
    exact = chat(client, max_tokens=usage.completion_tokens)
    short = chat(client, max_tokens=usage.completion_tokens - 1)
    assert exact.choices[0].finish_reason == "stop"
    assert short.choices[0].finish_reason == "length"


def test_a_cap_inside_a_character_loses_the_character_but_not_the_count(
    client: openai.OpenAI,
) -> None:
    messages = [{"role": "user", "content": "🧮🪙🫰" * 5}]
    whole = chat(client, messages=messages).choices[0].message.content or ""
    for cap in range(20, 40):
        response = chat(client, messages=messages, max_tokens=cap)
        assert whole.startswith(response.choices[0].message.content or "?")
        assert response.usage is not None
        assert response.usage.completion_tokens == cap


def test_a_prompt_may_ask_for_a_number_of_words(client: openai.OpenAI) -> None:
    response = chat(client, n=2, messages=[{"role": "user", "content": "Please write 300 words"}])
    for choice in response.choices:
        assert len((choice.message.content or "").split()) == 300


def test_every_choice_is_different_and_paid_for(client: openai.OpenAI) -> None:
    response = chat(client, n=3, max_tokens=20)
    texts = [choice.message.content for choice in response.choices]
    assert len(set(texts)) == 3
    assert [choice.index for choice in response.choices] == [0, 1, 2]
    assert response.usage is not None
    assert response.usage.completion_tokens == 60


def test_a_stop_sequence_ends_the_output_before_it(client: openai.OpenAI) -> None:
    response = chat(client, stop=["stand-in", "never said"])
    assert (response.choices[0].message.content or "").endswith("sandbox, a ")
    assert response.choices[0].finish_reason == "stop"


def test_a_stream_has_the_text_of_the_whole_response(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert content_of(chunks) == chat(client).choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


def test_a_stream_reports_its_usage_on_request(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client, stream_options={"include_usage": True}, max_tokens=9)
    *others, last = chunks
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in others)
    assert last.choices == []
    assert last.usage == chat(client, max_tokens=9).usage
    assert others[-1].choices[0].finish_reason == "length"


def test_streamed_choices_come_in_turn(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client, n=2)
    assert [chunk.choices[0].index for chunk in chunks[:4]] == [0, 1, 0, 1]
    whole = chat(client, n=2)
    for index in range(2):
        assert content_of(chunks, index) == whole.choices[index].message.content


def test_a_stream_ends_with_done(http: httpx2.Client) -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    response = http.post("/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.content.endswith(b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    "tool_choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_required_tool_is_called_with_arguments_that_fit(
    client: openai.OpenAI, tool_choice: object
) -> None:
    tools = [{"type": "function", "function": WEATHER}]
    response = chat(client, tools=tools, tool_choice=tool_choice)
    [call] = response.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {
        "city": "Hello there, sandbox!",
        "days": 2,
        "unit": "celsius",
    }
    assert response.choices[0].finish_reason == "tool_calls"
    assert response.usage is not None
    spoken = tokens("get_weather") + tokens(call.function.arguments)
    assert response.usage.completion_tokens == spoken


def test_a_tool_call_streams_and_keeps_its_cap(client: openai.OpenAI) -> None:
    fields = {"tools": [{"type": "function", "function": WEATHER}], "tool_choice": "required"}
    chunks = streamed_chat(client, **fields)
    calls = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
    ]
    arguments = "".join((call.function and call.function.arguments) or "" for call in calls)
    assert json.loads(arguments)["days"] == 2
    assert calls[0].id
    for cap in (1, 5, 8):
        capped = chat(client, **fields, max_tokens=cap)
        assert capped.usage is not None
        assert capped.usage.completion_tokens == cap
        assert capped.choices[0].finish_reason == "length"


def test_tools_that_need_not_be_called_are_not(client: openai.OpenAI) -> None:
    response = chat(client, tools=[{"type": "function", "function": WEATHER}])
    assert response.choices[0].message.tool_calls is None
    assert response.choices[0].finish_reason == "stop"


class Recipe(BaseModel):
    title: str
    minutes: int
    steps: list[str]


def test_structured_output_fits_its_schema(client: openai.OpenAI) -> None:
    response = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Recipe)
    assert isinstance(response.choices[0].message.parsed, Recipe)
    response = client.responses.parse(model=MODEL, input="Soup?", text_format=Recipe)
    assert isinstance(response.output_parsed, Recipe)
