"""The sandbox over a real socket, asked by the official SDK and by hand."""

from __future__ import annotations

import base64
import json
import math
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from openai.types import CompletionUsage, CreateEmbeddingResponse, Model, ModerationCreateResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion import Completion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tokenbalance.openai.estimate import count
from tokenbalance.openai.operation import Metering, Operation
from tokenbalance.openai.tokens import encoding_for
from tokenbalance.sandbox.serving import Sandbox, serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "gpt-4o-mini"
HELLO: list[Any] = [{"role": "user", "content": "Hello there, sandbox!"}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 2},
            "unit": {"enum": ["celsius", "kelvin"]},
        },
        "required": ["city", "days", "unit"],
        "additionalProperties": False,
    },
}
STREAM_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with serve_in_thread() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sandbox.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx2.Client]:
    headers = {"authorization": "Bearer any"}
    with httpx2.Client(base_url=sandbox.base_url, headers=headers) as http:
        yield http


def tokens(text: str | None, model: str = MODEL) -> int:
    return len(encoding_for(model).encode_ordinary(text or ""))


def chat(client: openai.OpenAI, **fields: object) -> ChatCompletion:
    """A chat, its answer checked against the SDK's types, which the SDK itself does not do."""
    arguments: dict[str, Any] = {"model": MODEL, "messages": HELLO, **fields}
    raw = client.chat.completions.with_raw_response.create(**arguments, stream=False)
    return ChatCompletion.model_validate_json(raw.http_response.content)


def streamed_chat(client: openai.OpenAI, **fields: object) -> list[ChatCompletionChunk]:
    arguments: dict[str, Any] = {"model": MODEL, "messages": HELLO, **fields}
    with client.chat.completions.create(**arguments, stream=True) as stream:
        return [ChatCompletionChunk.model_validate(chunk.to_dict()) for chunk in stream]


def streamed_response(client: openai.OpenAI, **fields: object) -> list[ResponseStreamEvent]:
    arguments: dict[str, Any] = {"model": MODEL, "input": "Hi", **fields}
    with client.responses.create(**arguments, stream=True) as events:
        return [STREAM_EVENT.validate_python(event.to_dict()) for event in events]


def read_into(received: bytearray, http: httpx2.Client, model: str, *, stream: bool) -> None:
    """Ask for a chat and read what comes, so that it is there when the answer breaks off."""
    body = {"model": model, "messages": HELLO, "stream": stream}
    with http.stream("POST", "/chat/completions", json=body) as response:
        for chunk in response.iter_bytes():
            received += chunk


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def content_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices if choice.index == index)


# Chats


def test_a_chat_is_answered_with_what_it_cost(client: openai.OpenAI) -> None:
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


def test_an_answer_that_just_fits_its_cap_ends_by_itself(client: openai.OpenAI) -> None:
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


def test_a_stop_sequence_ends_the_answer_before_it(client: openai.OpenAI) -> None:
    response = chat(client, stop=["stand-in", "never said"])
    assert (response.choices[0].message.content or "").endswith("sandbox, a ")
    assert response.choices[0].finish_reason == "stop"


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert content_of(chunks) == chat(client).choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


def test_a_stream_tells_its_usage_to_those_who_ask(client: openai.OpenAI) -> None:
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


# Completions


def test_a_completion_has_16_tokens_unless_told(client: openai.OpenAI) -> None:
    model = "gpt-3.5-turbo-instruct"
    raw = client.completions.with_raw_response.create(model=model, prompt="Say hi")
    response = Completion.model_validate_json(raw.http_response.content)
    assert response.choices[0].finish_reason == "length"
    assert response.usage is not None
    assert response.usage.prompt_tokens == tokens("Say hi", model)
    assert response.usage.completion_tokens == 16 == tokens(response.choices[0].text, model)


def test_every_prompt_and_candidate_of_a_completion_is_paid_for(client: openai.OpenAI) -> None:
    response = client.completions.create(
        model=MODEL, prompt=["one", "two words"], n=2, best_of=3, max_tokens=5
    )
    assert [choice.index for choice in response.choices] == [0, 1, 2, 3]
    assert response.usage is not None
    assert response.usage.prompt_tokens == 3
    assert response.usage.completion_tokens == 2 * 3 * 5


@pytest.mark.parametrize(
    ("prompt", "expected"), [([15339], 1), ([[15339], [15339, 1917]], 3), ("hello world", 2)]
)
def test_a_prompt_may_be_tokens(client: openai.OpenAI, prompt: object, expected: int) -> None:
    fields: dict[str, Any] = {"prompt": prompt, "echo": True, "max_tokens": 3}
    response = client.completions.create(model="davinci-002", **fields, stream=False)
    assert response.usage is not None
    assert response.usage.prompt_tokens == expected
    assert response.choices[0].text.startswith("hello")


def test_a_streamed_completion_is_the_whole_one(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": MODEL, "prompt": "Say hi", "max_tokens": 40}
    whole = client.completions.create(**fields, stream=False)
    fields["stream_options"] = {"include_usage": True}
    with client.completions.create(**fields, stream=True) as stream:
        *chunks, last = stream
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.usage == whole.usage


# Responses


def test_a_response_says_what_it_cost(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model="gpt-4o", input="Hello", instructions="Be brief."
    )
    response = Response.model_validate_json(raw.http_response.content)
    assert response.status == "completed"
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert response.usage.input_tokens == 4 + 1 + 4 + 3 + 3
    assert response.usage.output_tokens == tokens(response.output_text, "gpt-4o")


@pytest.mark.parametrize("cap", [16, 23])
def test_a_capped_response_is_incomplete(client: openai.OpenAI, cap: int) -> None:
    response = client.responses.create(model=MODEL, input="Hello", max_output_tokens=cap)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == cap == tokens(response.output_text)


def test_a_streamed_response_is_numbered_from_created_to_completed(client: openai.OpenAI) -> None:
    events = streamed_response(client)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    whole = client.responses.create(model=MODEL, input="Hi")
    assert "".join(deltas) == whole.output_text == events[-1].response.output_text
    assert events[-1].response.usage == whole.usage


def test_a_streamed_response_that_is_capped_ends_incomplete(client: openai.OpenAI) -> None:
    last = streamed_response(client, max_output_tokens=16)[-1]
    assert last.type == "response.incomplete"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 16


def test_a_response_calls_a_required_tool(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "strict": True, **WEATHER}]
    events = streamed_response(client, tools=tools, tool_choice="required")
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    last = events[-1]
    assert last.type == "response.completed"
    [call] = last.response.output
    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert call.arguments == done[0].arguments
    assert json.loads(call.arguments)["city"] == "Hi"


def test_the_input_of_a_response_can_be_counted_alone(client: openai.OpenAI) -> None:
    given: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "What is the weather?"}]},
        {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "Rain."},
    ]
    counted = client.responses.input_tokens.count(model=MODEL, input=given)
    response = client.responses.create(model=MODEL, input=given)
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens
    assert counted.object == "response.input_tokens"


# Embeddings, moderations, models


def test_an_embedding_is_a_unit_vector_in_either_format(
    client: openai.OpenAI, http: httpx2.Client
) -> None:
    model = "text-embedding-3-small"
    body = {"model": model, "input": ["one fish", "two fish"]}
    raw = http.post("/embeddings", json=body).content
    response = CreateEmbeddingResponse.model_validate_json(raw)
    assert [len(one.embedding) for one in response.data] == [1536, 1536]
    assert math.hypot(*response.data[0].embedding) == pytest.approx(1.0)
    assert response.usage.prompt_tokens == tokens("one fish", model) + tokens("two fish", model)
    encoded = http.post("/embeddings", json={**body, "encoding_format": "base64"}).json()
    binary = base64.b64decode(encoded["data"][0]["embedding"])
    assert struct.unpack("<1536f", binary) == pytest.approx(response.data[0].embedding)
    # What the SDK asks for by itself is base64, too.
    decoded = client.embeddings.create(model=model, input=["one fish", "two fish"])
    assert decoded.data[1].embedding == pytest.approx(response.data[1].embedding)


def test_texts_that_share_words_have_embeddings_near_each_other(client: openai.OpenAI) -> None:
    texts = ["the red cat sleeps", "the red cat eats", "quarterly tax report"]
    cat, other_cat, tax = (
        one.embedding
        for one in client.embeddings.create(model="text-embedding-3-large", input=texts).data
    )
    assert len(cat) == 3072
    assert likeness(cat, other_cat) > 0.5 > likeness(cat, tax)


def test_an_embedding_may_be_shorter(client: openai.OpenAI) -> None:
    response = client.embeddings.create(model="text-embedding-3-small", input="hi", dimensions=8)
    assert len(response.data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="text-embedding-ada-002", input="hi", dimensions=8)


def test_a_moderation_flags_the_category_that_is_named(client: openai.OpenAI) -> None:
    raw = client.moderations.with_raw_response.create(
        input=["all is well", "so much violence", "he said harassment/threatening"]
    )
    response = ModerationCreateResponse.model_validate_json(raw.http_response.content)
    assert [result.flagged for result in response.results] == [False, True, True]
    assert response.results[1].categories.violence
    assert not response.results[1].categories.hate
    assert response.results[1].category_scores.violence > 0.5


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    names = [Model.model_validate(model.to_dict()).id for model in client.models.list()]
    assert {"gpt-4o-mini", "error-429", "slow"} <= set(names)
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-0")


# Errors


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("error-400", openai.BadRequestError),
        ("error-401", openai.AuthenticationError),
        ("error-403", openai.PermissionDeniedError),
        ("error-404", openai.NotFoundError),
        ("error-429", openai.RateLimitError),
        ("error-500", openai.InternalServerError),
        ("error-503", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_on_demand_is_the_sdks_own_exception(
    client: openai.OpenAI, model: str, expected: type[openai.APIStatusError], *, stream: bool
) -> None:
    with pytest.raises(expected) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    error = caught.value
    assert error.status_code == int(model.removeprefix("error-"))
    assert set(error.response.json()["error"]) == {"message", "type", "param", "code"}
    assert (error.response.headers.get("retry-after") == "1") is (model == "error-429")


@pytest.mark.parametrize(
    ("path", "fields", "param", "code"),
    [
        ("chat/completions", {"messages": HELLO}, "model", "missing_required_parameter"),
        ("chat/completions", {"model": MODEL}, "messages", "missing_required_parameter"),
        ("chat/completions", {"model": MODEL, "messages": []}, "messages", "empty_array"),
        ("chat/completions", {"model": MODEL, "messages": "hi"}, "messages", "invalid_type"),
        (
            "chat/completions",
            {"model": MODEL, "messages": [{"role": "boss", "content": "hi"}]},
            "messages[0].role",
            "invalid_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "max_tokens": 0},
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "max_tokens": True},
            "max_tokens",
            "invalid_type",
        ),
        (
            "chat/completions",
            {"model": "gpt-5", "messages": HELLO, "max_tokens": 9},
            "max_tokens",
            "unsupported_parameter",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "n": 129},
            "n",
            "integer_above_max_value",
        ),
        (
            "chat/completions",
            {"model": MODEL, "messages": HELLO, "temperature": -1},
            "temperature",
            "decimal_below_min_value",
        ),
        ("responses", {"model": MODEL}, "input", "missing_required_parameter"),
        (
            "responses",
            {"model": MODEL, "input": "hi", "max_output_tokens": 15},
            "max_output_tokens",
            "integer_below_min_value",
        ),
        ("completions", {"model": MODEL, "prompt": []}, "prompt", "empty_array"),
        ("embeddings", {"model": MODEL, "input": [1.5]}, "input[0]", "invalid_type"),
        ("moderations", {}, "input", "missing_required_parameter"),
    ],
)
def test_a_wrong_field_is_refused_in_openais_words(
    http: httpx2.Client, path: str, fields: dict[str, Any], param: str, code: str
) -> None:
    response = http.post(path, json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx2.Client, body: bytes) -> None:
    response = http.post("/chat/completions", content=body)
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic abc"])
def test_who_shows_no_key_gets_401(sandbox: Sandbox, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = httpx2.get(f"{sandbox.base_url}/models", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/chat/completions", 405), ("POST", "/models/", 405)],
)
def test_an_unknown_url_is_refused_in_the_envelope(
    http: httpx2.Client, method: str, path: str, status: int
) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_answers_carry_what_a_proxy_has_to_keep_to_itself(http: httpx2.Client) -> None:
    good, bad = http.get("/models"), http.get("/nothing")
    for response in (good, bad):
        assert response.headers["x-request-id"].startswith("req_")
        for name in ("openai-processing-ms", "openai-version", "openai-organization"):
            assert name in response.headers
        assert "x-ratelimit-remaining-tokens" in response.headers
        assert "__cf_bm" in response.headers["set-cookie"]
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]


# Bad days


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_answer_breaks_off_in_the_middle(http: httpx2.Client, *, stream: bool) -> None:
    received = bytearray()
    with pytest.raises(httpx2.RemoteProtocolError):
        read_into(received, http, "cut", stream=stream)
    assert received
    assert b"[DONE]" not in received


def test_a_stalled_answer_says_half_and_falls_silent(http: httpx2.Client) -> None:
    received = bytearray()
    http.timeout = httpx2.Timeout(0.3)
    with pytest.raises(httpx2.ReadTimeout):
        read_into(received, http, "stall", stream=True)
    assert received.count(b"data: ") > 10
    assert b"[DONE]" not in received


def test_a_slow_answer_is_the_whole_answer(client: openai.OpenAI) -> None:
    chunks = streamed_chat(client, model="slow", max_tokens=3)
    assert len(chunks) == 5
    assert chunks[-1].choices[0].finish_reason == "length"


def test_an_answer_without_usage_says_nothing_of_it(client: openai.OpenAI) -> None:
    assert chat(client, model="no-usage").usage is None
    wanted = {"include_usage": True}
    chunks = streamed_chat(client, model="no-usage", stream_options=wanted)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    last = streamed_response(client, model="no-usage")[-1]
    assert last.type == "response.completed"
    assert last.response.usage is None


def test_a_stopped_sandbox_frees_its_port_even_in_mid_answer() -> None:
    first = serve_in_thread()
    with httpx2.Client(headers={"authorization": "Bearer any"}) as http:
        body = {"model": "stall", "messages": HELLO, "stream": True}
        request = http.build_request("POST", f"{first.base_url}/chat/completions", json=body)
        with closing(http.send(request, stream=True)):
            first.stop()
    with serve_in_thread(first.port) as second:
        assert second.base_url == first.base_url


def test_a_port_that_is_taken_is_an_error_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        serve_in_thread(sandbox.port)


# What the proxy makes of it


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HELLO},
        {"messages": HELLO, "tools": [{"type": "function", "function": WEATHER}] * 3},
        {"messages": HELLO, "response_format": {"type": "json_object"}},
        {
            "messages": HELLO,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "weather", "schema": WEATHER["parameters"]},
            },
        },
        {
            "messages": [
                *HELLO,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain, 🌧️ again."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "And here?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://example.com/a.png", "detail": "low"},
                        },
                    ],
                },
            ]
        },
    ],
)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "slow"])
def test_the_sandbox_never_reports_more_input_than_the_proxy_holds(
    client: openai.OpenAI, model: str, fields: dict[str, Any]
) -> None:
    endpoint = Operation("POST", "/chat/completions", Metering.CHAT, "")
    usage = chat(client, model=model, max_completion_tokens=1, **fields).usage
    assert isinstance(usage, CompletionUsage)
    assert usage.prompt_tokens <= count(endpoint, {"model": model, **fields}).input_tokens
