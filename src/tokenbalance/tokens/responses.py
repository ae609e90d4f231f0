"""What a model response may cost: OpenAI's rules for `/responses`.

Text costs what it costs in a chat. What would need state that the upstream keeps for everybody
behind the shared key (earlier responses, conversations, stored prompts and files) is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.document import (
    empty_array,
    optional_boolean,
    optional_integer,
    optional_list,
    optional_object,
    optional_string,
    path_of,
    require,
    require_object,
    require_string,
    type_error,
)
from tokenbalance.model import Estimate
from tokenbalance.tokens.chat import (
    LARGEST_CAP,
    MESSAGE,
    REPLY,
    call_tokens,
    choice_tokens,
    has_parts,
    is_of,
)
from tokenbalance.tokens.hosted import (
    SEARCH,
    allowance_for,
    check_tools,
    hosted_calls,
)
from tokenbalance.tokens.media import (
    audio_tokens,
    file_tokens,
    image_tokens,
    refuse_stored_file,
    unknown_file_tokens,
    unsupported,
)
from tokenbalance.tokens.schemas import format_tokens, function_tokens, json_tokens, unread_tokens

if TYPE_CHECKING:
    from tokenbalance.model import Document, HostedCalls, Json
    from tokenbalance.tokens.counting import Measure
    from tokenbalance.tokens.models import Model

SMALLEST_CAP: Final = 16
"""The upstream refuses a smaller `max_output_tokens`."""

FRAME: Final = 1
"""More than the same messages cost in a chat; `/responses/input_tokens` says so."""
TOOLS: Final = 24
LATE_TOOLS: Final = 72
"""Tools that an item of the input adds are introduced at greater length."""
_SERIAL: Final = 96
"""Some models are told in words to call one function at a time."""
_ANSWER: Final = 2
"""More for a message of an earlier answer."""
_CALL: Final = 16

_FIELDS: Final = frozenset({
    "background", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
    "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""

_STATE_FIELDS: Final = ("previous_response_id", "conversation", "prompt")

# Encrypted reasoning: recorded ones have some 900 characters around nothing, and from there
# never fewer than five for each token inside.
_ENCRYPTED_EMPTY: Final = 800
_ENCRYPTED_CHARACTERS: Final = 3
_REASONING: Final = 16
_UNSEEN_REASONING: Final = 8_192
"""Reasoning that is named by its id alone: allowed for, since nothing shows its size."""
_FORMAT_TYPES: Final = frozenset({"json_schema"})
_PART_FIELDS: Final = frozenset({"prompt_cache_breakpoint", "text", "type"})
_UNREAD_MEMBERS: Final = frozenset({"call_id", "id", "status", "type"})
_TEXT_PARTS: Final = frozenset({
    "input_text", "output_text", "reasoning_text", "refusal", "summary_text", "text",
})  # fmt: skip
_TEXT_ITEMS: Final = frozenset({
    "apply_patch_call", "apply_patch_call_output", "compaction", "custom_tool_call",
    "custom_tool_call_output", "file_search_call", "function_call", "function_call_output",
    "local_shell_call", "local_shell_call_output", "mcp_list_tools", "message", "reasoning",
    "shell_call", "shell_call_output", "web_search_call",
})  # fmt: skip
_TEXT_TOOLS: Final = frozenset({
    "apply_patch", "custom", "function", "local_shell", "shell", "web_search",
    "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11",
})  # fmt: skip
_EARLIER_CALLS: Final = {
    "code_interpreter_call": 1_024,
    "file_search_call": SEARCH.call,
    "web_search_call": SEARCH.call,
}
"""Calls of earlier answers whose results the upstream puts back into the prompt by itself."""


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """The ceiling of a model response, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong, or reaches for state
            of other requests.
    """
    _refuse_state(document)
    told = optional_integer(document, "max_output_tokens", minimum=1, maximum=LARGEST_CAP)
    prompt, calls = _first_turn(document, model, measure)
    return Estimate(
        input_tokens=prompt if calls is None else calls.input_tokens(calls.most),
        output_cap=told or model.maximum_output,
        output_minimum=SMALLEST_CAP,
        cap_fields=("max_output_tokens",),
        calls=calls,
        has_media=_has_media(document),
    )


def _has_media(document: Document) -> bool:
    """Whether anything but text goes in or may come out; the document is known to be sound.

    Of what nobody knows yet, it may.
    """
    if document.get("audio") is not None or document.get("modalities") is not None:
        return True
    if any(not is_of(tool, _TEXT_TOOLS) for tool in optional_list(document, "tools")):
        return True
    items = document.get("input")
    return isinstance(items, list) and any(_is_media(item) for item in items)


def _is_media(item: Json) -> bool:
    return (
        not isinstance(item, dict)
        or (item.get("type") is not None and not is_of(item, _TEXT_ITEMS))
        or has_parts(item.get("content"), _TEXT_PARTS)
        or has_parts(item.get("output"), _TEXT_PARTS)
        or isinstance(item.get("output"), dict)
    )


def _refuse_state(document: Document) -> None:
    for field in _STATE_FIELDS:
        if document.get(field) is not None:
            raise unsupported(field)
    if optional_boolean(document, "background"):
        raise unsupported("background")


def _first_turn(
    document: Document, model: Model, measure: Measure
) -> tuple[int, HostedCalls | None]:
    """Tokens at most that the first turn reads, and the calls of hosted tools that may follow."""
    tools = check_tools(optional_list(document, "tools"), "tools")
    prompt = _prompt_tokens(document, model, measure) + _tools_tokens(tools, measure)
    if tools:
        prompt += TOOLS + model.responses_tools_overhead
        prompt += _SERIAL if optional_boolean(document, "parallel_tool_calls") is False else 0
    allowances = [allowance_for(tool) for tool in tools if tool.get("type") != "function"]
    prompt += sum(allowance.description for allowance in allowances)
    asked = optional_integer(document, "max_tool_calls", minimum=0, maximum=LARGEST_CAP)
    return prompt, hosted_calls(prompt, allowances, asked, model)


def _prompt_tokens(document: Document, model: Model, measure: Measure) -> int:
    tokens = REPLY + FRAME + model.overhead + model.responses_overhead
    tokens += unread_tokens(document, _FIELDS, measure)
    instructions = optional_string(document, "instructions")
    tokens += 0 if instructions is None else MESSAGE + measure(instructions)
    tokens += choice_tokens(document, measure)
    return tokens + _input_tokens(document, model, measure) + _format_tokens(document, measure)


def _input_tokens(document: Document, model: Model, measure: Measure) -> int:
    value = require(document, "input")
    if isinstance(value, str):
        return MESSAGE + measure(value)
    if not isinstance(value, list):
        raise type_error("input", "a string or an array", value)
    if not value:
        raise empty_array("input")
    return sum(
        _item_tokens(require_object(item, at), at, model, measure)
        for at, item in ((path_of("input", index), item) for index, item in enumerate(value))
    )


def _format_tokens(document: Document, measure: Measure) -> int:
    text = optional_object(document, "text")
    wanted = None if text is None else optional_object(text, "format", at="text")
    if wanted is None or not is_of(wanted, _FORMAT_TYPES):
        return 0
    return format_tokens(wanted, measure)


def _tools_tokens(tools: list[dict[str, Json]], measure: Measure) -> int:
    return sum(function_tokens(tool, measure) for tool in tools)


def _item_tokens(item: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    kind = optional_string(item, "type", at=at)
    if kind is None and "role" not in item:
        kind = "item_reference"
    if kind in {None, "message"}:
        return _message_tokens(item, at, model, measure)
    if kind == "item_reference":
        raise unsupported(path_of(at, "id"))
    if kind in {"function_call", "custom_tool_call"}:
        return _CALL + _call_tokens(item, measure)
    if kind in {"reasoning", "compaction"}:
        return _reasoning_tokens(item, at, measure)
    return _other_item_tokens(item, at, model, measure)


def _message_tokens(item: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    role = require_string(item, "role", at=at)
    content = require(item, "content", at=at)
    tokens = MESSAGE + (_ANSWER if role == "assistant" else 0)
    return tokens + content_tokens(content, path_of(at, "content"), model, measure)


def _call_tokens(item: dict[str, Json], measure: Measure) -> int:
    read = ("name", "arguments", "input", "namespace")
    return call_tokens({key: item[key] for key in read if item.get(key) is not None}, measure)


def _reasoning_tokens(item: dict[str, Json], at: str, measure: Measure) -> int:
    encrypted = optional_string(item, "encrypted_content", at=at)
    tokens = _REASONING + json_tokens(item.get("content"), measure)
    if encrypted is None:
        return tokens + _UNSEEN_REASONING
    return tokens + max(0, len(encrypted) - _ENCRYPTED_EMPTY) // _ENCRYPTED_CHARACTERS


def _other_item_tokens(item: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    """An item of a kind that has no text of its own place: measured member by member."""
    kind = item.get("type")
    if kind == "image_generation_call" and item.get("result") is None:
        raise unsupported(path_of(at, "id"))
    tokens = MESSAGE + _EARLIER_CALLS.get(str(kind), 0)
    for key, member in item.items():
        if key not in _UNREAD_MEMBERS and member is not None:
            tokens += _member_tokens(key, member, at, model, measure)
    return tokens


def _member_tokens(key: str, member: Json, at: str, model: Model, measure: Measure) -> int:
    at = path_of(at, key)
    if key == "tools" and isinstance(member, list):
        return LATE_TOOLS + _tools_tokens(check_tools(member, at), measure)
    if key == "output" and isinstance(member, dict):
        return _part_tokens(member, at, model, measure)
    if key == "output" and isinstance(member, (str, list)):
        return content_tokens(member, at, model, measure)
    if key == "result":
        return image_tokens(model, None)
    return json_tokens(member, measure)


def content_tokens(content: Json, at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of an item's content: a text, or a list of parts.

    Raises:
        InvalidType: it is neither.
        UnsupportedParameter: a part is a file in the upstream's store.
    """
    if isinstance(content, str):
        return measure(content)
    if not isinstance(content, list):
        raise type_error(at, "a string or an array", content)
    tokens = 0
    for index, part in enumerate(content):
        part_at = path_of(at, index)
        tokens += _part_tokens(require_object(part, part_at), part_at, model, measure)
    return tokens


def _part_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    refuse_stored_file(part, at)
    kind = optional_string(part, "type", at=at)
    if kind in {"input_image", "computer_screenshot"}:
        return image_tokens(model, part.get("detail"))
    if kind == "input_file":
        return _file_tokens(part, at, model, measure)
    if kind == "input_audio":
        audio = require_object(require(part, "input_audio", at=at), path_of(at, "input_audio"))
        return audio_tokens(model, require_string(audio, "data", at=path_of(at, "input_audio")))
    text = optional_string(part, "text", at=at)
    unread = unread_tokens(part, _PART_FIELDS, measure)
    return unread + (0 if text is None else measure(text))


def _file_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    name = measure(optional_string(part, "filename", at=at) or "")
    data = optional_string(part, "file_data", at=at)
    return name + (unknown_file_tokens(model) if data is None else file_tokens(model, data))
