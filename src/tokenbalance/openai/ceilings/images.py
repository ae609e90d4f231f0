"""What images may cost: the prompt, the images that are read, and those that are drawn.

No field limits the tokens of an image, so they are bounded by rule, and by nothing that was fetched
or looked into. Sources: OpenAI's guide to image generation (its table of tokens by size and
quality, 100 tokens for each partial image), and for models without a table the rules of
`image_tool`, which are generous. An unknown size or quality is taken for the dearest one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate, Usage
from tokenbalance.openai.ceilings.image_tool import drawn_tokens, svg_model_of
from tokenbalance.openai.ceilings.schemas import unread_tokens
from tokenbalance.openai.documents import (
    optional_integer,
    optional_list,
    optional_object,
    optional_string,
    require_string,
)
from tokenbalance.openai.tokens.models import model_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json, Quantities
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

FIELDS: Final = frozenset({
    "background", "complexity", "frame_count", "frame_duration_ms", "image", "image[]", "images",
    "input_fidelity", "markup", "mask", "model", "moderation", "n", "output_compression",
    "output_format", "partial_images", "prompt", "quality", "response_format", "safety_identifier",
    "size", "stream", "style", "svg", "user",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
IMAGES_MAX: Final = 10
_PARTIAL_IMAGES_MAX: Final = 3
_PARTIAL_IMAGE: Final = 100
_FRAME: Final = 64
"""What the upstream writes around a prompt: recorded ones have a dozen more tokens."""

_TABLE: Final = {
    "low": (272, 408, 400),
    "medium": (1_056, 1_584, 1_568),
    "high": (4_160, 6_240, 6_208),
}
"""Tokens of a square, an upright and a wide image, by quality: OpenAI's guide, for `gpt-image-1`,
`gpt-image-1-mini` and `gpt-image-1.5`."""
_WITH_TABLE: Final = ("chatgpt-image-latest", "gpt-image-1")
_SIZES: Final = {"1024x1024": 0, "1024x1536": 1, "1536x1024": 2}
"""The place of each in a row of the table."""
_WITH_FORMULA: Final = "gpt-image-2"
_FORMULA: Final = {"low": 16, "medium": 48, "high": 96}
"""The numbers of its qualities in the formula of OpenAI's calculator."""
_PLANS: Final = ("chatgpt-image-latest", "gpt-image-1.5")
_PLAN: Final = 2_048
"""Text that newer models may write before they draw."""
_PER_IMAGE: Final = "dall-e"
"""Begins the names of models that are billed by the image, and report no tokens."""
_OLDER_QUALITIES: Final = {"hd": "high", "standard": "medium"}

_READ: Final = 8_192
"""Tokens of an image that is read: at high fidelity a long one has about 6,500."""
_READ_COARSELY: Final = 2_048
"""The same at low fidelity, which models of the table have by default: 65, and 129 a tile."""


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of images that are drawn or edited, the prompt measured by `measure`.

    Each image is billed as a request of its own, with the whole input.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    name = require_string(document, "model")
    count = optional_integer(document, "n", minimum=1, maximum=IMAGES_MAX) or 1
    one = _input_tokens(document, name, measure)
    return Estimate(
        input_tokens=count * one,
        choices=count,
        output_cap=_image_tokens(document, name),
        has_media=True,
        more=(("image", count), *_svg_use(document, name, model, one)),
    )


def reckon(document: Document, model: Model, measure: Measure) -> Usage:
    """Return what images have used whose tokens were not reported: the input, and their number.

    What was drawn is added by whoever has seen it. A model that is billed by the image has tokens
    in place of each.
    """
    most = estimate(document, model, measure)
    if not str(document.get("model")).startswith(_PER_IMAGE):
        return Usage.counted(most.input_tokens, 0)
    drawn = most.choices * most.output_cap
    quantities = {"input": most.input_tokens, "output": drawn, "image_output": drawn}
    return Usage({**quantities, "image": most.choices}, most.input_tokens + drawn, estimated=True)


def _input_tokens(document: Document, name: str, measure: Measure) -> int:
    read = _READ
    if name.startswith(_WITH_TABLE) and optional_string(document, "input_fidelity") != "high":
        read = _READ_COARSELY
    prompt = measure(require_string(document, "prompt"))
    return (
        prompt + _FRAME + _images_read(document) * read + unread_tokens(document, FIELDS, measure)
    )


def _images_read(document: Document) -> int:
    """Images that an edit is given, with what is laid over the first one.

    Raises:
        InvalidType: `images` is no list.
    """
    _ = optional_list(document, "images")
    return sum(
        len(given) if isinstance(given, list) else given is not None
        for given in map(document.get, ("image", "image[]", "images", "mask", "markup"))
    )


def _image_tokens(document: Document, name: str) -> int:
    """Tokens at most of one image, with those that come before it is finished."""
    partial = optional_integer(document, "partial_images", minimum=0, maximum=_PARTIAL_IMAGES_MAX)
    _ = optional_integer(document, "frame_count", minimum=1, maximum=16)
    quality, size = optional_string(document, "quality"), optional_string(document, "size")
    if not name.startswith((*_WITH_TABLE, _PER_IMAGE)):
        is_known = name == _WITH_FORMULA or name.startswith(f"{_WITH_FORMULA}-")
        return drawn_tokens(document, _FORMULA if is_known else None)
    known = _TABLE.get(_OLDER_QUALITIES.get(quality or "", quality or ""))
    if name.startswith(_PER_IMAGE) and quality is None:
        known = _TABLE["medium"]
    sizes = known or _TABLE["high"]
    at = _SIZES.get(size or "")
    tokens = max(sizes) if at is None else sizes[at]
    plan = _PLAN if name.startswith(_PLANS) else 0
    return tokens + (partial or 0) * _PARTIAL_IMAGE + plan


def _svg_use(document: Document, name: str, model: Model, read: int) -> Quantities:
    """What the author of an SVG may use: a second bill."""
    svg = optional_object(document, "svg")
    if svg is not None:
        _ = require_string(svg, "model", at="svg")
    author = svg_model_of(document, name)
    if author is None:
        return ()
    writer = model if author == name else model_for(author)
    return (("svg_input", read + _READ), ("svg_output", writer.maximum_output))


def svg_author(document: Mapping[str, Json]) -> str | None:
    """The name of the model that writes SVG; None where the output is no SVG."""
    return svg_model_of(document, str(document.get("model")))
