"""What the meter of a stream keeps back, until when, and what it abandons."""

from __future__ import annotations

import pytest

from tests.support.metered_streams import (
    BLANK,
    BLANK_BY_NULLS,
    CHAT,
    COUNTED,
    CREATED,
    DELTAS,
    DONE,
    FILTER,
    FINISH,
    HEAD,
    MODERATION,
    USAGE_CHUNK,
    chunk,
    event,
    final,
    said,
)
from tokenbalance.openai.metering.stream import StreamMeter

# What is kept back, and until when


def test_content_passes_at_once_even_when_an_event_is_cut() -> None:
    stream = StreamMeter(hide_usage=False)
    text = chunk("Hello")
    for cut in range(len(f"data: {HEAD}[{{"), len(text)):
        assert stream.feed(text[:cut].encode()).decode() == text[:cut]
        assert stream.feed(text[cut:].encode()).decode() == text[cut:]


def test_a_cut_delta_of_responses_passes_once_its_type_is_known() -> None:
    stream = StreamMeter(hide_usage=False)
    text = event("response.output_text.delta", '"delta":"Hello"')
    known = text.index(',"delta"')
    for cut in range(1, len(text)):
        first = text[:cut] if cut >= known else ""
        assert stream.feed(text[:cut].encode()).decode() == first
        assert stream.feed(text[cut:].encode()).decode() == text[len(first) :]


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (chunk("Hi"), USAGE_CHUNK + DONE),
        (chunk("Hi"), USAGE_CHUNK + MODERATION + DONE),
        (FILTER + chunk("Hi"), DONE),
        (chunk("Hi") + ": a comment that is longer than the end of the stream\n", DONE),
        (CREATED + DELTAS, final()),
        (CREATED + DELTAS, final("response.failed", "null") + DONE),
        (chunk("Hi"), 'data: {"error":{"message":"x"}}\n\n' + DONE),
    ],
)
def test_the_end_is_withheld_until_it_is_taken(before: str, kept: str) -> None:
    data = (before + kept).encode()
    for cut in range(len(data)):
        stream = StreamMeter(hide_usage=False)
        out = stream.feed(data[:cut]) + stream.feed(data[cut:])
        assert out.decode() == before
        assert stream.withholding
        assert stream.ended
        assert stream.take().decode() == kept
        assert stream.feed(b"data: after") == b"data: after"
        assert stream.finish() == b""


@pytest.mark.parametrize("usage_chunk", [BLANK, BLANK_BY_NULLS])
def test_usage_beside_a_choice_that_says_nothing_is_withheld_at_its_end(usage_chunk: str) -> None:
    data = (FINISH + usage_chunk + DONE).encode()
    for cut in range(len(data)):
        stream = StreamMeter(hide_usage=False)
        out = stream.feed(data[:cut]) + stream.feed(data[cut:])
        assert len(FINISH) <= len(out) < len(FINISH + usage_chunk)
        assert (stream.usage, stream.withholding, stream.ended) == (COUNTED, True, True)
        assert out + stream.take() == data


def test_usage_alone_is_not_the_end_of_the_stream() -> None:
    stream = StreamMeter(hide_usage=False)
    stream.feed(USAGE_CHUNK.encode())
    assert (stream.usage, stream.withholding, stream.ended) == (COUNTED, True, False)
    stream.feed(DONE[:-1].encode())
    assert not stream.ended
    stream.feed(b"\n")
    assert stream.ended


def test_content_after_a_usage_chunk_shows_that_it_was_not_the_last() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(USAGE_CHUNK.encode()) == b""
    assert stream.feed(chunk("more").encode()).decode() == USAGE_CHUNK + chunk("more")
    assert stream.feed(DONE.encode()) == b""


def test_content_after_the_end_stays_withheld() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed((DONE + chunk("more")).encode()) == b""
    assert stream.take().decode() == DONE + chunk("more")


def test_an_incomplete_event_goes_with_what_is_taken() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(DONE.encode() + b"data: x") == b""
    assert stream.take() == DONE.encode() + b"data: x"
    assert stream.feed(b"yz") == b"yz"


def test_comments_pass_as_soon_as_they_are_complete() -> None:
    stream = StreamMeter(hide_usage=True)
    assert stream.feed(b": keep") == b""
    assert stream.feed(b"-alive\n") == b": keep-alive\n"
    assert stream.feed(b"\n") == b"\n"


# What is released without a charge, and what is abandoned

ERROR = 'data: {"error":{"message":"overloaded"}}\n\n'


def test_after_a_released_error_usage_is_still_read_and_withheld() -> None:
    stream = StreamMeter(hide_usage=False)
    assert stream.feed(ERROR.encode()) == b""
    assert stream.release().decode() == ERROR
    assert not stream.withholding
    assert stream.feed(chunk("Hi").encode()).decode() == chunk("Hi")
    assert stream.feed(USAGE_CHUNK.encode()) == b""
    assert said(stream) == (COUNTED, True, True, "Hi")
    assert stream.take().decode() == USAGE_CHUNK


@pytest.mark.parametrize("hide_usage", [False, True])
def test_what_is_released_is_not_released_again(*, hide_usage: bool) -> None:
    stream = StreamMeter(hide_usage=hide_usage)
    stream.feed(ERROR.encode())
    assert stream.release().decode() == ERROR
    assert stream.release() == b""
    assert stream.feed(DONE.encode()) == b""
    assert stream.finish().decode() == DONE
    assert said(stream) == (None, True, True, "")


def abandoned(text: str, *, hide_usage: bool = False) -> tuple[str, str, StreamMeter]:
    """What passed of a stream that broke off there, what was made of its end, and the meter."""
    stream = StreamMeter(hide_usage=hide_usage)
    passed = stream.feed(text.encode())
    return passed.decode(), stream.abandon().decode(), stream


@pytest.mark.parametrize("fragment", ["data", 'data: {"id"', f"data: {HEAD}[]", USAGE_CHUNK[:-4]])
def test_of_an_abandoned_stream_a_fragment_not_yet_sent_is_dropped(fragment: str) -> None:
    passed, rest, stream = abandoned(chunk("Hi") + fragment)
    assert (passed, rest) == (chunk("Hi"), "")
    assert not stream.ended


def test_of_an_abandoned_stream_a_fragment_sent_in_part_is_ended_and_counted() -> None:
    text = chunk("Hello")
    fragment = text[: text.index("lo")]
    passed, rest, stream = abandoned(fragment)
    assert (passed, rest) == (fragment, "\n\n")
    assert said(stream) == (None, False, False, "Hel")


def test_of_an_abandoned_stream_usage_that_was_withheld_is_kept() -> None:
    passed, rest, stream = abandoned(chunk("Hi") + USAGE_CHUNK + "data: [DO")
    assert (passed, rest) == (chunk("Hi"), USAGE_CHUNK)
    assert said(stream) == (COUNTED, False, False, "Hi")


@pytest.mark.parametrize(
    "fragment",
    [
        'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","usa',
        'event: error\ndata: {"mess',
    ],
)
def test_an_abandoned_end_that_lacks_data_is_none(fragment: str) -> None:
    passed, rest, stream = abandoned(chunk("Hi") + fragment)
    assert (passed + rest).rstrip("\n") == chunk("Hi").rstrip("\n")
    assert not stream.ended


@pytest.mark.parametrize("end", [DONE, final(), final("response.failed"), ERROR])
@pytest.mark.parametrize("missing", [1, 2])
def test_an_abandoned_end_that_lacks_only_its_blank_line_gets_one(end: str, missing: int) -> None:
    passed, rest, stream = abandoned(end[:-missing])
    assert passed == ""
    assert rest.rstrip("\n") == end.rstrip("\n")
    assert rest.endswith("\n\n")
    assert stream.ended


@pytest.mark.parametrize("hide_usage", [False, True])
def test_wherever_a_stream_is_abandoned_what_is_sent_after_it_stands_alone(
    *, hide_usage: bool
) -> None:
    for cut in range(len(CHAT) + 1):
        passed, rest, stream = abandoned(CHAT[:cut], hide_usage=hide_usage)
        sent = passed + rest
        assert sent == "" or sent.endswith("\n\n")
        assert stream.ended == (cut >= len(CHAT) - 2)
        if hide_usage:
            assert CHAT.replace(USAGE_CHUNK, "").startswith(sent.rstrip("\n"))
