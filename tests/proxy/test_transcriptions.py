"""Forms that are charged: recordings by their length, edits of images by what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest

from tests.proxy.test_audio_lengths import frames, wav, webm
from tests.proxy.test_media import drawn, events, image_usage
from tests.support.books import charges_of, create_holder
from tests.support.product import serving
from tests.support.rate_cards import priced, written
from tests.support.upstream import Response, json_response
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

CARD: Final = """
version = 2

[[models]]
match = ["whisper-1", "gpt-transcribe"]
second_audio = 100

[[models]]
match = "gpt-4o*-transcribe*"
input = 2.5
audio_input = 6
output = 10

[[models]]
match = "gpt-image-*"
input = 5
image_input = 8
output = 10
image_output = 30
"""
RICH: Final = 10**9
AUDIO: Final = wav(3)
HEARD: Final = {
    "type": "tokens",
    "input_tokens": 34,
    "input_token_details": {"audio_tokens": 30, "text_tokens": 4},
    "output_tokens": 5,
    "total_tokens": 39,
}
PLAIN: Final = [("content-type", "text/plain")]


@dataclass(frozen=True)
class Case:
    """A form, what the upstream responds, and what it costs."""

    name: str
    fields: dict[str, str]
    response: Response
    plain: int
    carded: int
    estimated: bool = False
    path: str = "/audio/transcriptions"
    files: tuple[tuple[str, Any], ...] = (("file", ("a.wav", AUDIO, "audio/wav")),)


def said(usage: Any, **more: Any) -> Response:
    return json_response({"text": "Hello", **more, **({} if usage is None else {"usage": usage})})


SHORT: Final = {"model": "gpt-4o-mini-transcribe"}
WHISPER: Final = {"model": "whisper-1"}
EDIT: Final = {"model": "gpt-image-1.5", "prompt": "A cat", "quality": "low", "size": "1024x1024"}
CASES: Final = (
    Case("tokens", SHORT, said(HEARD), 39, 4 * 2 + 2 + 30 * 6 + 50),
    Case(
        "tokens that are streamed",
        {**SHORT, "stream": "true"},
        events(
            {"type": "transcript.text.delta", "delta": "Hello"},
            {"type": "transcript.text.done", "text": "Hello", "usage": HEARD},
        ),
        39,
        4 * 2 + 2 + 30 * 6 + 50,
    ),
    Case("seconds, rounded up", WHISPER, said({"type": "duration", "seconds": 2.1}), 30, 300),
    Case(
        "text alone",
        {**WHISPER, "response_format": "text"},
        Response(headers=PLAIN, body=b"Hello\n"),
        30,
        300,
        estimated=True,
    ),
    Case(
        "subtitles of a model with tokens",
        {"model": "gpt-4o-transcribe-diarize", "response_format": "srt"},
        Response(headers=PLAIN, body=b"1\n00:00:00,000 --> 00:00:02,000\nHello\n"),
        30,
        180,
        estimated=True,
    ),
    Case(
        "an MP3 of 100 frames",
        {**WHISPER, "response_format": "vtt"},
        Response(headers=PLAIN, body=b"WEBVTT\n"),
        30,
        300,
        estimated=True,
        files=(("file", ("a.mp3", frames(100), "audio/mpeg")),),
    ),
    Case(
        "what a browser records",
        {**WHISPER, "response_format": "text"},
        Response(headers=PLAIN, body=b"Hello"),
        60,
        600,
        estimated=True,
        files=(("file", ("a.webm", webm(5), "audio/webm")),),
    ),
    Case(
        "a file that cannot be read is as long as its size allows",
        {**WHISPER, "response_format": "text"},
        Response(headers=PLAIN, body=b"Hello"),
        30,
        300,
        estimated=True,
        files=(("file", ("a.bin", b"?" * 1_200, "audio/mpeg")),),
    ),
    Case(
        "a translation with its duration",
        {**WHISPER, "response_format": "verbose_json"},
        said(None, duration=2.9, segments=[]),
        30,
        300,
        path="/audio/translations",
    ),
    Case(
        "a translation",
        WHISPER,
        said(None),
        30,
        300,
        estimated=True,
        path="/audio/translations",
    ),
    Case(
        "an edit of two images, streamed",
        {**EDIT, "stream": "true", "partial_images": "1", "n": "1"},
        events(*drawn("image_edit", image_usage(500, 372))),
        872,
        500 * 5 + 372 * 30,
        path="/images/edits",
        files=tuple(("image[]", (f"{number}.png", b"\x89PNG", "image/png")) for number in range(2)),
    ),
)


async def send(
    http: httpx2.AsyncClient, path: str, headers: dict[str, str], case: Case
) -> httpx2.Response:
    files: Any = [*case.files]
    return await http.post(f"/v1{path}", data=case.fields, files=files, headers=headers)


async def check_every_case(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream, *, carded: bool
) -> None:
    for case in CASES:
        holder = await create_holder(pool, RICH)
        upstream.script(case.response)
        response = await send(http, case.path, holder.headers, case)
        assert response.status_code == 200, (case.name, response.text)
        (charge,) = await charges_of(pool, holder)
        due = case.carded if carded else case.plain
        assert (-charge["amount"], charge["estimated"]) == (due, case.estimated), case.name
        assert (charge["overrun"], charge["held"] >= due) == (0, True), case.name
        # What the client sent is what the upstream got.
        assert upstream.requests[-1].body.startswith(b"--")
    assert (await audit(pool)).violations == []


async def test_without_a_card_a_second_is_ten_tokens(
    dsn: str, pool: Pool, upstream: ScriptedUpstream
) -> None:
    async with (
        serving(dsn, upstream.base_url) as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as http,
    ):
        await check_every_case(http, pool, upstream, carded=False)


async def test_with_a_card_a_recording_costs_its_seconds_or_its_tokens(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        await check_every_case(http, pool, upstream, carded=True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "whisper-1", "stream": "yes"}, "invalid_type"),
        ({"file": "text", "model": "whisper-1"}, "invalid_type"),
        ({}, "missing_required_parameter"),
    ],
)
async def test_a_field_of_a_form_that_decides_the_cost_has_one_spelling(
    http: httpx2.AsyncClient,
    pool: Pool,
    upstream: ScriptedUpstream,
    fields: dict[str, str],
    code: str,
) -> None:
    holder = await create_holder(pool, RICH)
    files = None if "file" in fields else {"file": ("a.wav", AUDIO)}
    files = files or {"other": ("a.wav", AUDIO)}
    refused = await http.post(
        "/v1/audio/transcriptions", data=fields, files=files, headers=holder.headers
    )
    assert refused.json()["error"]["code"] == code, refused.text
    assert upstream.requests == []
