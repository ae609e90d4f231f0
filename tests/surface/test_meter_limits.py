"""The meter of a stream keeps no more than it needs, whatever the upstream sends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.metered_streams import (
    COUNTED,
    CREATED,
    DELTAS,
    DONE,
    FILTER,
    MODERATION,
    USAGE,
    USAGE_CHUNK,
    chunk,
    final,
    meter_of,
    said,
)
from tokenbalance.openai.metering import stream as of_streams
from tokenbalance.openai.metering.stream import StreamMeter

# Limits


def test_an_endless_line_passes_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_streams, "EVENT_MAX", 1000)
    monkeypatch.setattr(of_streams, "TAIL", 100)
    stream = StreamMeter(hide_usage=True)
    fed, out = b"data: ", stream.feed(b"data: ")
    for _ in range(1000):
        fed += b"x" * 100
        out += stream.feed(b"x" * 100)
        assert len(fed) - len(out) <= 1000
        assert len(stream._buffer) <= 1000
    assert out == fed
    rest = "\n\n" + chunk("Hi", ',"usage":null') + USAGE_CHUNK + DONE
    for byte in rest.encode():
        out += stream.feed(bytes([byte]))
    out += stream.finish()
    assert out == fed + f"\n\n{chunk('Hi')}{DONE}".encode()
    assert said(stream) == (COUNTED, True, False, "Hi")


@pytest.mark.parametrize("size", [1, 7, 50, 99, 1000, 10_000])
def test_a_final_response_that_is_too_long_is_read_at_its_end_and_withheld(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(of_streams, "EVENT_MAX", 500)
    monkeypatch.setattr(of_streams, "DOCUMENT_MAX", 1000)
    monkeypatch.setattr(of_streams, "TAIL", 300)
    data = final().replace('"id":"r"', f'"instructions":"{"i" * 3000}"').encode()
    stream = StreamMeter(hide_usage=False)
    out = b"".join([stream.feed(data[i : i + size]) for i in range(0, len(data), size)])
    assert min(300, len(data)) <= len(data) - len(out) <= 300 + size
    assert b"usage" not in out
    assert (stream.usage, stream.ended, stream.withholding) == (COUNTED, True, True)
    assert out + stream.take() == data


def test_a_long_final_response_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_streams, "EVENT_MAX", 500)
    data = final("response.failed").replace('"id":"r"', f'"i":"{"i" * 3000}"').encode()
    stream = StreamMeter(hide_usage=False)
    assert b"".join([stream.feed(data[i : i + 50]) for i in range(0, len(data), 50)]) == b""
    assert (stream.usage, stream.ended, stream.failed) == (COUNTED, True, True)
    assert stream.finish() == data


def test_a_server_that_never_ends_after_its_usage_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_streams, "DOCUMENT_MAX", 1000)
    stream = StreamMeter(hide_usage=False)
    fed, out = USAGE_CHUNK.encode(), stream.feed(USAGE_CHUNK.encode())
    for _ in range(1000):
        fed += b": ping\n\n"
        out += stream.feed(b": ping\n\n")
        assert len(fed) - len(out) <= 1000 + len(b": ping\n\n")
    assert out + stream.finish() == fed


def test_collected_text_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenbalance.openai.metering.output_text.TEXT_MAX", 10_000)
    stream = StreamMeter(hide_usage=False)
    for _ in range(1000):
        stream.feed(chunk("x" * 100).encode())
    assert 10_000 <= len("".join(stream.relayed_texts())) < 20_000


# Any stream, cut anywhere

EVENTS = st.sampled_from([
    chunk("Hi"),
    chunk('[DONE] "usage" error 😀', ',"usage":null'),
    chunk("x", f',"usage":{USAGE}'),
    chunk("x", ',"usage":null,"obfuscation":"ab"'),
    USAGE_CHUNK,
    USAGE_CHUNK.replace("13", "9").replace("24", "20"),
    MODERATION,
    FILTER,
    DONE,
    CREATED,
    DELTAS,
    final(),
    final("response.failed", "null"),
    'data: {"error":{"message":"x"}}\n\n',
    'data: {"a":1,\ndata:"usage":null}\nevent: x\n\n',
    ": ping\n",
    ":\n\n",
    "\n",
    "\ufeff",
    "data: \0\n\n",
    'data: {"usage":',
    "data: x\nid: 1",
    "event: error\n",
])  # fmt: skip


def with_line_ends(text: str, line_end: str) -> str:
    return text.replace("\n", line_end)


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
PARTS = st.builds(with_line_ends, EVENTS, LINE_ENDS)
STREAMS = st.lists(PARTS, max_size=8).map("".join)


@settings(deadline=None, max_examples=150)
@given(
    text=STREAMS,
    places=st.lists(st.integers(0, 1000), max_size=12),
    hide_usage=st.booleans(),
)
def test_any_stream_means_the_same_wherever_it_is_cut(
    *, text: str, places: list[int], hide_usage: bool
) -> None:
    data = text.encode()
    cuts = sorted({0, len(data), *(place for place in places if place < len(data))})
    pieces = [data[a:b] for a, b in pairwise(cuts)]
    whole, first = meter_of([data], hide_usage=hide_usage)
    parts, second = meter_of(pieces, hide_usage=hide_usage)
    bytewise, third = meter_of([data[i : i + 1] for i in range(len(data))], hide_usage=hide_usage)
    assert parts == whole == bytewise
    assert said(second) == said(first) == said(third)
    if not hide_usage:
        assert whole == data


@settings(deadline=None, max_examples=100)
@given(pieces=st.lists(st.binary(max_size=40), max_size=6), hide_usage=st.booleans())
def test_any_bytes_pass(*, pieces: list[bytes], hide_usage: bool) -> None:
    out, stream = meter_of(pieces, hide_usage=hide_usage)
    assert out == b"".join(pieces)
    assert stream.usage is None
