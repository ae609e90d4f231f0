"""What decides the price of a response beside its tokens, and how the response reports it.

The tier, how long the prompt cache is kept, searches and images: enough to try a rate card with all
of them. A prompt is only written into the cache if a lifetime was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenbalance.model import Document
    from tokenbalance.sandbox.fields import Fields

_TIERS = {"auto": "default", "fast": "priority"}
"""What is served where something else was asked for."""


def served_tier(fields: Fields) -> str:
    """Return the tier of the response."""
    asked = fields.text("service_tier") or "auto"
    return _TIERS.get(asked, asked)


def cache_writes(fields: Fields, tokens: int) -> Document:
    """Return what the details of an input of so many tokens say about writes into the cache."""
    lifetime = fields.within("prompt_cache_options").text("ttl")
    if lifetime is None:
        return {"cache_write_tokens": 0}
    longer = 0 if lifetime == "30m" else tokens
    return {
        "cache_write_tokens": tokens,
        "cache_write_tokens_details": {
            "ttl_30m_tokens": tokens - longer,
            "ttl_12h_tokens": longer,
        },
    }


def tool_usage(searches: int, drawn: Document | None) -> Document:
    """Return the usage of hosted tools.

    Args:
        searches: of the web.
        drawn: the usage of the image model; None: it has drawn nothing.

    """
    images: Document = drawn or {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "total_tokens": 0,
    }
    return {"image_gen": images, "web_search": {"num_requests": searches}}
