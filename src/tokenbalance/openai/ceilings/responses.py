"""What a model response may cost: OpenAI's rules for `/responses`.

Text costs what it costs in a chat. What the upstream stores (earlier responses, conversations,
items, files) is not in it: `stored` says what that adds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.chat import LARGEST_CAP, REPLY, choice_tokens
from tokenbalance.openai.ceilings.hosted_tools import (
    ALLOWED_TOOLS,
    allowance_for,
    callable_tools,
    check_tool,
    every_tool,
    fee_of,
    hosted_calls,
    tools_tokens,
)
from tokenbalance.openai.ceilings.image_tool import IMAGE_TOOLS, MOST_IMAGES, use_of
from tokenbalance.openai.ceilings.items import images_in, is_media, item_tokens, tools_of
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.messages import MESSAGE, is_of
from tokenbalance.openai.ceilings.schemas import format_tokens, json_tokens, unread_tokens
from tokenbalance.openai.ceilings.stored import has_stored_turns, is_continued
from tokenbalance.openai.documents import (
    optional_boolean,
    optional_integer,
    optional_list,
    optional_object,
    path_of,
    require,
    type_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document, HostedCalls, Json, Quantities
    from tokenbalance.openai.ceilings.hosted_tools import Offer
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

SMALLEST_CAP: Final = 16
"""The upstream refuses a smaller `max_output_tokens`."""

FRAME: Final = 1
"""More than the same messages cost in a chat, according to `/responses/input_tokens`."""
TOOLS: Final = 24
_SERIAL: Final = 96
"""Some models get an instruction to call one function at a time."""

FIELDS: Final = frozenset({
    "access_programs", "background", "background_options", "client_metadata",
    "context_management", "conversation", "generate", "image", "include", "input",
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "multi_agent", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_TEXT_FIELDS: Final = frozenset({"format", "verbosity"})
COMPACTION: Final = 1_024
"""What `/responses/compact` adds to the prompt; recorded ones have about 90 tokens more."""

_FORMAT_TYPES: Final = frozenset({"json_schema"})
_BOUNDED_MODES: Final = (None, "standard")
"""Modes of reasoning whose cost the output limit bounds; that is not known of `pro`."""
_TEXT_TOOLS: Final = frozenset({
    "apply_patch", "custom", "function", "local_shell", "namespace", "programmatic_tool_calling",
    "shell", "tool_search", "web_search", "web_search_2025_08_26", "web_search_preview",
    "web_search_preview_2025_03_11",
})  # fmt: skip


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a model response, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong, or its cost has no
            bound.
    """
    _refuse_unbounded(document)
    named = optional_integer(document, "max_output_tokens", minimum=1, maximum=LARGEST_CAP)
    offers = list(_every_tool(document))
    tools = [tool for tool, _ in offers]
    prompt = _prompt_tokens(document, model, measure) + _description_tokens(document, tools)
    calls = _calls(document, offers, prompt, model)
    return Estimate(
        input_tokens=prompt if calls is None else calls.input_tokens(calls.most),
        output_cap=named or model.maximum_output,
        output_minimum=SMALLEST_CAP,
        cap_fields=("max_output_tokens",),
        calls=calls,
        has_media=_has_media(document, tools),
    )


def compaction(document: Document, model: Model, measure: Measure) -> Estimate:
    """Return the ceiling of a compaction: it reads a whole input, and nothing limits its output.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    return Estimate(
        input_tokens=COMPACTION + _prompt_tokens(document, model, measure),
        output_cap=model.maximum_output,
        has_media=_has_media(document, []),
    )


def _refuse_unbounded(document: Document) -> None:
    """Refuse fields that multiply the cost without a limit that could be set."""
    if optional_boolean(document, "background"):
        raise unsupported("background")
    agents = document.get("multi_agent")
    if agents is not None and not (isinstance(agents, dict) and agents.get("enabled") is False):
        raise unsupported("multi_agent")
    reasoning = document.get("reasoning")
    if isinstance(reasoning, dict) and reasoning.get("mode") not in _BOUNDED_MODES:
        raise unsupported("reasoning.mode")


def uncounted(document: Document) -> int:
    """Tokens at most of a first turn that `/responses/input_tokens` may not count.

    Raises:
        InvalidRequest: as `estimate` does for the tools.
    """
    return _description_tokens(document, [tool for tool, _ in _every_tool(document)])


def offers(document: Document) -> list[Offer]:
    """The tools that the model may call, of any of the lists of a document.

    Raises:
        InvalidType: one is not an object.
        UnsupportedParameter: one may reach another network than the public internet.
    """
    if document.get("tools") or isinstance(document.get("input"), list):
        return callable_tools(document.get("tool_choice"), _every_tool(document))
    return []


def _every_tool(document: Document) -> Iterator[Offer]:
    for tool, at in every_tool(optional_list(document, "tools"), "tools"):
        check_tool(tool, at)
        yield tool, at
    items = document.get("input")
    for index, item in enumerate(items if isinstance(items, list) else []):
        for tool, at in every_tool(*tools_of(item, path_of("input", index))):
            check_tool(tool, at)
            yield tool, at


def _description_tokens(document: Document, tools: list[dict[str, Json]]) -> int:
    """Tokens at most of what describes the tools, unless none of them may be called."""
    if document.get("tool_choice") == "none":
        return 0
    return sum(allowance_for(tool).description for tool in tools)


def _calls(
    document: Document, offered: list[Offer], prompt: int, model: Model
) -> HostedCalls | None:
    asked = optional_integer(document, "max_tool_calls", minimum=0, maximum=LARGEST_CAP)
    allowed = callable_tools(document.get("tool_choice"), offered)
    hosted = [tool for tool, _ in allowed if allowance_for(tool).call]
    if not hosted:
        return None
    insisted = _insists_on_calls(document, offered)
    calls = hosted_calls(prompt, list(map(allowance_for, hosted)), asked, insisted, model)
    return calls and replace(calls, uses=_uses(document, hosted, model))


def _uses(
    document: Document, hosted: list[dict[str, Json]], model: Model
) -> tuple[Quantities, ...]:
    """What a call may use besides input, for each tool that uses anything."""
    uses: set[Quantities] = set()
    for tool in hosted:
        if is_of(tool, IMAGE_TOOLS):
            images, outer = images_in(document.get("input")), str(document.get("model"))
            images = MOST_IMAGES if has_stored_turns(document) else images
            uses.add(use_of(tool, images, model, outer))
        elif fee := fee_of(allowance_for(tool)):
            uses.add(fee)
    return tuple(sorted(uses))


def _insists_on_calls(document: Document, offered: list[Offer]) -> int:
    """The number of hosted calls that the request insists on: 0 or 1."""
    choice = document.get("tool_choice")
    if choice == "required":
        return int(all(allowance_for(tool).call for tool, _ in offered))
    if not isinstance(choice, dict) or is_of(choice, ALLOWED_TOOLS):
        return 0
    return int(allowance_for(choice).call > 0)


def _has_media(document: Document, tools: list[dict[str, Json]]) -> bool:
    """Whether input or output may contain anything but text; the document is valid.

    Tools and items of unknown types may.
    """
    if document.get("audio") is not None or document.get("modalities") is not None:
        return True
    if any(not is_of(tool, _TEXT_TOOLS) for tool in tools):
        return True
    items = document.get("input")
    return isinstance(items, list) and any(is_media(item) for item in items)


def _prompt_tokens(document: Document, model: Model, measure: Measure) -> int:
    """Tokens at most of the first turn, without descriptions of hosted tools."""
    tokens = REPLY + FRAME + model.overhead + model.responses_overhead
    tokens += unread_tokens(document, FIELDS, measure)
    tokens += choice_tokens(document, measure)
    tokens += _instructions_tokens(document.get("instructions"), measure)
    tools = document.get("tools")
    if tools:
        tokens += TOOLS + model.responses_tools_overhead + tools_tokens(tools, "tools", measure)
        tokens += _SERIAL if optional_boolean(document, "parallel_tool_calls") is False else 0
    return tokens + _input_tokens(document, model, measure) + _format_tokens(document, measure)


def _instructions_tokens(instructions: Json, measure: Measure) -> int:
    if instructions is None:
        return 0
    if not isinstance(instructions, str):
        raise type_error("instructions", "a string", instructions)
    return MESSAGE + measure(instructions)


def _input_tokens(document: Document, model: Model, measure: Measure) -> int:
    if document.get("input") is None and is_continued(document):
        return 0
    value = require(document, "input")
    if isinstance(value, str):
        return MESSAGE + measure(value)
    if not isinstance(value, list):
        raise type_error("input", "a string or an array", value)
    return sum(
        item_tokens(item, path_of("input", index), model, measure)
        for index, item in enumerate(value)
    )


def _format_tokens(document: Document, measure: Measure) -> int:
    text = optional_object(document, "text")
    if text is None:
        return 0
    tokens = unread_tokens(text, _TEXT_FIELDS, measure)
    wanted = text.get("format")
    if isinstance(wanted, dict) and is_of(wanted, _FORMAT_TYPES):
        return tokens + format_tokens(wanted, measure)
    return tokens + json_tokens(wanted, measure)
