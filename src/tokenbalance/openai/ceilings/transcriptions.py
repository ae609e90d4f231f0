"""What a transcription or translation may cost: the length of its audio, and the text of it.

OpenAI reports tokens or seconds, by the model; for the formats `text`, `srt` and `vtt` neither. The
length of the file was read before (`seconds` of the form's file); where it could not be, its size
bounds it. Sources: the price page (a minute of `gpt-4o-transcribe` is $0.006, of which 600 tokens
of audio), and the models' own limits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate, Usage
from tokenbalance.openai.ceilings.media import TOKENS_PER_SECOND
from tokenbalance.openai.ceilings.schemas import json_tokens, unread_tokens
from tokenbalance.openai.documents import (
    optional_string,
    require,
    require_object,
    require_string,
    type_error,
)

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FIELDS: Final = frozenset({
    "chunking_strategy", "file", "include", "include[]", "keywords", "keywords[]",
    "known_speaker_names", "known_speaker_names[]", "known_speaker_references",
    "known_speaker_references[]", "language", "languages", "languages[]", "model", "prompt",
    "response_format", "stream", "temperature", "timestamp_granularities",
    "timestamp_granularities[]",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_READ: Final = ("keywords", "keywords[]", "languages", "languages[]", "prompt")
"""Fields that the model reads as text."""
_FRAME: Final = 64
_WRITTEN_PER_SECOND: Final = 24
"""Tokens of text at most in a second of speech, with the names of speakers."""
_WRITTEN: Final = 256
BYTES_PER_SECOND: Final = 500
"""The smallest usual encoding of speech has 4 kbit/s; so much of a file is a second at most."""
_SPEAKER_S: Final = 10
"""A sample of a known speaker has so many seconds at most, and there are up to four."""
_BY_DURATION: Final = ("gpt-transcribe", "whisper")
"""Begins the names of models that report seconds, and whose text costs nothing."""


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a transcription, the text of its prompt measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    seconds = seconds_of(document)
    heard = TOKENS_PER_SECOND * (seconds + _speaker_seconds(document))
    read = sum(json_tokens(document.get(name), measure) for name in _READ)
    return Estimate(
        input_tokens=heard + read + _FRAME + unread_tokens(document, FIELDS, measure),
        output_cap=_written(document, model, seconds),
        has_media=True,
        more=(("second_audio", seconds),),
    )


def reckon(document: Document, _model: Model, _measure: Measure) -> Usage:
    """Return what a transcription has used that reports nothing: its seconds."""
    seconds = seconds_of(document)
    heard = TOKENS_PER_SECOND * seconds
    return Usage(
        {"input": heard, "audio_input": heard, "second_audio": seconds}, heard, estimated=True
    )


def seconds_of(document: Document) -> int:
    """The seconds of a form's audio, rounded up: read from the file, else bounded by its size.

    Raises:
        InvalidRequest: there is no file.
    """
    file = require_object(require(document, "file"), "file")
    size, seconds = file.get("size"), file.get("seconds")
    if type(size) is not int or size < 0:
        raise type_error("file", "a file", "")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
        return math.ceil(seconds)
    return size // BYTES_PER_SECOND + 1


def _written(document: Document, model: Model, seconds: int) -> int:
    if require_string(document, "model").startswith(_BY_DURATION):
        return 0
    _ = optional_string(document, "response_format")
    return min(model.maximum_output, _WRITTEN + _WRITTEN_PER_SECOND * seconds)


def _speaker_seconds(document: Document) -> int:
    names = ("known_speaker_references", "known_speaker_references[]")
    samples = next((document[name] for name in names if document.get(name)), None)
    return _SPEAKER_S * (len(samples) if isinstance(samples, list) else samples is not None)
