"""What speech may cost: the tokens or characters of its text, and tokens of audio.

OpenAI reports the tokens of a stream of events, and nothing beside plain audio. There the text is
what is known: its characters, its tokens, and how many tokens of audio so much text usually is.
Sources: OpenAI's price page ($12 for a million tokens of audio, about $0.015 a minute: 21 tokens a
second), and 15 characters a second of spoken English.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate, Usage
from tokenbalance.openai.ceilings.schemas import unread_tokens
from tokenbalance.openai.documents import optional_string, require_string
from tokenbalance.openai.tokens.counting import byte_bound

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FIELDS: Final = frozenset({
    "input", "instructions", "model", "response_format", "speed", "stream_format", "voice",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_FRAME: Final = 32
_SPOKEN: Final = 16
"""Tokens of audio at most for a byte of text: a digit is a word, and may be spoken slowly."""
_SILENCE: Final = 256
_USUAL: Final = 3, 2
"""Tokens of audio that are charged for how many bytes, where nothing reports them."""


def estimate(document: Document, _model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of speech, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    text = require_string(document, "input")
    size = byte_bound(text)
    is_reported = optional_string(document, "stream_format") == "sse"
    return Estimate(
        input_tokens=_input_tokens(document, text, measure),
        output_cap=_SILENCE + _SPOKEN * size if is_reported else _usual(size),
        has_media=True,
        more=(("character", len(text)),),
    )


def reckon(document: Document, _model: Model, measure: Measure) -> Usage:
    """Return what speech has used that nothing reports."""
    text = require_string(document, "input")
    instructions = measure(optional_string(document, "instructions") or "")
    read, spoken = measure(text) + instructions, _usual(byte_bound(text))
    quantities = {"input": read, "output": spoken, "audio_output": spoken}
    return Usage({**quantities, "character": len(text)}, read + spoken, estimated=True)


def _usual(size: int) -> int:
    tokens, of_bytes = _USUAL
    return -(-size * tokens // of_bytes)


def _input_tokens(document: Document, text: str, measure: Measure) -> int:
    instructions = measure(optional_string(document, "instructions") or "")
    return measure(text) + instructions + _FRAME + unread_tokens(document, FIELDS, measure)
