"""A stream and the document that says the same are charged alike, however they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from tests.support.equal_documents import (
    document_of,
    events_of,
    is_response,
    stream_of,
    with_usage,
    without_end,
)
from tests.support.recordings import recordings
from tokenbalance.model import Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import UsageCounter
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.doubt import has_several_choices, reckoned
from tokenbalance.openai.metering.outcome import used_nothing
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.openai.metering.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.equal_documents import Event
    from tokenbalance.model import Document

DONE = b"data: [DONE]\n\n"
METERED = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
NO_LIMIT = Usage({"input": 10**9, "output": 10**9})


def chat_chunks(*deltas: Event, index: int = 0) -> list[Event]:
    choices: list[Event] = [
        *({"index": index, "delta": delta, "finish_reason": None} for delta in deltas),
        {"index": index, "delta": {}, "finish_reason": "stop"},
    ]
    return [{"id": "c", "object": "chat.completion.chunk", "choices": [c]} for c in choices]


def usage_chunk(prompt: int, completion: int) -> Event:
    total = prompt + completion
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage}


def called(**function: str) -> Event:
    return {"tool_calls": [{"index": 0, "function": function}]}


def response_events(item: Event, *deltas: Event) -> list[Event]:
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    begun: Event = {"id": "r", "object": "response", "status": "in_progress", "output": []}
    done = {**begun, "status": "completed", "output": [item], "usage": usage}
    return [
        {"type": "response.created", "response": begun},
        *deltas,
        {"type": "response.completed", "response": done},
    ]


CHAT: Document = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello there"}]}
COMPLETION: Document = {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello there"}
RESPONSE: Document = {"model": "gpt-4o-mini", "input": "Hello there"}
MESSAGE: Event = {
    "type": "message",
    "content": [{"type": "output_text", "text": "one two three"}],
}
CALL: Event = {"type": "function_call", "name": "f", "arguments": '{"a":"one two"}'}
HELLO = chat_chunks({"role": "assistant", "content": ""}, {"content": "one "}, {"content": "two"})
HAND_MADE: dict[str, tuple[str, Document, list[Event]]] = {
    "chat": ("/chat/completions", CHAT, [*HELLO, usage_chunk(9, 3)]),
    "chat of two": (
        "/chat/completions",
        {**CHAT, "n": 2},
        [
            *HELLO,
            *chat_chunks({"content": "three"}, {"content": " four"}, index=1),
            usage_chunk(9, 6),
        ],
    ),
    "chat with a call": (
        "/chat/completions",
        CHAT,
        [
            *chat_chunks(
                called(name="f", arguments=""), called(arguments='{"a"'), called(arguments=":1}")
            ),
            usage_chunk(9, 3),
        ],
    ),
    "a completion": (
        "/completions",
        COMPLETION,
        [
            {"choices": [{"index": 0, "text": "one "}]},
            {"choices": [{"index": 0, "text": "two"}]},
            usage_chunk(2, 3),
        ],
    ),
    "a response": (
        "/responses",
        RESPONSE,
        response_events(
            MESSAGE,
            {"type": "response.output_text.delta", "delta": "one two"},
            {"type": "response.output_text.delta", "delta": " three"},
        ),
    ),
    "a response with a call": (
        "/responses",
        RESPONSE,
        response_events(
            CALL,
            {"type": "response.function_call_arguments.delta", "delta": '{"a":'},
            {"type": "response.function_call_arguments.delta", "delta": '"one two"}'},
        ),
    ),
}
RECORDED = {
    str(recording): (
        recording.path.removeprefix("/v1"),
        orjson.loads(recording.request_body),
        events_of(recording.response_body),
    )
    for recording in recordings(status=200)
    if recording.streamed and recording.path in METERED
}
STREAMS = {**HAND_MADE, **RECORDED}


class Characters(UsageCounter):
    """Counts characters, so that the order of a response's texts does not matter.

    Fewer where there are several choices, as there a report must not be below the count.
    """

    @override
    def __call__(self, *texts: str) -> Usage:
        output = -(-sum(map(len, texts)) // (8 if has_several_choices(self.document) else 1))
        return Usage({"input": 9, "output": output}, total=9 + output, estimated=True)


def charged(meter: JsonMeter | StreamMeter, count: UsageCounter, *, ended: bool) -> Usage | None:
    """Return what a response is charged, by the rule of every exchange; None if it is void."""
    if used_nothing(meter, ended=ended):
        return None
    return reckoned(meter.usage, meter.relayed_texts(), count, NO_LIMIT)


def streamed(name: str, events: list[Event], *, ended: bool = True) -> Usage | None:
    path, document, _ = STREAMS[name]
    meter = StreamMeter(hide_usage=False, several=has_several_choices(document))
    meter.feed(stream_of(events, DONE if ended and not is_response(events) else b""))
    meter.finish()
    count = Characters(find_operation("POST", path.encode()), document)
    return charged(meter, count, ended=ended)


def whole(name: str, response: Event, *, ended: bool = True) -> Usage | None:
    path, document, _ = STREAMS[name]
    operation = find_operation("POST", path.encode())
    meter = JsonMeter(has_items=operation.family.has_items)
    body = orjson.dumps(response)
    meter.feed(body if ended else body[:-1])
    meter.finish()
    count = Characters(operation, document)
    return charged(meter, count, ended=ended)


def nothing(_usage: Event) -> None:
    """In its place."""


def zeros(usage: Event) -> Event:
    return {name: 0 for name in usage if not name.endswith("details")}


def total_below_its_parts(usage: Event) -> Event:
    return {**usage, "total_tokens": usage["total_tokens"] - 1}


EVERY = pytest.mark.parametrize("name", STREAMS)


@EVERY
def test_with_usage(name: str) -> None:
    events = STREAMS[name][2]
    document = document_of(events)
    usage = whole(name, document)
    assert streamed(name, events) == usage
    assert usage is not None
    if document["usage"] is not None:
        assert usage == read_usage(document["usage"], response=document)


@EVERY
@pytest.mark.parametrize("change", [nothing, zeros, total_below_its_parts])
def test_without_usage_that_can_be_believed(
    name: str, change: Callable[[Event], Event | None]
) -> None:
    events = with_usage(STREAMS[name][2], change)
    usage = whole(name, document_of(events))
    assert streamed(name, events) == usage
    assert usage is not None
    assert usage.estimated != (usage.total == 0)


@EVERY
def test_cut(name: str) -> None:
    events = STREAMS[name][2]
    for kept in range(1, len(events), len(events) // 20 + 1):
        begun = without_end(events, kept)
        usage = streamed(name, begun, ended=False)
        assert usage is not None
        assert usage == whole(name, document_of(begun), ended=False)


def failed(events: list[Event], kept: int) -> list[Event]:
    """The stream as it is when the model fails after the first few events."""
    begun = without_end(events, kept)
    if not is_response(events):
        return [*begun, {"error": {"message": "The model failed.", "type": "server_error"}}]
    response = {**document_of(begun), "status": "failed", "error": {"code": "server_error"}}
    return [*begun, {"type": "response.failed", "response": {**response, "usage": None}}]


@EVERY
def test_failed(name: str) -> None:
    events = STREAMS[name][2]
    for kept in range(1, len(events), len(events) // 20 + 1):
        ending = failed(events, kept)
        usage = streamed(name, ending)
        assert usage == whole(name, document_of(ending))
        if usage is not None:
            assert (usage.output > 0, usage.estimated) == (True, True)


@pytest.mark.parametrize("name", HAND_MADE)
def test_failed_before_any_output(name: str) -> None:
    events = failed(STREAMS[name][2], 0 if name == "a completion" else 1)
    events = [event for event in events if not event.get("choices") or "error" in event]
    assert (streamed(name, events), whole(name, document_of(events))) == (None, None)


@pytest.mark.parametrize("name", HAND_MADE)
def test_failed_with_usage(name: str) -> None:
    events = STREAMS[name][2]
    error = {"error": {"message": "The model failed."}}
    if is_response(events):
        *begun, end = events
        response = {**end["response"], "status": "failed", **error}
        events = [*begun, {"type": "response.failed", "response": response}]
    else:
        events = [*events, error]
    document = document_of(events)
    usage = read_usage(document["usage"], response=document)
    assert streamed(name, events) == whole(name, document) == usage


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(HAND_MADE)),
    usage=st.none()
    | st.fixed_dictionaries(
        {name: st.integers(0, 30) for name in ("prompt_tokens", "completion_tokens")},
        optional={"total_tokens": st.integers(0, 60)},
    ),
)
def test_with_any_usage(name: str, usage: Event | None) -> None:
    events = with_usage(STREAMS[name][2], lambda _: usage)
    assert streamed(name, events) == whole(name, document_of(events))
