"""Tokens of images, audio and files in a prompt, bounded by rule. Nothing is ever fetched.

The size of an image is unknown if it is a URL, and easy to misstate if it is bytes, so every image
costs what the most expensive one costs its model. Rules: OpenAI's guides to images, audio and
files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.errors import UnsupportedParameter

if TYPE_CHECKING:
    from tokenbalance.model import Json
    from tokenbalance.openai.tokens.models import Model

TOKENS_PER_SECOND: Final = 10
"""Input tokens of a second of audio, in models that count it in tokens."""
_BYTES_PER_AUDIO_TOKEN: Final = 100
"""Ten tokens a second; the smallest usual encoding (MP3 at 8 kbit/s) has 1,000 bytes a second."""
_AUDIO: Final = 64
_FILE: Final = 64


def image_tokens(model: Model, detail: Json) -> int:
    """Tokens at most of one image of this `detail`."""
    return model.image.low if detail == "low" else model.image.high


def audio_tokens(model: Model, data: str) -> int:
    """Tokens at most of audio given as base64 `data`."""
    return min(model.context, _AUDIO + _decoded_bytes(data) // _BYTES_PER_AUDIO_TOKEN)


def file_tokens(model: Model, data: str) -> int:
    """Tokens at most of a file given as base64 `data`: its text, and its pages as images.

    A page that costs a whole image but has less than 2 kB is possible, but unusual.
    """
    pages = 1 + _decoded_bytes(data) // 2_048
    return min(model.context, _FILE + _decoded_bytes(data) + pages * model.image.high)


def unknown_file_tokens(model: Model) -> int:
    """Tokens at most of a file that the upstream fetches: all that the model can read."""
    return model.context


def _decoded_bytes(data: str) -> int:
    encoded = len(data) - data.find(",", 0, 256) - 1
    return encoded * 3 // 4 + 1


def unsupported(param: str, instead: str = "") -> UnsupportedParameter:
    """Return the error for the field `param`, whose feature cannot be shared or bounded here.

    `instead` is a sentence that says how to avoid it.
    """
    message = f"Unsupported parameter: '{param}' is not supported through a shared key."
    return UnsupportedParameter(f"{message} {instead}".rstrip(), param=param)
