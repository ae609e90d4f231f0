"""What a response is billed for beside its `usage`: its tier, second bills, and calls by number.

    service_tier                        tier:<name> = 1, of the response that came
    tool_usage.image_gen                image_tool_*: tokens of the image model
    output[].svg_usage                  svg_*: tokens of the model that wrote an SVG
    svg_usage                           the same, of a response with images alone
    tool_usage.web_search.num_requests  call:web_search
    output[].type                       call:<tool>, session:<tool>: nothing else reports them

Owns where a response has these. Only its own `output` counts: items in `instructions` are echoes of
earlier responses, and were paid for with them. A second bill that is broken never makes a usage
invalid: what can be read of it counts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tokenbalance.openai.ceilings.hosted_tools import fee_kind, fee_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenbalance.model import Document, Json, Quantities, Usage

COUNT_MAX: Final = 2**53
"""Larger JSON numbers are not exact everywhere; no request has ever come near."""

UNKNOWN_TIER: Final = "tier:unknown"
"""Of a response whose tier has a name that no card can list."""
_TIER: Final = re.compile(r"[a-z0-9_-]{1,32}")

_CALL: Final = re.compile(r"([a-z0-9_]{1,40})_call")
_SEARCH: Final = "web_search"
_FREE: Final = frozenset(
    {
        "apply_patch",
        "computer",
        "custom_tool",
        "function",
        "image_generation",
        "local_shell",
        "mcp",
        "multi_agent",
        "tool_search",
    }
)
"""Calls that cost nothing beside tokens: the client runs them, or a second bill has them."""


def count_of(value: Json) -> int | None:
    """Return a number that can be a count; None for anything else."""
    # bool is an int in Python, but not a count.
    return value if type(value) is int and 0 <= value <= COUNT_MAX else None


@lru_cache(maxsize=256)
def tier_kind(tier: str) -> str:
    """Return the kind that says that a response was of this tier."""
    name = tier.lower()
    return f"tier:{name}" if _TIER.fullmatch(name) is not None else UNKNOWN_TIER


def bills_of(response: Document) -> dict[str, int]:
    """Second bills and fees of a response, by kind."""
    output, tools = response.get("output"), response.get("tool_usage")
    bills = _of_items(output) if isinstance(output, list) else {}
    if isinstance(tools, dict):
        _add_tools(bills, tools)
    svg = response.get("svg_usage")
    if isinstance(svg, dict):
        bills |= _svg(svg)
    return bills


def fees_of(response: Document) -> dict[str, int]:
    """Fees of a response, by kind."""
    return {kind: number for kind, number in bills_of(response).items() if ":" in kind}


def call_of_event(kind: str) -> str | None:
    """Return the type of the item whose end an event of a stream reports, by the event's type.

    None for any other event, and for a call without a fee.
    """
    call = kind.removeprefix("response.").removesuffix(".completed")
    return None if call == kind or _fee_of(call) is None else call


def has_fees(text: bytes) -> bool:
    """Whether a part of a response has an item with a fee that no other member reports."""
    kinds = {bytes(found[1]).decode() for found in _ITEM_TYPE.finditer(text)}
    return any(_fee_of(kind) not in {None, f"call:{_SEARCH}"} for kind in kinds)


_ITEM_TYPE: Final = re.compile(rb'"type": ?"([a-z0-9_]{1,40}_call)"')


def billed_part(item: Document) -> Document | None:
    """Return what of an item decides its fee; None if it has none."""
    kind = item.get("type")
    if not isinstance(kind, str) or _fee_of(kind) is None:
        return None
    return {name: item[name] for name in _DECIDING if name in item}


_DECIDING: Final = ("type", "action", "container_id", "environment")


def with_fees(usage: Usage, fees: Quantities) -> Usage:
    """Add calls and sessions to a usage, by the kind of their fee."""
    if not fees:
        return usage
    quantities = dict(usage.quantities)
    for kind, number in fees:
        quantities[kind] = quantities.get(kind, 0) + number
    return replace(usage, quantities=quantities)


def second_total(quantities: Mapping[str, int]) -> int:
    """Tokens of all second bills together."""
    return sum([quantities.get(side, 0) for side in _SECOND_SIDES])


_SIDES_AND_SUM: Final = ("input_tokens", "output_tokens", "total_tokens")
_SECOND_SIDES: Final = ("image_tool_input", "image_tool_output", "svg_input", "svg_output")


def _add_tools(bills: dict[str, int], tools: Document) -> None:
    """Add what `tool_usage` reports.

    It knows better than the items how many searches are paid for: one item may have several
    queries, and some searches are free.
    """
    images, searches = tools.get("image_gen"), tools.get(_SEARCH)
    if isinstance(images, dict) and any(images.get(name) for name in _SIDES_AND_SUM):
        bills |= _image_tool(images)
    number = count_of(searches.get("num_requests")) if isinstance(searches, dict) else None
    if number is not None:
        bills[f"call:{_SEARCH}"] = number


def _of_items(items: list[Json]) -> dict[str, int]:
    bills: dict[str, int] = {}
    containers: set[tuple[str, str]] = set()
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(kind, str) or not kind.endswith("_call"):
            continue
        fee = _fee_of(kind)
        if fee is not None and _is_billed(item, fee, containers):
            _add(bills, fee, 1)
        svg = item.get("svg_usage")
        if isinstance(svg, dict):
            for part, number in _svg(svg).items():
                _add(bills, part, number)
    return bills


def _add(bills: dict[str, int], kind: str, number: int) -> None:
    bills[kind] = min(bills.get(kind, 0) + number, COUNT_MAX)


def _is_billed(item: Document, fee: str, containers: set[tuple[str, str]]) -> bool:
    """Whether an item costs its fee: it is a search, or the first one in its container."""
    if fee == f"call:{_SEARCH}":
        return _is_search(item)
    if not fee.startswith("session:"):
        return True
    container = _container_of(item)
    if container is None or (fee, container) in containers:
        return False
    containers.add((fee, container))
    return True


def _image_tool(report: Document) -> dict[str, int]:
    """Read the bill of the image model; what it divides into does not overlap."""
    inputs, outputs = _both_sides(report)
    images = _part(report, "input_tokens_details", "image_tokens", inputs)
    cached = min(count_of(report.get("cached_tokens")) or 0, inputs)
    cached_images = _part(report, "cached_tokens_details", "cached_image_tokens", cached)
    made = outputs
    if isinstance(report.get("output_tokens_details"), dict):
        made = _part(report, "output_tokens_details", "image_tokens", outputs)
    return {
        "image_tool_input": inputs,
        "image_tool_cached_input": cached - cached_images,
        "image_tool_image_input": max(images - cached_images, 0),
        "image_tool_cached_image_input": cached_images,
        "image_tool_output": outputs,
        # Without a division it is what the tool is there for.
        "image_tool_image_output": made,
    }


def _svg(report: Document) -> dict[str, int]:
    inputs, outputs = _both_sides(report)
    reasoning = min(count_of(report.get("reasoning_tokens")) or 0, outputs)
    return {"svg_input": inputs, "svg_output": outputs, "svg_reasoning": reasoning}


def _both_sides(report: Document) -> tuple[int, int]:
    """Read input and output; what only the total has is output."""
    inputs = count_of(report.get("input_tokens")) or 0
    outputs = count_of(report.get("output_tokens")) or 0
    total = count_of(report.get("total_tokens")) or 0
    return inputs, max(outputs, total - inputs)


def _part(report: Document, details: str, member: str, whole: int) -> int:
    divided = report.get(details)
    part = count_of(divided.get(member)) if isinstance(divided, dict) else None
    return min(part or 0, whole)


@lru_cache(maxsize=256)
def _fee_of(kind: str) -> str | None:
    """Return the fee of an item of this type; None for one that has none."""
    found = _CALL.fullmatch(kind)
    if found is None or found[1] in _FREE:
        return None
    return fee_kind(fee_name(found[1]))


def _container_of(item: Document) -> str | None:
    """Return the id of the container in which a call was run; None if it ran elsewhere."""
    environment = item.get("environment")
    place = environment if isinstance(environment, dict) else item
    container = place.get("container_id")
    if isinstance(container, str):
        return container
    # A code interpreter has no other place.
    return "" if item.get("type") == "code_interpreter_call" else None


def _is_search(item: Document) -> bool:
    """Whether it is paid for: it does not only open a page, or look for something in one."""
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return not isinstance(kind, str) or kind == "search"
