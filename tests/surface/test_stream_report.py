"""What passes many events at once says and lets pass the same as a look at each of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenbalance.openai.metering import output_text as relayed_text
from tokenbalance.openai.metering import stream_report
from tokenbalance.openai.metering.output_text import RelayedText
from tokenbalance.openai.metering.stream import StreamMeter
from tokenbalance.openai.metering.stream_report import StreamReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import Document, Usage

HEAD = '{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","choices":'
USAGE = '"usage":{"prompt_tokens":13,"completion_tokens":11,"total_tokens":24}'
END = f"data: {HEAD}[],{USAGE}}}\n\ndata: [DONE]\n\n"
NULL = ',"usage":null'
PADDED = ',"obfuscation":"aB3"'


def responses_event(kind: str, members: str) -> str:
    return f'event: response.{kind}\ndata: {{"type":"response.{kind}",{members}}}\n\n'


def run_of(event: str, times: int) -> str:
    return event * times


def chunk(text: str, more: str = "") -> str:
    delta = f'{{"index":0,"delta":{{"content":{orjson.dumps(text).decode()}}}}}'
    return f"data: {HEAD}[{delta}]{more}}}\n\n"


# All at once, and one by one

WORDS = st.sampled_from(
    [
        "Hi",
        '"',
        "\\",
        "\n",
        "😀",
        "error",
        "[DONE]",
        f"{NULL}}}\n\n",
        f"{NULL}{PADDED}}}\n\n",
        "usage",
    ]
)
TEXTS = st.lists(WORDS, max_size=3).map("".join)
TAILS = st.sampled_from(
    [
        *("", NULL, NULL + PADDED, PADDED + NULL, f",{USAGE}", f",{USAGE}{PADDED}"),
        *(',"a":1' + NULL, ',"a":true' + NULL, ',"a":{"b":"c"}' + NULL, NULL + ',"a":"b"'),
        ',"a":{"b":"c"' + NULL + "}",
        ',"a":{"b":"c"' + NULL + PADDED + "}",
        ',"a":{"b":"c"' + NULL + PADDED + '},"d":"e"',
        NULL + ',"obfuscation":"a\\"b"',
        NULL + ',"obfuscation":"a\\\\"',
        NULL + PADDED + NULL,
        f',{USAGE},"a":"b"' + NULL,
        ',"error":{"message":"x"}' + NULL,
    ]
)
OTHERS = st.sampled_from(
    [
        ": ping\n\n",
        f': "x"{NULL}}}\n\n',
        f'data: {{"a":"b"\nid: "x"{NULL}}}\n\n',
        f'data: {{"a":"b"\ndata: {NULL}}}\n\n',
        f'data: {{"a":"b"\rid: "x"{NULL}}}\n\n',
        f'data: ["a"{NULL}}}\n\n',
        f'event: x\ndata: {{"a":"b"{NULL}}}\n\n',
        f'data:{{"a":"b"{NULL}}}\n\n',
        f'data: {{"a":[]{NULL}}}\r\n\r\n',
        f'data: {{"a":[]{NULL}}}\n\n\n',
        responses_event("output_text.delta", '"delta":"a"'),
        responses_event("completed", f'"response":{{{USAGE}}}'),
        "event: error\ndata: {}\n\n",
        f"data: {HEAD}[],{USAGE}}}\n\n",
        f"data: {HEAD}[],{USAGE}{PADDED}}}\n\n",
        "data: [DONE]\n\n",
    ]
)
EVENTS = st.builds(chunk, TEXTS, TAILS)
RUNS = st.builds(run_of, EVENTS, st.integers(1, 9))
STREAMS = st.lists(st.one_of(RUNS, EVENTS, OTHERS), max_size=8).map("".join)
PLACES = st.lists(st.integers(0, 9000), max_size=9)


def pieces(data: bytes, places: Iterable[int]) -> list[bytes]:
    cuts = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in pairwise(cuts)]


def meter_of(fed: Iterable[bytes], *, hide_usage: bool) -> tuple[bytes, tuple[object, ...]]:
    stream = StreamMeter(hide_usage=hide_usage)
    out = b"".join([stream.feed(piece) for piece in fed]) + stream.finish()
    return out, (stream.usage, stream.ended, stream.failed, "".join(stream.relayed_texts()))


def slowly(data: bytes, *, hide_usage: bool) -> tuple[bytes, tuple[object, ...]]:
    """Every event alone, and parsed."""
    with patch.object(StreamReport, "read_plain", return_value=None):
        return meter_of([data], hide_usage=hide_usage)


@settings(deadline=None, max_examples=250)
@given(text=STREAMS, places=PLACES, hide_usage=st.booleans())
def test_events_read_at_once_mean_the_same_as_each_of_them_parsed(
    *, text: str, places: list[int], hide_usage: bool
) -> None:
    data = text.encode()
    assert meter_of(pieces(data, places), hide_usage=hide_usage) == slowly(
        data, hide_usage=hide_usage
    )


@settings(deadline=None, max_examples=100)
@given(text=STREAMS, places=PLACES, hide_usage=st.booleans(), broken=st.sampled_from('"{}[],:\n'))
def test_events_that_are_no_json_pass_the_same_wherever_they_are_cut(
    *, text: str, places: list[int], hide_usage: bool, broken: str
) -> None:
    data = text.replace(broken, "", 2).encode()
    parts = meter_of(pieces(data, places), hide_usage=hide_usage)
    assert parts == meter_of([data], hide_usage=hide_usage)
    assert parts == meter_of([bytes([byte]) for byte in data], hide_usage=hide_usage)


@settings(deadline=None, max_examples=50)
@given(text=STREAMS, places=PLACES)
def test_what_goes_on_at_once_never_has_more_than_events_one_by_one(
    *, text: str, places: list[int]
) -> None:
    data = text.encode()
    fast, slow = StreamMeter(hide_usage=True), StreamMeter(hide_usage=True)
    for piece in pieces(data, places):
        passed = fast.feed(piece)
        with patch.object(StreamReport, "read_plain", return_value=None):
            assert slow.feed(piece) == passed
        assert slow.withholding == fast.withholding


# What is not parsed


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The data of every event that is parsed."""
    data: list[bytes] = []

    def document_of(event: bytes) -> Document:
        data.append(event)
        return orjson.loads(event)

    monkeypatch.setattr(stream_report, "document_of", document_of)
    return data


@pytest.mark.parametrize("hide_usage", [False, True])
@pytest.mark.parametrize("tail", [NULL, NULL + PADDED, PADDED + NULL])
@pytest.mark.parametrize("size", [1, 100, 4000, 65_536])
def test_only_the_end_of_a_stream_is_parsed(
    parsed: list[bytes], tail: str, size: int, *, hide_usage: bool
) -> None:
    data = (chunk('say "Hi"\n', tail) * 300 + END).encode()
    stream = StreamMeter(hide_usage=hide_usage)
    for start in range(0, len(data), size):
        stream.feed(data[start : start + size])
    assert parsed == [f"{HEAD}[],{USAGE}}}".encode()]
    assert stream.ended


def test_a_word_that_matters_in_one_event_has_no_other_parsed(parsed: list[bytes]) -> None:
    event = chunk("no error")
    stream = StreamMeter(hide_usage=False)
    data = (chunk("Hi") * 70 + event + chunk("Hi") * 30).encode()
    assert stream.feed(data) == data
    assert parsed == [event.removeprefix("data: ").strip().encode()]


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is looked at together."""
    sizes: list[int] = []
    collect = RelayedText.collect

    def collected(text: RelayedText, data: bytes) -> None:
        sizes.append(len(data))
        collect(text, data)

    monkeypatch.setattr(RelayedText, "collect", collected)
    return sizes


@pytest.mark.parametrize("hide_usage", [False, True])
def test_the_whole_events_of_a_read_that_ends_inside_of_one_are_looked_at_together(
    looked_at: list[int], *, hide_usage: bool
) -> None:
    data = (chunk("Hi", NULL) * 300).encode()
    stream = StreamMeter(hide_usage=hide_usage)
    for start in range(0, len(data), 10_000):
        stream.feed(data[start : start + 10_000])
    reads = len(data) // 10_000 + 1
    assert len(looked_at) <= 2 * reads


def test_an_event_that_matters_is_found_without_a_look_at_each(looked_at: list[int]) -> None:
    stream = StreamMeter(hide_usage=False)
    stream.feed((chunk("Hi") * 70 + chunk("no error") + chunk("Hi") * 130).encode())
    assert len(looked_at) <= 2 * len(bin(200))


def test_a_line_end_cut_in_two_belongs_to_the_hidden_event() -> None:
    stream = StreamMeter(hide_usage=True)
    hidden = f"data: {HEAD}[],{USAGE}}}\r\n\r\n".encode()
    assert stream.feed(hidden[:-1]) == b""
    assert stream.take() == b""
    assert stream.feed(hidden[-1:] + chunk("Hi").encode()).decode() == chunk("Hi")


def test_plain_events_go_on_as_the_same_object() -> None:
    stream = StreamMeter(hide_usage=False)
    data = chunk("Hi", NULL).encode()
    assert stream.feed(data) is data


# What waits


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 300_000), max_size=12))
def test_of_events_that_wait_there_are_never_more_than_one_read(sizes: list[int]) -> None:
    text = RelayedText()
    for size in sizes:
        text.collect(b'data: {"content":"a"}\n\n' + b"x" * size)
        assert len(text._events) <= relayed_text.READ_MAX
    assert "".join(text.texts()) == "a" * len(sizes)


def test_events_that_come_one_by_one_wait_in_small_batches() -> None:
    text = RelayedText()
    for _ in range(1000):
        text.collect(b'data: {"content":"a"}\n\n')
        assert len(text._events) <= relayed_text.TEXT_BATCH
    assert "".join(text.texts()) == "a" * 1000


def test_an_invalid_event_may_lose_null_usage_and_nothing_else() -> None:
    text = f'data: {{"a":nul,"b":"c"{NULL}}}\n\n'
    out, (usage, ended, failed, _) = meter_of([text.encode()], hide_usage=True)
    assert out.decode() == text.replace(NULL, "")
    said: tuple[Usage | None, bool, bool] = (None, False, False)
    assert (usage, ended, failed) == said
