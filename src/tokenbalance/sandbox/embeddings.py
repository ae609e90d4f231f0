"""`POST /embeddings`: vectors of unit length, near each other if their texts share words."""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from base64 import b64encode
from typing import TYPE_CHECKING

from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.fields import Fields, invalid_value
from tokenbalance.sandbox.prompts import prompts_in
from tokenbalance.sandbox.replies import Whole

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

INPUTS_LIMIT = 2048
DEFAULT_DIMENSIONS = 1536
DIMENSIONS = {"text-embedding-3-large": 3072}
FIXED_DIMENSIONS_MODEL = "text-embedding-ada-002"

_WORD = re.compile(r"\w+")
_FORMATS = ("float", "base64")


def embed(fields: Fields) -> Whole:
    """Return one vector for each input.

    Raises:
        ApiError: OpenAI would not accept the request.
    """
    model = fields.required_text("model")
    prompts = prompts_in(fields, "input", model)
    _refuse_too_many(len(prompts))
    dimensions = _dimensions(fields, model)
    form = fields.text("encoding_format") or "float"
    if form not in _FORMATS:
        raise invalid_value("encoding_format", form, _FORMATS)
    data: list[Json] = [
        {"object": "embedding", "index": index, "embedding": _write(vector, form)}
        for index, vector in enumerate(_vector(prompt.text, dimensions) for prompt in prompts)
    ]
    document: Document = {"object": "list", "data": data, "model": model}
    if model != MODEL_WITHOUT_USAGE:
        tokens = sum(prompt.tokens for prompt in prompts)
        document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Whole(document)


def _refuse_too_many(inputs: int) -> None:
    if inputs > INPUTS_LIMIT:
        raise ApiError(
            f"Invalid 'input': maximum size is {INPUTS_LIMIT}, but got {inputs}.",
            param="input",
            code="array_above_max_length",
        )


def _dimensions(fields: Fields, model: str) -> int:
    most = DIMENSIONS.get(model, DEFAULT_DIMENSIONS)
    wanted = fields.integer("dimensions", 1, most)
    if wanted is not None and model == FIXED_DIMENSIONS_MODEL:
        raise ApiError("This model does not support specifying dimensions.", param="dimensions")
    return wanted or most


def _vector(text: str, dimensions: int) -> list[float]:
    """Hash each word, and the whole text, to one dimension and a sign."""
    values = [0.0] * dimensions
    for word in [*_WORD.findall(text.lower()), text]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        values[int.from_bytes(digest[1:]) % dimensions] += 1.0 if digest[0] % 2 else -1.0
    length = math.hypot(*values)
    if length == 0.0:
        return [1.0, *values[1:]]
    return [value / length for value in values]


def _write(vector: list[float], form: str) -> Json:
    if form == "float":
        return [*vector]
    # 32-bit floats of the machine, which is little-endian in practice.
    return b64encode(array("f", vector).tobytes()).decode()
