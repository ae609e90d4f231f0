"""What a chat completion may cost: OpenAI's rules for messages, functions and media.

Plain text is exact: three tokens a message and one for its role, one for a name, three to begin
the answer (OpenAI's cookbook, "How to count tokens with tiktoken"). The other constants are
ceilings found on recorded answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenbalance.document import (
    optional_integer,
    optional_list,
    optional_object,
    optional_string,
    path_of,
    require,
    require_list,
    require_object,
    require_string,
    type_error,
)
from tokenbalance.errors import InvalidValue
from tokenbalance.model import Estimate
from tokenbalance.tokens.media import (
    audio_tokens,
    file_tokens,
    image_tokens,
    unknown_file_tokens,
)
from tokenbalance.tokens.schemas import format_tokens, function_tokens, json_tokens, unread_tokens

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json
    from tokenbalance.tokens.counting import Measure
    from tokenbalance.tokens.models import Model

LARGEST_CAP: Final = 2**31 - 1
LARGEST_CHOICES: Final = 128

MESSAGE: Final = 4
REPLY: Final = 3
NAME: Final = 1
CALL: Final = 28
PARALLEL_CALLS: Final = 16
"""Several calls in one message are wrapped once more."""
TOOLS: Final = 16
REASONING_TOOLS: Final = 96
"""Reasoning models are told more about how to call functions."""
_TEXT_ALONE: Final[tuple[Json, ...]] = (None, [], ["text"])
_TEXT_PARTS: Final = frozenset({"refusal", "text"})
_CHOICE: Final = 8
_UNTOLD_CHOICES: Final = (None, "auto", "none")

_FIELDS: Final = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model",
    "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "response_format",
    "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
    "web_search_options",
})  # fmt: skip
"""Fields that have a rule here or that the model does not read; others are measured whole."""
_PLAIN_MESSAGE: Final = frozenset({"content", "role"})
_MESSAGE_FIELDS: Final = frozenset({
    "annotations", "audio", "content", "function_call", "name", "refusal", "role",
    "tool_call_id", "tool_calls",
})  # fmt: skip


def estimate(document: Document, model: Model, measure: Measure) -> Estimate:
    """The ceiling of a chat completion, its text measured by `measure`.

    Raises:
        InvalidRequest: a field that decides the cost is missing or wrong.
    """
    cap_field, told = _told_cap(document)
    choices = optional_integer(document, "n", minimum=1, maximum=LARGEST_CHOICES) or 1
    # Rejected tokens of a prediction are billed as output, but beyond what a cap limits.
    prediction = choices * _prediction_tokens(document, model, measure)
    return Estimate(
        input_tokens=_prompt_tokens(document, model, measure) + prediction,
        choices=choices,
        output_cap=told or model.maximum_output,
        output_minimum=1,
        cap_fields=(cap_field,),
        predicted=prediction,
        has_media=_has_media(document),
    )


def _has_media(document: Document) -> bool:
    """Whether anything but text goes in or may come out; the document is known to be sound."""
    if document.get("audio") is not None or document.get("modalities") not in _TEXT_ALONE:
        return True
    return any(
        isinstance(message, dict)
        and (message.get("audio") is not None or has_parts(message.get("content"), _TEXT_PARTS))
        for message in require_list(document, "messages")
    )


def has_parts(content: Json, besides: frozenset[str]) -> bool:
    """Whether a content has parts of other types than these."""
    return isinstance(content, list) and any(not is_of(part, besides) for part in content)


def is_of(value: Json, types: frozenset[str]) -> bool:
    """Whether `value` is an object of one of these types."""
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in types


def _told_cap(document: Document) -> tuple[str, int | None]:
    """The field that limits the output, and the client's own limit if it has set one."""
    older = optional_integer(document, "max_tokens", minimum=1, maximum=LARGEST_CAP)
    newer = optional_integer(document, "max_completion_tokens", minimum=1, maximum=LARGEST_CAP)
    if newer is None:
        # The newer field does not go together with a prediction.
        is_older = older is not None or document.get("prediction") is not None
        return "max_tokens" if is_older else "max_completion_tokens", older
    if older is not None:
        message = (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
        raise InvalidValue(message, param="max_tokens")
    return "max_completion_tokens", newer


def _prediction_tokens(document: Document, model: Model, measure: Measure) -> int:
    prediction = optional_object(document, "prediction")
    if prediction is None or prediction.get("content") is None:
        return 0
    return content_tokens(prediction["content"], "prediction.content", model, measure)


def _prompt_tokens(document: Document, model: Model, measure: Measure) -> int:
    messages = require_list(document, "messages")
    tokens = REPLY + model.overhead + unread_tokens(document, _FIELDS, measure)
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        tokens += _message_tokens(require_object(message, at), at, model, measure)
    return tokens + _tools_tokens(document, model, measure) + _format_tokens(document, measure)


def _message_tokens(message: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    role = require_string(message, "role", at=at)
    tokens = MESSAGE + unread_tokens(message, _MESSAGE_FIELDS, measure)
    # What an assistant said may be a call alone.
    if role != "assistant" or message.get("content") is not None:
        content = require(message, "content", at=at)
        tokens += content_tokens(content, f"{at}.content", model, measure)
    if message.keys() <= _PLAIN_MESSAGE:
        return tokens
    name = optional_string(message, "name", at=at)
    tokens += 0 if name is None else NAME + measure(name)
    tokens += measure(optional_string(message, "refusal", at=at) or "")
    return tokens + _calls_tokens(message, at, measure)


def _calls_tokens(message: dict[str, Json], at: str, measure: Measure) -> int:
    calls = optional_list(message, "tool_calls", at=at)
    tokens = PARALLEL_CALLS if len(calls) > 1 else 0
    for index, call in enumerate(calls):
        call_at = path_of(path_of(at, "tool_calls"), index)
        fields = require_object(call, call_at)
        function = optional_object(fields, "function", at=call_at)
        # What is not a function's call (a custom tool's) is measured with all its words.
        tokens += CALL + (
            json_tokens(fields, measure) if function is None else call_tokens(function, measure)
        )
    function_call = optional_object(message, "function_call", at=at)
    return tokens + (0 if function_call is None else CALL + call_tokens(function_call, measure))


def call_tokens(call: dict[str, Json], measure: Measure) -> int:
    """The name and arguments of a function's call, and whatever else stands there."""
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


def _part_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    kind = require_string(part, "type", at=at)
    if kind == "text":
        return measure(require_string(part, "text", at=at))
    if kind == "image_url":
        image = require_object(require(part, "image_url", at=at), path_of(at, "image_url"))
        return image_tokens(model, image.get("detail"))
    if kind == "input_audio":
        audio = require_object(require(part, "input_audio", at=at), path_of(at, "input_audio"))
        return audio_tokens(model, require_string(audio, "data", at=path_of(at, "input_audio")))
    if kind == "file":
        return _file_tokens(part, at, model, measure)
    return json_tokens(part, measure)


def _file_tokens(part: dict[str, Json], at: str, model: Model, measure: Measure) -> int:
    at = path_of(at, "file")
    file = require_object(part.get("file"), at)
    name = measure(optional_string(file, "filename", at=at) or "")
    data = optional_string(file, "file_data", at=at)
    return name + (unknown_file_tokens(model) if data is None else file_tokens(model, data))


def _tools_tokens(document: Document, model: Model, measure: Measure) -> int:
    functions = [
        (path_of("functions", index), function)
        for index, function in enumerate(optional_list(document, "functions"))
    ]
    tools = [
        (path_of("tools", index), tool)
        for index, tool in enumerate(optional_list(document, "tools"))
    ]
    if not functions and not tools:
        return 0
    tokens = REASONING_TOOLS if model.is_reasoning else TOOLS
    for at, function in functions:
        tokens += function_tokens(require_object(function, at), measure)
    for at, tool in tools:
        fields = require_object(tool, at)
        function = optional_object(fields, "function", at=at)
        tokens += function_tokens(function or fields, measure)
    return tokens + choice_tokens(document, measure)


def choice_tokens(document: Document, measure: Measure) -> int:
    """Tokens at most of telling the model to call a function, or a certain one."""
    choice = document.get("tool_choice")
    return 0 if choice in _UNTOLD_CHOICES else _CHOICE + json_tokens(choice, measure)


def _format_tokens(document: Document, measure: Measure) -> int:
    wanted = optional_object(document, "response_format") or {}
    schema = optional_object(wanted, "json_schema", at="response_format")
    return 0 if schema is None else format_tokens(schema, measure)
