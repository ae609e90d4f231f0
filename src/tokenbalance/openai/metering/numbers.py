"""Every number below a `usage` that OpenAI reports: the kind that it counts as, or why as none.

Owns the list alone; `usage` and `bills` read the numbers. A test compares it with the types of the
official SDK for every open operation, so that a number that OpenAI begins to bill is noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final[Mapping[str, str]] = {
    # Chat completions, completions, embeddings.
    "usage.prompt_tokens": "input",
    "usage.prompt_tokens_details.audio_tokens": "audio_input",
    "usage.prompt_tokens_details.cache_write_tokens": "cache_write",
    "usage.prompt_tokens_details.cached_tokens": "cached_input",
    "usage.prompt_tokens_details.image_tokens": "image_input",
    "usage.completion_tokens": "output",
    "usage.completion_tokens_details.audio_tokens": "audio_output",
    "usage.completion_tokens_details.reasoning_tokens": "reasoning",
    # Responses.
    "usage.input_tokens": "input",
    "usage.input_tokens_details.cached_tokens": "cached_input",
    "usage.input_tokens_details.cache_write_tokens": "cache_write",
    "usage.input_tokens_details.cache_write_tokens_details.ttl_30m_tokens": "cache_write",
    # Everything that was not written for 30 minutes, so that no unknown lifetime is the cheapest.
    "usage.input_tokens_details.cache_write_tokens_details.ttl_12h_tokens": "cache_write_12h",
    "usage.output_tokens": "output",
    "usage.output_tokens_details.reasoning_tokens": "reasoning",
    # Images.
    "usage.input_tokens_details.image_tokens": "image_input",
    "usage.output_tokens_details.image_tokens": "image_output",
    # Transcriptions.
    "usage.input_token_details.audio_tokens": "audio_input",
    "usage.seconds": "second_audio",
    # The image model of the image tool.
    "tool_usage.image_gen.input_tokens": "image_tool_input",
    "tool_usage.image_gen.input_tokens_details.image_tokens": "image_tool_image_input",
    "tool_usage.image_gen.cached_tokens": "image_tool_cached_input",
    "tool_usage.image_gen.cached_tokens_details.cached_image_tokens": (
        "image_tool_cached_image_input"
    ),
    "tool_usage.image_gen.output_tokens": "image_tool_output",
    "tool_usage.image_gen.output_tokens_details.image_tokens": "image_tool_image_output",
    # The model that has written SVG, for the image tool (of items in `output` alone) or for a
    # response with images.
    "svg_usage.input_tokens": "svg_input",
    "svg_usage.output_tokens": "svg_output",
    "svg_usage.reasoning_tokens": "svg_reasoning",
    # Fees.
    "tool_usage.web_search.num_requests": "call:web_search",
}
"""By path, from the member whose name ends with `usage`."""

_SUM: Final = "the sum of input and output; what is more than that is output"
_PREDICTED: Final = "billed as the output that it is part of"
_TEXT: Final = "what the other kinds leave of the side"
_GRADED: Final = "the sum of what a run's model used; what is more than its prompts is output"

NO_KIND: Final[Mapping[str, str]] = {
    "usage.total_tokens": _SUM,
    "usage.input_tokens_details.text_tokens": _TEXT,
    "usage.input_token_details.text_tokens": _TEXT,
    "usage.output_tokens_details.text_tokens": _TEXT,
    "token_usage": _GRADED,
    "usage.prompt_tokens_details.text_tokens": _TEXT,
    "usage.completion_tokens_details.text_tokens": _TEXT,
    "usage.completion_tokens_details.accepted_prediction_tokens": _PREDICTED,
    "usage.completion_tokens_details.rejected_prediction_tokens": _PREDICTED,
    "tool_usage.image_gen.total_tokens": _SUM,
    "tool_usage.image_gen.input_tokens_details.text_tokens": _TEXT,
    "tool_usage.image_gen.cached_tokens_details.cached_text_tokens": _TEXT,
    "tool_usage.image_gen.output_tokens_details.text_tokens": _TEXT,
    "svg_usage.total_tokens": _SUM,
}
"""By path: numbers that are counted as no kind of their own, and why."""
