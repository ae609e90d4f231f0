"""What the messages of a chat may cost: their contents, parts, and calls of functions.

Plain text is exact: three tokens a message and one for its role, one for a name (OpenAI's cookbook,
"How to count tokens with tiktoken"). The other constants are ceilings found on recorded responses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.openai.ceilings.media import (
    audio_tokens,
    file_tokens,
    image_tokens,
    unknown_file_tokens,
)
from tokenbalance.openai.ceilings.schemas import (
    json_tokens,
    unread_tokens,
)
from tokenbalance.openai.ceilings.templates import written
from tokenbalance.openai.documents import (
    optional_list,
    optional_object,
    optional_string,
    path_of,
    require,
    require_object,
    require_string,
    type_error,
)

if TYPE_CHECKING:
    from tokenbalance.model import Json
    from tokenbalance.openai.tokens.counting import Measure
    from tokenbalance.openai.tokens.models import Model

MESSAGE: Final = 4
NAME: Final = 1
CALL: Final = 28
ROLES: Final = frozenset({"assistant", "developer", "function", "system", "tool", "user"})
"""Roles that the constant for a message covers. Some servers accept any, and write it out."""
PARALLEL_CALLS: Final = 16
"""Several calls in one message are wrapped once more."""
_PLAIN_MESSAGE: Final = frozenset({"content", "role"})
_MESSAGE_FIELDS: Final = frozenset({
    "audio", "content", "function_call", "name", "refusal", "role", "tool_call_id", "tool_calls",
})  # fmt: skip
_CALL_FIELDS: Final = frozenset({"function", "id", "type"})
_TEXT_FIELDS: Final = frozenset({"prompt_cache_breakpoint", "text", "type"})
_IMAGES: Final = frozenset({"image", "image_embeds", "image_url", "input_image"})
_UNSEEN: Final = frozenset({"audio_url", "video", "video_url"})
"""Parts that some servers accept, whose size the request does not show."""
_SOURCE_FIELDS: Final = frozenset({
    "data", "detail", "file_data", "file_id", "filename", "format", "url",
})  # fmt: skip
_PART_FIELDS: Final = frozenset({"detail", "image_url", "prompt_cache_breakpoint", "type"})


def plain_tokens(message: Json, measure: Measure) -> int | None:
    """Tokens at most of the usual message, a known role and a text; None if it is anything else.

    The same as `message_tokens` returns, without the checks that such a message cannot fail.
    """
    if not isinstance(message, dict) or len(message) != len(_PLAIN_MESSAGE):
        return None
    role, content = message.get("role"), message.get("content")
    if isinstance(role, str) and isinstance(content, str) and role in ROLES:
        return MESSAGE + measure(content)
    return None


def message_tokens(message: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of one message, at path `at`.

    Raises:
        InvalidRequest: its role, its content or a part of it is missing or of a wrong type.
    """
    role = require_string(message, "role", at=at)
    content = message.get("content")
    # Without content a message may be a call, or an empty output. A user's needs it.
    if content is None and role == "user":
        content = require(message, "content", at=at)
        raise type_error(path_of(at, "content"), "a string or an array", content)
    tokens = MESSAGE + (0 if role in ROLES else measure(role))
    if content is not None:
        tokens += content_tokens(content, path_of(at, "content"), model, measure)
    if message.keys() <= _PLAIN_MESSAGE:
        return tokens
    rest = _rest_tokens(message, at, measure)
    return tokens + (max(rest, _written_rest(message)) if model.is_foreign else rest)


def _rest_tokens(message: dict[str, Json], at: str, measure: Measure) -> int:
    """Tokens at most of a message's members other than its role and content."""
    tokens = unread_tokens(message, _MESSAGE_FIELDS, measure)
    name = optional_string(message, "name", at=at)
    tokens += 0 if name is None else NAME + measure(name)
    tokens += measure(optional_string(message, "refusal", at=at) or "")
    return tokens + _calls_tokens(message, at, measure)


def _written_rest(message: dict[str, Json]) -> int:
    """The same if a template writes them as JSON, including ids."""
    return written({name: value for name, value in message.items() if name != "content"})


def _calls_tokens(message: dict[str, Json], at: str, measure: Measure) -> int:
    calls = optional_list(message, "tool_calls", at=at)
    tokens = PARALLEL_CALLS if len(calls) > 1 else 0
    for index, call in enumerate(calls):
        call_at = path_of(path_of(at, "tool_calls"), index)
        fields = require_object(call, call_at)
        function = optional_object(fields, "function", at=call_at)
        # A call that is not a function's (a custom tool's) is measured with all its members.
        tokens += CALL + unread_tokens(fields, _CALL_FIELDS, measure)
        tokens += 0 if function is None else _call_tokens(function, measure)
    function_call = optional_object(message, "function_call", at=at)
    return tokens + (0 if function_call is None else CALL + _call_tokens(function_call, measure))


def _call_tokens(call: dict[str, Json], measure: Measure) -> int:
    """Tokens at most of a function's call: its name, its arguments and other members."""
    texts = (call.get("name"), call.get("arguments"))
    return unread_tokens(call, frozenset({"name", "arguments"}), measure) + sum(
        measure(text) if isinstance(text, str) else json_tokens(text, measure) for text in texts
    )


def content_tokens(content: Json, at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of a message's content: a text, or a list of parts.

    Raises:
        InvalidType: it is neither.
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


def has_parts(content: Json, other_than: frozenset[str]) -> bool:
    """Whether a content has parts of other types than these."""
    return isinstance(content, list) and any(not is_of(part, other_than) for part in content)


def is_of(value: Json, types: frozenset[str]) -> bool:
    """Whether `value` is an object of one of these types."""
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in types


def _part_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    """Tokens at most of a part, by its type; a part of an unknown type is measured as text."""
    if part.get("type") == "text":
        text = optional_string(part, "text", at=at)
        return measure(text or "") + unread_tokens(part, _TEXT_FIELDS, measure)
    media = _media_tokens(part, at, model, measure)
    return json_tokens(part, measure) if media is None else media + _caption_tokens(part, measure)


def _media_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int | None:
    """Tokens at most of an image, audio or a file; None if the part is none of them."""
    if is_of(part, _IMAGES):
        image = part.get("image_url")
        return image_tokens(model, (image if isinstance(image, dict) else part).get("detail"))
    if is_of(part, _UNSEEN):
        return unknown_file_tokens(model)
    kind = str(part.get("type"))
    source = part.get(kind)
    if kind == "input_audio" and isinstance(source, dict):
        return audio_tokens(model, require_string(source, "data", at=path_of(at, kind)))
    if kind == "file" and isinstance(source, dict):
        return _file_tokens(source, path_of(at, kind), model, measure)
    return None


def _caption_tokens(part: dict[str, Json], measure: Measure) -> int:
    """Tokens at most of texts next to an image, audio or a file."""
    kind = str(part.get("type"))
    source = part.get(kind)
    others = {name: member for name, member in part.items() if name != kind}
    inner = unread_tokens(source, _SOURCE_FIELDS, measure) if isinstance(source, dict) else 0
    return inner + unread_tokens(others, _PART_FIELDS, measure)


def _file_tokens(file: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    name = measure(optional_string(file, "filename", at=at) or "")
    data = optional_string(file, "file_data", at=at)
    if data is not None:
        return name + file_tokens(model, data)
    # One that the upstream stores is bounded with all that it stores.
    return name + (0 if file.get("file_id") else unknown_file_tokens(model))
