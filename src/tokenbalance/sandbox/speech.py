"""`/audio/speech`: a sound as long as its text would take to be read."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from tokenbalance.sandbox.counting import count_text
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.fields import invalid_value, missing
from tokenbalance.sandbox.replies import Content, Stream, event
from tokenbalance.sandbox.sounds import mp3, pcm, wav

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tokenbalance.model import Document
    from tokenbalance.sandbox.calls import Call, Endpoint
    from tokenbalance.sandbox.replies import Reply

INPUT_MAX: Final = 4096
"""Characters."""
WORDS_A_SECOND: Final = 2.5
SECONDS_MAX: Final = 30.0
"""A longer text is not read to its end."""
TOKENS_A_SECOND: Final = 20
_PIECE_BYTES: Final = 8192

_FORMATS: Final[Mapping[str, tuple[str, Callable[[float], bytes]]]] = {
    "mp3": ("audio/mpeg", mp3),
    "opus": ("audio/ogg", mp3),
    "aac": ("audio/aac", mp3),
    "flac": ("audio/flac", mp3),
    "wav": ("audio/wav", wav),
    "pcm": ("audio/pcm", pcm),
}
_STREAMS: Final = ("audio", "sse")


def _speak(call: Call) -> Reply:
    fields = call.fields
    model, text = fields.required_text("model"), fields.required_text("input")
    if fields.value("voice") is None:
        raise missing("voice")
    if len(text) > INPUT_MAX:
        raise ApiError(
            f"Invalid 'input': string too long. Expected a string with maximum length {INPUT_MAX}, "
            f"but got a string with length {len(text)} instead.",
            param="input",
            code="string_above_max_length",
        )
    form = fields.text("response_format") or "mp3"
    if form not in _FORMATS:
        raise invalid_value("response_format", form, tuple(_FORMATS))
    how = fields.text("stream_format") or "audio"
    if how not in _STREAMS:
        raise invalid_value("stream_format", how, _STREAMS)
    media_type, speak = _FORMATS[form]
    seconds = min(len(text.split()) / WORDS_A_SECOND, SECONDS_MAX)
    sound = speak(seconds)
    if how == "sse":
        return Stream(tuple(_events(sound, _usage(model, text, seconds))))
    return Content(sound, media_type)


def _usage(model: str, text: str, seconds: float) -> Document | None:
    if model == MODEL_WITHOUT_USAGE:
        return None
    read, spoken = count_text(text, model), max(round(seconds * TOKENS_A_SECOND), 1)
    return {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}


def _events(sound: bytes, usage: Document | None) -> Iterator[bytes]:
    for at in range(0, len(sound), _PIECE_BYTES):
        piece = b64encode(sound[at : at + _PIECE_BYTES]).decode()
        yield event({"type": "speech.audio.delta", "audio": piece})
    done: Document = {"type": "speech.audio.done"}
    if usage is not None:
        done["usage"] = usage
    yield event(done)


SPEECH: Final[Mapping[str, Endpoint]] = {"POST /audio/speech": _speak}
