"""What a model response may cost: OpenAI's rules for `/responses`.

Text costs what it costs in a chat. References to objects that the upstream stores (earlier
responses, conversations, prompts, files) are refused before, by `objects.refusal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.model import Estimate
from tokenbalance.openai.ceilings.chat import LARGEST_CAP, REPLY, choice_tokens
from tokenbalance.openai.ceilings.hosted_tools import (
    allowance_for,
    check_tool,
    every_tool,
    hosted_calls,
    tools_tokens,
)
from tokenbalance.openai.ceilings.items import is_media, item_tokens, tools_of
from tokenbalance.openai.ceilings.media import unsupported
from tokenbalance.openai.ceilings.messages import MESSAGE, is_of
from tokenbalance.openai.ceilings.schemas import format_tokens, json_tokens, unread_tokens
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

    from tokenbalance.model import Document, Json
    from tokenbalance.openai.ceilings.hosted_tools import Allowance
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

_ALLOWED_TOOLS: Final = frozenset({"allowed_tools"})
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
    tools = list(_tools(document))
    allowances = _allowances(document, tools)
    prompt = _prompt_tokens(document, model, measure)
    prompt += sum(allowance.description for allowance in allowances)
    asked = optional_integer(document, "max_tool_calls", minimum=0, maximum=LARGEST_CAP)
    calls = hosted_calls(prompt, allowances, asked, _insists_on_calls(document, tools), model)
    return Estimate(
        input_tokens=prompt if calls is None else calls.input_tokens(calls.most),
        output_cap=named or model.maximum_output,
        output_minimum=SMALLEST_CAP,
        cap_fields=("max_output_tokens",),
        calls=calls,
        has_media=_has_media(document, tools),
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


def _tools(document: Document) -> Iterator[dict[str, Json]]:
    """Yield every tool that is offered, in any of the lists that a document may have."""
    for tool, at in every_tool(optional_list(document, "tools"), "tools"):
        check_tool(tool, at)
        yield tool
    items = document.get("input")
    for index, item in enumerate(items if isinstance(items, list) else []):
        for tool, at in every_tool(*tools_of(item, path_of("input", index))):
            check_tool(tool, at)
            yield tool


def _allowances(document: Document, tools: list[dict[str, Json]]) -> list[Allowance]:
    """The allowances of the tools; empty if none of them may be called."""
    if document.get("tool_choice") == "none":
        return []
    return [allowance_for(tool) for tool in tools]


def _insists_on_calls(document: Document, tools: list[dict[str, Json]]) -> int:
    """The number of hosted calls that the request insists on: 0 or 1."""
    choice = document.get("tool_choice")
    if choice == "required":
        return int(all(allowance_for(tool).call for tool in tools))
    if not isinstance(choice, dict) or is_of(choice, _ALLOWED_TOOLS):
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
