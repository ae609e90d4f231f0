"""`POST /chat/completions`: reads the request, and shapes a response as OpenAI does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbalance.sandbox import counting
from tokenbalance.sandbox.billed import served_tier
from tokenbalance.sandbox.choices import (
    CHOICES_LIMIT,
    OUTPUT_LIMIT_TOKENS,
    choice_events,
    stream_options,
)
from tokenbalance.sandbox.faults import MODEL_WITHOUT_USAGE, ApiError
from tokenbalance.sandbox.fields import (
    Fields,
    empty_array,
    invalid_value,
    missing,
    text_within,
)
from tokenbalance.sandbox.generated import Generated, compose, spell
from tokenbalance.sandbox.replies import Stream, Whole, completion_usage, new_id, now
from tokenbalance.sandbox.tools import ToolCall, call_tool, insisted_tool, text_in_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenbalance.model import Document

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_FINISH_REASONS = {True: "stop", False: "length"}


@dataclass(frozen=True, slots=True)
class _Choice:
    output: Generated | ToolCall
    finish_reason: str
    tokens: int
    call_id: str = ""


def complete_chat(fields: Fields, files_tokens: int = 0) -> Whole | Stream:
    """Respond to a chat.

    Args:
        fields: of the request.
        files_tokens: of the files that its messages name.

    Raises:
        ApiError: OpenAI would not accept the request.

    """
    model = fields.required_text("model")
    messages = _messages(fields)
    cap = _cap(fields, model)
    count = fields.integer("n", 1, CHOICES_LIMIT) or 1
    _ = fields.number("temperature", 0, 2), fields.number("top_p", 0, 1)
    streamed, with_usage = stream_options(fields)
    prompt = _last_user_text(messages)
    choices = [_choose(fields, model, prompt, cap, index) for index in range(count)]
    read = files_tokens + counting.chat_tokens(fields)
    usage = completion_usage(read, sum(choice.tokens for choice in choices))
    reported = model != MODEL_WITHOUT_USAGE and (with_usage or not streamed)
    frame = _frame(fields, model)
    document = _document(frame, choices, usage if reported else None)
    if streamed:
        return Stream(tuple(_events(frame, choices, usage if reported else None)), document)
    return Whole(document)


def _messages(fields: Fields) -> list[Fields]:
    _ = fields.required("messages")
    messages = fields.objects("messages")
    if not messages:
        raise empty_array("messages")
    for message in messages:
        role = message.required_text("role")
        if role not in _ROLES:
            raise invalid_value(message.path_of("role"), role, _ROLES)
        if "content" not in message.document and role != "assistant":
            raise missing(message.path_of("content"))
    return messages


def _cap(fields: Fields, model: str) -> int | None:
    older = fields.integer("max_tokens", 1, OUTPUT_LIMIT_TOKENS)
    newer = fields.integer("max_completion_tokens", 1, OUTPUT_LIMIT_TOKENS)
    if older is not None and newer is not None:
        message = (
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        )
        raise ApiError(message, param="max_tokens", code="invalid_parameter_combination")
    if older is not None and counting.is_reasoning(model):
        raise ApiError(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    return newer if older is None else older


def _last_user_text(messages: list[Fields]) -> str:
    of_users = [message for message in messages if message.value("role") == "user"]
    return text_within((of_users or messages)[-1].value("content"))


def _choose(fields: Fields, model: str, prompt: str, cap: int | None, index: int) -> _Choice:
    if function := insisted_tool(fields):
        call = call_tool(function, model, cap, prompt)
        reason = "tool_calls" if call.arguments.finished else "length"
        return _Choice(call, reason, call.arguments.tokens, new_id("call_"))
    text = text_in_format(fields.value("response_format"), compose(prompt, index))
    generated = spell(text, model, cap, fields.strings("stop"))
    return _Choice(generated, _FINISH_REASONS[generated.finished], generated.tokens)


def _document(frame: Document, choices: list[_Choice], usage: Document | None) -> Document:
    document: Document = {**frame, "object": "chat.completion"}
    document["choices"] = [
        {
            "index": index,
            "message": _message(choice),
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        for index, choice in enumerate(choices)
    ]
    if usage is not None:
        document["usage"] = usage
    return document


def _frame(fields: Fields, model: str) -> Document:
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": now(),
        "model": model,
        "service_tier": served_tier(fields),
        "system_fingerprint": "fp_sandbox",
    }


def _message(choice: _Choice) -> Document:
    message: Document = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if isinstance(choice.output, ToolCall):
        message["tool_calls"] = [_call(choice, choice.output, choice.output.arguments.text)]
    else:
        message["content"] = choice.output.text
    return message


def _call(choice: _Choice, call: ToolCall, arguments: str) -> Document:
    return {
        "id": choice.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _events(frame: Document, choices: list[_Choice], usage: Document | None) -> Iterator[bytes]:
    """Return role chunks, content chunks in turn, finish chunks, usage if requested, the end."""
    chunks = [_chunks(index, choice) for index, choice in enumerate(choices)]
    return choice_events(frame, chunks, usage)


def _chunks(index: int, choice: _Choice) -> Iterator[Document]:
    for delta, finish_reason in _deltas(choice):
        yield {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _deltas(choice: _Choice) -> Iterator[tuple[Document, str | None]]:
    if isinstance(choice.output, ToolCall):
        call: Document = {"index": 0, **_call(choice, choice.output, "")}
        yield {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}, None
        for piece in choice.output.arguments.pieces:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None
    else:
        yield {"role": "assistant", "content": "", "refusal": None}, None
        for piece in choice.output.pieces:
            yield {"content": piece}, None
    yield {}, choice.finish_reason
