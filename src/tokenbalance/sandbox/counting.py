"""How many tokens a prompt has, by the rules of the real API.

Four tokens for each message (three and its role), one for a name, three to begin the output (two
for reasoning models), and the text itself. Functions and schemas cost the tokens of their words, an
image a flat `IMAGE_TOKENS`, because it is not decoded here.

Only the counting of text is shared with the proxy. The rules are written a second time on purpose:
an upstream that used the proxy's rules could never show that they are wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenbalance.openai.tokens import count_tokens, encoding_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenbalance.model import Json
    from tokenbalance.sandbox.fields import Fields

IMAGE_TOKENS = 64
"""Fewer than any model charges."""

_MESSAGE_TOKENS = 4
_NAME_TOKENS = 1
_REPLY_TOKENS = 3
# Not from `tokens`, which takes every unknown name for a reasoning model.
_REASONING_MODEL = re.compile(r"(?:ft:)?(?:o\d|gpt-(?:[5-9]|\d\d)(?!.*-chat))")
_IMAGE_TYPES = frozenset({"image_url", "input_image"})
# Members of a message or an input item that contain text.
_TEXT_FIELDS = ("content", "text", "refusal", "output", "arguments", "name")


def is_reasoning(model: str) -> bool:
    """Whether the model reasons before its output."""
    return _REASONING_MODEL.match(model) is not None


def count_text(text: str, model: str) -> int:
    """Count the tokens of a text."""
    return count_tokens(encoding_for(model), text)


def text_of_tokens(tokens: Iterable[int], model: str) -> str:
    """Decode token ids, without invalid ones."""
    encoding = encoding_for(model)
    known = [token for token in tokens if 0 <= token < encoding.n_vocab]
    try:
        return encoding.decode(known)
    except KeyError:
        return ""


def chat_tokens(fields: Fields) -> int:
    """Count the tokens of a chat's prompt."""
    model = fields.text("model") or ""
    messages = sum(_message_tokens(message, model) for message in fields.objects("messages"))
    tools = [tool.value("function") for tool in fields.objects("tools")]
    schema = fields.within("response_format").value("json_schema")
    schemas = words_tokens([*tools, fields.value("functions"), schema], model)
    return messages + schemas + _reply_tokens(model)


def response_tokens(fields: Fields) -> int:
    """Count the tokens of a response's input."""
    model = fields.text("model") or ""
    instructions = fields.text("instructions")
    tokens = _MESSAGE_TOKENS + count_text(instructions, model) if instructions else 0
    given = fields.value("input")
    if isinstance(given, str):
        tokens += _MESSAGE_TOKENS + count_text(given, model)
    else:
        tokens += sum(_message_tokens(item, model) for item in fields.objects("input"))
    schema = fields.within("text").within("format").value("schema")
    schemas = words_tokens([fields.value("tools"), schema], model)
    return tokens + schemas + _reply_tokens(model)


def _reply_tokens(model: str) -> int:
    return _REPLY_TOKENS - 1 if is_reasoning(model) else _REPLY_TOKENS


def _message_tokens(message: Fields, model: str) -> int:
    texts = sum(_text_tokens(message.value(name), model) for name in _TEXT_FIELDS)
    calls = sum(
        _text_tokens(call.within("function").document, model)
        for call in message.objects("tool_calls")
    )
    name = _NAME_TOKENS if message.value("name") is not None else 0
    return _MESSAGE_TOKENS + texts + calls + name


def _text_tokens(value: Json, model: str) -> int:
    """Count the tokens of text in a string, a part, or a list of parts."""
    if isinstance(value, str):
        return count_text(value, model)
    if isinstance(value, list):
        return sum(_text_tokens(part, model) for part in value)
    if isinstance(value, dict):
        image = IMAGE_TOKENS if value.get("type") in _IMAGE_TYPES else 0
        return image + sum(_text_tokens(value.get(name), model) for name in _TEXT_FIELDS)
    return 0


def words_tokens(value: Json, model: str = "") -> int:
    """Count the tokens of every name and string in a JSON value, without punctuation."""
    if isinstance(value, str):
        return count_text(value, model)
    if isinstance(value, list):
        return sum(words_tokens(element, model) for element in value)
    if isinstance(value, dict):
        members = sum(words_tokens(member, model) for member in value.values())
        return members + sum(count_text(name, model) for name in value)
    return 0
