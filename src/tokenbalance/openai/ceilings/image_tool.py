"""What one call of the tool that makes images may use of other models: second bills.

An image model draws the image, and for SVG another model writes it. Both are billed beside the
response's own usage. No field limits them, so they are bounded by rule, and by nothing that was
fetched or looked into. Sources:

- OpenAI's guide to image generation: sizes, qualities, 100 tokens for each partial image, and the
  table of `gpt-image-1` (a high quality image of 1,024 by 1,536 pixels has 6,240 tokens, a medium
  one 1,584).
- The formula of that guide's calculator for `gpt-image-2`. With `a` for the quality (low 16, medium
  48, high 96), a square image of `p` pixels has a x a x (2,000,000 + p) / 4,000,000 tokens; one
  that is not square has fewer.
- Measured in public for `gpt-image-2.6`, where its low and medium are three to four times those of
  2.5: 664 tokens at low quality, about 5,800 where the model chooses the quality itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.tokens.models import model_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Json, Quantities
    from tokenbalance.openai.tokens.models import Model

IMAGE_TOOLS: Final = frozenset({"image_generation"})
"""Types of tools that make images."""
DEFAULT_MODEL: Final = "gpt-image-2.6-sunburst"
"""The image model where a tool names none, as the SDK 3.57 documents it."""

_FINEST: Final = 128
"""A third more than what is known of any quality: xhigh, max and what the model may choose."""
_QUALITIES: Final = {"low": 64, "medium": 64, "high": 96}
"""The quality's number in the formula. Low and medium: twice as many tokens as any known image."""
_OFFSET_PIXELS: Final = 2_000_000
_PIXELS_PER_TOKEN: Final = 4_000_000
_LARGEST_PIXELS: Final = 3_840 * 2_160
_USUAL_PIXELS: Final = 1_536 * 1_536
"""Of a size that the model chooses: it takes one of the standard sizes."""
_SIZE: Final = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_PARTIAL_IMAGE: Final = 100
_MOST_PARTIAL_IMAGES: Final = 3
_PLAN: Final = 2_048
"""Text that an image model may write before it draws."""

_PROMPT: Final = 8_192
"""Tokens of the prompt that the model writes for an image; the limit is 32,000 characters."""
_IMAGE: Final = 8_192
"""Tokens of an image that is read: at high fidelity a long one has about 6,500."""
MOST_IMAGES: Final = 16
"""Images that an edit may be given."""


def image_model_of(tool: Mapping[str, Json]) -> str:
    """The name of the model that draws."""
    name = tool.get("model")
    return name if isinstance(name, str) and name else DEFAULT_MODEL


def svg_model_of(tool: Mapping[str, Json], outer: str) -> str | None:
    """The name of the model that writes SVG; None where the output is no SVG.

    Unless the tool names one, it is `outer`, the response's own.
    """
    if tool.get("output_format") != "svg":
        return None
    svg = tool.get("svg")
    name = svg.get("model") if isinstance(svg, dict) else None
    return name if isinstance(name, str) and name else outer


def use_of(tool: Mapping[str, Json], images: int, model: Model, outer: str) -> Quantities:
    """What one call of the tool uses at most.

    Args:
        tool: as it is offered.
        images: in the input of the request.
        model: the response's own, which writes SVG where the tool names no other.
        outer: the name of that model.

    """
    # An edit may read what an earlier call has drawn, and a mask.
    images = min(images + 1 + (tool.get("input_image_mask") is not None), MOST_IMAGES)
    read = _PROMPT + images * _IMAGE
    drawn = (("image_tool_input", read), ("image_tool_output", drawn_tokens(tool)))
    author = svg_model_of(tool, outer)
    if author is None:
        return drawn
    # Nothing but its own maximum limits what the author writes.
    writer = model if author == outer else model_for(author)
    return (*drawn, ("svg_input", read + _IMAGE), ("svg_output", writer.maximum_output))


def drawn_tokens(tool: Mapping[str, Json]) -> int:
    """Tokens at most of one image of this size, quality and format, with all that comes before it.

    Args:
        tool: the fields of the tool, or of a request for images, which are the same.

    """
    quality = tool.get("quality")
    axis = _QUALITIES.get(quality, _FINEST) if isinstance(quality, str) else _FINEST
    tokens = axis * axis * (_OFFSET_PIXELS + _pixels(tool)) // _PIXELS_PER_TOKEN
    return tokens + 1 + _MOST_PARTIAL_IMAGES * _PARTIAL_IMAGE + _PLAN


def _pixels(tool: Mapping[str, Json]) -> int:
    # The frames of a GIF share what one image may have.
    if tool.get("output_format") == "gif":
        return _LARGEST_PIXELS
    size = tool.get("size")
    if size is None or size == "auto":
        return _USUAL_PIXELS
    sides = _SIZE.fullmatch(size) if isinstance(size, str) else None
    return _LARGEST_PIXELS if sides is None else min(int(sides[1]) * int(sides[2]), _LARGEST_PIXELS)
