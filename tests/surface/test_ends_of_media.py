"""Images and audio: what their bodies and streams report, wherever they are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from tokenbalance.model import Usage
from tokenbalance.openai import find_operation
from tokenbalance.openai.metering.ends import EndMeter
from tokenbalance.openai.metering.stream import EVENT_MAX, StreamMeter

if TYPE_CHECKING:
    from tokenbalance.openai.operation import Family

USED: Final = {
    "input_tokens": 12,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
    "output_tokens": 272,
    "total_tokens": 284,
}
DRAWN: Final = {"input": 12, "output": 272, "image_output": 272}
PICTURE: Final = "iVBORw0KGgo" * 20


def family_of(path: str) -> Family:
    return find_operation("POST", path.encode()).family


IMAGES: Final = family_of("/images/generations")
TRANSCRIPTIONS: Final = family_of("/audio/transcriptions")
TRANSLATIONS: Final = family_of("/audio/translations")
SPEECH: Final = family_of("/audio/speech")


def ended(family: Family, body: bytes, step: int | None = None) -> EndMeter:
    meter = EndMeter(family)
    for at in range(0, len(body), step or max(len(body), 1)):
        meter.feed(body[at : at + (step or len(body))])
    meter.finish()
    return meter


def image_body(size: int, **more: Any) -> bytes:
    return orjson.dumps({"created": 1, "data": [{"b64_json": "A" * size}], **more, "usage": USED})


@pytest.mark.parametrize(
    ("size", "step"), [(40, 1), (40, None), (70_000, 1_000), (9_000_000, 65_536)]
)
def test_the_usage_of_images_is_read_at_the_end_and_little_is_kept(
    size: int, step: int | None
) -> None:
    meter = ended(IMAGES, image_body(size), step)
    assert meter.usage == Usage(DRAWN, 284)
    assert len(meter._tail) <= 2 * 64 * 1024
    assert (meter.failed, meter.drawn, meter.has_output) == (False, 0, True)


@pytest.mark.parametrize("size", [40, 70_000])
@pytest.mark.parametrize("is_last", [False, True])
def test_an_author_of_svg_is_a_second_bill_on_either_side_of_the_usage(
    size: int, *, is_last: bool
) -> None:
    svg = {"input_tokens": 3, "output_tokens": 9, "reasoning_tokens": 2, "total_tokens": 12}
    body = image_body(size, svg_usage=svg)
    if is_last:
        body = image_body(size)[:-1] + b',"svg_usage":' + orjson.dumps(svg) + b"}"
    usage = ended(IMAGES, body).usage
    assert usage
    assert usage.total == 284 + 12
    assert (usage.of("svg_input"), usage.of("svg_output"), usage.of("svg_reasoning")) == (3, 9, 2)


@pytest.mark.parametrize("step", [1, 7, None])
def test_images_without_a_usage_are_counted(step: int | None) -> None:
    body = orjson.dumps({"data": [{"b64_json": PICTURE}, {"url": "https://a"}]})
    meter = ended(IMAGES, body, step)
    assert (meter.usage, meter.drawn) == (None, 2)
    # What broke off was finished before its head came.
    assert ended(IMAGES, body[:12]).drawn == 1


@pytest.mark.parametrize(
    ("family", "body", "used"),
    [
        (
            TRANSCRIPTIONS,
            {"text": "a", "usage": {"type": "duration", "seconds": 2.01}},
            {"second_audio": 3, "input": 30, "audio_input": 30},
        ),
        (
            TRANSCRIPTIONS,
            {
                "text": "a",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 25,
                    "input_token_details": {"audio_tokens": 20, "text_tokens": 5},
                    "output_tokens": 4,
                    "total_tokens": 29,
                },
            },
            {"input": 25, "audio_input": 20, "output": 4},
        ),
        (
            TRANSCRIPTIONS,
            {"text": "a", "usage": {"input_tokens": 25, "output_tokens": 4, "total_tokens": 29}},
            {"input": 25, "audio_input": 25, "output": 4},
        ),
        (
            TRANSLATIONS,
            {"text": "a", "duration": 8.470000267028809, "segments": []},
            {"second_audio": 9, "input": 90, "audio_input": 90},
        ),
    ],
)
def test_a_transcription_reports_seconds_or_tokens(
    family: Family, body: dict[str, Any], used: dict[str, int]
) -> None:
    usage = ended(family, orjson.dumps(body)).usage
    assert usage is not None
    assert dict(usage.quantities) == used


@pytest.mark.parametrize("seconds", [-1, True, "9", None, 1e300, [9]])
def test_seconds_that_cannot_be_true_are_no_report(seconds: Any) -> None:
    body = orjson.dumps({"text": "a", "usage": {"type": "duration", "seconds": seconds}})
    assert ended(TRANSCRIPTIONS, body).usage is None


@pytest.mark.parametrize(
    ("body", "is_response", "failed"),
    [
        (b"1\n00:00:00,000 --> 00:00:02,000\nHello.\n", True, False),
        (b"", False, False),
        (b"<html>Bad gateway</html>", False, False),
        (b'{"error": {"message": "no", "code": "server_error"}}', False, True),
    ],
)
def test_plain_text_is_a_response_and_a_page_or_an_error_is_none(
    body: bytes, *, is_response: bool, failed: bool
) -> None:
    meter = ended(TRANSCRIPTIONS, body)
    assert (meter.usage, meter.has_response, meter.failed) == (None, is_response, failed)


def stream(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: " + one["type"].encode() + b"\ndata: " + orjson.dumps(one) + b"\n\n"
        for one in documents
    )


def events_of_image(size: int, *, type_first: bool = True) -> bytes:
    partial: Any = {"type": "image_generation.partial_image", "b64_json": "A" * size}
    completed: Any = {"type": "image_generation.completed", "b64_json": "B" * size, "usage": USED}
    if not type_first:
        partial, completed = (dict(reversed(one.items())) for one in (partial, completed))
    return stream(partial, completed)


@pytest.mark.parametrize("type_first", [True, False])
@pytest.mark.parametrize(("size", "step"), [(50, 1), (50, 13), (EVENT_MAX + 9, 65_536)])
def test_a_stream_of_images_adds_up_and_withholds_the_last_end(
    size: int, step: int, *, type_first: bool
) -> None:
    body = 2 * events_of_image(size, type_first=type_first)
    meter = StreamMeter(hide_usage=False, images=2)
    passed = b""
    for at in range(0, len(body), step):
        assert not meter.ended
        passed += meter.feed(body[at : at + step])
    assert meter.ended
    assert meter.usage == Usage({kind: 2 * number for kind, number in DRAWN.items()}, 568)
    assert len(body) > len(passed)
    assert b'"usage"' not in passed[len(body) // 2 :]
    assert passed + meter.take() == body
    assert meter.drawn == 0


@pytest.mark.parametrize("step", [1, 29, 4_000])
def test_an_image_that_was_begun_counts_as_drawn(step: int) -> None:
    whole = events_of_image(50)
    body = whole + whole[: len(whole) // 2]
    meter = StreamMeter(hide_usage=False, images=3)
    for at in range(0, len(body), step):
        meter.feed(body[at : at + step])
    meter.abandon()
    assert meter.usage == Usage(DRAWN, 284)
    assert (meter.drawn, meter.ended) == (1, False)


@pytest.mark.parametrize("step", [1, 17, 4_000])
def test_speech_and_transcripts_end_with_their_report(step: int) -> None:
    usage = {"input_tokens": 9, "output_tokens": 60, "total_tokens": 69}
    for begun, done, more in (
        ("speech.audio.delta", "speech.audio.done", {"audio_output": 60}),
        ("transcript.text.delta", "transcript.text.done", {"audio_input": 9}),
    ):
        body = stream(
            {"type": begun, "delta": "abc", "audio": "AAAA"}, {"type": done, "usage": usage}
        )
        meter = StreamMeter(hide_usage=False)
        passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
        assert (meter.ended, meter.has_response) == (True, True)
        assert done.encode() not in passed.split(b"\n\n")[-1]
        assert meter.usage == Usage({"input": 9, "output": 60, **more}, 69)
        assert passed + meter.take() == body
