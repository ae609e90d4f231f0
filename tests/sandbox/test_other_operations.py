"""Completions, responses, embeddings, moderations and models of the sandbox."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types import CreateEmbeddingResponse, Model, ModerationCreateResponse
from openai.types.completion import Completion
from openai.types.responses import Response

from tests.support.sandbox_client import (
    MODEL,
    WEATHER,
    likeness,
    streamed_response,
    tokens,
)

if TYPE_CHECKING:
    import httpx2

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
