"""Where the meter finds what is billed beside a usage, in documents and streams of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from tests.support.metered_streams import DONE, HEAD, USAGE, chunk, meter_of
from tests.support.recordings import Recording, how_many, recordings
from tokenbalance.model import Usage
from tokenbalance.openai.metering import document as of_documents
from tokenbalance.openai.metering import stream as of_streams
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.openai.metering.usage import read_usage

if TYPE_CHECKING:
    from tokenbalance.model import Document

REPORT: Final[Document] = {"input_tokens": 13, "output_tokens": 11, "total_tokens": 24}
PLAIN: Final = {"input": 13, "output": 11}
SEARCHES: Final[Document] = {"web_search": {"num_requests": 3}}
CONTAINER: Final[Document] = {"type": "code_interpreter_call", "container_id": "c"}
FUNCTION: Final[Document] = {"type": "function_call", "name": "f", "arguments": "{}"}
TIER: Final = {**PLAIN, "tier:flex": 1}
EVERYTHING: Final = {**TIER, "call:web_search": 3, "session:code_interpreter": 1}


def read_document(document: Document, *, has_items: bool = True) -> JsonMeter:
    meter = JsonMeter(has_items=has_items)
    body = orjson.dumps(document)
    for start in range(0, len(body), 10_000):
        meter.feed(body[start : start + 10_000])
    meter.finish()
    return meter


def response(**members: Any) -> Document:
    """A response whose members are in this order, before its usage."""
    return {"id": "resp_1", "object": "response", **members, "usage": REPORT, "user": None}


def events(*documents: Any) -> bytes:
    return b"".join([b"data: " + orjson.dumps(document) + b"\n\n" for document in documents])


# Documents.


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"output": [CONTAINER], "service_tier": "flex", "tool_usage": SEARCHES}, EVERYTHING),
        ({"tool_usage": SEARCHES, "service_tier": "flex", "output": [CONTAINER]}, EVERYTHING),
        ({"tool_usage": SEARCHES, "output": [FUNCTION]}, {**PLAIN, "call:web_search": 3}),
        ({"output": [FUNCTION, CONTAINER]}, {**PLAIN, "session:code_interpreter": 1}),
        ({"output": [FUNCTION, FUNCTION], "service_tier": "flex"}, TIER),
        ({"service_tier": "flex", "output": []}, TIER),
        ({"service_tier": None, "output": []}, PLAIN),
        ({"metadata": {"service_tier": "flex"}, "output": []}, PLAIN),
        ({"output": [{"service_tier": "flex", "tool_usage": SEARCHES}]}, PLAIN),
        ({"service_tier": "flex", "tools": [{"service_tier": "priority"}] * 20}, TIER),
    ],
)
def test_a_response_is_read_for_its_bills_wherever_they_are(
    members: dict[str, Any], expected: dict[str, int]
) -> None:
    meter = read_document(response(**members))
    assert meter.usage == Usage(expected, 24)
    assert meter.fees == {}


@pytest.mark.parametrize("filling", [0, 300, 70_000])
@pytest.mark.parametrize(
    "order",
    [
        ("usage", "service_tier", "choices"),
        ("choices", "usage", "service_tier"),
        ("choices", "service_tier", "usage"),
        ("service_tier", "choices", "usage"),
        ("service_tier", "usage", "choices"),
    ],
)
def test_the_tier_of_a_chat_is_found_before_and_behind_its_choices(
    order: tuple[str, ...], filling: int
) -> None:
    members: dict[str, Any] = {
        "service_tier": "flex",
        "choices": [{"message": {"content": "x" * filling}}],
        "usage": {"prompt_tokens": 13, "completion_tokens": 11, "total_tokens": 24},
    }
    document: Document = {"id": "chatcmpl-1", **{name: members[name] for name in order}}
    assert read_document(document, has_items=False).usage == Usage(TIER, 24)


def test_of_a_document_too_long_to_be_kept_what_comes_before_the_usage_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_documents, "DOCUMENT_MAX", 100_000)
    picture: Document = {"type": "image_generation_call", "result": "x" * 300_000}
    long = response(output=[picture, CONTAINER], service_tier="flex", tool_usage=SEARCHES)
    meter = read_document(long)
    assert len(meter._body) <= 2 * of_documents.DOCUMENT_MAX
    assert meter.usage == Usage({**TIER, "call:web_search": 3}, 24)
    # Only the item says that there was a container, and it is gone.
    assert meter.is_partial
    without_tier = read_document(response(output=[picture]))
    assert (without_tier.usage, without_tier.is_partial) == (Usage(PLAIN, 24), True)


def test_what_a_long_document_repeats_of_its_request_hides_no_bill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_documents, "DOCUMENT_MAX", 200_000)
    picture: Document = {"type": "image_generation_call", "result": "x" * 500_000}
    bills = {"service_tier": "flex", "tool_usage": SEARCHES}
    for echo, is_partial in ((150_000, False), (250_000, True)):
        tools: list[Any] = [{"type": "function", "name": "f", "description": "x" * echo}]
        meter = read_document(response(output=[picture], **bills, tools=tools))
        assert meter.is_partial is is_partial
        assert meter.usage == Usage(PLAIN if is_partial else {**TIER, "call:web_search": 3}, 24)


@pytest.mark.parametrize("status", ["failed", "completed"])
def test_the_calls_of_a_document_without_usage_are_known(status: str) -> None:
    meter = read_document(
        {"status": status, "output": [CONTAINER], "tool_usage": SEARCHES, "usage": None}
    )
    assert meter.usage is None
    assert meter.fees == {"session:code_interpreter": 1, "call:web_search": 3}


# Streams.


@pytest.mark.parametrize("hide_usage", [False, True])
def test_a_chat_stream_has_the_tier_of_the_chunk_with_its_usage(*, hide_usage: bool) -> None:
    other = f'data: {HEAD}[],"service_tier":"priority"}}\n\n'
    last = f'data: {HEAD}[],"service_tier":"flex","usage":{USAGE}}}\n\n'
    text = chunk("Hi", ',"service_tier":"auto","usage":null') + other + last + DONE
    _, stream = meter_of([text.encode()], hide_usage=hide_usage)
    assert stream.usage == Usage(TIER, 24)


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_a_stream_is_billed_by_its_final_event_alone(kind: str) -> None:
    begun: Document = {"id": "r", "service_tier": "auto", "output": [], "usage": None}
    output = [CONTAINER, {"type": "web_search_call"}]
    final = response(output=output, service_tier="flex", tool_usage=SEARCHES)
    body = events(
        {"type": "response.created", "response": begun},
        {"type": "response.code_interpreter_call.completed"},
        {"type": "response.web_search_call.completed"},
        *({"type": "response.output_item.done", "item": item} for item in output),
        {"type": f"response.{kind}", "response": final},
    )
    for size in (1, 50, len(body)):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        _, stream = meter_of(pieces)
        assert stream.usage == Usage(EVERYTHING, 24)
        assert stream.fees == {}


@pytest.mark.parametrize("size", [50, 1000, 100_000])
def test_of_a_final_event_too_long_to_be_kept_what_comes_before_the_usage_is_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(of_streams, "EVENT_MAX", 500)
    monkeypatch.setattr(of_streams, "DOCUMENT_MAX", 1000)
    monkeypatch.setattr(of_streams, "TAIL", 300)
    final = response(i="i" * 3000, output=[], service_tier="flex", tool_usage=SEARCHES)
    body = events({"type": "response.completed", "response": final})
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    _, stream = meter_of(pieces)
    assert stream.usage == Usage({**TIER, "call:web_search": 3}, 24)


def test_a_stream_that_breaks_off_has_the_calls_that_have_ended() -> None:
    body = events(
        {"type": "response.created", "response": {"output": [], "usage": None}},
        {"type": "response.web_search_call.completed"},
        {"type": "response.file_search_call.completed"},
        {"type": "response.web_search_call.completed"},
        {"type": "response.code_interpreter_call.completed"},
        {"type": "response.code_interpreter_call.completed"},
        {"type": "response.mcp_call.completed"},
        {"type": "response.web_search_call.searching"},
    )
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(body) == body
    assert stream.usage is None
    assert stream.fees == {
        "call:web_search": 2,
        "call:file_search": 1,
        "session:code_interpreter": 1,
    }


def test_the_calls_of_a_stream_without_usage_are_those_of_its_final_event() -> None:
    body = events(
        {"type": "response.web_search_call.completed"},
        {"type": "response.completed", "response": {"output": [CONTAINER], "usage": None}},
    )
    _, stream = meter_of([body])
    assert stream.fees == {"session:code_interpreter": 1}


# Recordings.

RESPONSES = [r for r in recordings("/v1/", status=200) if r.path == "/v1/responses"]
CHATS = [r for r in recordings("/v1/", status=200) if r.path == "/v1/chat/completions"]


def final_of(recording: Recording) -> Document:
    """The document that a recording's usage is a member of, found the simple way."""
    if not recording.streamed:
        return orjson.loads(recording.response_body)
    found: Document = {}
    for line in recording.response_body.splitlines():
        if line.startswith(b"data: {"):
            event = orjson.loads(line.removeprefix(b"data: "))
            document = event.get("response", event)
            found = document if document.get("usage") else found
    return found


def metered(recording: Recording) -> JsonMeter | StreamMeter:
    if recording.streamed:
        return meter_of([recording.response_body])[1]
    meter = JsonMeter(has_items=recording.path == "/v1/responses")
    meter.feed(recording.response_body)
    meter.finish()
    return meter


def test_every_recorded_response_has_the_bills_of_its_whole_document() -> None:
    billed = searched = tiers = 0
    for recording in (*RESPONSES, *CHATS):
        document = final_of(recording)
        usage = metered(recording).usage
        if usage is None:
            continue
        assert usage == read_usage(document["usage"], response=document), recording
        billed += 1
        searched += usage.of("call:web_search")
        tier = document.get("service_tier")
        tiers += usage.of(f"tier:{tier}")
        assert (tier is None) or usage.of(f"tier:{tier}") == 1 or not usage.total
    assert billed >= how_many(10, 1000)
    assert searched >= how_many(0, 20)
    assert tiers >= how_many(1, 900)
