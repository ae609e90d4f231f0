"""What the input items of a model response may cost, each judged by its type.

Text counts wherever it is, in items of known and of unknown types. Only what is an image, audio or
a file by its type is bounded as such instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.ceilings.hosted_tools import tools_tokens
from tokenbalance.openai.ceilings.media import (
    audio_tokens,
    file_tokens,
    image_tokens,
    unknown_file_tokens,
)
from tokenbalance.openai.ceilings.messages import MESSAGE, ROLES, has_parts, is_of
from tokenbalance.openai.ceilings.schemas import json_tokens, unread_tokens
from tokenbalance.openai.documents import optional_string, path_of, require_object, require_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tokenbalance.model import Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

_EARLIER_OUTPUT: Final = 2
"""More for a message of an earlier response."""
_CALL: Final = 16
LATE_TOOLS: Final = 72
"""Tools that an item of the input adds have a longer introduction."""
_EARLIER_CALL: Final = 1_024
"""An earlier call of a hosted tool. In recorded histories its results are not read again."""

# Encrypted reasoning: recorded ones have about 900 characters when empty, and at least five more
# for each token inside.
_ENCRYPTED_EMPTY: Final = 800
_ENCRYPTED_CHARACTERS: Final = 3
_REASONING: Final = 16

_TOOL_ITEMS: Final = frozenset({"additional_tools", "tool_search_output"})
_LISTS_OF_OTHERS: Final = frozenset({"mcp_list_tools"})
"""Items with a list of tools that reports them but does not offer them."""
_CALLS: Final = frozenset({"custom_tool_call", "function_call"})
_REASONING_ITEMS: Final = frozenset({"compaction", "reasoning"})
_PARTS_IN: Final[Mapping[str, str]] = {
    "code_interpreter_call": "outputs",
    "computer_call_output": "output",
    "custom_tool_call_output": "output",
    "function_call_output": "output",
    "message": "content",
}
"""The member that holds parts, of the items that have one."""
_EARLIER_CALLS: Final = frozenset({"code_interpreter_call", "file_search_call", "web_search_call"})

_UNREAD: Final = frozenset({"call_id", "id", "role", "status", "type"})
"""Members of every item that identify or classify it: its labels."""
_LABEL_CHARACTERS: Final = 64
"""No label of OpenAI's is longer; a longer one is counted as text."""

_TEXT_PARTS: Final = frozenset({
    "input_text", "logs", "output_text", "reasoning_text", "refusal", "summary_text", "text",
})  # fmt: skip
_TEXT_ITEMS: Final = frozenset({
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call",
    "compaction", "compaction_trigger", "configuration_update", "custom_tool_call",
    "custom_tool_call_output", "file_search_call", "function_call", "function_call_output",
    "local_shell_call", "local_shell_call_output", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "message", "program", "program_output",
    "reasoning", "shell_call", "shell_call_output", "tool_search_call", "tool_search_output",
    "web_search_call",
})  # fmt: skip


def item_kind(item: Mapping[str, Json], at: str) -> str:
    """Return the type of the item at path `at`; one without a type is a message or a reference.

    Raises:
        InvalidType: its type is not a string.
    """
    kind = optional_string(item, "type", at=at)
    if kind is not None:
        return kind
    return "message" if "role" in item else "item_reference"


def tools_of(item: Json, at: str) -> tuple[Json, str]:
    """Return the list of tools that an item adds, and its path; None if it adds none.

    An item of an unknown type may add tools, too.
    """
    if not isinstance(item, dict) or is_of(item, _LISTS_OF_OTHERS):
        return None, at
    tools = item.get("tools")
    is_list = isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)
    is_known = is_of(item, _TOOL_ITEMS)
    return (tools, path_of(at, "tools")) if is_known or is_list else (None, at)


def item_tokens(item: Json, at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of one item of the input, without the tools that the upstream runs.

    Raises:
        InvalidType: it is not an object, or its type is not a string.
    """
    fields = require_object(item, at)
    kind = item_kind(fields, at)
    if kind in _REASONING_ITEMS and not model.is_foreign:
        return _reasoning_tokens(fields, at, model, measure)
    if kind == "image_generation_call" and isinstance(fields.get("result"), str):
        return MESSAGE + image_tokens(model, None) + _rest(fields, "result", model, measure)
    if kind in _TOOL_ITEMS and isinstance(fields.get("tools"), list):
        late = LATE_TOOLS + tools_tokens(fields["tools"], path_of(at, "tools"), measure)
        return MESSAGE + late + _rest(fields, "tools", model, measure)
    if kind not in _PARTS_IN:
        return _text_item_tokens(fields, kind, model, measure)
    member = _PARTS_IN[kind]
    tokens = MESSAGE + (_EARLIER_OUTPUT if fields.get("role") == "assistant" else 0)
    tokens += _EARLIER_CALL if kind in _EARLIER_CALLS else 0
    tokens += content_tokens(fields.get(member), path_of(at, member), model, measure)
    return tokens + _rest(fields, member, model, measure)


def _rest(item: Mapping[str, Json], member: str, model: Model, measure: Measure) -> int:
    """Tokens at most of an item's members other than one."""
    if model.is_foreign:
        # Its template may write every member.
        return unread_tokens(item, frozenset({member}), measure)
    return unread_tokens(item, _UNREAD | {member}, measure) + _labels_tokens(item, measure)


def _labels_tokens(item: Mapping[str, Json], measure: Measure) -> int:
    """Tokens at most of invalid labels of an item: too long, or not a string."""
    labels = {name: item[name] for name in _UNREAD if item.get(name) is not None}
    return sum(
        json_tokens(label, measure)
        for name, label in labels.items()
        if not isinstance(label, str)
        or len(label) > _LABEL_CHARACTERS
        or (name == "role" and label not in ROLES)
    )


def _text_item_tokens(item: Mapping[str, Json], kind: str, model: Model, measure: Measure) -> int:
    """Tokens at most of a text item. In one of an unknown type, media may be read as either."""
    if kind in _CALLS:
        return _CALL + _rest(item, "", model, measure)
    tokens = MESSAGE + (_EARLIER_CALL if kind in _EARLIER_CALLS else 0)
    if kind not in _TEXT_ITEMS:
        tokens += sum(_media_tokens(part, "", model, measure) for part in _media_in(item))
    return tokens + _rest(item, "", model, measure)


def _reasoning_tokens(item: Mapping[str, Json], at: str, model: Model, measure: Measure) -> int:
    encrypted = optional_string(item, "encrypted_content", at=at) or ""
    tokens = _REASONING + _rest(item, "encrypted_content", model, measure)
    return tokens + max(0, len(encrypted) - _ENCRYPTED_EMPTY) // _ENCRYPTED_CHARACTERS


def content_tokens(content: Json, at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of an item's content: a text, one part, or a list of parts.

    Raises:
        InvalidType: the type of a part is not a string.
    """
    if isinstance(content, str):
        return measure(content)
    if isinstance(content, dict):
        return _part_tokens(content, at, model, measure)
    if not isinstance(content, list):
        return json_tokens(content, measure)
    return sum(
        _part_tokens(part, path_of(at, index), model, measure) for index, part in enumerate(content)
    )


def _part_tokens(part: Json, at: str, model: Model, measure: Measure) -> int:
    if not isinstance(part, dict):
        return json_tokens(part, measure)
    if optional_string(part, "type", at=at) in _MEDIA:
        return _media_tokens(part, at, model, measure)
    text = part.get("text")
    rest = unread_tokens(part, _TEXT_PART, measure)
    return rest + (measure(text) if isinstance(text, str) else json_tokens(text, measure))


_TEXT_PART: Final = frozenset({"prompt_cache_breakpoint", "text", "type"})


def _media_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    bound, members = _MEDIA[str(part["type"])]
    return bound(part, at, model, measure) + unread_tokens(part, members, measure)


def _image(part: dict[str, Json], _at: str, model: Model, _measure: Measure) -> int:
    return image_tokens(model, part.get("detail"))


def _file(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    name = measure(optional_string(part, "filename", at=at) or "")
    data = optional_string(part, "file_data", at=at)
    if data is not None:
        return name + file_tokens(model, data)
    # One that the upstream stores is bounded with all that it stores.
    is_stored = part.get("file_id") and not part.get("file_url")
    return name + (0 if is_stored else unknown_file_tokens(model))


def _audio(part: dict[str, Json], at: str, model: Model, _measure: Measure) -> int:
    at = path_of(at, "input_audio")
    audio = require_object(part.get("input_audio"), at)
    return audio_tokens(model, require_string(audio, "data", at=at))


_IMAGE: Final = (
    _image,
    frozenset({"detail", "file_id", "image_url", "prompt_cache_breakpoint", "type"}),
)
_MEDIA: Final[
    Mapping[str, tuple[Callable[[dict[str, Json], str, Model, Measure], int], frozenset[str]]]
] = {
    "computer_screenshot": _IMAGE,
    "image": (_image, frozenset({"type", "url"})),
    "input_audio": (_audio, frozenset({"input_audio", "prompt_cache_breakpoint", "type"})),
    "input_file": (
        _file,
        frozenset({
            "detail", "file_data", "file_id", "file_url", "filename", "prompt_cache_breakpoint",
            "type",
        }),
    ),
    "input_image": _IMAGE,
}  # fmt: skip
"""How parts of these types are bounded, and the members that the bound covers."""


def _media_in(value: Json | Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """Yield the parts of media types anywhere in a value."""
    if isinstance(value, dict):
        if is_of(value, frozenset(_MEDIA)):
            yield value
        for member in value.values():
            yield from _media_in(member)
    elif isinstance(value, list):
        for element in value:
            yield from _media_in(element)


def images_in(items: Json) -> int:
    """Images in the input, those of earlier calls included; anything that may be one counts."""
    made = 0
    if isinstance(items, list):
        made = sum(isinstance(item, dict) and is_of(item, _DRAWN) for item in items)
    return made + sum(not is_of(part, _NO_IMAGES) for part in _media_in(items))


_DRAWN: Final = frozenset({"image_generation_call"})
_NO_IMAGES: Final = frozenset({"input_audio"})


def is_media(item: Json) -> bool:
    """Whether an item may be read as anything but text; one of an unknown type may."""
    if not isinstance(item, dict):
        return True
    kind = item.get("type")
    if kind is not None and not is_of(item, _TEXT_ITEMS):
        return True
    parts = item.get(_PARTS_IN.get(str(kind or "message"), "content"))
    return isinstance(parts, dict) or has_parts(parts, _TEXT_PARTS)
