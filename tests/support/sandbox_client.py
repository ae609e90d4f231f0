"""Asks the sandbox by the official SDK, and checks what comes against its types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tokenbalance.openai.tokens import encoding_for

if TYPE_CHECKING:
    import httpx2
    import openai

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


def tokens(text: str | None, model: str = MODEL) -> int:
    return len(encoding_for(model).encode_ordinary(text or ""))


def chat(client: openai.OpenAI, **fields: object) -> ChatCompletion:
    """Send a chat, and check the response against the SDK's types, which the SDK does not do."""
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
    """Send a chat and read what comes, so that it is there when the response breaks off."""
    body = {"model": model, "messages": HELLO, "stream": stream}
    with http.stream("POST", "/chat/completions", json=body) as response:
        for chunk in response.iter_bytes():
            received += chunk


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def content_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices if choice.index == index)
