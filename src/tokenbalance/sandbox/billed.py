"""What decides the price of a response beside its tokens, and how the response reports it.

The tier, how long the prompt cache is kept, and searches: enough to try a rate card with all of
them. A search is made whenever the request offers one, and a prompt is only written into the cache
if a lifetime was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenbalance.sandbox.replies import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, Json
    from tokenbalance.sandbox.fields import Fields

_TIERS = {"auto": "default", "fast": "priority"}
"""What is served where something else was asked for."""
_QUERY_CHARACTERS = 80


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


def search_of(fields: Fields, prompt: str) -> Document | None:
    """Return the item of a web search; None unless the request offers one."""
    kinds = [tool.value("type") for tool in fields.objects("tools")]
    offered = any(isinstance(kind, str) and kind.startswith("web_search") for kind in kinds)
    if not offered or fields.value("tool_choice") == "none" or fields.value("max_tool_calls") == 0:
        return None
    query = prompt[:_QUERY_CHARACTERS]
    return {
        "id": new_id("ws_"),
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": query, "queries": [query]},
    }


def search_events(search: Document) -> Iterator[Document]:
    """Yield the events of a search, which is the first item."""
    place: Document = {"output_index": 0}
    at: Document = {"item_id": search["id"], **place}
    begun = {name: search[name] for name in ("id", "type")}
    added: Document = {**begun, "status": "in_progress"}
    yield {"type": "response.output_item.added", "item": added, **place}
    for step in ("in_progress", "searching", "completed"):
        yield {"type": f"response.web_search_call.{step}", **at}
    yield {"type": "response.output_item.done", "item": search, **place}


def tool_usage(searches: int) -> Document:
    """Return the usage of hosted tools: so many searches."""
    images: dict[str, Json] = {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "total_tokens": 0,
    }
    return {"image_gen": images, "web_search": {"num_requests": searches}}
