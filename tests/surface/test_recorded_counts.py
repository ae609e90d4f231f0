"""The ceiling of requests whose true cost is known: never below it.

The API has reported it, or it follows from the rules that OpenAI has published.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.support.recordings import counts, how_many, recordings
from tokenbalance.errors import UnsupportedParameter
from tokenbalance.model import OPENAI
from tokenbalance.openai import find_operation
from tokenbalance.openai.documents import parse_document
from tokenbalance.openai.estimate import count
from tokenbalance.openai.tokens.vocabularies import vocabulary
from tokenbalance.proxy.asked import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEDIA = frozenset({
    "computer_screenshot", "file", "image_url", "input_audio", "input_file", "input_image",
})  # fmt: skip
VOCABULARIES = dict.fromkeys(
    (
        *("gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "davinci-002"),
        *("text-embedding-3-small", "text-embedding-3-large"),
    ),
    "cl100k_base",
)
OPERATIONS = {
    f"/v1{path}": find_operation("POST", path.encode())
    for path in ("/chat/completions", "/completions", "/embeddings", "/responses")
}


@dataclass(frozen=True)
class Case:
    """One request and the input tokens that the API reported for it."""

    source: str
    path: str
    body: bytes
    document: dict[str, Any]
    real: int
    counted: int
    bounded: int

    @property
    def is_hosted(self) -> bool:
        tools: list[dict[str, Any]] = self.document.get("tools") or []
        items: Any = self.document.get("input")
        kinds = {str(tool["type"]) for tool in tools}
        if self.path == "/v1/responses" and not isinstance(items, str):
            kinds |= {
                str(item["type"]) for item in items if str(item.get("type")).endswith("_call")
            }
        return bool(kinds - {"function", "function_call"})

    @property
    def is_media(self) -> bool:
        return any(f'"type": "{kind}"' in json.dumps(self.document) for kind in MEDIA)

    @property
    def is_text(self) -> bool:
        return not self.is_media and not self.is_hosted


def requests() -> Iterator[tuple[str, str, Any, int]]:
    """Source, path, body and reported tokens of every recording with a count."""
    for line in counts():
        yield line["source"], line["endpoint"], line["request"], line["prompt_tokens"]
    for recording in recordings():
        usage: dict[str, Any] = recording.usage or {}
        tokens: Any = usage.get("prompt_tokens", usage.get("input_tokens"))
        if recording.path in OPERATIONS and tokens is not None:
            yield recording.id, recording.path, json.loads(recording.request_body), tokens


@cache
def cases() -> tuple[Case, ...]:
    """Every request that may be made through a shared key, each but once."""
    found: dict[tuple[str, int], Case] = {}
    for source, path, request, real in requests():
        body = json.dumps(request).encode()
        if path not in OPERATIONS or (body.decode(), real) in found:
            continue
        operation = OPERATIONS[path]
        document = parse_document(body)
        try:
            _, references, bound = read_document(operation, body, OPENAI)
        except UnsupportedParameter:
            continue
        if references:
            # Its input is not only in the request: `test_recorded_context`.
            continue
        counted = count(operation, document).input_tokens
        found[body.decode(), real] = Case(
            source, path, body, request, real, counted, bound.input_tokens
        )
    return tuple(found.values())


def test_there_is_enough_to_judge_by() -> None:
    text = [case for case in cases() if case.is_text]
    assert len(text) >= how_many(42, 400)
    assert {case.path for case in text} == set(OPERATIONS)
    assert len(cases()) - len(text) >= how_many(2, 60)


def test_no_request_cost_more_input_than_its_ceiling() -> None:
    below = [
        f"{case.source}: {case.real} but {case.counted}"
        for case in cases()
        if case.counted < case.real
    ]
    assert below == []


def test_no_count_exceeds_the_bound_by_bytes() -> None:
    assert [case.source for case in cases() if case.bounded < case.counted] == []


def test_the_ceiling_of_text_is_near_the_truth() -> None:
    ratios = [case.counted / case.real for case in cases() if case.is_text and case.real]
    assert statistics.median(ratios) < 1.25
    assert statistics.quantiles(ratios, n=20)[-1] < 6


def test_a_plain_text_chat_is_exact() -> None:
    plain = {"model", "messages", "stream", "temperature", "max_tokens", "stop", "stream_options"}
    chats = [
        case
        for case in cases()
        if case.path == "/v1/chat/completions"
        and plain >= case.document.keys()
        and all(
            isinstance(message.get("content"), str)
            and message.keys() <= {"role", "content", "name"}
            and message["role"] != "function"
            for message in case.document["messages"]
        )
        and str(case.document["model"]).startswith("gpt-")
        and not str(case.document["model"]).startswith("gpt-5")
    ]
    assert len(chats) >= how_many(20, 100)
    assert [
        (case.source, case.real, case.counted) for case in chats if case.real != case.counted
    ] == []


# The numbers that were not measured, by another way: the rules as OpenAI has published them, for
# chat in the cookbook's "How to count tokens with tiktoken", for a low-detail image in its guide.


def published_tokens(request: dict[str, Any]) -> int:
    encoding = vocabulary(VOCABULARIES.get(request["model"], "o200k_base"))

    def measure(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    if "messages" not in request:
        given: str | list[str | list[int]] = request["prompt" if "prompt" in request else "input"]
        pieces = [given] if isinstance(given, str) else given
        return sum(measure(piece) if isinstance(piece, str) else len(piece) for piece in pieces)
    tools = [tool["function"] for tool in request.get("tools", [])]
    return (
        sum(published_message_tokens(message, measure) for message in request["messages"])
        + 3
        + (12 + sum(published_tool_tokens(tool, measure) for tool in tools) if tools else 0)
    )


def published_message_tokens(message: dict[str, Any], measure: Callable[[str], int]) -> int:
    content: Any = message["content"]
    parts: list[dict[str, Any]] = (
        [{"type": "text", "text": content}] if isinstance(content, str) else content
    )
    tokens = 3 + measure(message["role"])
    tokens += sum(85 if part["type"] == "image_url" else measure(part["text"]) for part in parts)
    return tokens + (1 + measure(message["name"]) if "name" in message else 0)


def published_tool_tokens(tool: dict[str, Any], measure: Callable[[str], int]) -> int:
    tokens = 7 + measure(f"{tool['name']}:{tool['description'].removesuffix('.')}")
    members: dict[str, dict[str, Any]] = tool["parameters"]["properties"]
    for name, member in members.items():
        tokens += 3 + measure(f"{name}:{member['type']}:{member['description'].removesuffix('.')}")
        if "enum" in member:
            tokens += sum(3 + measure(value) for value in member["enum"]) - 3
    return tokens + (3 if members else 0)


def as_messages(request: dict[str, Any]) -> dict[str, Any]:
    """Write a request for a response as the chat that it is."""
    given: Any = request["input"]
    said = [{"role": "user", "content": given}] if isinstance(given, str) else given
    before = [
        {"role": "system", "content": request[key]} for key in ("instructions",) if key in request
    ]
    return {"model": request["model"], "messages": [*before, *said]}


def test_the_numbers_made_by_hand_follow_from_the_published_rules() -> None:
    made = [line for line in counts() if line["source"].startswith("hand-made")]
    assert len(made) > 20
    for line in made:
        request: dict[str, Any] = line["request"]
        chat = as_messages(request) if line["endpoint"] == "/v1/responses" else request
        assert published_tokens(chat) == line["prompt_tokens"], line["source"]
