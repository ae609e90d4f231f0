"""Images, speech, transcriptions and decisions of the sandbox, with what they report."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.support.sandbox_client import tokens
from tokenbalance.sandbox.sounds import mp3, seconds_of, wav

if TYPE_CHECKING:
    import httpx2

PNG = b"\x89PNG\r\n\x1a\n"
FIVE_WORDS = "one two three four five"


def picture(text: str | None) -> tuple[int, int]:
    """Read a PNG to its end; returns its width and height."""
    data = base64.b64decode(text or "")
    assert data.startswith(PNG)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start])
    pixels = zlib.decompress(data[start + 4 : start + 4 + size])
    assert len(pixels) == height * (1 + (width + 7) // 8)
    return width, height


@pytest.mark.parametrize(
    ("size", "quality", "n", "output"),
    [
        ("1024x1024", "low", 1, 272),
        ("1024x1536", "medium", 2, 2 * 1584),
        ("1536x1024", "high", 1, 6208),
        ("auto", "auto", 1, 1056),
    ],
)
def test_an_image_is_drawn_and_counted_by_size_and_quality(
    client: openai.OpenAI, size: Any, quality: Any, n: int, output: int
) -> None:
    made = client.images.generate(
        model="gpt-image-1", prompt="a boat", size=size, quality=quality, n=n
    )
    width, height = picture((made.data or [])[0].b64_json)
    assert size in {f"{width}x{height}", "auto"}
    assert len(made.data or []) == n
    assert made.usage
    assert made.usage.output_tokens == output
    assert made.usage.input_tokens == tokens("a boat", "gpt-4o")


def test_a_streamed_image_comes_in_parts(client: openai.OpenAI) -> None:
    events = list(
        client.images.generate(
            model="gpt-image-1", prompt="a boat", quality="low", partial_images=2, stream=True
        )
    )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    last = events[-1]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == 272 + 2 * 100


def test_an_edit_counts_its_images_in_a_form_and_in_json(
    client: openai.OpenAI, http: httpx2.Client
) -> None:
    made = client.images.edit(
        model="gpt-image-1", prompt="more sea", image=[("a.png", PNG), ("b.png", PNG)], n=1
    )
    assert made.usage
    assert made.usage.input_tokens_details.image_tokens == 2 * 194
    file = client.files.create(file=("a.png", PNG), purpose="vision")
    body = {"model": "gpt-image-1", "prompt": "more sea", "images": [{"file_id": file.id}]}
    response = http.post("/images/edits", json=body)
    assert response.json()["usage"]["input_tokens_details"]["image_tokens"] == 194
    body["images"] = [{"file_id": "file-" + "x" * 22}]
    assert http.post("/images/edits", json=body).status_code == 404


def test_speech_is_a_sound_as_long_as_its_text(client: openai.OpenAI) -> None:
    said: dict[str, Any] = {"model": "tts-1", "input": FIVE_WORDS, "voice": "alloy"}
    sound = client.audio.speech.create(**said, response_format="wav").content
    with wave.open(io.BytesIO(sound)) as read:
        assert read.getnframes() / read.getframerate() == pytest.approx(2.0)
    assert client.audio.speech.create(**said).content.startswith(b"\xff\xfb")
    with pytest.raises(openai.BadRequestError, match="4096"):
        client.audio.speech.create(model="tts-1", input="x" * 4097, voice="alloy")


def test_streamed_speech_ends_with_its_usage(http: httpx2.Client) -> None:
    body = {"model": "gpt-4o-mini-tts", "input": FIVE_WORDS, "voice": "alloy"}
    response = http.post("/audio/speech", json={**body, "stream_format": "sse"})
    last = response.text.strip().rpartition("data: ")[2]
    assert '"speech.audio.done"' in last
    assert '"usage":{"input_tokens":5,"output_tokens":40,"total_tokens":45}' in last


@pytest.mark.parametrize(
    ("form", "begins"),
    [("text", "this is what"), ("srt", "1\n00:00:00,000 -->"), ("vtt", "WEBVTT")],
)
def test_a_transcription_may_be_text(client: openai.OpenAI, form: Any, begins: str) -> None:
    sound = ("a.wav", wav(2.0))
    create: Any = client.audio.transcriptions.create
    text: str = create(file=sound, model="whisper-1", response_format=form)
    assert text.startswith(begins)


def test_a_transcription_reports_seconds_or_tokens(client: openai.OpenAI) -> None:
    sound = ("a.wav", wav(2.0))
    by_seconds = client.audio.transcriptions.create(
        file=sound, model="whisper-1", response_format="verbose_json"
    )
    assert by_seconds.usage
    assert by_seconds.usage.seconds == by_seconds.duration == 2.0
    by_tokens = client.audio.transcriptions.create(file=sound, model="gpt-4o-transcribe")
    assert by_tokens.usage
    assert by_tokens.usage.type == "tokens"
    assert by_tokens.usage.input_tokens == 20
    assert len(by_tokens.text.split()) == 5
    *_, last = client.audio.transcriptions.create(
        file=sound, model="gpt-4o-transcribe", stream=True
    )
    assert last.type == "transcript.text.done"
    assert (last.text, last.usage and last.usage.total_tokens) == (
        by_tokens.text,
        by_tokens.usage.total_tokens,
    )


def test_a_translation_reports_nothing(http: httpx2.Client) -> None:
    files = {"file": ("a.wav", wav(2.0))}
    response = http.post("/audio/translations", files=files, data={"model": "whisper-1"})
    assert response.json() == {"text": "this is what the sandbox"}


def test_a_sound_is_measured_by_its_head_or_its_size() -> None:
    assert seconds_of(wav(3.0), len(wav(3.0))) == 3.0
    assert seconds_of(mp3(3.0), len(mp3(3.0))) == pytest.approx(3.0, abs=0.05)


def test_a_decision_answers_every_question(client: openai.OpenAI) -> None:
    questions: list[Any] = [
        {"type": "predicate", "instructions": "Is it rude?", "name": "rude"},
        {"type": "choice", "instructions": "Which?", "choices": [{"value": "a"}, {"value": "b"}]},
        {"type": "score", "instructions": "How?", "levels": [{"label": "low"}, {"label": "high"}]},
    ]
    made = client.decisions.create(model="gpt-5.4", input="Hello", questions=questions)
    assert [answer.type for answer in made.answers] == ["predicate", "choice", "score"]
    assert made.usage.output_tokens == 3
    assert made.usage.input_tokens > tokens("Hello")
