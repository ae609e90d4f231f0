"""Hosted tools of the sandbox: when they are called, and what comes of it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.responses import Response

if TYPE_CHECKING:
    from openai.types import VectorStore

TEXT = b"The harvest of apples was large. Pears were few."
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
IMAGE = {"type": "image_generation", "quality": "low", "size": "1024x1536"}


@pytest.fixture
def store(client: openai.OpenAI) -> VectorStore:
    file = client.files.create(file=("harvest.txt", TEXT), purpose="user_data")
    return client.vector_stores.create(file_ids=[file.id])


def ask(client: openai.OpenAI, prompt: str, *tools: Any, **fields: Any) -> Response:
    raw = client.responses.with_raw_response.create(
        model="gpt-4o", input=prompt, extra_body={"tools": list(tools), **fields}
    )
    return Response.model_validate_json(raw.http_response.content)


def kinds(response: Response) -> list[str]:
    return [item.type for item in response.output]


@pytest.mark.parametrize(
    ("prompt", "choice", "called"),
    [
        ("Hello", "auto", []),
        ("Hello", "required", ["code_interpreter_call"]),
        ("Hello", {"type": "image_generation"}, ["image_generation_call"]),
        ("Draw a cat", "auto", ["image_generation_call"]),
        ("Draw it and compute it", "auto", ["code_interpreter_call", "image_generation_call"]),
        ("Draw a cat", {"type": "code_interpreter"}, ["code_interpreter_call"]),
        ("Draw a cat", "none", []),
    ],
)
def test_a_tool_is_called_when_it_is_chosen_or_the_prompt_is_obvious(
    client: openai.OpenAI, prompt: str, choice: Any, called: list[str]
) -> None:
    response = ask(client, prompt, CODE, IMAGE, tool_choice=choice)
    assert kinds(response) == [*called, "message"]


def test_no_more_tools_are_called_than_the_request_allows(client: openai.OpenAI) -> None:
    response = ask(client, "Draw it and compute it", CODE, IMAGE, max_tool_calls=1)
    assert kinds(response) == ["code_interpreter_call", "message"]
    assert kinds(ask(client, "Draw a cat", IMAGE, max_tool_calls=0)) == ["message"]


def test_a_search_finds_texts_of_a_store_and_cites_their_files(
    client: openai.OpenAI, store: VectorStore
) -> None:
    tool = {"type": "file_search", "vector_store_ids": [store.id]}
    included: list[Any] = ["file_search_call.results"]
    response = ask(client, "Search my files for apples", tool, include=included)
    plain = ask(client, "Search my files for apples", tool)
    search, message = response.output
    assert search.type == "file_search_call"
    assert search.results
    assert search.results[0].text == TEXT.decode()
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    (citation,) = message.content[0].annotations
    assert citation.type == "file_citation"
    assert citation.file_id == search.results[0].file_id
    assert plain.output[0].type == "file_search_call"
    assert plain.output[0].results is None
    without = ask(client, "Tell me of apples instead", tool)
    assert plain.usage
    assert without.usage
    assert plain.usage.input_tokens > without.usage.input_tokens
    with pytest.raises(openai.NotFoundError):
        ask(client, "Search", {"type": "file_search", "vector_store_ids": ["vs_" + "x" * 24]})


def test_code_is_run_in_a_container_that_can_be_read_and_used_again(client: openai.OpenAI) -> None:
    first = ask(client, "Run code and save a file", CODE)
    call, message = first.output
    assert call.type == "code_interpreter_call"
    assert client.containers.retrieve(call.container_id).status == "running"
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    (citation,) = message.content[0].annotations
    assert citation.type == "container_file_citation"
    content = client.containers.files.content.retrieve(
        citation.file_id, container_id=citation.container_id
    )
    assert content.content == b"Hello from the sandbox\n"
    included: list[Any] = ["code_interpreter_call.outputs"]
    tool = {**CODE, "container": call.container_id}
    again = ask(client, "Run code", tool, include=included).output[0]
    assert again.type == "code_interpreter_call"
    assert again.container_id == call.container_id
    assert again.outputs
    with pytest.raises(openai.BadRequestError, match="container"):
        ask(client, "Run code", {"type": "code_interpreter"})


def test_a_picture_is_drawn_and_the_tokens_of_its_model_are_reported(client: openai.OpenAI) -> None:
    response = ask(client, "Draw a cat", IMAGE)
    picture = response.output[0]
    assert picture.type == "image_generation_call"
    assert base64.b64decode(picture.result or "").startswith(b"\x89PNG")
    assert (picture.size, picture.quality) == ("1024x1536", "low")
    assert response.tool_usage
    assert response.tool_usage.image_gen.output_tokens == 408


def test_a_stream_tells_every_step_of_a_call(client: openai.OpenAI) -> None:
    tools: Any = [CODE, IMAGE]
    events = list(
        client.responses.create(
            model="gpt-4o", input="Draw it, compute it, save a file", tools=tools, stream=True
        )
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    told = [event.type for event in events if "_call" in event.type]
    code, image = "response.code_interpreter_call", "response.image_generation_call"
    assert list(dict.fromkeys(told)) == [
        f"{code}.in_progress",
        f"{code}_code.delta",
        f"{code}_code.done",
        f"{code}.interpreting",
        f"{code}.completed",
        f"{image}.in_progress",
        f"{image}.generating",
        f"{image}.completed",
    ]
    assert "response.output_text.annotation.added" in {event.type for event in events}
    last = events[-1]
    assert last.type == "response.completed"
    assert kinds(last.response) == ["code_interpreter_call", "image_generation_call", "message"]
