"""The meter, fed with responses of the API, and compared with their recorded usage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.recordings import Recording, how_many, recordings
from tokenbalance.openai.metering.document import JsonMeter
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.openai.metering.usage import read_usage

if TYPE_CHECKING:
    from tokenbalance.model import Json, Usage

METERED = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
RESPONSES = [r for r in recordings(status=200) if r.path in METERED]
STREAMS = [r for r in RESPONSES if r.streamed]
DOCUMENTS = [r for r in RESPONSES if not r.streamed]


def shortest(streams: list[Recording], count: int) -> list[Recording]:
    """The shortest few streams of every endpoint, with and without usage."""
    kinds: dict[tuple[str, bool], list[Recording]] = {}
    for stream in sorted(streams, key=lambda r: len(r.response_body)):
        kinds.setdefault((stream.path, stream.usage is None), []).append(stream)
    return [stream for of_a_kind in kinds.values() for stream in of_a_kind[:count]]


def feed(pieces: list[bytes], *, hide_usage: bool) -> tuple[bytes, StreamMeter]:
    stream = StreamMeter(hide_usage=hide_usage)
    out = b"".join([stream.feed(piece) for piece in pieces])
    return out + stream.finish(), stream


def tokens_of(usage: Usage | None) -> Usage | None:
    """A usage without what is billed beside it, which its own report does not have."""
    if usage is None:
        return None
    left = usage.quantities.items()
    return replace(usage, quantities={kind: count for kind, count in left if ":" not in kind})


def without_usage(body: bytes) -> bytes:
    """What the upstream would have sent without `include_usage`, found the simple way."""
    kept: list[bytes] = []
    for event in body.split(b"\n\n"):
        data = event.removeprefix(b"data: ")
        if data.startswith(b"{"):
            chunk = orjson.loads(data)
            if not chunk["choices"] and isinstance(chunk.get("usage"), dict):
                continue
            if isinstance(chunk.get("usage"), dict):
                # Next to a choice: it was not requested.
                kept.append(event)
                continue
            chunk.pop("usage", None)
            cut = event.replace(b',"usage":null', b"", 1)
            assert orjson.loads(cut.removeprefix(b"data: ")) == chunk
            kept.append(cut)
        else:
            kept.append(event)
    return b"\n\n".join(kept)


def test_every_kind_of_recording_is_there() -> None:
    assert len(STREAMS) >= how_many(9, 150)
    assert len(DOCUMENTS) >= how_many(14, 1000)
    assert {r.path for r in DOCUMENTS} == set(METERED)


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_a_recorded_stream_passes_whole_and_reports_its_usage(recording: Recording) -> None:
    body = recording.response_body
    out, stream = feed([body], hide_usage=False)
    assert out == body
    assert tokens_of(stream.usage) == read_usage(recording.usage)
    assert (stream.usage is None) == (recording.usage is None)
    assert stream.ended
    assert not stream.failed


def test_every_recorded_document_reports_its_usage() -> None:
    for recording in DOCUMENTS:
        document = JsonMeter()
        for start in range(0, len(recording.response_body), 1000):
            document.feed(recording.response_body[start : start + 1000])
        document.finish()
        assert tokens_of(document.usage) == read_usage(recording.usage), recording
        assert (document.usage is None) == (recording.usage is None), recording
        if document.usage is not None and recording.usage is not None:
            assert document.usage.total == recording.usage["total_tokens"], recording


@pytest.mark.parametrize("recording", shortest(STREAMS, 2), ids=str)
@pytest.mark.parametrize("hide_usage", [False, True])
def test_a_recorded_stream_may_be_cut_anywhere(*, recording: Recording, hide_usage: bool) -> None:
    body = recording.response_body
    whole, expected = feed([body], hide_usage=hide_usage)
    cuts = range(0, len(body), max(len(body) // 4000, 1))
    for pieces in (
        *([body[:cut], body[cut:]] for cut in cuts),
        [body[i : i + 1] for i in range(len(body))],
    ):
        out, stream = feed(pieces, hide_usage=hide_usage)
        assert out == whole
        assert (stream.usage, stream.ended) == (expected.usage, expected.ended)
        assert "".join(stream.relayed_texts()) == "".join(expected.relayed_texts())


@pytest.mark.parametrize("recording", [r for r in STREAMS if r.path != "/v1/responses"], ids=str)
def test_usage_is_hidden_from_a_recorded_stream(recording: Recording) -> None:
    out, stream = feed([recording.response_body], hide_usage=True)
    assert out == without_usage(recording.response_body)
    assert tokens_of(stream.usage) == read_usage(recording.usage)


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_the_end_of_a_recorded_stream_is_withheld(recording: Recording) -> None:
    stream = StreamMeter(hide_usage=False)
    out = b""
    for event in recording.response_body.split(b"\n\n")[:-1]:
        out += stream.feed(event + b"\n\n")
    assert stream.ended
    kept = stream.take()
    assert out + kept == recording.response_body
    assert b"[DONE]" in kept or b"event: response.completed" in kept
    assert b"[DONE]" not in out
    assert b"event: response.completed" not in out


def test_the_text_of_recorded_streams_is_told() -> None:
    """By another way: parse every event, and join what its endpoint calls output."""
    for recording in STREAMS:
        _, stream = feed([recording.response_body], hide_usage=False)
        collected = "".join(sorted("".join(stream.relayed_texts())))
        assert collected == "".join(sorted(output_text(recording))), recording


def output_text(recording: Recording) -> str:
    parts: list[Json] = []
    for event in recording.response_body.decode().split("\n\n"):
        data = event.partition("data: ")[2]
        if data.startswith("{"):
            chunk = orjson.loads(data)
            parts.append(chunk.get("delta"))
            for choice in chunk.get("choices", []):
                parts.append(choice.get("text"))
                parts += delta_texts(choice.get("delta", {}))
    return "".join(part for part in parts if isinstance(part, str))


def delta_texts(delta: dict[str, Any]) -> list[Json]:
    calls: list[dict[str, Json]] = [call["function"] for call in delta.get("tool_calls") or ()]
    calls.append(delta.get("function_call") or {})
    names = ("content", "refusal", "reasoning_content")
    return [*(delta.get(name) for name in names), *(call.get("arguments") for call in calls)]
